"""The files of the mount: arrays as `.npy`, JSON texts, and files of the source passed through.

Each tells its size, its extended attributes and its error, and opens as a handle (`tree/handles`).
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from esrffs.arrays.block_array import Resources
from esrffs.arrays.open_array import open_array
from esrffs.cache import ByteCache, CacheKey
from esrffs.encoders import npy, views, xattrs
from esrffs.encoders.file_image import ArrayDescription
from esrffs.errors import EsrffsError, NotFoundError, StaleError, TooLargeError
from esrffs.model import (
    ContiguousLayout,
    DatasetInfo,
    FileStatus,
    FramesLayout,
    Generation,
    JsonText,
)
from esrffs.source.context import DataContext
from esrffs.source.data_file import DataFile
from esrffs.source.open_data_file import OpenDataFile
from esrffs.source.root import SourceRoot
from esrffs.tree.handles import (
    ArrayHandle,
    BytesHandle,
    CachedBytesHandle,
    OpenArray,
    PassthroughHandle,
)
from esrffs.tree.nodes import FileHandle, Path, Stat

_OFF_T_MAX = (1 << 63) - 1
_HELD = 1 << 18  # bytes of a text that an open file may hold on to


@dataclass(frozen=True, slots=True)
class NpyFile:
    """A dataset as `numpy.save` would write it."""

    path: Path
    source: DataFile
    info: DatasetInfo
    context: DataContext
    state: bytes  # of the files on which the values depend

    @property
    def key(self) -> bytes:
        return self.source.version + self.state

    @property
    def nbytes(self) -> int:
        return self.info.dtype.itemsize * prod(self.info.shape)

    def _header(self) -> bytes:
        return npy.header(self.info.shape, self.info.dtype)

    async def stat(self) -> Stat:
        size = len(self._header()) + self.nbytes
        return Stat.file(self.source.status, min(size, _OFF_T_MAX))

    async def open(self) -> FileHandle:
        array = await self.open_array()
        header = self._header()
        size = len(header) + self.nbytes
        handle = ArrayHandle(array.held, header, array.array, size, array.failed)
        if not isinstance(self.info.layout, ContiguousLayout | FramesLayout):
            await handle.look_at_first_page()
        return handle

    async def open_array(self, shared: OpenDataFile | None = None) -> OpenArray:
        """Its values; `shared`: read through this open file, which is held once more."""
        try:
            return await self._open(shared)
        except EsrffsError as error:
            if not isinstance(error, StaleError):
                self.record_error(str(error))
            raise

    async def _open(self, shared: OpenDataFile | None) -> OpenArray:
        files, info = self.context.files, self.info
        if len(self._header()) + self.nbytes > _OFF_T_MAX:
            raise TooLargeError(f"{self.source.path}: {info.address}: exceeds 2^63 bytes")
        if await files.dependency_version(info.dependencies) != self.state:
            raise StaleError(f"{self.source.path}: {info.address}: a file of it changed")
        if shared is not None:
            shared.acquire()
        opened = shared or OpenDataFile(files, self.source, self.state)
        try:
            await opened.file()  # StaleError where the source is not what was listed
            array = await open_array(opened, info, self.context) if self.nbytes else None
        except BaseException:
            opened.release()
            raise
        threads = self.context.threads
        return OpenArray(opened, array, info.dtype, self.record_error, threads=threads)

    @property
    def status(self) -> FileStatus:
        return self.source.status

    @property
    def listed_text(self) -> JsonText | None:
        return self.info.text

    def description(self) -> ArrayDescription:
        name = self.info.label or self.info.name
        return ArrayDescription(name, self.info.shape, self.info.dtype)

    async def is_colour(self) -> bool:
        """Are the samples of a pixel its last axis, as NeXus' or HDF5's own convention tells?"""
        info = self.info
        if info.attributes is None or not views.may_be_colour(self.description()):
            return False
        told = await attribute_xattrs(self.context, self.source, info.address, info.attributes)
        return views.tells_colour(told)

    def record_error(self, text: str) -> None:
        self.source.record_error(self.info.address, text)

    def error_text(self) -> str | None:
        return self.source.error_text(self.info.address)

    async def listed_xattrs(self) -> xattrs.Xattrs:
        named = {xattrs.VALUE: b""} if xattrs.has_value(self.info) else {}
        return {**await self._described(), **named}  # nothing is read to be named

    async def _value(self) -> xattrs.Xattrs:
        """None where it cannot be read: the error is an extended attribute, too."""
        if not xattrs.has_value(self.info):
            return {}
        start = len(self._header())
        try:
            handle = await self.open()
            try:
                element = bytes(await handle.read(start, self.info.dtype.itemsize))
            finally:
                handle.close()
        except EsrffsError:
            return {}
        return xattrs.value(np.frombuffer(element, self.info.dtype))

    async def _described(self) -> xattrs.Xattrs:
        info = self.info
        told: xattrs.Xattrs = {}
        if info.attributes is not None:
            told = await attribute_xattrs(self.context, self.source, info.address, info.attributes)
        colour = views.may_be_colour(self.description()) and views.tells_colour(told)
        formats = views.formats(self.description(), colour=colour)
        return {
            **xattrs.dataset_description(info, self._place(), self.source.path),
            **xattrs.view_formats(formats),
            **told,
        }

    async def xattrs(self) -> xattrs.Xattrs:
        return {**await self._described(), **await self._value()}

    def _place(self) -> str:
        """Where the dataset is in its file; a name of the mount where addresses mean nothing."""
        if self.source.subject.format == "hdf5":
            return self.info.address
        above = 0 if self.context.files.folders.single_file else self.source.path.count("/") + 1
        return inner_path(self.path[above:]).removesuffix(".npy")


def inner_path(path: Path) -> str:
    """Names from the root of a data file as a path in it."""
    return "/" + os.fsdecode(b"/".join(path))


@dataclass(frozen=True, slots=True)
class AttributesKey(CacheKey[xattrs.Xattrs]):
    """The attributes of the object at this address, as extended ones."""

    version: bytes
    address: str


@dataclass(frozen=True, slots=True)
class JsonKey(CacheKey[bytes]):
    """JSON of the object at this address; `kind` is the reader's method that makes it."""

    version: bytes
    address: str
    kind: str


