"""A folder with one of each kind of file and object."""

import shutil
from pathlib import Path

import h5py
import numpy as np


def one_of_each(parent: Path) -> Path:
    """Fill `parent/source` with one of each kind of file and object."""
    folder = parent / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "notes.txt").write_text("some notes\n")
    (folder / "empty").touch()
    with h5py.File(folder / "data.h5", "w", track_order=True) as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        entry["image"] = np.arange(12.0).reshape(3, 4)
        entry["image"].attrs["units"] = "counts"
        entry["stack"] = np.arange(3 * 50 * 60, dtype="u2").reshape(3, 50, 60)
        entry.create_dataset("packed", data=np.arange(100_000), chunks=(1000,), compression="gzip")
        entry["link"] = h5py.SoftLink("/entry/image")
        entry["self"] = entry
        entry["root"] = file
        file["dangling"] = h5py.SoftLink("/no/where")
    shutil.copy(folder / "data.h5", folder / "sub" / "other.h5")
    return folder
