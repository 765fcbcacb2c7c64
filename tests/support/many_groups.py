"""A file of many small groups."""

from pathlib import Path

import h5py


def many_groups(parent: Path) -> Path:
    """Write `parent/source/many.h5`: 60 groups, each with one inside; a circle of links."""
    folder = parent / "source"
    folder.mkdir()
    with h5py.File(folder / "many.h5", "w", locking=False) as file:
        for k in range(60):
            group = file.create_group(f"{k:02}")
            group["a"] = k
            group["below/b"] = k
            group["below"].attrs["k"] = k
        file["30/below/circle"] = file["30"]
        file["50/last"] = 1
    return folder
