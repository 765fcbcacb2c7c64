"""Finds where the values of an HDF5 dataset lie in its file, and whether all of them are there.

A dataset with `ContiguousLayout`, or with `ChunkedLayout` and `indexed`, is read by the daemon
without libhdf5.  Before libhdf5 reads others, it is checked that the file is long enough: libhdf5
gives zeros for what lies beyond the end of a file.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from esrffs.errors import DamagedError, UnsupportedError
from esrffs.formats.hdf5.datatypes import Array, ElementType
from esrffs.formats.hdf5.library import h5, h5d, h5p, h5s, h5z, partial_chunks_unfiltered
from esrffs.formats.hdf5.links import OpenFile
from esrffs.model import (
    Box,
    ChunkedLayout,
    ChunkIndex,
    ContiguousLayout,
    Layout,
    OpaqueLayout,
    VirtualLayout,
)

_GRID_LIMIT = 1 << 22  # chunks in one index: 80 MiB of it
_ALL_SKIPPED = 0xFFFFFFFF  # the mask of a chunk to which no filter was applied
_BASED = h5.get_libversion() >= (2, 0, 0)  # chunk offsets count from the start of the file


def layout(
    dataset: h5d.DatasetID, element: ElementType, shape: tuple[int, ...], file: OpenFile
) -> Layout:
    """How the values of this shape (axes of an array type included) can be got at."""
    offset = dataset.get_offset()
    if offset is not None:  # contiguous, and in this file
        return contiguous_layout(offset, dataset.get_storage_size(), element, shape, file)
    plist = dataset.get_create_plist()
    if plist.get_layout() == h5d.CONTIGUOUS:
        return _unwritten_layout(dataset, plist, element, shape)
    if plist.get_layout() != h5d.CHUNKED or not shape:
        return OpaqueLayout()
    limits = dataset.get_space().get_simple_extent_dims(True)
    return chunked_layout(plist, element, shape, limits, file)


def _unwritten_layout(
    dataset: h5d.DatasetID, plist: h5p.PropDCID, element: ElementType, shape: tuple[int, ...]
) -> Layout:
    """Contiguous without a place: nothing was written, however much is declared."""
    if plist.get_external_count() or dataset.get_storage_size() or not element.verbatim:
        return OpaqueLayout()
    fill = fill_value(plist, element)
    return OpaqueLayout() if fill is None or not shape else VirtualLayout((), fill)


def contiguous_layout(
    offset: int, stored: int, element: ElementType, shape: tuple[int, ...], file: OpenFile
) -> ContiguousLayout | OpaqueLayout:
    """How values from this offset of the file can be got at, of which `stored` bytes are there."""
    size = element.buffer_dtype.itemsize * math.prod(shape)
    written = size and stored == size  # else the offset means nothing
    whole = element.verbatim and written and file.contains(offset + size)
    return ContiguousLayout(offset) if whole else OpaqueLayout()


def _chunk_offsets_unreliable(limits: Sequence[int]) -> bool:
    """Whether libhdf5 may tell wrong places for the chunks, although it reads them right.

    It does so (2.0 at least) where the chunks are indexed by an extensible array, which turns the
    only unlimited axis to the front: it forgets to turn it back.  `limits`: the maximal shape.
    """
    unlimited = [axis for axis, limit in enumerate(limits) if limit == h5s.UNLIMITED]
    return len(unlimited) == 1 and unlimited != [0]


def chunked_layout(
    plist: h5p.PropDCID,
    element: ElementType,
    shape: tuple[int, ...],
    limits: Sequence[int],
    file: OpenFile,
) -> ChunkedLayout:
    """The layout of a chunked dataset with these properties.

    `limits` is its maximal shape, without the axes of an array type, which `shape` includes.
    """
    chunk = (*plist.get_chunk(), *element.dims)
    if not element.verbatim:
        return ChunkedLayout(chunk)
    filters = filters_of(plist)
    indexed = 0 < math.prod(_grid(shape, chunk)) <= _GRID_LIMIT and (
        _BASED or not file.id.get_create_plist().get_userblock()
    )
    indexed = indexed and not _chunk_offsets_unreliable(limits)
    return ChunkedLayout(chunk, filters, fill_value(plist, element), indexed)


def _grid(shape: Sequence[int], chunk: Sequence[int]) -> tuple[int, ...]:
    return tuple(-(-n // k) for n, k in zip(shape, chunk, strict=True))


def filters_of(plist: h5p.PropDCID) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The numbers of the filters and their client data, in the order of writing."""
    filters = (plist.get_filter(index) for index in range(plist.get_nfilters()))
    return tuple((code, tuple(values)) for code, _flags, values, _name in filters)


