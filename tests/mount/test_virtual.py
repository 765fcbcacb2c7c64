"""Virtual datasets through a mount: many files, missing ones, odd mappings, change."""

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.mounts import MountFactory
from tests.support.programs import wait_for

FRAMES, SHAPE = 7, (200, 300)  # a frame is as large as what the kernel reads at a time


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A master over files of 7 frames each, as LImA and BLISS write them, and odd ones."""
    folder = tmp_path / "source"
    (folder / "raw").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(3):
        with h5py.File(folder / f"raw/lima_{number:04}.h5", "w") as file:
            frames = rng.integers(0, 1000, (FRAMES, *SHAPE)).astype("u2")
            kind = {"compression": "gzip", "shuffle": True} if number else {}
            chunks = {"chunks": (1, *SHAPE)} if number else {}
            file.create_dataset("entry/data", data=frames, **chunks, **kind)
    with h5py.File(folder / "master.h5", "w") as file:
        layout = h5py.VirtualLayout((3 * FRAMES + 2, *SHAPE), "u2")
        for number in range(3):
            part = h5py.VirtualSource(
                f"raw/lima_{number:04}.h5", "entry/data", (FRAMES, *SHAPE), "u2"
            )
            layout[number * FRAMES : (number + 1) * FRAMES] = part
        file.create_virtual_dataset("stack", layout, fillvalue=42)
        columns = h5py.VirtualLayout((FRAMES, SHAPE[0], 2 * SHAPE[1]), "u2")
        for number in range(2):
            part = h5py.VirtualSource(f"raw/lima_{number:04}.h5", "entry/data", (FRAMES, *SHAPE))
            columns[:, :, number * SHAPE[1] : (number + 1) * SHAPE[1]] = part
        file.create_virtual_dataset("columns", columns)
        single = h5py.VirtualLayout((3, *SHAPE), "u2")
        for number in range(3):
            part = h5py.VirtualSource(f"raw/lima_{number:04}.h5", "entry/data", (FRAMES, *SHAPE))
            single[number] = part[number + 2]
        file.create_virtual_dataset("single", single)
        wider = h5py.VirtualLayout((FRAMES, *SHAPE), "f8")
        wider[:] = h5py.VirtualSource("raw/lima_0001.h5", "entry/data", (FRAMES, *SHAPE))
        file.create_virtual_dataset("wider", wider)
        nested = h5py.VirtualLayout((FRAMES, *SHAPE), "u2")
        nested[:] = h5py.VirtualSource(".", "stack", (3 * FRAMES + 2, *SHAPE))[3 : 3 + FRAMES]
        file.create_virtual_dataset("nested", nested)
    return folder


@pytest.mark.parametrize("name", ["stack", "columns", "single", "wider", "nested"])
def test_equal_to_what_h5py_reads(mount: MountFactory, source: Path, name: str) -> None:
    with h5py.File(source / "master.h5") as file:
        expected = file[name][()]
    shown = mount(source) / f"master.h5/{name}.npy"
    np.testing.assert_array_equal(np.load(shown), expected)
    mapped = np.load(shown, mmap_mode="r")
    np.testing.assert_array_equal(mapped[-1, 5:7, 3], expected[-1, 5:7, 3])
    data = shown.read_bytes()
    with open(shown, "rb", buffering=0) as file:
        for offset in np.random.default_rng(1).integers(0, len(data), 20):
            assert os.pread(file.fileno(), 5000, offset) == data[offset : offset + 5000]


def test_a_missing_source_is_an_error_and_its_return_is_seen(
    mount: MountFactory, source: Path
) -> None:
    with h5py.File(source / "master.h5") as file:
        expected = file["stack"][()]
    away = source / "raw/lima_0001.h5"
    away.rename(source / "raw/elsewhere")
    mounted = mount(source)
    mounted.expect("lima_0001")
    with open(mounted / "master.h5/stack.npy", "rb", buffering=0) as file:
        there = expected[:4].tobytes()  # the kernel reads ahead: not up to the missing ones
        assert os.pread(file.fileno(), len(there), 128) == there
    with pytest.raises(OSError) as caught:
        (mounted / "master.h5/stack.npy").read_bytes()
    assert caught.value.errno == errno.EIO
    assert "lima_0001" in os.getxattr(mounted / "master.h5/stack.npy", "user.esrffs.error").decode()
    (source / "raw/elsewhere").rename(away)
    np.testing.assert_array_equal(np.load(mounted / "master.h5/stack.npy"), expected)


def test_a_rewritten_source_is_seen_by_the_next_open(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    shown = mounted / "master.h5/stack.npy"
    before = np.load(shown)
    with h5py.File(source / "raw/lima_0002.h5", "r+") as file:
        file["entry/data"][3] = 7
    wait_for(lambda: (np.load(shown)[2 * FRAMES + 3] == 7).all(), 5)
    np.testing.assert_array_equal(np.load(shown)[:FRAMES], before[:FRAMES])


def test_a_shrunk_source_is_an_error(mount: MountFactory, source: Path) -> None:
    with h5py.File(source / "raw/lima_0002.h5", "w") as file:
        file["entry/data"] = np.ones((FRAMES - 1, *SHAPE), "u2")
    mounted = mount(source)
    mounted.expect("lima_0002")
    with pytest.raises(OSError):
        (mounted / "master.h5/stack.npy").read_bytes()


def test_many_files_at_once(mount: MountFactory, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    layout = h5py.VirtualLayout((100, 8, 8), "i4")
    for number in range(100):
        with h5py.File(folder / f"{number:03}.h5", "w") as file:
            file["x"] = np.full((8, 8), number, "i4")
        layout[number] = h5py.VirtualSource(f"{number:03}.h5", "x", (8, 8))
    with h5py.File(folder / "master.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    shown = np.load(mount(folder) / "master.h5/x.npy", mmap_mode="r")
    for number in np.random.default_rng(2).permutation(100):
        assert (shown[number] == number).all()
    np.testing.assert_array_equal(np.asarray(shown)[:, 3, 3], np.arange(100))
