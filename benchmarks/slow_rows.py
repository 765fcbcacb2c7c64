"""What is measured behind a slow source: each row through the mount, with today's tools, in order.

The rivals read the same folder of the same latency.  "in order" reads the bytes of the files that
a row needs one after the other, with read(2) and nothing else: what no program that reads in order
can be faster than.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import tifffile

from benchmarks.rows import Rival, Row, Work, tomography_loop

IN_ORDER = "a plain read in order"
_HEADER_NBYTES = 4096  # bytes that tell what a file is
_REQUEST_NBYTES = 1 << 20

_GOALS = {  # ratio that is to be reached at 10 ms
    "bslz4": ("200 MB, bitshuffle-LZ4", 3.0),
    "gzip": ("200 MB, gzip + shuffle", 3.0),
    "contiguous": ("200 MB, contiguous", 3.0),
}


def rows() -> list[Row]:
    """All rows; those that need least time first."""
    return [*_folders(), *_structure(), *_stacks(), _corrected(), _view(), _series()]


def again() -> list[Row]:
    """What a second mount of the same folder finds, after all the `rows` in a first one."""
    return [*_folders(", second mount")]


def _in_order(names: Callable[[Path], Sequence[Path]], nbytes: int | None = None) -> Rival:
    """Open and read these files, or their first bytes."""

    def read(source: Path) -> int:
        total = 0
        buffer = bytearray(nbytes or _REQUEST_NBYTES)
        for path in names(source):
            with open(path, "rb", buffering=0) as file:
                while got := file.readinto(buffer):
                    total += got
                    if nbytes is not None:
                        break
        return total

    return Rival(IN_ORDER, read)


def _one(name: str) -> Callable[[Path], Sequence[Path]]:
    return lambda source: [source / name]


def _all(folder: str) -> Callable[[Path], Sequence[Path]]:
    return lambda source: sorted((source / folder).iterdir())


def _ls(name: str, *options: str) -> Work:
    def ls(mount: Path) -> None:
        subprocess.run(["ls", *options, mount / name], check=True, stdout=subprocess.DEVNULL)

    return ls


def _folders(suffix: str = "") -> list[Row]:
    """What `ls` needs of a folder: which of its files are data files."""

    def h5py_opens(source: Path) -> int:
        count = 0
        for path in sorted((source / "hdf5").iterdir()):
            with h5py.File(path) as file:
                count += len(file)
        return count

    def fabio_opens(source: Path) -> int:
        count = 0
        for path in sorted((source / "edf").iterdir()):
            with fabio.open(str(path)) as image:
                count += image.nframes
        return count

    rivals = {
        "hdf5": ("HDF5", Rival("h5py: open each", h5py_opens, 12.0)),
        "edf": ("EDF", Rival("FabIO: open each", fabio_opens, 12.0)),
    }
    return [
        Row(
            f"ls -l of 200 {name} files{suffix}",
            _ls(folder, "-l"),
            (rival, _in_order(_all(folder), _HEADER_NBYTES)),
            alike=False,
        )
        for folder, (name, rival) in rivals.items()
    ]


def _structure() -> list[Row]:
    def walk(name: str) -> Work:
        def with_h5py(source: Path) -> int:
            found: list[tuple[int, ...]] = []

            def visit(_: str, thing: Any) -> None:
                if isinstance(thing, h5py.Dataset):
                    found.append((thing.dtype.itemsize, *thing.shape))

            with h5py.File(source / name) as file:
                file.visititems(visit)
            return len(found)

        return with_h5py

    files = {"flat.h5": "in 40 groups", "nested.h5": "in 400 groups of groups"}
    return [
        Row(
            f"ls -lR of 4 000 datasets {where}",
            _ls(name, "-lR"),
            (Rival("h5py: visititems", walk(name), 5.0), _in_order(_one(name))),
            alike=False,
        )
        for name, where in files.items()
    ]


def _stacks() -> list[Row]:
    def read(name: str) -> Work:
        def with_h5py(source: Path) -> Any:
            with h5py.File(source / f"{name}.h5") as file:
                return file["data"][...]

        return with_h5py

    def ours(name: str) -> Work:
        return lambda mount: np.load(mount / f"{name}.h5/data.npy")

    return [
        Row(
            title,
            ours(name),
            (_in_order(_one(f"{name}.h5")), Rival("h5py [...]", read(name), goal)),
        )
        for name, (title, goal) in _GOALS.items()
    ]


def _corrected() -> Row:
    def ours(mount: Path) -> Any:
        return np.load(mount / "tomo.h5/corrected/data.npy")

    return Row(
        "corrected/ of 200 MB, bitshuffle-LZ4",
        ours,
        (_in_order(_one("tomo.h5")), Rival("an h5py loop", tomography_loop, 4.0)),
        alike=False,  # the flats are interpolated in another precision
    )


def _view() -> Row:
    """`cp` of a TIFF, and the same file written by h5py and tifffile."""

    def ours(mount: Path) -> Any:
        return _written(lambda path: shutil.copyfile(mount / "contiguous.h5/data.tif", path))

    def theirs(source: Path) -> Any:
        def write(path: Path) -> None:
            with h5py.File(source / "contiguous.h5") as file:
                tifffile.imwrite(path, file["data"][...])

        return _written(write)

    return Row(
        "cp data.tif of 200 MB, contiguous",
        ours,
        (_in_order(_one("contiguous.h5")), Rival("h5py, tifffile", theirs)),
    )


def _written(write: Callable[[Path], object]) -> Any:
    """The last page of the TIFF that is written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.tif"
        write(path)
        return tifffile.imread(path, key=-1)


def _series() -> Row:
    place = "edf/s_####.edf/scan_0/instrument/detector_0/data.npy"

    def theirs(source: Path) -> Any:
        frames = []
        for path in sorted(os.listdir(source / "edf")):
            with fabio.open(str(source / "edf" / path)) as image:
                frames.append(image.data)
        return np.array(frames)

    return Row(
        "stack of 200 EDF files",
        lambda mount: np.load(mount / place),
        (_in_order(_all("edf")), Rival("FabIO, in order", theirs, 8.0)),
    )
