"""`.h5` views of files whose values are in other files: a new open sees what those hold now."""

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.errnos import errno_of
from tests.support.mounts import Mounted, MountFactory

NO_TIMEOUT = "attr_timeout=0,entry_timeout=0"


def written(path: Path, value: int, shape: tuple[int, ...] = (3, 64, 64)) -> None:
    with h5py.File(path.with_suffix(".new"), "w") as file:
        file["far"] = np.full(shape, value, "<u2")
        file["group/one"] = value
    os.replace(path.with_suffix(".new"), path)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A file out of the source, which views include."""
    (tmp_path / "source").mkdir()
    path = tmp_path / "elsewhere.h5"
    written(path, 1)
    with h5py.File(tmp_path / "source/a.h5", "w") as file:
        file["data"] = h5py.ExternalLink(str(path), "/far")
        file["group"] = h5py.ExternalLink(str(path), "/group")
        file["own"] = np.arange(3)
    return path


def test_what_a_link_includes_is_that_of_now(
    tmp_path: Path, elsewhere: Path, mount: MountFactory
) -> None:
    view = mount(tmp_path / "source", "-o", NO_TIMEOUT) / "a.h5.h5"
    with h5py.File(view) as file:
        assert (file["data"][()] == 1).all()
        assert file["group/one"][()] == 1
    for value, shape in ((2, (3, 64, 64)), (3, (5, 64, 64))):
        written(elsewhere, value, shape)
        with h5py.File(view) as file:
            assert file["data"].shape == shape
            assert (file["data"][()] == value).all()
            assert file["group/one"][()] == value
            assert file["own"][()].tolist() == [0, 1, 2]


def test_what_is_open_does_not_mix_two_states(
    tmp_path: Path, elsewhere: Path, mount: MountFactory
) -> None:
    view = mount(tmp_path / "source", "-o", NO_TIMEOUT) / "a.h5.h5"
    place = view.read_bytes().index(b"\1\0" * 64)
    with open(view, "rb", buffering=0, opener=direct) as file:
        assert os.pread(file.fileno(), 4, place) == b"\1\0\1\0"
        with h5py.File(elsewhere, "r+") as other:
            other["far"][...] = 2
        assert errno_of(os.pread, file.fileno(), 4, place) == errno.ESTALE


def direct(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_DIRECT)


def test_what_comes_later_is_included_later(
    tmp_path: Path, elsewhere: Path, mount: MountFactory
) -> None:
    elsewhere.unlink()
    view = mount(tmp_path / "source", "-o", NO_TIMEOUT) / "a.h5.h5"
    with h5py.File(view) as file:
        assert file.get("data") is None
    written(elsewhere, 4)
    with h5py.File(view) as file:
        assert (file["data"][()] == 4).all()


@pytest.fixture
def virtual(tmp_path: Path) -> Path:
    """A file of the source, of whose dataset another file has a virtual one."""
    folder = tmp_path / "source"
    folder.mkdir()
    written(folder / "part.h5", 1)
    layout = h5py.VirtualLayout((3, 64, 64), "<u2")
    layout[...] = h5py.VirtualSource("part.h5", "far", (3, 64, 64))
    with h5py.File(folder / "whole.h5", "w") as file:
        file.create_virtual_dataset("v", layout)
        raw = [(str(folder / "raw.bin"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("raw", (4,), "u1", external=raw)
    (folder / "raw.bin").write_bytes(b"\1\2\3\4")
    return folder


def test_sources_of_virtual_datasets(virtual: Path, mount: MountFactory) -> None:
    mounted: Mounted = mount(virtual, "-o", NO_TIMEOUT)
    view = mounted / "whole.h5.h5"
    for value in (1, 2, 3):
        written(virtual / "part.h5", value)
        (virtual / "raw.bin").write_bytes(bytes([value] * 4))
        with h5py.File(view) as file:
            assert (file["v"][()] == value).all()
            assert file["raw"][()].tolist() == [value] * 4
        assert b"%c\0" % value * 64 in view.read_bytes()
