"""Virtual datasets: sources that are numbered, missing, short or without end."""

import math
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5p

from esrffs.errors import DamagedError
from esrffs.formats import budget
from esrffs.formats.hdf5 import virtual_layout, virtual_sources
from esrffs.formats.hdf5.links import find_file
from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.model import Box, BrokenInfo
from tests.support.reader_contract import get, members


def numbered_datasets(folder: Path, file_name: bytes) -> None:
    """A virtual dataset whose blocks are datasets of one file: `%b` stands in their name only."""
    endless = h5py.h5s.UNLIMITED
    space = h5py.h5s.create_simple((0,), (endless,))
    space.select_hyperslab((0,), (endless,), (4,), (4,))
    whole = h5py.h5s.create_simple((4,))
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_virtual(space, file_name, b"/d%b", whole)
    with h5py.File(folder / "a.h5", "w", libver="latest") as file:
        h5py.h5d.create(file.id, b"growing", h5py.h5t.NATIVE_INT64, space, plist)
    with h5py.File(folder / ("a.h5" if file_name == b"." else file_name.decode()), "a") as file:
        for block in range(3):
            file[f"d{block}"] = np.arange(4 * block, 4 * block + 4)


@pytest.mark.parametrize("file_name", [b".", b"other.h5"])
def test_blocks_that_are_numbered_in_one_file(
    tmp_path: Path, file_name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To tell the shape, or what it depends on, each *file* is looked for once."""
    numbered_datasets(tmp_path, file_name)
    looked: list[bytes] = []

    def find(name: bytes, *words: Any, **options: Any) -> str:
        looked.append(name)
        assert len(looked) < 100
        return find_file(name, *words, **options)

    monkeypatch.setattr(virtual_sources, "find_file", find)
    monkeypatch.setattr(virtual_layout, "find_file", find)
    for boundary in (os.path.realpath(tmp_path), None):
        reader = Hdf5Reader(str(tmp_path / "a.h5"), boundary)
        assert get(reader, "growing").tolist() == list(range(12))


def test_files_without_end_end_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbered_datasets(tmp_path, b"%b.h5")
    monkeypatch.setattr(virtual_sources, "find_file", lambda *_, **__: str(tmp_path / "a.h5"))
    now = iter(range(1000))
    monkeypatch.setattr(budget.time, "monotonic", lambda: float(next(now)))
    reader = Hdf5Reader(str(tmp_path / "a.h5"), os.path.realpath(tmp_path))
    budget.begin(100)
    try:
        found = members(reader)["growing"]
    finally:
        budget.begin(math.inf)
    assert isinstance(found, BrokenInfo)
    assert "time_limit" in found.reason


def test_virtual_datasets(opened) -> None:
    reader = opened("virtual.h5")
    rows = reader.read("/fixed", Box((0, 2), (3, 5)))
    assert rows.tolist() == [[2, 3, 4], [12, 13, 14], [22, 23, 24]]
    assert (reader.read("/fixed", Box((4, 0), (5, 10))) == -1).all()  # nothing is mapped there
    for address, box in (("/fixed", Box((2, 0), (4, 1))), ("/nested", Box((0, 0), (2, 1)))):
        with pytest.raises(DamagedError, match=r"source3\.h5"):
            reader.read(address, box)
    assert reader.read("/short", Box((3,), (10,))).tolist() == list(range(3, 10))
    with pytest.raises(DamagedError):
        reader.read("/short", Box((9,), (11,)))
    assert get(reader, "numbered").tolist() == list(range(30))
    assert get(reader, "growing")[:, 1].tolist() == list(range(10))


def test_a_virtual_dataset_mapped_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["source"] = np.arange(6).reshape(2, 3)
        space = h5py.h5s.create_simple((2, 3))
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_virtual(space, b".", b"source", space)
        h5py.h5d.create(file.id, b"v", h5py.h5t.NATIVE_INT64, space, plist)
        point = h5py.h5s.create(h5py.h5s.SCALAR)
        file["one"] = 7
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_virtual(point, b".", b"one", point)
        h5py.h5d.create(file.id, b"p", h5py.h5t.NATIVE_INT64, point, plist)
    reader = Hdf5Reader(str(path), os.path.realpath(tmp_path))
    assert reader.read("/v", Box((1, 1), (2, 3))).tolist() == [[4, 5]]
    assert get(reader, "p") == 7
