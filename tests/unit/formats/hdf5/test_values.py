"""Values of datasets are those that h5py reads; what has no NumPy dtype has its bytes."""

import io
import json
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.formats.hdf5.text_widths import Pace, along_chunks
from esrffs.model import Box, BrokenInfo, DatasetInfo
from tests.support.h5py_values import h5py_reads, oracle
from tests.support.hdf5_corpus_folder import paths
from tests.support.npy import npy_bytes
from tests.support.reader_contract import get, walk, whole
from tests.support.real_data import DATA

RAW = {"3 bytes": "V3", "time": "V4", "opaque": "V5", "tagged": "V6"}  # h5py cannot


# See the tests of their files.
MISSING = {"fixed", "short", "short of two", "nested", "missing", "outside"}


def test_every_dataset_is_what_h5py_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # where h5py looks for external raw files
    compared = 0
    for path in paths(folder):
        reader = Hdf5Reader(str(path), None)
        found = list(walk(reader))
        infos = [m for m in found if isinstance(m, DatasetInfo)]
        if path.stem == "references":
            assert not [m for m in found if isinstance(m, BrokenInfo)]
        got = {}
        for info in infos:
            if path.stem in ("virtual", "external") and info.name in MISSING:
                continue
            got[info.address] = reader.read(info.address, whole(info))
            assert got[info.address].dtype == info.dtype
        reader.close()
        with h5py.File(path) as file:
            for address, array in got.items():
                dataset = file[address.encode("utf-8", "surrogateescape")]
                name = address.rpartition("/")[2]
                if name in RAW and path.stem == "numbers":
                    assert array.dtype == RAW[name]
                    continue
                if dataset.shape is None:
                    base, dims = dataset.dtype.subdtype or (dataset.dtype, ())
                    wanted = oracle(file, np.zeros((0, *dims), base))
                else:
                    wanted = oracle(file, h5py_reads(dataset))
                assert npy_bytes(array) == npy_bytes(wanted), (path.name, address)
                compared += 1
    assert compared > 120


def test_bytes_of_types_without_a_dtype(opened) -> None:
    reader = opened("numbers.h5")
    assert get(reader, "3 bytes").tobytes() == bytes(range(12))
    assert get(reader, "time").tobytes() == bytes(range(8))
    assert get(reader, "opaque").tobytes() == b"abcdefgh\0\xff"
    assert get(reader, "bits in a compound").tobytes() == b"\1\2\3"
    assert get(reader, "tagged").tobytes() == b"abcdef"


def test_sequences_as_json(opened) -> None:
    reader = opened("sequences.h5")
    assert json.loads(reader.text("/numbers")) == [[1.0, None], []]
    assert json.loads(reader.text("/texts")) == [["a", "bb"]]
    assert json.loads(reader.text("/refs")) == [["/"]]
    assert json.loads(reader.text("/null")) == []
    assert json.loads(reader.text("/type")) == {"dtype": "uint8", "enum": {"on": 1, "off": 0}}


@pytest.mark.skipif(not DATA.exists(), reason="the real files are not here")
@pytest.mark.parametrize("name", ["test.h5", "ID16B_diatomee.h5"])
def test_real_files(name: str) -> None:
    reader = Hdf5Reader(str(DATA / name), None)
    got = {
        info.address: reader.read(info.address, whole(info))
        for info in walk(reader)
        if isinstance(info, DatasetInfo)
    }
    reader.close()
    assert got
    with h5py.File(DATA / name) as file:
        for address, array in got.items():
            assert npy_bytes(array) == npy_bytes(oracle(file, h5py_reads(file[address]))), address


def test_fields_out_of_order_are_packed(tmp_path: Path) -> None:
    where = {"names": ["a", "b"], "formats": ["<i4", ("<f8", (2,))], "offsets": [20, 0]}
    stored = np.dtype({**where, "itemsize": 32})
    values = np.zeros(3, stored)
    values["a"], values["b"] = [1, 2, 3], np.arange(6.0).reshape(3, 2)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["table"] = values
        file["tables"] = np.zeros(2, np.dtype((stored, (3,))))
        file["tables"][1] = values
    reader = Hdf5Reader(str(tmp_path / "x.h5"), None)
    table, tables = get(reader, "table"), get(reader, "tables")
    assert table.dtype == np.dtype([("a", "<i4"), ("b", "<f8", (2,))])
    assert tables.dtype == table.dtype
    assert tables.shape == (2, 3)
    assert table["a"].tolist() == tables[1]["a"].tolist() == [1, 2, 3]
    assert table["b"].tolist() == tables[1]["b"].tolist() == [[0, 1], [2, 3], [4, 5]]
    np.save(io.BytesIO(), table, allow_pickle=False)


def test_arrays_of_arrays(tmp_path: Path) -> None:
    inner = h5py.h5t.array_create(h5py.h5t.STD_I16BE, (2, 3))
    values = np.arange(48, dtype=">i2").reshape(2, 4, 2, 3)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        space = h5py.h5s.create_simple((2,))
        nested = h5py.h5t.array_create(inner, (4,))
        dataset = h5py.h5d.create(file.id, b"x", nested, space)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values, mtype=nested)
    reader = Hdf5Reader(str(tmp_path / "x.h5"), None)
    found = get(reader, "x")
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)
    part = reader.read("/x", Box((1, 1, 0, 1), (2, 3, 2, 3)))
    np.testing.assert_array_equal(part, values[1:2, 1:3, :, 1:3])


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 14)), min_size=1, max_size=3),
    st.integers(1, 40),
)
def test_boxes_along_chunks_make_up_the_whole(axes: list[tuple[int, int]], elements: int) -> None:
    shape, chunk = (tuple(column) for column in zip(*axes, strict=True))
    seen = np.zeros(shape, int)
    for box in along_chunks(shape, chunk, Pace(elements)):
        assert math.prod(box.shape) <= max(elements, 1)
        seen[box.slices] += 1
    assert (seen == 1).all()
