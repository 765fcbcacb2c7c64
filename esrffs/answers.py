"""Data files and folders answer the questions of `esrffs.roles`.

Decided here: where the array is that a question is about, and what an answer depends on.
"""

import json
import logging
import os
import time
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, Protocol

import numpy as np

from esrffs.corrections import Located
from esrffs.damage import whole
from esrffs.errors import (
    BusyError,
    EsrffsError,
    ForbiddenError,
    MissingError,
    StaleError,
)
from esrffs.files import Shared
from esrffs.model import Box, DatasetInfo, Generation, GroupInfo, LinkInfo, Member
from esrffs.plans import DataFile
from esrffs.rights import may_follow
from esrffs.roles import READ_LIMIT, Describe, Entry, List, Question, Read, ReadFile
from esrffs.series import numbered
from esrffs.sources import Source
from esrffs.ways import Way

log = logging.getLogger(__name__)

_IMAGE = "scan_0/instrument/detector_0/data"  # where silx, and so the raster reader, puts it
_TICK = 100_000_000  # ns: longer than that of the clock that stamps files
_PASSING = (StaleError, BusyError)  # no answers: to be asked again


class Answers(Protocol):
    """Answers the questions of `esrffs.roles`, and remembers where what it told of lies."""

    async def answer(self, question: Question) -> object: ...

    async def locate(self, path: str) -> Located: ...

    def current(self) -> bool:
        """Are the other files, which were followed to, what they were?"""

    def mark(self) -> Generation | None:
        """Of the folder, if it is worth remembering: new files change it.  None for a data file."""

    def same(self, paths: Iterable[str], /) -> bool:
        """Are the files under these paths, and the texts that were read, what they were?"""


async def _or_none(answer: Awaitable[object]) -> object:
    """None where there is no such thing, or where it cannot be read."""
    try:
        return await answer
    except _PASSING:
        raise
    except EsrffsError as error:
        log.debug("%s", error)
        return None


class InFile:
    """Answers from one HDF5 file, and those that it links to."""

    def __init__(self, shared: Shared, source: Source) -> None:
        self._source = source
        self._way = Way(shared)
        self._located: dict[str, Located] = {}

    def current(self) -> bool:
        return self._way.current()

    def mark(self) -> Generation | None:
        return None  # to look at the file itself costs no more

    def same(self, _paths: Iterable[str], /) -> bool:
        return False

    async def answer(self, question: Question) -> object:
        return await _or_none(self._answer(question))

    async def _answer(self, question: Question) -> object:
        match question:
            case List(path):
                members = await self._way.members(self._source, path)
                return {name: e for name, one in members.items() if (e := _entry(one))}
            case Describe(path):
                return await _described(await self.locate(path))
            case Read(path):
                return await _values(await self.locate(path))
        return None

    async def locate(self, path: str) -> Located:
        located = self._located.get(path)
        if located is None:
            located = self._located[path] = await self._way.located(self._source, path)
        return located


