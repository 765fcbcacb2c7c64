"""Datatypes that h5py does not know: as records of their bytes, new references as paths."""

import ctypes
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.model import BrokenInfo, ContiguousLayout, DatasetInfo, Member
from tests.support.hdf5_references import STD_REF, libhdf5, with_references
from tests.support.reader_contract import whole


def test_new_references_are_paths(tmp_path: Path) -> None:
    with_references(tmp_path / "a.h5")
    reader = Hdf5Reader(str(tmp_path / "a.h5"), None)
    info = reader.find("refs")
    wanted = np.array(["/data", "/data[1:3,2:4]", "/data@units", "?", ""])
    assert info.dtype == wanted.dtype
    assert reader.read("/refs", whole(info)).tolist() == wanted.tolist()
    assert json.loads(reader.attributes("/data")) == {"units": "mm", "ref": ["/data"]}


def test_a_compound_with_new_references_is_bytes(tmp_path: Path) -> None:
    """As they stand in the file: in memory they would be addresses of this process."""
    kind = h5t.create(h5t.COMPOUND, 72)
    kind.insert(b"n", 0, h5t.NATIVE_INT64)
    libhdf5("H5Tinsert", kind.id, b"r", ctypes.c_void_p(8), STD_REF)
    rows = np.zeros((2, 72), "u1")
    rows[:, 0] = 7, 9
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = h5d.create(file.id, b"x", kind, h5s.create_simple((2,)))
        libhdf5("H5Dwrite", made.id, kind.id, 0, 0, 0, ctypes.c_void_p(rows.ctypes.data))
        file["y"] = 1
    reader = Hdf5Reader(str(tmp_path / "a.h5"), None)
    found = {member.name: member for member in reader.listing("").members}
    assert isinstance(found["y"], DatasetInfo)
    x = found["x"]
    assert isinstance(x, DatasetInfo)
    assert isinstance(x.layout, ContiguousLayout)
    assert (x.shape, x.dtype.kind) == ((2,), "V")
    stored = (tmp_path / "a.h5").read_bytes()[x.layout.offset :][: 2 * x.dtype.itemsize]
    assert [stored[0], stored[x.dtype.itemsize]] == [7, 9]


def float24() -> h5t.TypeID:
    kind = h5t.IEEE_F32LE.copy()
    kind.set_fields(23, 16, 7, 0, 16)
    kind.set_size(3)
    return kind


def tagged() -> h5t.TypeID:
    kind = h5t.create(h5t.OPAQUE, 5)
    kind.set_tag(b"five")
    return kind


RAW: dict[str, Callable[[], h5t.TypeID]] = {
    "opaque": tagged,
    "bitfield": h5t.STD_B32BE.copy,
    "time": h5t.UNIX_D32LE.copy,
    "3-byte float": float24,
    "3-byte integer": lambda: sized(h5t.STD_I32LE.copy(), 3),
}


def sized(kind: h5t.TypeID, size: int) -> h5t.TypeID:
    kind.set_size(size)
    return kind


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("layout", ["contiguous", "chunked", "compact"])
def test_bytes_in_the_type_of_the_file(tmp_path: Path, name: str, layout: str) -> None:
    kind = RAW[name]()
    size = kind.get_size()
    raw = np.arange(4 * size, dtype="u1")
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_layout(getattr(h5d, layout.upper()))
    if layout == "chunked":
        plist.set_chunk((3,))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = h5d.create(file.id, b"x", kind, h5s.create_simple((4,)), plist)
        libhdf5("H5Dwrite", made.id, kind.id, 0, 0, 0, ctypes.c_void_p(raw.ctypes.data))
    reader = Hdf5Reader(str(tmp_path / "a.h5"), None)
    found: Member = reader.listing("").members[0]
    assert not isinstance(found, BrokenInfo), found.reason
    assert found.dtype.itemsize >= size
    array = reader.read("/x", whole(found))
    if found.dtype.kind == "V":
        assert array.tobytes() == raw.tobytes()
    else:
        assert len(set(array.tolist())) == 4, "numbers that h5py makes of them"