def fill_value(plist: h5p.PropDCID, element: ElementType) -> bytes | None:
    """One element as it is where nothing was written; None where only the library knows."""
    defined = plist.fill_value_defined()
    if plist.get_fill_time() == h5d.FILL_TIME_NEVER or defined == h5d.FILL_VALUE_UNDEFINED:
        return None
    if defined == h5d.FILL_VALUE_DEFAULT:
        return bytes(element.buffer_dtype.itemsize)
    if element.dims or element.buffer_dtype.kind == "V":
        return None  # more than one number: the reader knows
    value: Array = np.zeros((), element.buffer_dtype)
    plist.get_fill_value(value)
    return value.tobytes()


def missing_filters(plist: h5p.PropDCID) -> list[int]:
    """The numbers of filters that this dataset uses and nothing here can undo."""
    return [code for code, _ in filters_of(plist) if not h5z.filter_avail(code)]


def chunk_index(dataset: h5d.DatasetID) -> ChunkIndex:
    """Where each chunk lies, which for some may be past the end of a file that was cut short."""
    plist = dataset.get_create_plist()
    shape, chunk = dataset.shape, plist.get_chunk()
    index = _collect_chunks(dataset, shape, chunk)
    if index.sizes[index.offsets >= 0].sum() != dataset.get_storage_size():
        raise DamagedError("the chunk index does not agree with itself")
    if plist.get_nfilters() and partial_chunks_unfiltered(plist):
        index.masks[_at_the_edge(shape, chunk)] = _ALL_SKIPPED
    return index


def _at_the_edge(shape: Sequence[int], chunk: Sequence[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which chunks, by their number, reach past the shape."""
    grid = _grid(shape, chunk)
    edge = np.zeros(grid, bool)
    for axis, (n, k) in enumerate(zip(shape, chunk, strict=True)):
        if n % k:
            edge[(slice(None),) * axis + (-1,)] = True
    return edge.reshape(-1)


def past_the_end(index: ChunkIndex, size: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which chunks are not (wholly) in a file of this size."""
    return (index.offsets >= 0) & (index.offsets + index.sizes > size)


def _collect_chunks(
    dataset: h5d.DatasetID, shape: Sequence[int], chunk: Sequence[int]
) -> ChunkIndex:
    grid = _grid(shape, chunk)
    total = math.prod(grid)
    if total > _GRID_LIMIT:
        raise UnsupportedError(f"{total} chunks are more than an index of them is made for")
    index = ChunkIndex(
        np.full(total, -1, np.int64), np.zeros(total, np.int64), np.zeros(total, np.uint32)
    )
    steps = [math.prod(grid[axis + 1 :]) for axis in range(len(grid))]
    axes = list(zip(steps, chunk, strict=True))
    left = total

    def note(stored: h5d.StoreInfo) -> bool | None:
        nonlocal left
        left -= 1
        number = sum(
            at // k * step for at, (step, k) in zip(stored.chunk_offset, axes, strict=True)
        )
        outside = any(at >= n for at, n in zip(stored.chunk_offset, shape, strict=True))
        if left < 0 or outside or not 0 <= number < total:
            return True  # a damaged tree: what is missing then shows in the sum of sizes
        index.offsets[number] = stored.byte_offset
        index.sizes[number] = stored.size
        index.masks[number] = stored.filter_mask
        return None

    dataset.chunk_iter(note)
    return index


def check_within(dataset: h5d.DatasetID, plist: h5p.PropDCID, box: Box, file: OpenFile) -> None:
    """DamagedError if this (not empty) box needs bytes that a truncated file has lost."""
    shape, size = dataset.shape, file.size()
    if plist.get_layout() == h5d.CONTIGUOUS:
        offset = dataset.get_offset()
        last = int(np.ravel_multi_index([n - 1 for n in box.stop], shape)) if shape else 0
        itemsize = dataset.get_type().get_size()
        if dataset.get_storage_size() and offset + (last + 1) * itemsize > size:
            raise DamagedError(f"truncated: its values go on past the file's {size} bytes")
    elif plist.get_layout() == h5d.CHUNKED:
        chunk = plist.get_chunk()
        if _chunk_offsets_unreliable(dataset.get_space().get_simple_extent_dims(True)):
            raise DamagedError("truncated: which of its chunks are lost cannot be told")
        lost = past_the_end(_collect_chunks(dataset, shape, chunk), size).reshape(
            _grid(shape, chunk)
        )
        touched = zip(box.start, box.stop, chunk, strict=True)
        if lost[tuple(slice(a // k, -(-b // k)) for a, b, k in touched)].any():
            raise DamagedError(f"truncated: a chunk lies past the file's {size} bytes")
