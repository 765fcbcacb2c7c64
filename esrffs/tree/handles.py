"""Open files of the mount: each gives the bytes of a range of the file.

The bytes come from an array, from segments that are encoded when they are read, from memory, or
from a file of the source.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import trio

from esrffs.arrays.block_array import (
    ArrayBytes,
    BlockArray,
    RefCounted,
    Resources,
    join_buffers,
)
from esrffs.arrays.verbatim import open_file_bytes
from esrffs.background import DecodeThreads
from esrffs.cache import CacheKey
from esrffs.damage import PARTIAL
from esrffs.encoders.file_image import ArrayRun, FileImage, Literal, Piece, content, needed
from esrffs.errors import EsrffsError
from esrffs.model import Buffer, Generation
from esrffs.source.verified_file import SAMPLE_NBYTES, VerifiedFile
from esrffs.tree.nodes import Path

_PAGE_NBYTES = 4096  # what the kernel's page cache holds or does not hold, as a whole


class ArrayHandle:
    """An open `.npy`: the header, then the data.  `failed` is told what went wrong.

    `uncached`: the kernel is to ask for each read, and for no more than is read.  The page cache
    holds whole pages, so the header could not be read where it shares its page with damage.
    """

    uncached = False

    def __init__(
        self,
        held: RefCounted,
        header: bytes,
        array: ArrayBytes | None,
        size: int,
        failed: Callable[[str], object],
    ) -> None:
        self._held = held
        self._failed = failed
        self._header = header
        self._array = array
        self._size = size

    async def read(self, offset: int, count: int) -> Buffer:
        stop = min(offset + count, self._size)
        start = len(self._header)
        if self._array is None or stop <= start:
            return self._header[offset:stop]
        if offset >= stop:
            return b""
        try:
            data = await self._array.read(max(offset - start, 0), stop - start)
        except EsrffsError as error:
            self._failed(str(error))
            raise
        return data if offset >= start else join_buffers((self._header[offset:], data))

    async def look_at_first_page(self) -> None:
        """Find out whether it can be read; its block stays in the cache."""
        try:
            await self.read(0, _PAGE_NBYTES)
        except PARTIAL:
            self.uncached = True
        except EsrffsError:  # of the file, or of the moment: the read that comes will raise it
            pass

    def close(self) -> None:
        self._held.release()


@dataclass(frozen=True, slots=True)
class OpenArray:
    """An array that is open: its elements by number, C order.  `failed` is told what went wrong.

    `array` is None where there is not one byte.  `first`: element 0 is this one of the array.
    `threads` compute what is made of the elements.
    """

    held: RefCounted
    array: ArrayBytes | None
    dtype: np.dtype[Any]
    failed: Callable[[str], object]
    first: int = 0
    threads: DecodeThreads = field(default_factory=DecodeThreads)

    def starting_at(self, first: int) -> "OpenArray":
        return replace(self, first=self.first + first)

    async def read(self, start: int, stop: int) -> Buffer:
        """Bytes `start` up to `stop` of the elements."""
        if self.array is None or start >= stop:
            return b""
        begin = self.first * self.dtype.itemsize
        try:
            return await self.array.read(begin + start, begin + stop)
        except EsrffsError as error:
            self.failed(str(error))
            raise

    async def elements(self, first: int, stop: int) -> npt.NDArray[Any]:
        """These elements, as an array of one axis."""
        size = self.dtype.itemsize
        if self.array is None or first >= stop:
            return np.zeros(max(stop - first, 0), self.dtype)  # of no bytes
        return np.frombuffer(await self.read(first * size, stop * size), self.dtype)

    def close(self) -> None:
        self.held.release()


class ImageHandle:
    """An open file that is made of segments: literal bytes, runs of arrays, rendered records."""

    def __init__(self, image: FileImage, arrays: Sequence[OpenArray]) -> None:
        self._image = image
        self._arrays = arrays

    async def read(self, offset: int, count: int) -> Buffer:
        return join_buffers(
            [await self._content(piece) for piece in self._image.pieces(offset, offset + count)]
        )

    async def _content(self, piece: Piece) -> Buffer:
        match piece.segment:
            case Literal():
                return content(piece, ())
            case ArrayRun(number, first, _, dtype) if dtype == self._arrays[number].dtype:
                start = first * dtype.itemsize
                return await self._arrays[number].read(start + piece.start, start + piece.stop)
        values = [
            await self._arrays[run.array].elements(run.first, run.stop) for run in needed(piece)
        ]
        limiter = self._arrays[0].threads.limiter
        return await trio.to_thread.run_sync(content, piece, values, limiter=limiter)

    def close(self) -> None:
        for array in self._arrays:
            array.close()


@dataclass(frozen=True, slots=True)
class ViewKey(CacheKey[bytes]):
    """All bytes of the view at this path; `version` is the key of its arrays."""

    version: bytes
    path: Path


class BytesHandle:
    """An open file whose bytes are at hand."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, offset: int, count: int) -> Buffer:
        return self._content[offset : offset + count]

    def close(self) -> None:
        pass


class CachedBytesHandle:
    """An open file of many bytes, made by `made`; `close` is called when it is closed.

    The bytes are kept by the cache, not by the handle, so that many open files cannot exhaust
    memory.
    """

    def __init__(
        self, made: Callable[[], Awaitable[bytes]], close: Callable[[], None] | None = None
    ) -> None:
        self._made = made
        self._close = close

    async def read(self, offset: int, count: int) -> Buffer:
        return (await self._made())[offset : offset + count]

    def close(self) -> None:
        if self._close is not None:
            self._close()


class PassthroughHandle:
    """An open file of the source, as it was in this generation; of one that grew, the rest too."""

    def __init__(self, file: VerifiedFile, generation: Generation, resources: Resources) -> None:
        self._file = file
        self._size = generation.size
        self._owners = 1
        self._blocks: BlockArray | None = None  # of a slow file
        if file.is_slow and self._size:
            self._blocks = open_file_bytes(file, self, generation, resources)

    @staticmethod
    def sample_offsets(size: int) -> tuple[int, ...]:
        """Where samples tell whether a file of this many bytes was rewritten or only grew."""
        return 0, size // 2, size - SAMPLE_NBYTES

    async def read(self, offset: int, count: int) -> Buffer:
        if self._blocks is not None and offset < self._size:
            return await self._blocks.read(offset, min(offset + count, self._size))
        return await self._file.read_at_most(offset, count)

    def acquire(self) -> None:
        """One more owner: the descriptor must not be closed while a task reads from it."""
        self._owners += 1

    def release(self) -> None:
        self._owners -= 1
        if not self._owners:
            self._file.close()

    def close(self) -> None:
        if self._blocks is not None:
            self._blocks.release()
        self.release()
