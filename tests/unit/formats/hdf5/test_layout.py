"""The bytes of contiguous datasets and of chunks lie where the layout says."""

import itertools
import math
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5p

from esrffs.errors import DamagedError
from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.model import (
    ChunkedLayout,
    ContiguousLayout,
    DatasetInfo,
    OpaqueLayout,
    Reader,
    VirtualLayout,
)
from tests.support import hdf5_corpus as corpus
from tests.support.hdf5_corpus_folder import paths
from tests.support.reader_contract import get, members, walk


def test_extents_and_chunks_lie_where_it_is_told(folder: Path) -> None:
    """What others read without the library: `pread`, and zlib where the filter is gzip alone."""
    extents = chunks = 0
    for path in paths(folder):
        reader, content = Hdf5Reader(str(path), None), path.read_bytes()
        for info in walk(reader):
            if not isinstance(info, DatasetInfo):
                continue
            if isinstance(info.layout, ContiguousLayout):
                size = math.prod(info.shape) * info.dtype.itemsize
                start = info.layout.offset
                assert content[start : start + size] == get(reader, info.address).tobytes()
                extents += 1
            elif isinstance(info.layout, ChunkedLayout) and info.layout.indexed:
                codes = [code for code, _ in info.layout.filters]
                if codes in ([], [1]):
                    check_chunks(reader, info, info.layout, content)
                    chunks += 1
        reader.close()
    assert extents > 60
    assert chunks > 8


def check_chunks(reader: Reader, info: DatasetInfo, layout: ChunkedLayout, content: bytes) -> None:
    index, array = reader.chunk_index(info.address), get(reader, info.address)
    grid = [-(-n // k) for n, k in zip(info.shape, layout.shape, strict=True)]
    assert len(index.offsets) == math.prod(grid)
    for number, corner in enumerate(np.ndindex(*grid)):
        start, size = int(index.offsets[number]), int(index.sizes[number])
        part = array[
            tuple(slice(i * k, i * k + k) for i, k in zip(corner, layout.shape, strict=True))
        ]
        if start < 0:
            assert layout.fill is not None
            wanted = np.frombuffer(layout.fill, info.dtype)
            assert (part == wanted).all()
            continue
        stored = content[start : start + size]
        packed = layout.filters and not index.masks[number]
        decoded = zlib.decompress(stored) if packed else stored
        chunk = np.frombuffer(decoded, info.dtype).reshape(layout.shape)
        assert (chunk[tuple(slice(n) for n in part.shape)] == part).all()


def test_layouts(opened) -> None:
    found = members(opened("layouts.h5"))
    assert isinstance(found["contiguous"].layout, ContiguousLayout)
    assert found["unwritten"].layout == VirtualLayout((), np.float64(7).tobytes())
    assert found["compact"].layout == OpaqueLayout()
    assert found["holes"].layout == ChunkedLayout((2, 2), (), np.array(-3, ">i4").tobytes(), True)
    assert found["array"].layout.shape == (2, 2)
    assert found["chunked shuffle gzip"].layout.filters == ((2, (2,)), (1, (4,)))
    assert found["raw edges"].layout.indexed
    for name in corpus.FILTERS:
        assert found[f"chunked {name}"].layout.indexed, name


def test_values_that_are_converted_on_reading_are_not_verbatim(opened) -> None:
    found = members(opened("numbers.h5"))
    assert isinstance(found["i4be"].layout, ContiguousLayout)
    assert found["12 bits"].layout == OpaqueLayout()
    assert members(opened("strings.h5"))["term"].layout == OpaqueLayout()


def test_a_chunk_index_with_one_place_for_two_chunks_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("d", data=np.arange(12.0), chunks=(4,))
    content = bytearray(path.read_bytes())
    node = content.index(b"TREE\1")
    second_key = node + 24 + 32  # header; one key (size, mask, two coordinates) and its child
    assert content[second_key + 8] == 4
    content[second_key + 8] = 0
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="agree"):
        Hdf5Reader(str(path), None).chunk_index("/d")


@pytest.mark.parametrize("version", ["earliest", "latest"])
@pytest.mark.parametrize("shape", [(4, 6), (3, 5, 4)])
def test_chunks_lie_where_it_is_told_whatever_may_grow(
    tmp_path: Path, version: str, shape: tuple[int, ...]
) -> None:
    """libhdf5 tells wrong places of chunks where an axis that is not the first is unlimited."""
    values = np.arange(math.prod(shape), dtype="<i4").reshape(shape)
    chunk = (2,) * len(shape)
    path = tmp_path / "x.h5"
    limits = list(itertools.product(*((n, n + 9, None) for n in shape)))
    with h5py.File(path, "w", libver=(version, "latest")) as file:
        for limit in limits:
            file.create_dataset(str(limit), data=values, chunks=chunk, maxshape=limit)
    content, reader, indexed = path.read_bytes(), Hdf5Reader(str(path), None), 0
    for limit in limits:
        info = reader.find(str(limit))
        assert isinstance(info, DatasetInfo)
        assert isinstance(info.layout, ChunkedLayout)
        np.testing.assert_array_equal(get(reader, str(limit)), values)
        if not info.layout.indexed:
            continue
        indexed += 1
        grid = np.ndindex(*(-(-n // 2) for n in shape))
        for corner, offset in zip(grid, reader.chunk_index(info.address).offsets, strict=True):
            part = values[tuple(slice(2 * i, 2 * i + 2) for i in corner)]
            found = np.frombuffer(content, "<i4", 2 ** len(shape), offset).reshape(chunk)
            np.testing.assert_array_equal(found[tuple(map(slice, part.shape))], part)
    assert indexed > len(limits) // 2


@pytest.mark.parametrize("chunks", [None, (2,)])
def test_bytes_between_fields_are_not_taken_from_the_file(
    tmp_path: Path, chunks: tuple[int, ...] | None
) -> None:
    inner = np.dtype({"names": ["x"], "formats": ["<i2"], "offsets": [1], "itemsize": 4})
    gaps = np.dtype({"names": ["a", "b"], "formats": ["i1", inner], "offsets": [0, 3]})
    content = np.frombuffer(bytes(range(1, 22)), gaps)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        stored = h5py.h5t.py_create(gaps)
        plist = h5p.create(h5p.DATASET_CREATE)
        if chunks:
            plist.set_chunk(chunks)
        dataset = h5py.h5d.create(file.id, b"x", stored, h5py.h5s.create_simple((3,)), plist)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, content, mtype=stored)
    with h5py.File(tmp_path / "x.h5") as file:
        expected = file["x"][()]
    reader = Hdf5Reader(str(tmp_path / "x.h5"), None)
    info = reader.find("x")
    assert isinstance(info, DatasetInfo)
    assert isinstance(info.layout, OpaqueLayout) or not getattr(info.layout, "indexed", True)
    assert get(reader, "x").tobytes() == expected.tobytes()
