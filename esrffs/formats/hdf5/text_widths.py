"""Finds how wide an array of texts becomes: the longest text at each place of an element.

The widths are found in one pass along the chunks.  Where the array would be far larger than its
texts, JSON is served instead.  Lengths are read without a Python object for each text: texts are
read as sequences of bytes, whose lengths stand side by side in memory.
"""

import ctypes
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from esrffs.formats import budget
from esrffs.formats.hdf5.datatypes import Array, DType, ElementType, FieldPath, texts
from esrffs.formats.hdf5.fast_path import can_read_sequences, free_sequences, read_sequences
from esrffs.formats.hdf5.library import h5d, h5py, h5s, h5t
from esrffs.formats.hdf5.links import ResolvedObject
from esrffs.model import Box

_BLOCK_ELEMENTS = 1 << 16  # that are read at a time, at most
_FIRST_ELEMENTS = 1 << 10  # … and at first: nobody knows yet how long they are
_BLOCK_NBYTES = 8 << 20  # of their texts, about
_WIDE_NBYTES = 64 << 20  # an array of at most so many bytes is never too wide
_WIDE_RATIO = 16  # … nor is one of at most so many times the bytes of its texts
_ONLY_NBYTES = 1 << 16  # of a single text that is remembered
_SEQUENCE = np.dtype([("count", np.uintp), ("address", np.uintp)])  # hvl_t


@dataclass(slots=True)
class Pace:
    """How many elements are read at a time: few where they are long."""

    elements: int = _FIRST_ELEMENTS

    def note(self, count: int, nbytes: int) -> None:
        """So many elements took so many bytes."""
        fitting = count * _BLOCK_NBYTES // max(1, nbytes)
        self.elements = max(1, min(4 * self.elements, fitting, _BLOCK_ELEMENTS))


@dataclass(slots=True)
class TextWidths:
    """Characters of the longest text by field, and the bytes (UTF-8) of all texts."""

    by_field: dict[FieldPath, int] = field(default_factory=dict)
    nbytes: int = 0
    only: bytes | None = None  # the text, where it is the only one, and not long

    def too_wide(self, dtype: DType, shape: tuple[int, ...]) -> bool:
        """Whether the array takes far more than its texts; `dtype` is that of these widths."""
        nbytes = dtype.itemsize * math.prod(shape)
        return nbytes > _WIDE_NBYTES and nbytes > _WIDE_RATIO * self.nbytes


def measure(
    found: ResolvedObject,
    element: ElementType,
    shape: tuple[int, ...],
    read: Callable[[Box], Array],
) -> TextWidths:
    """The widths of a dataset of this shape; `read` gives a box of it.  TooSlowError."""
    widths = TextWidths(dict.fromkeys(element.object_fields, 0))
    plist = found.object.get_create_plist()
    chunk = shape
    if plist.get_layout() == h5d.CHUNKED:
        chunk = (*plist.get_chunk(), *element.dims)
    simple = plist.get_layout() != h5d.VIRTUAL and not plist.get_external_count()
    by_length = (
        can_read_sequences()
        and simple
        and _is_text(element)
        and not element.dims
        and not found.file.truncated()
    )
    pace = Pace()
    for box in along_chunks(shape, chunk, pace):
        budget.check(found.address)
        before = widths.nbytes
        if by_length:
            _note_lengths(widths, found.object, box)
        else:
            _note_texts(widths, element, read(box), found)
        pace.note(math.prod(box.shape), widths.nbytes - before)
    fixed = element.dtype({}).itemsize - 4 * len(
        element.object_fields
    )  # `<U1` is what no text takes
    widths.nbytes += max(0, fixed) * math.prod(shape)
    return widths


def _is_text(element: ElementType) -> bool:
    """Whether an element is one text of variable length, and nothing else."""
    text = element.object_fields == ((),) and not element.new_reference
    if element.dims or not can_read_sequences():
        return False
    return text and h5py.check_string_dtype(element.buffer_dtype) is not None


def _note_texts(
    widths: TextWidths, element: ElementType, array: Array, found: ResolvedObject
) -> None:
    for leaf in element.object_fields:
        told = texts(array, leaf, found.file.references)
        longest = max(map(len, told), default=0)
        widths.by_field[leaf] = max(widths.by_field[leaf], longest)
        widths.nbytes += sum(map(len, told)) + told.count("")


def _note_lengths(widths: TextWidths, dataset: h5d.DatasetID, box: Box) -> None:
    """The same of a box of plain texts; one that is no longer in bytes is none in characters."""
    sequences = np.zeros(math.prod(box.shape), _SEQUENCE)
    if not sequences.size:
        return
    memory, file = h5s.create_simple((sequences.size,)), dataset.get_space()
    if box.start:
        file.select_hyperslab(box.start, box.shape)
    stored = h5t.vlen_create(h5t.NATIVE_UINT8)
    try:
        read_sequences(dataset, stored, memory, file, sequences)
        counts = sequences["count"]
        widths.nbytes += int(np.maximum(counts, 1).sum())
        width = widths.by_field[()]
        longer = np.flatnonzero(counts > width)
        for index in longer[np.argsort(counts[longer])[::-1]].tolist():
            if counts[index] <= width:
                break
            width = max(width, _characters(sequences[index]))
        widths.by_field[()] = width
        if not box.start and counts[0] < _ONLY_NBYTES:
            widths.only = _content(sequences[0]) if counts[0] else b""
    finally:
        free_sequences(stored, memory, sequences)


def _content(sequence: np.void) -> bytes:
    content = ctypes.string_at(int(sequence["address"]), int(sequence["count"]))
    return content.partition(b"\0")[0]


def _characters(sequence: np.void) -> int:
    return len(_content(sequence).decode("utf-8", "surrogateescape"))


def along_chunks(shape: tuple[int, ...], chunk: tuple[int, ...], pace: Pace) -> Iterator[Box]:
    """Boxes of at most about `_BLOCK_ELEMENTS` that make up the whole, one chunk after the other.

    Boxes consist of whole chunks, or are parts of one: so each chunk is decoded once.
    """
    if not math.prod(shape):
        return
    block = [min(k, n) for k, n in zip(chunk, shape, strict=True)]
    for axis in reversed(range(len(shape))):
        more = max(1, _BLOCK_ELEMENTS // math.prod(block))
        block[axis] = min(shape[axis], block[axis] * more)
    grid = [-(-n // k) for n, k in zip(shape, block, strict=True)]
    for place in np.ndindex(*grid):
        start = [i * k for i, k in zip(place, block, strict=True)]
        stop = [min(a + k, n) for a, k, n in zip(start, block, shape, strict=True)]
        yield from _within(tuple(start), tuple(stop), pace)


def _within(start: tuple[int, ...], stop: tuple[int, ...], pace: Pace) -> Iterator[Box]:
    """The box from `start` to `stop` in parts of at most `pace.elements`, in C order."""
    shape = [b - a for a, b in zip(start, stop, strict=True)]
    inner = len(shape)
    while inner and math.prod(shape[inner - 1 :]) <= pace.elements:
        inner -= 1
    if not inner:
        yield Box(start, stop)
        return
    axis, rest = inner - 1, math.prod(shape[inner:])
    for index in np.ndindex(*shape[:axis]):
        low = tuple(a + i for a, i in zip(start, index, strict=False))
        high = tuple(a + 1 for a in low)
        first = start[axis]
        while first < stop[axis]:
            last = min(first + max(1, pace.elements // rest), stop[axis])
            yield Box((*low, first, *start[inner:]), (*high, last, *stop[inner:]))
            first = last
