"""The files that are measured, made from fixed seeds.

Frames are Poisson noise on a smooth illumination, as uint16: what a detector gives, and what
compressors find hard.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fabio
import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

SIDE = 2048  # pixels of a frame's side
FRAME = 2 * SIDE * SIDE  # bytes
_NOISES = 6  # frames of independent noise; the others are these, rolled

Stack = npt.NDArray[np.uint16]

FILTERS: Mapping[str, Mapping[str, Any]] = {
    "gzip": {"compression": "gzip", "compression_opts": 4, "shuffle": True},
    "bslz4": hdf5plugin.Bitshuffle(cname="lz4"),
    "zstd": hdf5plugin.Zstd(),
    "lz4": hdf5plugin.LZ4(),
    "blosc": hdf5plugin.Blosc(cname="zstd"),
    "bszstd": hdf5plugin.Bitshuffle(cname="zstd"),
}


def stack(frames: int, seed: int, side: int = SIDE, counts: float = 200.0) -> Stack:
    """Frames of noise on a round illumination of so many counts."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side - 0.5
    beam = counts * np.exp(-2 * (x * x + y * y))
    noises = [random.poisson(beam).astype(np.uint16) for _ in range(min(frames, _NOISES))]
    return np.stack([np.roll(noises[i % len(noises)], 7 * i) for i in range(frames)])


def stacks(folder: Path, frames: int) -> None:
    """One file per filter, a contiguous one, one of cubic chunks, and the plain `.npy`."""
    whole = stack(frames, 1)
    np.save(folder / "plain.npy", whole)
    for name, filters in FILTERS.items():
        _write(folder / f"{name}.h5", whole, chunks=(1, SIDE, SIDE), **filters)
    _write(folder / "contiguous.h5", whole)
    _write(folder / "cubes.h5", whole, chunks=(12, 128, 128), **FILTERS["gzip"])


def _write(path: Path, values: npt.NDArray[Any], **options: Any) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=values, **options)


def many(folder: Path, frames: int, files: int = 8) -> None:
    """As many compressed stacks for as many readers."""
    folder.mkdir()
    for k in range(files):
        name = ("gzip", "bslz4")[k % 2]
        _write(folder / f"{k}.h5", stack(frames, 10 + k), chunks=(1, SIDE, SIDE), **FILTERS[name])


def sizes(folder: Path, frames: int) -> None:
    """The same at once, four and sixteen times the length."""
    folder.mkdir()
    for times in (1, 4, 16):
        whole = stack(frames * times, 2)
        _write(folder / f"x{times}.h5", whole, chunks=(1, SIDE, SIDE), **FILTERS["bslz4"])


def tomography(folder: Path, frames: int, **storage: Any) -> None:
    """A stack of projections with a dark and a flat at each end."""
    with h5py.File(folder / "tomo.h5", "w") as file:
        file.create_dataset("data", data=stack(frames, 3), **storage)
        file["dark/0000"] = stack(1, 4, counts=3)[0]
        file["flatfield/0000"] = stack(1, 5, counts=300)[0]
        file[f"flatfield/{frames:04}"] = stack(1, 6, counts=260)[0]


