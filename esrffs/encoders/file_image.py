"""A file that is made when it is read: a sequence of segments, each of a known size.

A segment is either literal bytes, or a run of an array's elements, or records of one size that are
rendered from a range of elements.  All sizes are arithmetic: nothing of an array is read to know
how large a file is, or to read a part of it that has nothing of the array in it.

Does not: read arrays.  The handle that serves the file gives the elements that a segment needs
(`tree/handles`).
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class ArrayDescription:
    """An array as an encoder sees it: its values are not read.

    `name` is the true name (a group's member, not a file name).
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes that are known."""

    content: bytes

    @property
    def nbytes(self) -> int:
        return len(self.content)


@dataclass(frozen=True, slots=True)
class Elements:
    """Elements `first` to before `stop` of an array, C order."""

    array: int  # which of the arrays of the file
    first: int
    stop: int


@dataclass(frozen=True, slots=True)
class ArrayRun:
    """Elements `first` to before `stop` of an array in C order, as `dtype`, one after the other.

    Where `dtype` is the array's own, its bytes are served as they are.  Where it differs (in byte
    order, or the next wider type that a format has), elements are cast as `numpy.ndarray.astype`
    does.
    """

    array: int
    first: int
    stop: int
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return (self.stop - self.first) * self.dtype.itemsize


Render = Callable[[int, int, Sequence[np.ndarray[Any, np.dtype[Any]]]], bytes]


@dataclass(frozen=True, slots=True)
class Records:
    """`count` records of `record_nbytes` each.

    `render(first, stop, arrays)` makes records `first` to before `stop`.  Record `k` needs elements
    `k * step` to before `(k + 1) * step` of each array of `arrays`, (index, step) pairs, counted
    from `offset`; it gets them as one-dimensional arrays in the order of `arrays`.
    """

    count: int
    record_nbytes: int
    render: Render
    arrays: tuple[tuple[int, int], ...] = ()
    offset: int = 0

    @property
    def nbytes(self) -> int:
        return self.count * self.record_nbytes


@dataclass(frozen=True, slots=True)
class Interleaved:
    """`count` frames, before each of them a header of `header_nbytes`.

    `header(k)` makes that of frame `k`; a frame is `frame_size` elements of the array, as `dtype`.
    """

    count: int
    header_nbytes: int
    header: Callable[[int], bytes]
    array: int
    frame_size: int
    dtype: np.dtype[Any]

    @property
    def frame_nbytes(self) -> int:
        return self.header_nbytes + self.frame_size * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.count * self.frame_nbytes

    def frames(self, start: int, stop: int) -> "FileImage":
        """The frames `start` to before `stop`, one after the other."""
        size = self.frame_size
        parts: list[Segment] = []
        for k in range(start, stop):
            parts.append(Literal(self.header(k)))
            parts.append(ArrayRun(self.array, k * size, (k + 1) * size, self.dtype))
        return FileImage(tuple(parts))


@dataclass(frozen=True, slots=True)
class Repeated:
    """`count` parts of one size; `part(k)` gives the segments of part `k`."""

    count: int
    frame_nbytes: int
    part: Callable[[int], Sequence["Segment"]]

    @property
    def nbytes(self) -> int:
        return self.count * self.frame_nbytes

    def frames(self, start: int, stop: int) -> "FileImage":
        """The parts `start` to before `stop`, one after the other."""
        return FileImage(tuple(segment for k in range(start, stop) for segment in self.part(k)))


Segment = Literal | ArrayRun | Records | Interleaved | Repeated


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes `start` to before `stop` of one segment."""

    segment: Literal | ArrayRun | Records
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class FileImage:
    """The segments of a file, in their order."""

    segments: tuple[Segment, ...]
    ends: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        ends = tuple(accumulate(segment.nbytes for segment in self.segments))
        object.__setattr__(self, "ends", ends)

    @property
    def nbytes(self) -> int:
        return self.ends[-1] if self.ends else 0

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """What lies between these offsets of the file, in order; empty segments are left out."""
        stop = min(stop, self.nbytes)
        number = bisect_right(self.ends, start)
        while start < stop:
            segment, end = self.segments[number], self.ends[number]
            begin = end - segment.nbytes
            if isinstance(segment, Interleaved | Repeated):
                yield from _of_frames(segment, start - begin, min(stop, end) - begin)
            elif segment.nbytes:
                yield Piece(segment, start - begin, min(stop, end) - begin)
            start, number = max(start, end), number + 1


def _of_frames(segment: Interleaved | Repeated, start: int, stop: int) -> Iterator[Piece]:
    if start >= stop:
        return
    first, last = start // segment.frame_nbytes, -(-stop // segment.frame_nbytes)
    skipped = first * segment.frame_nbytes
    yield from segment.frames(first, last).pieces(start - skipped, stop - skipped)


def needed(piece: Piece) -> list[Elements]:
    """The elements that a piece is made of, by array."""
    segment = piece.segment
    match segment:
        case Literal():
            return []
        case ArrayRun():
            size = segment.dtype.itemsize
            first, stop = piece.start // size, -(-piece.stop // size)
            return [Elements(segment.array, segment.first + first, segment.first + stop)]
        case Records():
            first, stop = _records(segment, piece)
            return [
                Elements(array, segment.offset + first * step, segment.offset + stop * step)
                for array, step in segment.arrays
            ]


def content(piece: Piece, values: Sequence[np.ndarray[Any, np.dtype[Any]]]) -> bytes | memoryview:
    """The bytes of a piece, given the elements that `needed` names (one-dimensional arrays)."""
    segment = piece.segment
    match segment:
        case Literal():
            return memoryview(segment.content)[piece.start : piece.stop]
        case ArrayRun():
            size = segment.dtype.itemsize
            [elements] = values
            skipped = piece.start // size * size
            whole = memoryview(elements.astype(segment.dtype, copy=False).tobytes())
            return whole[piece.start - skipped : piece.stop - skipped]
        case Records():
            first, stop = _records(segment, piece)
            rendered = segment.render(first, stop, values)
            skipped = first * segment.record_nbytes
            return memoryview(rendered)[piece.start - skipped : piece.stop - skipped]


def _records(segment: Records, piece: Piece) -> tuple[int, int]:
    return piece.start // segment.record_nbytes, -(-piece.stop // segment.record_nbytes)
