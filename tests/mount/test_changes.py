"""Files of the source that grow, are replaced, cut short or removed while they are mounted."""

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.errnos import errno_of
from tests.support.mounts import MountFactory
from tests.support.one_of_each import one_of_each
from tests.support.programs import wait_for


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return one_of_each(tmp_path)


def test_a_truncated_file_is_an_error_not_zeros(mount: MountFactory, source: Path) -> None:
    whole = (source / "data.h5").read_bytes()
    with h5py.File(source / "data.h5") as file:
        cut = file["entry/stack"].id.get_offset() + 100
    damaged = source / "damaged.h5"
    damaged.write_bytes(whole[:cut])
    mounted = mount(source)
    mounted.expect("damaged.h5")
    for directory, _, files in os.walk(mounted / "damaged.h5"):
        for name in files:
            path = Path(directory, name)
            good = mounted / "data.h5" / path.relative_to(mounted / "damaged.h5")
            with open(path, "rb") as opened:
                code = errno_of(lambda: os.pread(opened.fileno(), 1 << 20, 0))
            assert code == errno.EIO or path.read_bytes() == good.read_bytes()


def test_growth_replacement_truncation_and_removal(mount: MountFactory, source: Path) -> None:
    mounted = mount(source, "-o", "attr_timeout=0.2,entry_timeout=0.2")
    shown = mounted / "data.h5/entry/stack.npy"
    old = shown.read_bytes()
    handle = os.open(shown, os.O_RDONLY)

    with h5py.File(source / "new.h5", "w") as file:
        file["entry/stack"] = np.full((2, 50, 60), 7, "u2")
    os.replace(source / "new.h5", source / "data.h5")
    np.testing.assert_array_equal(np.load(shown), np.full((2, 50, 60), 7, "u2"))
    found: list[bytes] = []
    code = errno_of(lambda: found.append(os.pread(handle, len(old), 0)))
    # the kernel may have the old bytes, or ask and hear that they are gone
    assert (code, found) in [(0, [old]), (errno.ESTALE, [])]
    os.close(handle)

    with h5py.File(source / "data.h5", "w") as file:  # in place
        file["entry/stack"] = np.full((4, 50, 60), 9, "u2")
    np.testing.assert_array_equal(np.load(shown), np.full((4, 50, 60), 9, "u2"))

    os.truncate(source / "data.h5", 100)
    wait_for(lambda: errno_of(os.listdir, mounted / "data.h5/entry"))
    mounted.expect("data.h5")

    (source / "data.h5").unlink()
    wait_for(lambda: errno_of(os.stat, mounted / "data.h5") == errno.ENOENT)


def test_the_directory_of_a_file_that_is_gone_is_not_empty(
    mount: MountFactory, source: Path
) -> None:
    """The kernel believes for a while that it is there; who opens it hears that it is not."""
    (source / "brief").mkdir()
    mounted = mount(source, "-o", "attr_timeout=600,entry_timeout=600")
    os.listdir(mounted.path)
    for name in ("data.h5", "brief"):
        os.stat(mounted / name)
    (source / "data.h5").unlink()
    (source / "brief").rmdir()
    for name in ("data.h5", "brief"):
        assert errno_of(os.listdir, mounted / name) == errno.ENOENT


def test_an_old_handle_of_a_rewritten_file_is_stale(mount: MountFactory, source: Path) -> None:
    path = source / "log.bin"
    path.write_bytes(os.urandom(1 << 20))
    with open(mount(source) / "log.bin", "rb", buffering=0) as handle:
        first = handle.read(1000)
        assert first == path.read_bytes()[:1000]
        path.write_bytes(os.urandom(2 << 20))
        assert errno_of(os.pread, handle.fileno(), 1000, 900_000) == errno.ESTALE


def test_an_old_handle_of_a_grown_file_keeps_serving(mount: MountFactory, source: Path) -> None:
    path = source / "log.bin"
    path.write_bytes(os.urandom(1 << 20))
    mounted = mount(source)
    with open(mounted / "log.bin", "rb", buffering=0) as handle:
        assert handle.read(1000) == path.read_bytes()[:1000]
        with open(path, "ab") as file:
            file.write(b"more" * 1000)
        content = path.read_bytes()
        assert os.pread(handle.fileno(), 1000, 900_000) == content[900_000:901_000]
        wait_for(lambda: os.fstat(handle.fileno()).st_size == len(content))
        assert os.pread(handle.fileno(), 9999, 1 << 20) == content[1 << 20 :]
    assert (mounted / "log.bin").read_bytes() == content


def test_a_growing_dataset_shows_at_the_next_open(mount: MountFactory, source: Path) -> None:
    path = source / "live.h5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset("data", (1, 10), "i4", maxshape=(None, 10), chunks=(1, 10))
        data[0] = 0
        file.swmr_mode = True
        file.flush()
        mounted = mount(source)
        for number in range(2, 6):
            assert np.load(mounted / "live.h5/data.npy").shape == (number - 1, 10)
            data.resize(number, axis=0)
            data[number - 1] = number - 1
            data.flush()
        shown = np.load(mounted / "live.h5/data.npy")
        np.testing.assert_array_equal(shown[:, 0], np.arange(5))


def test_a_shell_inside_a_file_sees_it_grow(mount: MountFactory, source: Path) -> None:
    path = source / "scans.dat"
    scan = "#S {0} ascan x 0 1 1 1\n#D Thu Feb 11 09:54:35 2016\n#N 2\n#L x  y\n0 1\n1 2\n\n"
    path.write_text("#F scans.dat\n#E 1\n\n" + scan.format(1))
    mounted = mount(source, "-o", "attr_timeout=0.1,entry_timeout=0.1")
    inside = os.open(mounted / "scans.dat", os.O_RDONLY)
    try:
        assert {"1.1"} <= set(os.listdir(inside))
        with path.open("a") as file:
            file.write(scan.format(2))
        wait_for(lambda: "2.1" in os.listdir(inside), 5)
    finally:
        os.close(inside)
    np.testing.assert_array_equal(np.load(mounted / "scans.dat/2.1/measurement/y.npy"), [1, 2])