async def attribute_xattrs(
    context: DataContext, source: DataFile, address: str, text: JsonText | None = None
) -> xattrs.Xattrs:
    """The attributes of an object as extended ones, none where they cannot be read.

    `text`: as the listing told them.
    """

    async def make() -> xattrs.Xattrs:
        content = None if text is None else text.content
        if content is None:  # large, perhaps: nothing to be parsed here
            return await source.xattrs(address)
        return xattrs.from_json(content)

    try:
        return await context.cache.get_or_compute(
            AttributesKey(source.version, address), make, nbytes=_xattrs_size
        )
    except EsrffsError:
        return {}  # the error is an extended attribute, too


def _xattrs_size(told: xattrs.Xattrs) -> int:
    return 200 + sum(200 + len(name) + len(value) for name, value in told.items())


@dataclass(frozen=True, slots=True)
class JsonFile:
    """Text that a reader makes; its size was told with the listing."""

    path: Path
    source: DataFile
    address: str
    text: JsonText
    ask: Callable[[str], Awaitable[bytes]]
    cache: ByteCache

    @property
    def key(self) -> bytes:
        return self.source.version

    async def stat(self) -> Stat:
        return Stat.file(self.source.status, self.text.size)

    async def open(self) -> FileHandle:
        content = self.text.content
        if content is None:
            content = await self._made()
        if _HELD < len(content) <= self.cache.limit:
            return CachedBytesHandle(self._made)
        return BytesHandle(content)

    async def _made(self) -> bytes:
        key = JsonKey(self.source.version, self.address, self.ask.__name__)
        content = await self.cache.get_or_compute(key, lambda: self.ask(self.address), nbytes=len)
        if len(content) != self.text.size:
            raise StaleError(f"{self.source.path}: {self.address or '/'}: changed since listed")
        return content

    def error_text(self) -> str | None:
        return self.source.error_text(self.address)


@dataclass(frozen=True, slots=True)
class PassthroughFile:
    """A file of the source that is no data file: byte for byte."""

    path: Path
    folders: SourceRoot
    source_path: str
    status: FileStatus
    resources: Resources

    @property
    def key(self) -> bytes:
        return repr(Generation.of(self.status)).encode()

    async def stat(self) -> Stat:
        """The present status if the file has only grown, so that `tail -f` follows a log."""
        try:
            now = await self.folders.status(self.source_path)
        except NotFoundError:
            return Stat.read_only(self.status)
        old = Generation.of(self.status)
        same = (now.st_dev, now.st_ino) == (old.device, old.inode) and now.st_size > old.size
        return Stat.read_only(now if same else self.status)

    async def open(self) -> FileHandle:
        generation = Generation.of(self.status)
        offsets = PassthroughHandle.sample_offsets(generation.size)
        file = await self.folders.open_verified(self.source_path, generation, offsets)
        return PassthroughHandle(file, generation, self.resources)

    def error_text(self) -> str | None:
        return None
