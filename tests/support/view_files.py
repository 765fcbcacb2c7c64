"""Files whose arrays have views of all formats, and how the usual readers see these views."""

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from tests.support.corrected_scans import training
from tests.support.image_files import edf, image

Array = np.ndarray


SPEC = """#F some.dat
#E 1
#D Sat Jan 01 00:00:00 2022
#O0 th  tth

#S 1 ascan th 0 2 2 1
#D Sat Jan 01 00:00:01 2022
#N 3
#L th  det/a  mon
0 10 1e5
1 11.5 2e5
2 12 -3e-7
"""


def numbers(dtype: str, shape: tuple[int, ...]) -> Array:
    values = np.random.default_rng(sum(shape)).normal(100, 50, shape)
    return (values > 90) if dtype == "?" else np.abs(values).astype(dtype)


ARRAYS = {
    **{f"stack_{k}": numbers(d, (5, 6, 7)) for k, d in enumerate(("u1", "<u2", ">u2", "<f4"))},
    **{f"image_{k}": numbers(d, (6, 7)) for k, d in enumerate((">f8", "<i4", "?", "<f2", ">i8"))},
    **{f"row_{k}": numbers(d, (9,)) for k, d in enumerate(("<f8", "u1", "<f4", ">i2"))},
    "deep": numbers("<u2", (2, 3, 6, 7)),
    "single": numbers("<u2", (1, 6, 7)),
    "name~1": numbers("<u2", (6, 7)),
    "name.with.dots": numbers("<u2", (6, 7)),
}


def other_formats(folder: Path) -> None:
    """A Spec file, a series of EDF files, and a folder of a scan, which is made too."""
    (folder / "scan").mkdir(parents=True)
    (folder / "spec.dat").write_text(SPEC)
    for number in range(3):
        edf(folder / f"img_{number:04d}.edf", image(number))
    training(folder / "scan")


def widened(array: Array) -> Array:
    kinds = {"?": "u1", "e": "f4"}
    return array.astype(kinds.get(array.dtype.char, array.dtype.newbyteorder("=")))


def cells(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return [[cell.strip(" ") for cell in row] for row in csv.reader(file)]


def same_values(found: Array, array: Array) -> None:
    assert found.dtype.newbyteorder("=") == widened(array).dtype
    assert np.array_equal(found.reshape(array.shape), widened(array))


@contextmanager
def growing(folder: Path) -> Iterator[Callable[[], None]]:
    """`growing.h5`, whose writer is at work, and `growing.dat`; calling makes both grow."""
    spec, shape = folder / "growing.dat", (5, 64, 64)
    spec.write_text(SPEC)
    with h5py.File(folder / "growing.h5", "w", libver="latest") as file:
        chunks, largest = (1, 64, 64), (None, 64, 64)
        data = file.create_dataset("a", shape, "<u2", chunks=chunks, maxshape=largest)
        data[...] = numbers("<u2", shape)
        small = file.create_dataset("b", (5,), "<f8", chunks=(1,), maxshape=(None,))
        small[...] = np.arange(5)
        file.swmr_mode = True
        file.flush()

        def grow() -> None:
            for dataset in (data, small):
                dataset.resize(9, axis=0)
                dataset[5:] = 7
                dataset.flush()
            spec.write_text(SPEC + "3 13 1\n")

        yield grow


def write_view_sources(folder: Path) -> None:
    """Fill this folder with files of all formats, and with objects of all sorts in `all.h5`."""
    other_formats(folder)
    with h5py.File(folder / "other.h5", "w") as file:
        file["far"] = ARRAYS["stack_1"]
    os.symlink("other.h5", folder / "alias.h5")
    with h5py.File(folder / "all.h5", "w", track_order=True) as file:
        for name, array in ARRAYS.items():
            file[name] = array
        file.create_dataset("packed", data=ARRAYS["stack_1"], chunks=(2, 3, 7), compression="gzip")
        file["colour"] = numbers("u1", (6, 7, 3))
        file["colour"].attrs["interpretation"] = "rgba-image"
        file["complex"] = numbers("<f4", (6, 7)) + 1j
        file["title"] = "a title, µm"
        file["names"] = np.array(["a", "b,c", ' "d"', ""], object)
        file["fixed"] = np.array([[b"ab", b"c"], [b"", b"\xb5"]], "S2")
        file["number"] = np.float32(1.1)
        file["empty"] = np.zeros((0, 3), "u2")
        table = np.zeros(4, [("x", "<f8"), ("n", ">i2")])
        table["x"], table["n"] = np.arange(4) / 3, np.arange(4)
        file["table"] = table
        file["linked"] = h5py.SoftLink("/stack_1")
        file["chain"] = h5py.SoftLink("/linked")
        file["external"] = h5py.ExternalLink("other.h5", "/far")
        file["dangling"] = h5py.SoftLink("/nothing")
        group = file.create_group("measurement", track_order=True)
        group["th"], group["det"] = np.arange(3.0), np.arange(3, dtype="i4")
        group["longer"], group["longest"] = np.arange(4), np.arange(5)
        group["soft"] = h5py.SoftLink("/measurement/th")
        group["image"] = ARRAYS["image_0"]
        file["same"] = h5py.SoftLink("/measurement")
        file.create_group("measurement/tie", track_order=True)
        file["measurement/tie/a"], file["measurement/tie/b"] = np.arange(2), np.arange(3)
        file["x"], file["y"] = ARRAYS["image_0"], ARRAYS["image_0"]
        file["x.tif/inner"] = 1
        file["l" * 249] = ARRAYS["stack_1"]
