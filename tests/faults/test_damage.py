"""Damaged files: every byte that is given is right, or there is an error; never a made-up zero."""

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.faults import fuzz
from tests.faults.malformed import damaged
from tests.support.mounts import Mounted, MountFactory
from tests.support.stopwatch import Stopwatch


def contents(root: Path) -> dict[str, bytes | int]:
    """What each file below gives: its bytes, or the errno."""
    found: dict[str, bytes | int] = {}
    for folder, _, files in os.walk(root):
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                try:
                    found[str(path.relative_to(root))] = path.read_bytes()
                except OSError as error:
                    found[str(path.relative_to(root))] = error.errno or -1
    return found


@pytest.mark.parametrize("format_", ["hdf5", "spec", "image"])
def test_equal_or_an_error(mount: MountFactory, tmp_path: Path, format_: fuzz.Format) -> None:
    source = tmp_path / "source"
    source.mkdir()
    suffix = fuzz.SUFFIX[format_]
    fuzz.MAKE[format_](source / f"sound{suffix}")
    whole = (source / f"sound{suffix}").read_bytes()
    for name, content in {"empty": b"", **damaged(whole)}.items():
        (source / f"{name}{suffix}").write_bytes(content)
        os.utime(source / f"{name}{suffix}", ns=(0, (source / f"sound{suffix}").stat().st_mtime_ns))
    mounted = mount(source)
    mounted.expect(*(f"{name}{suffix}" for name in damaged(whole)))
    sound = contents(mounted / f"sound{suffix}")
    assert sound
    assert all(isinstance(content, bytes) for content in sound.values())
    assert contents(mounted / f"garbage{suffix}") == sound or format_ != "hdf5"
    for name in ("cut10", "cut50", "cut90", "short"):
        if not (mounted / f"{name}{suffix}").is_dir():
            continue
        for path, content in contents(mounted / f"{name}{suffix}").items():
            if not path.endswith(".npy") or isinstance(content, int):
                continue
            whole_one = sound.get(path, b"")
            assert isinstance(whole_one, bytes)
            assert content == whole_one or format_ != "hdf5", f"{name}: {path}"
            if format_ != "hdf5" and content != whole_one:  # what is complete of it
                shown = np.load(mounted / f"{name}{suffix}" / path)
                full = np.load(mounted / f"sound{suffix}" / path)
                if shown.shape[1:] == full.shape[1:] and shown.ndim:
                    np.testing.assert_array_equal(shown, full[: len(shown)])
    assert contents(mounted / f"sound{suffix}") == sound, "to the end"


def test_checksums_that_do_not_add_up(mount: MountFactory, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with h5py.File(source / "sums.h5", "w") as file:
        data = file.create_dataset("x", data=np.arange(1000), chunks=(100,), fletcher32=True)
        bad = data.id.get_chunk_info(5).byte_offset + 80
    with (source / "sums.h5").open("r+b") as raw:
        raw.seek(bad)
        raw.write(b"\xff")
    mounted = mount(source)
    mounted.expect("sums.h5")
    with pytest.raises(OSError) as caught:
        (mounted / "sums.h5/x.npy").read_bytes()
    assert caught.value.errno == errno.EIO


def test_sources_of_a_virtual_dataset_that_are_not_there(
    mount: MountFactory, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("missing", "short", "moved", "sound"):
        with h5py.File(source / f"{name}.h5", "w") as file:
            file["x"] = np.arange(10) + 1
        with h5py.File(source / f"of_{name}.h5", "w") as file:
            layout = h5py.VirtualLayout((10,), "i8")
            layout[:] = h5py.VirtualSource(f"{name}.h5", "x", (10,))
            file.create_virtual_dataset("v", layout, fillvalue=0)
    (source / "missing.h5").unlink()
    with h5py.File(source / "short.h5", "w") as file:
        file["x"] = np.arange(5) + 1
    with h5py.File(source / "moved.h5", "w") as file:
        file["y"] = np.arange(10) + 1
    mounted = mount(source)
    mounted.expect("of_missing", "of_short", "of_moved")
    for name in ("missing", "short", "moved"):
        with pytest.raises(OSError) as caught:
            (mounted / f"of_{name}.h5/v.npy").read_bytes()
        assert caught.value.errno in {errno.EIO, errno.ENOENT}, name
    # The source first, then what is made of it, by the same readers, and again.
    for _ in range(3):
        for name in ("sound.h5/x.npy", "of_sound.h5/v.npy"):
            os.utime(source / name.partition("/")[0])
            np.testing.assert_array_equal(np.load(mounted / name), np.arange(10) + 1)


def seconds(mounted: Mounted, name: str) -> float:
    watch = Stopwatch()
    os.listdir(mounted / name)
    for entry in os.scandir(mounted / name):
        entry.stat()
    return watch.seconds


def test_sizes_that_cannot_be(mount: MountFactory, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with h5py.File(source / "huge.h5", "w") as file:
        file.create_dataset("flat", (1 << 60,), "u1", chunks=(1 << 20,))
        file.create_dataset("wide", (1 << 40, 1 << 20), "u1", chunks=(1 << 10, 1 << 10))
        file.create_dataset("more", (1 << 60,), "f8", chunks=(1 << 10,))
        file.create_dataset("hundred", (100 << 30,), "u1", chunks=(1 << 20,), compression="gzip")
        four = file.create_dataset("four", ((4 << 30) - 1,), "u1", chunks=((4 << 30) - 1,))
        four.id.write_direct_chunk((0,), b"too little")
    mounted = mount(source)
    mounted.expect("huge.h5")
    assert seconds(mounted, "huge.h5") < 2
    assert (mounted / "huge.h5/flat.npy").stat().st_size > 1 << 60
    with open(mounted / "huge.h5/flat.npy", "rb") as shown:
        for at in (1 << 10, 1 << 40, (1 << 60) - 100):
            assert os.pread(shown.fileno(), 4096, at).strip(b"\0") == b""
    with open(mounted / "huge.h5/hundred.npy", "rb") as shown:
        assert len(shown.read(1000)) == 1000
    for name in ("more", "four"):
        with pytest.raises(OSError) as caught, open(mounted / f"huge.h5/{name}.npy", "rb") as shown:
            shown.read(5000)
        assert caught.value.errno in {errno.EFBIG, errno.EIO, errno.EOVERFLOW}, name
    assert os.listdir(mounted.path) == ["huge.h5"], "still there"


def test_large_json_and_many_children(mount: MountFactory, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with h5py.File(source / "many.h5", "w", libver="latest") as file:
        for number in range(20_000):
            file.create_group(f"{number:05}")
    with h5py.File(source / "ragged.h5", "w") as file:
        data = file.create_dataset("x", (20,), h5py.vlen_dtype("i8"))
        for row in range(20):
            data[row] = np.arange(100_000)
    mounted = mount(source)
    names = os.listdir(mounted / "many.h5")
    assert names == sorted(names)
    assert len(names) == 20_000
    path = mounted / "ragged.h5/x.json"
    assert len(path.read_bytes()) == path.stat().st_size > 10 << 20