def objects(folder: Path, count: int) -> None:
    """Groups of scalars and small arrays with attributes, `count` objects in all."""
    with h5py.File(folder / "objects.h5", "w") as file:
        for k in range(count // 10):
            group = file.create_group(f"{k:05}")
            group.attrs["NX_class"] = "NXdata"
            for j in range(9):
                made = group.create_dataset(f"counter{j}", data=np.arange(j + 1.0))
                made.attrs["units"] = "mm"


def small(folder: Path, count: int) -> None:
    """Small datasets in one group, and what the mount makes of them."""
    (folder / "small").mkdir()
    with h5py.File(folder / "small.h5", "w") as file:
        for k in range(count):
            file[f"{k:04}"] = np.full(16, k, np.int32)
            np.save(folder / f"small/{k:04}.npy", np.full(16, k, np.int32))


def spec(path: Path, scans: int, points: int) -> None:
    """A Spec file of scans with 20 columns each."""
    random = np.random.default_rng(7)
    labels = "  ".join(f"counter{k}" for k in range(20))
    rows = ["  ".join(f"{v:.6g}" for v in row) for row in random.random((points, 20)) * 1e4]
    with path.open("w") as file:
        file.write("#F bench.dat\n#E 1000000000\n#D Sat Sep 08 21:46:40 2001\n\n")
        for scan in range(1, scans + 1):
            file.write(f"#S {scan} ascan phi 0 1 {points} 1\n#D Sat Sep 08 21:46:40 2001\n")
            file.write(f"#N 20\n#L {labels}\n" + "\n".join(rows) + "\n\n")


def edf(path: Path, frames: int, side: int = 512) -> None:
    """One EDF of many frames."""
    values = stack(frames, 8, side)
    image = fabio.edfimage.EdfImage(data=values[0], header={"run": "0"})
    for frame in values[1:]:
        image.append_frame(data=frame, header={"run": "0"})
    image.write(str(path))


def warm(folder: Path) -> None:
    """All of these files into the page cache."""
    buffer = bytearray(8 << 20)
    for base, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(base, name), "rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def make(folder: Path, *, quick: bool, told: Callable[[str], None]) -> int:
    """Everything, in `folder`; the number of frames in the large stacks."""
    frames = 12 if quick else 48
    for name, work in {
        "stacks": lambda: stacks(folder, frames),
        "stacks of eight readers": lambda: many(folder / "many", frames // 4),
        "stacks that grow": lambda: sizes(folder / "sizes", max(1, frames // 12)),
        "tomography": lambda: tomography(folder, frames),
        "10 000 objects": lambda: objects(folder, 10_000),
        "5 000 small files": lambda: small(folder, 5000),
        "Spec": lambda: spec(folder / "many.dat", 2000, 200),
        "EDF": lambda: edf(folder / "many.edf", 200),
    }.items():
        told(f"making {name}")
        work()
    return frames


# Behind a slow source


def slow(folder: Path, frames: int = 24) -> None:
    """What is measured behind a file server: stacks of 200 MB, and many small files."""
    whole = stack(frames, 21)
    for name in ("gzip", "bslz4"):
        _write(folder / f"{name}.h5", whole, chunks=(1, SIDE, SIDE), **FILTERS[name])
    _write(folder / "contiguous.h5", whole)
    tomography(folder, frames, **FILTERS["bslz4"], chunks=(1, SIDE, SIDE))
    _structure(folder / "flat.h5", groups=40, datasets=100, inner="")
    _structure(folder / "nested.h5", groups=400, datasets=10, inner="/measurement")
    hdf5_files(folder / "hdf5", 200)
    edf_files(folder / "edf", 200)


def _structure(path: Path, groups: int, datasets: int, inner: str) -> None:
    """Groups of datasets with an attribute each: what describes them lies among their values."""
    with h5py.File(path, "w") as file:
        for k in range(groups):
            group = file.create_group(f"{k:04}{inner}")
            for j in range(datasets):
                made = group.create_dataset(f"counter{j}", data=np.arange(4096.0 + j))
                made.attrs["units"] = "mm"


def hdf5_files(folder: Path, count: int) -> None:
    """Small HDF5 files."""
    folder.mkdir()
    for k in range(count):
        _write(folder / f"scan{k:04}.h5", np.full((64, 64), k, np.uint16))


def edf_files(folder: Path, count: int, side: int = 512) -> None:
    """A series of EDF files of one frame each."""
    folder.mkdir()
    values = stack(count, 22, side)
    for k, frame in enumerate(values):
        header = {"run": "0", "motor_pos": str(k)}
        fabio.edfimage.EdfImage(data=frame, header=header).write(str(folder / f"s_{k:04}.edf"))
