"""What is measured on a local disk: each row is a thing to do through the mount, and without it.

Both sides end with the same values in memory; they are compared once, outside the time that is
measured.  The goals are ratios.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fabio
import h5py
import hdf5plugin  # noqa: F401  # registers the filters
import numpy as np
import silx.io
from silx.io.convert import convert
from silx.io.utils import h5ls

from benchmarks.decoding import Decoding
from benchmarks.material import FRAME

try:
    from nabu.preproc.flatfield import FlatFieldArrays
except ImportError:
    FlatFieldArrays = None

Work = Callable[[Path], Any]


@dataclass(frozen=True, slots=True)
class Rival:
    """Another program or library that does it without the mount; goals are ratios theirs / ours.

    `goal` is that of an ordinary user's mount, `root` that of root's (the same unless told).
    """

    name: str
    work: Work
    goal: float | None = None
    root: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """`ours` gets the mount point, and the rivals the source.

    `again`: ours is done twice in the same mount, and the second time has this rival.
    `prepared`: the works return what is to be timed.  `alike`: what they return is compared.
    `nbytes`: bytes that come through the mount, for the floor of FUSE; `decoding`: work that
    returns what only decodes the same data (`benchmarks.decoding`).
    """

    name: str
    ours: Work
    rivals: tuple[Rival, ...]
    again: Rival | None = None
    prepared: bool = False
    alike: bool = True
    nbytes: int = 0
    decoding: Work | None = None


def _h5py(name: str) -> Work:
    def read(source: Path) -> Any:
        with h5py.File(source / f"{name}.h5") as file:
            return file["data"][...]

    return read


def _load(name: str) -> Work:
    return lambda mount: np.load(mount / f"{name}.h5/data.npy")


def _plain(source: Path) -> Any:
    return np.load(source / "plain.npy")


_GOALS = {
    "gzip": ("gzip + shuffle", 2.0, 2.5),
    "bslz4": ("bitshuffle-LZ4", 0.8, 1.0),
    "zstd": ("zstd", 0.9, 1.1),
    "lz4": ("LZ4", 0.9, 1.1),
    "blosc": ("Blosc-zstd", 0.9, 1.1),
    "bszstd": ("bitshuffle-zstd", 1.3, 1.5),
    "contiguous": ("contiguous", 0.35, 0.6),
    "cubes": ("gzip + shuffle, chunks of 12 × 128 × 128", None, None),
}


def stacks(count: int) -> list[Row]:
    """Whole stacks of `count` frames, first and second time."""
    again = Rival("np.load of a plain .npy", _plain, 0.8)
    return [
        Row(
            title,
            _load(name),
            (Rival("h5py [...]", _h5py(name), goal, root),),
            again,
            nbytes=count * FRAME,
            decoding=Decoding(f"{name}.h5"),
        )
        for name, (title, goal, root) in _GOALS.items()
    ]


def frames(count: int, number: int) -> list[Row]:
    """One frame out of the middle, of a file that nobody has looked at in this mount."""

    def ours(name: str) -> Work:
        return lambda mount: np.array(
            np.load(mount / f"{name}.h5/data.npy", mmap_mode="r")[number % count]
        )

    def theirs(name: str) -> Work:
        def read(source: Path) -> Any:
            with h5py.File(source / f"{name}.h5") as file:
                return file["data"][number % count]

        return read

    return [
        Row(
            f"one frame, {_GOALS[name][0]}",
            ours(name),
            (Rival("h5py: open, one frame", theirs(name), 1.0),),
            nbytes=FRAME,
        )
        for name in ("gzip", "bslz4", "contiguous")
    ]


_READERS = """
import sys, numpy as np
first = sys.argv[1]
if first.endswith(".npy"):
    read = np.load
else:
    import h5py, hdf5plugin
    read = lambda path: h5py.File(path)["data"][...]
