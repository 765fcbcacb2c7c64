"""Sources that grow: an open view keeps its size and its bytes, a new open sees what has come."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import fabio
import h5py
import numpy as np
import pytest

from tests.support.mounts import Mounted, MountFactory

NO_TIMEOUT = "attr_timeout=0,entry_timeout=0"
SPEC = "#F x\n#E 1\n\n#S 1 ascan th 0 2 2 1\n#N 2\n#L th  mon\n0 10\n1 11\n"
HDF5_VIEWS = (
    *("growing.h5/stack.tif", "growing.h5/stack.edf", "growing.h5/stack.tifs/0001.tif"),
    *("growing.h5/stack.edfs/0001.edf", "growing.h5/stack.pngs/0001.png", "growing.h5/image.png"),
    *("growing.h5/image.csv", "growing.h5/column.csv", "growing.h5/names.txt"),
    *("growing.h5/names.csv", "growing.h5.csv", "growing.h5.h5"),
)
SPEC_VIEWS = ("growing.dat/1.1/measurement.csv", "growing.dat/1.1/measurement/th.edf")
SPEC_VIEWS += ("growing.dat/1.1.h5", "growing.dat.h5")
DETECTOR = "scan_0/instrument/detector_0/data"
SERIES_VIEWS = (f"s_####.edf/{DETECTOR}.tif", f"s_####.edf/{DETECTOR}.edf", "s_####.edf.h5")
ONE_FRAME = ("0001.tif", "0001.edf", "0001.png")  # frames that were there do not change


def frame(number: int) -> np.ndarray:
    return np.arange(12, dtype="<u2").reshape(3, 4) + number


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """The files; calling makes all grow."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "growing.dat").write_text(SPEC)
    for number in range(2):
        fabio.edfimage.EdfImage(frame(number)).write(str(folder / f"s_{number:04}.edf"))
    with h5py.File(folder / "growing.h5", "w", libver="latest") as file:
        made = {
            "stack": np.array([frame(number) for number in range(2)]),
            "image": frame(0),
            "column": np.arange(4.0),
            "names": np.array([b"a", b"bc"] * 2, "S2"),
        }
        for name, array in made.items():
            most = (None, *array.shape[1:])
            chunks = (1, *array.shape[1:])
            file.create_dataset(name, data=array, maxshape=most, chunks=chunks)
        file.swmr_mode = True
        file.flush()

        def grow() -> None:
            for name, array in made.items():
                file[name].resize(len(array) + 2, axis=0)
                file[name][-2:] = array[:2]
                file[name].flush()
            with open(folder / "growing.dat", "a") as spec:
                spec.write("2 12\n")
            fabio.edfimage.EdfImage(frame(2)).write(str(folder / "s_0002.edf"))

        yield grow


def kept(descriptor: int, content: bytes) -> str:
    try:
        found = os.pread(descriptor, len(content) + 999, 0)
    except OSError as error:
        return error.strerror
    return "kept" if found == content else "other bytes"


def direct(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_DIRECT)  # nothing comes from the page cache


def test_what_is_open_keeps_and_what_is_opened_sees(
    tmp_path: Path, growing: Callable[[], None], mount: MountFactory
) -> None:
    mounted: Mounted = mount(tmp_path / "source", "-o", NO_TIMEOUT)
    views = (*HDF5_VIEWS, *SPEC_VIEWS, *SERIES_VIEWS)
    before = {name: (mounted / name).read_bytes() for name in views}
    with contextlib.ExitStack() as stack:
        opened = {
            name: stack.enter_context(open(mounted / name, "rb", 0, opener=direct))
            for name in views
        }
        for name, file in opened.items():
            assert file.read(16) == before[name][:16]
        growing()
        found = {name: kept(file.fileno(), before[name]) for name, file in opened.items()}
    assert [name for name, how in found.items() if how != "kept"] == []
    for name in views:
        after = (mounted / name).read_bytes()
        assert (mounted / name).stat().st_size == len(after)
        assert (after == before[name]) == name.endswith(ONE_FRAME), name
    assert len(os.listdir(mounted / "growing.h5/stack.tifs")) == 4
    with h5py.File(mounted / "growing.h5.h5") as view:
        assert view["stack"].shape == (4, 3, 4)
        assert view["names"][()].tolist() == [b"a", b"bc"] * 3
    with h5py.File(mounted / "growing.dat.h5") as view:
        assert view["1.1/measurement/mon"][()].tolist() == [10, 11, 12]
    with fabio.open(mounted / SERIES_VIEWS[1]) as view:
        assert view.nframes == 3
