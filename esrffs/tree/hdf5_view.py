"""`G.h5`: an HDF5 file of a group, of which only the structure is ever made.

The structure is made when the view is looked up, and kept by the cache.  Each array is opened when
its bytes are first read, so that a broken one costs nothing else (`hdf5_contents`).  What stands in
the structure is decided in `formats/hdf5/image_source` and `image_reader`.
"""

import logging
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from esrffs.arrays.block_array import join_buffers
from esrffs.cache import ByteCache, CacheKey
from esrffs.errors import StaleError
from esrffs.formats.hdf5.image import (
    ArrayRunPlace,
    Hdf5Image,
    ImageLimits,
)
from esrffs.model import Buffer, FileStatus
from esrffs.source.data_file import version_of
from esrffs.tree.handles import OpenArray
from esrffs.tree.nodes import FileHandle, Path, Stat

_OPEN_ARRAYS = 8  # of one open view; a reader of HDF5 goes from one to the next
_ENTRY_SIZE = 400  # bytes that a run takes in memory, about
_SMALL_NBYTES = 1 << 14  # of an array that is read together with others
_HELD = 1 << 20  # bytes of structure that an open view holds on to

log = logging.getLogger(__name__)


class GroupContents(Protocol):
    """What an HDF5 view is made of."""

    @property
    def key(self) -> bytes: ...

    @property
    def status(self) -> FileStatus: ...

    async def image(self, limits: ImageLimits) -> Hdf5Image: ...

    async def state(self, image: Hdf5Image) -> bytes:
        """The state of the other files of this image as they are now (`version_of`)."""

    async def open(self, image: Hdf5Image) -> "OpenContents": ...

    def error_text(self) -> str | None:
        """What went wrong with the group and with the objects in it."""


class OpenContents(Protocol):
    """The arrays of one open view; in the state in which it was opened."""

    async def open_array(self, place: ArrayRunPlace) -> OpenArray: ...

    async def read_small(self, places: Sequence[ArrayRunPlace]) -> Mapping[int, bytes]:
        """The bytes of these small arrays by their offset, where one call gives many.

        Those that are missing are to be opened one by one.
        """

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """An image by offset: what is between its parts is zero bytes."""

    image: Hdf5Image
    state: bytes  # of the other files on which it depends, when it was made
    starts: Sequence[int]
    parts: Sequence[bytes | ArrayRunPlace]

    @classmethod
    def of(cls, image: Hdf5Image) -> "Structure":
        found: list[tuple[int, bytes | ArrayRunPlace]] = [*image.literals]
        found += [(run.offset, run) for run in image.runs]
        found.sort(key=lambda item: item[0])
        state = version_of([generation for _, generation in image.files])
        return cls(image, state, [start for start, _ in found], [part for _, part in found])

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        literals = sum(len(content) for _, content in self.image.literals)
        return literals + _ENTRY_SIZE * (len(self.starts) + len(self.image.files))

    def pieces(self, start: int, stop: int) -> Iterator[tuple[bytes | ArrayRunPlace, int, int]]:
        """What lies between these offsets: bytes, or a run, and from where to where of it."""
        stop = min(stop, self.image.nbytes)
        number = max(bisect_right(self.starts, start) - 1, 0)
        while start < stop:
            begin = self.starts[number] if number < len(self.starts) else stop
            if start < begin:  # a gap, which alignment made
                nothing = bytes(min(begin, stop) - start)
                yield nothing, 0, len(nothing)
                start += len(nothing)
                continue
            part = self.parts[number]
            end = begin + (len(part) if isinstance(part, bytes) else part.nbytes)
            if start < end:
                yield part, start - begin, min(stop, end) - begin
                start = min(stop, end)
            number += 1


