"""What an HDF5 view of a group of a data file is made of (of `corrected/`: `nxtomo_entry`).

Tells the structure of the view (`image`), the state of the files on which it depends, and opens
each array when its bytes are first read.  Does not: know offsets in the view (`hdf5_view`).
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod

from esrffs.errors import EsrffsError, StaleError
from esrffs.formats.hdf5.image import (
    ArrayRunPlace,
    Hdf5Image,
    ImageLimits,
)
from esrffs.model import Box, DatasetInfo, FileStatus
from esrffs.source.array_location import ArrayLocation
from esrffs.source.context import DataContext
from esrffs.source.data_file import DataFile
from esrffs.source.listings import group_index
from esrffs.source.open_data_file import OpenDataFile
from esrffs.source.path_resolver import PathResolver
from esrffs.tree.files import NpyFile
from esrffs.tree.handles import OpenArray
from esrffs.tree.hdf5_view import OpenContents

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileContents:
    """A group of a data file or series."""

    context: DataContext
    source: DataFile
    address: str

    @property
    def key(self) -> bytes:
        return self.source.version + self.address.encode("utf-8", "surrogateescape")

    @property
    def status(self) -> FileStatus:
        return self.source.status

    def error_text(self) -> str | None:
        return self.source.error_text_within(self.address)

    async def image(self, limits: ImageLimits) -> Hdf5Image:
        folders = self.context.files.folders
        folder = None if folders.single_file else folders.root
        image = await self.source.image(self.address, folder, limits)
        for part in image.broken:
            where = part.address or "/"
            text = part.reason if part.reason.startswith(where) else f"{where}: {part.reason}"
            self.source.record_error(part.address, f"{self.source.path}: {text}")
        if image.broken:
            log.info(
                "%s: %s: %d objects or attributes are missing from its .h5 view: %s",
                self.source.path,
                self.address or "/",
                len(image.broken),
                image.broken[0].reason,
            )
        return image

    async def state(self, image: Hdf5Image) -> bytes:
        return await self.context.files.dependency_version([path for path, _ in image.files])

    async def open(self, image: Hdf5Image) -> OpenContents:
        """Something of the largest array is read, so that growth can be told from a rewrite."""
        opened = _OpenFile(self.context, self.source)
        if image.runs:
            with suppress(EsrffsError):  # it says why when it is read
                array = await opened.open_array(max(image.runs, key=lambda run: run.nbytes))
                try:
                    await array.read(0, 1)
                finally:
                    array.close()
        return opened


class _OpenFile:
    """The arrays of one open file, all through one descriptor."""

    def __init__(self, context: DataContext, source: DataFile) -> None:
        self._context = context
        self._source = source
        self._opened = OpenDataFile(context.files, source)
        self._group: tuple[bytes, str] | None = None  # whose arrays are in …
        self._infos: dict[str, DatasetInfo] = {}

    async def open_array(self, place: ArrayRunPlace) -> OpenArray:
        # Bytes of the file are only given while it is what it was: its descriptor is opened first.
        if not self._source.subject.series:
            await self._opened.file()
        try:
            found = await self._located(self._source, place.address)
        except StaleError:
            found = await self._grown(place)
        info = found.info
        same = info.dtype.itemsize * prod(info.shape) == place.nbytes
        if not same and found.source is self._source:
            raise StaleError(f"{self._source.path}: {place.address}: changed since listed")
        array = NpyFile((), found.source, info, self._context, found.state)
        own = found.source.version == self._source.version and not found.state
        return await array.open_array(self._opened if own else None)

    async def read_small(self, places: Sequence[ArrayRunPlace]) -> Mapping[int, bytes]:
        """Of Spec files and images, whose reader is asked for each array: all by one call."""
        source = self._source
        if source.subject.format == "hdf5":
            return {}
        arrays = [(one.address, Box((0,) * len(one.shape), one.shape)) for one in places]
        try:
            if not source.subject.series:
                seen = await (await self._opened.file()).verified()
                if seen != source.subject.generations[0]:  # it has grown: each is looked for anew
                    return {}
            found = await source.read_small(arrays)
        except EsrffsError:
            return {}  # each array is then read alone, and its error is raised
        return {
            one.offset: content
            for one, content in zip(places, found, strict=True)
            if content is not None and len(content) == one.nbytes
        }

    async def _located(self, source: DataFile, address: str) -> ArrayLocation:
        """An entry of its group, whose plan is known in most cases, or what a link leads to."""
        group = address.rpartition("/")[0]
        if self._group != (source.version, group):
            members = (await group_index(self._context, source, group)).listing.members
            self._infos = {one.address: one for one in members if isinstance(one, DatasetInfo)}
            self._group = source.version, group
        info = self._infos.get(address)
        if info is None:
            return await PathResolver(self._context).locate_dataset(source, address)
        state = await self._context.files.dependency_version(info.dependencies)
        return ArrayLocation(source, info, state=state)

    async def _grown(self, place: ArrayRunPlace) -> ArrayLocation:
        """The array in a file that has only grown since it was opened.

        What was there is its beginning.  StaleError where the file was rewritten.
        """
        source = self._source
        if source.subject.series:
            raise StaleError(f"{source.path}: {place.address}: changed since listed")
        seen = await (await self._opened.file()).verified()
        now = await self._context.files.current(source.path, source.subject.format)
        if now.subject.generations[0] != seen:  # another file has its name
            raise StaleError(f"{source.path}: was rewritten since it was opened")
        found = await self._located(now, place.address)
        info = found.info
        if (
            info.dtype != place.dtype
            or info.shape[1:] != place.shape[1:]
            or info.shape[:1] < place.shape[:1]
        ):
            raise StaleError(f"{source.path}: {place.address}: changed since listed")
        return found

    def close(self) -> None:
        self._opened.release()