class InFolder:
    """Answers from the files of a folder; `files` are its data files and series, by name."""

    def __init__(self, shared: Shared, folder: str, files: Mapping[str, DataFile | None]) -> None:
        self._folders = shared.sources.folders
        self._folder = folder
        self._files = files
        self._way = Way(shared)
        self._located: dict[str, Located] = {}
        self._texts: dict[str, Generation | None] = {}
        self._members = {
            os.path.basename(member): (name, index)
            for name, file in files.items()
            if file is not None
            for index, member in enumerate(file.members)
        }

    def current(self) -> bool:
        return self._way.current()

    def mark(self) -> Generation | None:
        mark = self._folders.generation(self._folder)
        if mark is None or time.time_ns() - mark.mtime_ns < _TICK:
            return None  # what comes next may come within the same tick of the clock
        return mark

    def same(self, paths: Iterable[str]) -> bool:
        generation = self._folders.generation
        texts = all(generation(name) == seen for name, seen in self._texts.items())
        return texts and self.current() and all(map(self._same, paths))

    def _same(self, path: str) -> bool:
        name, index = self._members.get(path, (path, 0))
        located = self._located.get(path)
        if located is None and name in self._located:
            located = replace(self._located[name], index=index)
        if located is None:
            return False
        file, seen = located.file
        return self._folders.generation(file) == seen

    async def answer(self, question: Question) -> object:
        return await _or_none(self._answer(question))

    async def _answer(self, question: Question) -> object:
        match question:
            case List():
                return {name: _listed(file) for name, file in self._files.items()}
            case Describe(path):
                return await _described(await self._at(path), self._files.get(path))
            case ReadFile(name):
                return await self._folders.patience.call(partial(self._content, name))
        return None

    async def locate(self, path: str) -> Located:
        """The array of a file, which may be one frame of a series that was described."""
        series, index = self._members.get(path, ("", 0))
        if path not in self._located and series in self._located:
            whole = self._located[series]
            return Located(whole.source, whole.info, index)
        return await self._at(path)

    async def _at(self, path: str) -> Located:
        located = self._located.get(path)
        if located is None:
            located = self._located[path] = await self._found(path)
        return located

    async def _found(self, path: str) -> Located:
        name, _, inner = path.partition("::")
        file = self._files.get(name)
        if file is None:
            raise MissingError(f"{os.path.join(self._folder, name)}: is no data file")
        source = await file.source()
        if file.format == "hdf5":
            return await self._way.located(source, inner)
        info = await source.find(inner or _IMAGE)
        if not isinstance(info, DatasetInfo):
            raise MissingError(f"{file.path}: {inner} is no dataset")
        return Located(source, info)

    def _content(self, name: str) -> bytes | None:
        path = os.path.join(self._folder, name)
        self._texts[path] = self._folders.generation(path)
        descriptor = self._folders.open(path)
        try:
            self._check(path, descriptor)
            content = os.pread(descriptor, READ_LIMIT + 1, 0)
        finally:
            os.close(descriptor)
        return content if len(content) <= READ_LIMIT else None

    def _check(self, path: str, descriptor: int) -> None:
        """What a text says shows in errors: of a shared mount, to all who may list the folder."""
        folders = self._folders
        real, folder = f"/proc/self/fd/{descriptor}", folders.absolute(self._folder)
        if folders.confined and not may_follow(folder, real, folders.root):
            raise ForbiddenError(f"{path}: is more private than its folder")


async def _values(located: Located) -> np.ndarray[Any, Any] | None:
    """All values of a small dataset; None where it is a large one."""
    info = located.info
    nbytes = info.dtype.itemsize * prod(info.shape)
    if not 0 < nbytes <= READ_LIMIT:
        return np.empty(info.shape, info.dtype) if nbytes == 0 else None
    box = Box((0,) * len(info.shape), info.shape)
    data = await located.source.read(info.address, box, nbytes)
    return np.frombuffer(whole(data), info.dtype).reshape(info.shape)


def _listed(file: DataFile | None) -> Entry:
    if file is None:
        return Entry("other")
    if file.members:
        parts = (numbered(os.path.basename(member)) for member in file.members)
        return Entry("series", numbers=tuple(int(part.digits) for part in parts if part))
    return Entry("raster" if file.format == "raster" else "other")


async def _described(located: Located, file: DataFile | None = None) -> Entry:
    """The array, its attributes read where they are too many to have come with the listing."""
    info = located.info
    text = info.attributes.content if info.attributes else b""
    if text is None:
        text = await located.source.attributes(info.address)
    kind = _listed(file) if file is not None else Entry("dataset")
    return replace(kind, shape=info.shape, dtype=info.dtype, colour=_is_colour(text))


def _is_colour(attributes: bytes | None) -> bool:
    """By NeXus' `interpretation`, or the subclass of HDF5's Image and Palette specification."""
    if not attributes:
        return False
    known = json.loads(attributes)
    return (
        known.get("interpretation") in ("rgb-image", "rgba-image")
        or known.get("IMAGE_SUBCLASS") == "IMAGE_TRUECOLOR"
    )


def _entry(member: Member) -> Entry | None:
    match member:
        case GroupInfo():
            return Entry("group")
        case DatasetInfo(attributes=text, shape=shape, dtype=dtype):
            if text is not None and text.content is None:
                return Entry("dataset")  # `Describe` tells the rest
            return Entry("dataset", shape, dtype, colour=_is_colour(text.content if text else b""))
        case LinkInfo():
            return Entry("link")
    return None
