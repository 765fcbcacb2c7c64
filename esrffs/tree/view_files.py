"""Views as files and directories: arrays in other formats, made when they are read.

An `ImageView` is made of segments and has a size by arithmetic; a `PngView` needs its whole image
when it is read, and a `TextView` its whole text when it is looked up; both are kept by the cache.
Does not: tell which views an array has (`encoders/views`), or find them (`tree/views`).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from math import prod
from typing import Protocol

import trio

from esrffs.cache import ByteCache
from esrffs.encoders import png, text, views
from esrffs.encoders.csv import Array, header
from esrffs.encoders.file_image import ArrayDescription, FileImage
from esrffs.errors import StaleError, TooLargeError
from esrffs.linux.permissions import intersect
from esrffs.model import FileStatus, JsonText
from esrffs.source.open_data_file import OpenDataFile
from esrffs.tree.files import NpyFile
from esrffs.tree.handles import BytesHandle, CachedBytesHandle, ImageHandle, OpenArray, ViewKey
from esrffs.tree.nodes import FileHandle, Node, Path, Stat

_SLICE_NBYTES = 1 << 20  # of an array that are made text at a time
_PADDED_RATIO = 16  # an array of so many times the bytes that its text may have is not read for it
_HELD = 1 << 18  # bytes that an open file may hold on to
_MIB = 1 << 20

Render = Callable[[Sequence[Array]], bytes]  # of some rows of all arrays


class ArrayFile(Node, Protocol):
    """A file of the mount that holds one array."""

    @property
    def status(self) -> FileStatus: ...

    def description(self) -> ArrayDescription: ...

    async def is_colour(self) -> bool: ...

    @property
    def listed_text(self) -> JsonText | None:
        """What it says, of a small one of strings, as the listing told it."""

    async def open_array(self) -> OpenArray: ...

    def record_error(self, text: str) -> None: ...


async def open_arrays(arrays: Sequence[ArrayFile]) -> list[OpenArray]:
    """All of them, each data file once."""
    files: dict[tuple[bytes, bytes], OpenDataFile] = {}
    opened: list[OpenArray] = []
    try:
        for array in arrays:
            if isinstance(array, NpyFile):
                where = array.source.version, array.state
                one = await array.open_array(files.get(where))
                if isinstance(one.held, OpenDataFile):
                    files[where] = one.held
            else:
                one = await array.open_array()
            opened.append(one)
    except BaseException:
        for one in opened:
            one.close()
        raise
    return opened


@dataclass(frozen=True, slots=True)
class ImageView:
    """A file of segments: its size is arithmetic.  `first`: of the first array, by element."""

    path: Path
    arrays: tuple[ArrayFile, ...]
    image: FileImage
    first: int = 0

    @property
    def key(self) -> bytes:
        return _key(self.arrays)

    async def stat(self) -> Stat:
        return Stat.file(_status(self.arrays), self.image.nbytes)

    async def open(self) -> FileHandle:
        opened = await open_arrays(self.arrays)
        if self.first:
            opened[0] = opened[0].starting_at(self.first)
        return ImageHandle(self.image, opened)

    def error_text(self) -> str | None:
        return _error_text(self.arrays)


@dataclass(frozen=True, slots=True)
class PngView:
    """One image; all of it is read for any part, so it is kept."""

    path: Path
    array: ArrayFile
    shown: ArrayDescription  # the image
    colour: bool
    first: int  # by element
    cache: ByteCache
    limit: int  # bytes

    @property
    def key(self) -> bytes:
        return _key((self.array,))

    @property
    def _nbytes(self) -> int:
        return png.png_nbytes(self.shown.shape, self.shown.dtype, colour=self.colour)

    async def stat(self) -> Stat:
        return Stat.file(self.array.status, self._nbytes)

    async def open(self) -> FileHandle:
        nbytes = max(self._nbytes, self.shown.size * self.shown.dtype.itemsize)
        if nbytes > self.limit:
            error = _too_large(self.path, nbytes, "an image", self.limit)
            self.array.record_error(str(error))
            raise error
        opened = await self.array.open_array()
        made = partial(self._made, opened)
        if self._nbytes > self.cache.limit:
            made = partial(_once, made, [])
        return CachedBytesHandle(made, opened.close)

    async def _made(self, opened: OpenArray) -> bytes:
        async def make() -> bytes:
            pixels = await opened.elements(self.first, self.first + self.shown.size)
            encode = partial(png.png, pixels.reshape(self.shown.shape), colour=self.colour)
            return await trio.to_thread.run_sync(encode, limiter=opened.threads.limiter)

        key = ViewKey(self.key, self.path)
        return await self.cache.get_or_compute(key, make, nbytes=len)

    def error_text(self) -> str | None:
        return self.array.error_text()


async def _once(make: Callable[[], Awaitable[bytes]], kept: list[bytes]) -> bytes:
    if not kept:
        kept.append(await make())
    return kept[0]


@dataclass(frozen=True, slots=True)
class TextView:
    """Text that was made to know its size."""

    path: Path
    arrays: tuple[ArrayFile, ...]
    nbytes: int
    make: Callable[[], Awaitable[bytes]]
    cache: ByteCache

    @property
    def key(self) -> bytes:
        return _key(self.arrays)

    async def stat(self) -> Stat:
        return Stat.file(_status(self.arrays), self.nbytes)

    async def open(self) -> FileHandle:
        content = await self._made()
        if _HELD < len(content) <= self.cache.limit:
            return CachedBytesHandle(self._made)
        return BytesHandle(content)

    async def _made(self) -> bytes:
        key = ViewKey(self.key, self.path)
        content = await self.cache.get_or_compute(key, self.make, nbytes=len)
        if len(content) != self.nbytes:
            raise StaleError(f"{_shown(self.path)}: changed since it was looked up")
        return content

    def error_text(self) -> str | None:
        return _error_text(self.arrays)


async def text_view(path: Path, array: ArrayFile, cache: ByteCache, limit: int) -> TextView:
    """`x.txt`; TooLargeError."""
    known = listed_text_view(path, array, cache, limit)
    return known or await _made_view(path, (array,), b"", _lines, cache, limit)


def listed_text_view(path: Path, array: ArrayFile, cache: ByteCache, limit: int) -> TextView | None:
    """`x.txt` of an array whose text came with the listing."""
    told = array.listed_text
    if told is None:
        return None
    if (content := told.content) is not None:

        async def make() -> bytes:
            return content

        return TextView(path, (array,), told.size, make, cache)
    return TextView(
        path, (array,), told.size, partial(_make, path, (array,), b"", _lines, limit), cache
    )


def _lines(values: Sequence[Array]) -> bytes:
    return text.lines(values[0])


async def table_view(
    path: Path, arrays: tuple[ArrayFile, ...], cache: ByteCache, limit: int
) -> ImageView | TextView:
    """`x.csv`, `G.csv`: of numbers a file of segments, with texts made whole; TooLargeError."""
    described = [array.description() for array in arrays]
    image = views.table_image(described)
    if image is not None:
        return ImageView(path, arrays, image)
    render = partial(views.table_lines, described)
    return await _made_view(
        path, arrays, header(views.column_names(described)), render, cache, limit
    )


async def _made_view(
    path: Path,
    arrays: tuple[ArrayFile, ...],
    beginning: bytes,
    render: Render,
    cache: ByteCache,
    limit: int,
) -> TextView:
    make = partial(_make, path, arrays, beginning, render, limit)
    content = await cache.get_or_compute(ViewKey(_key(arrays), path), make, nbytes=len)
    return TextView(path, arrays, len(content), make, cache)


async def _make(
    path: Path, arrays: tuple[ArrayFile, ...], beginning: bytes, render: Render, limit: int
) -> bytes:
    """The text, some rows at a time; TooLargeError, which the arrays tell too."""
    shapes = [array.description() for array in arrays]
    rows = shapes[0].shape[0] if shapes[0].shape else 1
    steps = [prod(one.shape[1:]) for one in shapes]  # elements of a row
    row_nbytes = sum(step * one.dtype.itemsize for step, one in zip(steps, shapes, strict=True))
    if not row_nbytes:
        rows = rows if all(steps) else 0
    try:
        if rows * row_nbytes > _PADDED_RATIO * limit:
            raise _too_large(path, rows * row_nbytes, "an array", limit)
        return await _rendered(path, arrays, steps, rows, row_nbytes, beginning, render, limit)
    except TooLargeError as error:
        for array in arrays:
            array.record_error(str(error))
        raise


async def _rendered(
    path: Path,
    arrays: tuple[ArrayFile, ...],
    steps: Sequence[int],
    rows: int,
    row_nbytes: int,
    beginning: bytes,
    render: Render,
    limit: int,
) -> bytes:
    at_a_time = max(1, _SLICE_NBYTES // max(row_nbytes, 64))
    parts, nbytes = [beginning], len(beginning)
    opened = await open_arrays(arrays)
    try:
        for first in range(0, rows, at_a_time):
            stop = min(first + at_a_time, rows)
            values = [
                await one.elements(first * step, stop * step)
                for one, step in zip(opened, steps, strict=True)
            ]
            limiter = opened[0].threads.limiter
            parts.append(await trio.to_thread.run_sync(render, values, limiter=limiter))
            nbytes += len(parts[-1])
            if nbytes > limit:
                raise _too_large(path, nbytes, "a text", limit)
    finally:
        for one in opened:
            one.close()
    return b"".join(parts)


def _too_large(path: Path, nbytes: int, what: str, limit: int) -> TooLargeError:
    return TooLargeError(
        f"{_shown(path)}: {what} of {nbytes / _MIB:.1f} MiB or more is not made into this format "
        f"(view_limit={limit // _MIB}); take a part of the .npy, or a smaller array or group"
    )


def _key(arrays: Sequence[ArrayFile]) -> bytes:
    """What the bytes of a view depend on, besides its name."""
    if len(arrays) == 1:
        return arrays[0].key + b"view"
    state = repr([(array.key, array.description()) for array in arrays])
    return blake2b(state.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _status(arrays: Sequence[ArrayFile]) -> FileStatus:
    """The status of the arrays; of several, users who may read all of them may read the view."""
    found = list({id(array.status): array.status for array in arrays}.values())
    return found[0] if len(found) == 1 else intersect(found)


def _error_text(arrays: Sequence[ArrayFile]) -> str | None:
    texts = [text for array in arrays if (text := array.error_text())]
    return "\n".join(dict.fromkeys(texts)) or None


def _shown(path: Path) -> str:
    return b"/".join(path).decode("utf-8", "replace")