@dataclass(frozen=True, slots=True)
class Hdf5View:
    """A group as an HDF5 file; its size is that of the image that was made to look it up.

    `made_of` and `state` are of the other files on which structure and values depend
    (`version_of`): as they were when the structure was made, and when the view was looked up.
    """

    path: Path
    contents: GroupContents
    nbytes: int
    made_of: bytes
    state: bytes
    cache: ByteCache
    limits: ImageLimits

    @property
    def key(self) -> bytes:
        return self.contents.key + self.made_of + self.state

    async def stat(self) -> Stat:
        return Stat.file(self.contents.status, self.nbytes)

    async def open(self) -> FileHandle:
        structure = await self._structure()
        if await self.contents.state(structure.image) != self.state:
            raise self._stale()
        contents = await self.contents.open(structure.image)
        return Hdf5Handle(structure, self._structure, contents)

    async def _structure(self) -> Structure:
        made = await _cached_structure(self.contents, self.cache, self.limits)
        if (made.image.nbytes, made.state) != (self.nbytes, self.made_of):
            raise self._stale()
        return made

    def _stale(self) -> StaleError:
        where = os.fsdecode(b"/".join(self.path))
        return StaleError(f"{where}: changed since it was looked up")

    def error_text(self) -> str | None:
        return self.contents.error_text()


@dataclass(frozen=True, slots=True)
class StructureKey(CacheKey[Structure]):
    """The structure of the view of a group with this key."""

    version: bytes
    limits: ImageLimits


async def hdf5_view(path: Path, contents: GroupContents, cache: ByteCache, limit: int) -> Hdf5View:
    """`G.h5`; TooLargeError, and what makes the group itself unreadable.

    A structure in the cache is made anew where another file on which it depends has changed.
    """
    limits = ImageLimits(nbytes=limit)

    async def is_current(known: Structure) -> bool:
        return await contents.state(known.image) == known.state

    made = await _cached_structure(contents, cache, limits, is_current)
    state = await contents.state(made.image)
    return Hdf5View(path, contents, made.image.nbytes, made.state, state, cache, limits)


async def _cached_structure(
    contents: GroupContents,
    cache: ByteCache,
    limits: ImageLimits,
    is_current: Callable[[Structure], Awaitable[bool]] | None = None,
) -> Structure:
    async def make() -> Structure:
        return Structure.of(await contents.image(limits))

    key = StructureKey(contents.key, limits)
    return await cache.get_or_compute(key, make, lambda made: made.size, is_current)


class Hdf5Handle:
    """An open view.

    A structure of more than `_HELD` bytes is kept by the cache, not by the handle, so that many
    open files cannot exhaust memory.
    """

    def __init__(
        self,
        structure: Structure,
        make: Callable[[], Awaitable[Structure]],
        contents: OpenContents,
    ) -> None:
        self._held = structure if structure.size <= _HELD else None
        self._make = make
        self._contents = contents
        self._arrays: OrderedDict[int, OpenArray] = OrderedDict()  # by their offset
        self._opening = trio.Lock()

    async def read(self, offset: int, count: int) -> Buffer:
        structure = self._held or await self._make()
        pieces = list(structure.pieces(offset, offset + count))
        runs = [part for part, _, _ in pieces if not isinstance(part, bytes)]
        small = [run for run in runs if run.nbytes <= _SMALL_NBYTES]
        known = await self._contents.read_small(small) if len(small) > 1 else {}
        parts: list[Buffer] = []
        for part, start, stop in pieces:
            content = part if isinstance(part, bytes) else known.get(part.offset)
            if content is not None:
                parts.append(memoryview(content)[start:stop])
            elif not isinstance(part, bytes):
                parts.append(await self._read(part, start, stop))
        return join_buffers(parts)

    async def _read(self, place: ArrayRunPlace, start: int, stop: int) -> Buffer:
        async with self._opening:
            array = self._arrays.get(place.offset)
            if array is None:
                array = self._arrays[place.offset] = await self._contents.open_array(place)
            self._arrays.move_to_end(place.offset)
            array.held.acquire()  # it may be closed meanwhile, for another to be opened
            while len(self._arrays) > _OPEN_ARRAYS:
                self._arrays.popitem(last=False)[1].close()
        try:
            return await array.read(start, stop)
        finally:
            array.held.release()

    def close(self) -> None:
        while self._arrays:
            self._arrays.popitem()[1].close()
        self._contents.close()
