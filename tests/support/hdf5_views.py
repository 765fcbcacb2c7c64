"""HDF5 views of files, made in memory for tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np

from esrffs.formats.hdf5.image import Hdf5Image
from esrffs.formats.hdf5.reader import Hdf5Reader
from tests.support.hdf5_images import assemble

Fill = Callable[[h5py.File], object]


class View:
    """The view of a group of a file, as a file."""

    def __init__(self, path: Path, address: str = "", **options: Any) -> None:
        self.source = path
        self.path = path.parent / "view of it.h5"
        reader = Hdf5Reader(str(path), None)
        try:
            self.image = reader.image(address, str(path.parent), **options)
            self.unreadable = assemble(reader, self.image, self.path)
        finally:
            reader.close()
        self.broken = {part.address: part.reason for part in self.image.broken}


def made(folder: Path, fill: Fill, **options: Any) -> Path:
    path = folder / "source.h5"
    with h5py.File(path, "w", **options) as file:
        fill(file)
    return path


SPEC = """#F test.dat
#E 1700000000
#D Tue Nov 14 22:13:20 2023
#O0 Theta  Two Theta  det/x

#S 1 ascan th 0 1 2
#D Tue Nov 14 22:13:20 2023
#P0 1.5 2.5 -3
#N 3
#L Theta  det/a  Epoch
0 1 1700000000.25
0.5 2 1700000001.25
1 3 1700000002.25

#S 2 grün
#D Tue Nov 14 22:14:20 2023
#N 2
#@MCA %16C
#@CHANN 4 0 3 1
#@CALIB 1 2 3
#L a  b
1 2
@A 1 2 3 4
3 4
@A 5 6 7 8
"""


def spec_file(folder: Path) -> Path:
    path = folder / "test.dat"
    path.write_text(SPEC)
    return path


def edf_file(folder: Path) -> Path:
    path = folder / "test.edf"
    header = {"title": "grün", "motor_pos": "1.5 2", "motor_mne": "a b", "count_time": "0.25"}
    fabio.edfimage.EdfImage(np.arange(4000, dtype="u2").reshape(40, 100), header).write(path)
    return path


def shown(reader: Any, image: Hdf5Image, folder: Path) -> Path:
    path = folder / "view.h5"
    assert assemble(reader, image, path) == []
    return path