print(flush=True)
sys.stdin.readline()
print(int(read(first).sum(dtype=np.uint64)), flush=True)
"""


class Readers:
    """Eight processes that are ready before the clock starts."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def __call__(self, folder: Path) -> Callable[[], list[int]]:
        paths = [folder / self._pattern.format(k) for k in range(8)]
        started = [
            subprocess.Popen(
                [sys.executable, "-c", _READERS, path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for path in paths
        ]
        for process in started:
            process.stdout.readline()

        def go() -> list[int]:
            for process in started:
                process.stdin.write("\n")
                process.stdin.flush()
            return [int(process.communicate()[0]) for process in started]

        return go


def side_by_side() -> list[Row]:
    return [
        Row(
            "8 processes, 8 compressed stacks",
            Readers("many/{}.h5/data.npy"),
            (Rival("8 processes, h5py", Readers("many/{}.h5"), 1.0),),
            prepared=True,
        )
    ]


def tomography_loop(source: Path) -> Any:
    """As the training solves it: frame by frame, the flat interpolated for each."""
    with h5py.File(source / "tomo.h5") as file:
        names = sorted(file["flatfield"])
        first, last = (file["flatfield"][name][()].astype("float32") for name in names)
        dark = file["dark/0000"][()].astype("float32")
        raw = file["data"]
        result = np.empty(raw.shape, "float32")
        for i in range(len(raw)):
            weight = np.clip(i / int(names[1]), 0, 1)
            flat = first * (1 - weight) + last * weight
            result[i] = (raw[i].astype("float32") - dark) / (flat.astype("float32") - dark)
        return result


def _nabu(source: Path) -> Any:
    with h5py.File(source / "tomo.h5") as file:
        flats = {int(k): file["flatfield"][k][()].astype("float32") for k in file["flatfield"]}
        darks = {0: file["dark/0000"][()].astype("float32")}
        raw = file["data"]
        radios = np.empty(raw.shape, "float32")
        raw.read_direct(radios)
        FlatFieldArrays(radios.shape, flats, darks, nan_value=None).normalize_radios(radios)
        return radios


def corrected(count: int) -> list[Row]:
    """A stack of `count` frames; the result has four bytes where the raw data have two."""

    def ours(mount: Path) -> Any:
        return np.load(mount / "tomo.h5/corrected/data.npy")

    rivals = [Rival("the training's loop", tomography_loop, 3.0)]
    if FlatFieldArrays is not None:
        rivals.append(Rival("h5py + nabu", _nabu, 0.8))
    nbytes = 2 * count * FRAME
    return [Row("corrected/, whole stack", ours, tuple(rivals), alike=False, nbytes=nbytes)]


def _ls(mount: Path) -> None:
    subprocess.run(["ls", "-lR", mount / "objects.h5"], check=True, stdout=subprocess.DEVNULL)


def _h5ls(source: Path) -> None:
    subprocess.run(["h5ls", "-r", source / "objects.h5"], check=True, stdout=subprocess.DEVNULL)


def listings(*, program: bool) -> list[Row]:
    def silx_first(source: Path) -> None:
        h5ls(str(source / "objects.h5"))

    rivals = [Rival("silx h5ls", silx_first, 2.0)]
    if program:
        rivals.append(Rival("h5ls -r", _h5ls))
    again = Rival("silx h5ls", silx_first, 5.0)
    return [Row("ls -lR of 10 000 objects", _ls, tuple(rivals), again)]


def other_formats() -> list[Row]:
    def spec_ours(mount: Path) -> Any:
        os.listdir(mount / "many.dat")
        return np.load(mount / "many.dat/1000.1/measurement/counter7.npy").astype("f4")

    def spec_silx(source: Path) -> Any:
        with silx.io.open(str(source / "many.dat")) as file:
            list(file)
            return file["1000.1/measurement/counter7"][()]

    def edf_ours(mount: Path) -> Any:
        path = mount / "many.edf/scan_0/instrument/detector_0/data.npy"
        return np.array(np.load(path, mmap_mode="r")[150])

    def edf_silx(source: Path) -> Any:
        with silx.io.open(str(source / "many.edf")) as file:
            return file["scan_0/instrument/detector_0/data"][150]

    def edf_fabio(source: Path) -> Any:
        with fabio.open(str(source / "many.edf")) as file:
            return file.get_frame(150).data

    return [
        Row(
            "Spec: ls of 2 000 scans, a column",
            spec_ours,
            (Rival("silx.io.open", spec_silx, 10.0),),
        ),
        Row(
            "EDF: one frame of 200",
            edf_ours,
            (Rival("silx.io.open", edf_silx, 20.0), Rival("fabio", edf_fabio, 0.8)),
        ),
    ]


def conversions() -> list[Row]:
    """A whole file in another format: `cp` of its view."""
    image = "scan_0/instrument/detector_0/data"
    counter = "1000.1/measurement/counter7"

    def edf_copied(mount: Path) -> Any:
        return _converted(image, lambda path: shutil.copyfile(mount / "many.edf.h5", path))

    def edf_written(source: Path) -> Any:
        """`silx convert` fails: h5py has no type for the texts of the headers (numpy's `<U`)."""

        def write(path: Path) -> None:
            with fabio.open(str(source / "many.edf")) as file, h5py.File(path, "w") as made:
                made[image] = np.array([frame.data for frame in file.frames()])

        return _converted(image, write)

    def spec_copied(mount: Path) -> Any:
        made = _converted(counter, lambda path: shutil.copyfile(mount / "many.dat.h5", path))
        return made.astype("f4")

    def spec_converted(source: Path) -> Any:
        def write(path: Path) -> None:
            convert(str(source / "many.dat"), str(path), mode="w")

        return _converted(counter, write)

    return [
        Row(
            "EDF of 200 frames to HDF5: cp of the view",
            edf_copied,
            (Rival("fabio, h5py", edf_written, 3.0),),
        ),
        Row(
            "Spec of 2 000 scans to HDF5: cp of the view",
            spec_copied,
            (Rival("silx convert", spec_converted, 3.0),),
        ),
    ]


def _converted(name: str, make: Callable[[Path], Any]) -> Any:
    """This dataset of the HDF5 file that is made; of a stack its last image."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "converted.h5"
        make(path)
        with h5py.File(path) as file:
            dataset = file[name]
            return dataset[-1] if dataset.ndim == 3 else dataset[()]


def small_files() -> list[Row]:
    """5 000 files of one directory, and the same copied to the disk."""

    def read(folder: Path) -> int:
        total = 0
        for name in sorted(os.listdir(folder)):
            with open(folder / name, "rb") as file:
                total += len(file.read())
        return total

    def ours(mount: Path) -> int:
        return read(mount / "small.h5")

    def copied(source: Path) -> int:
        return read(source / "small")

    disk = Rival("the same on the disk", copied, 0.2)
    return [Row("5 000 small files: open, read, close", ours, (disk,), disk)]
