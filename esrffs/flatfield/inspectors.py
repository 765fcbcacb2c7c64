"""Data files answer the queries of conventions; folders do in `folder_inspector`.

Finds the array that a query is about, and keeps what the answers depend on.
"""

import json
import logging
import os
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any, Protocol

import numpy as np

from esrffs.cache import CacheKey
from esrffs.damage import whole
from esrffs.errors import (
    AccessDeniedError,
    EsrffsError,
    StaleError,
    UnavailableError,
    at_path,
)
from esrffs.flatfield.conventions.queries import (
    READ_LIMIT,
    DescribeArray,
    ListMembers,
    MemberSummary,
    OwnName,
    Query,
    ReadValues,
    split_beside,
)
from esrffs.flatfield.dependencies import Dependencies
from esrffs.linux.permissions import may_reference
from esrffs.model import Box, DatasetInfo, GroupInfo, LinkInfo, Member
from esrffs.source.array_location import ArrayLocation
from esrffs.source.context import DataContext
from esrffs.source.data_file import DataFile
from esrffs.source.path_resolver import PathResolver

log = logging.getLogger(__name__)

_VALUE_NBYTES_ESTIMATE = 400  # of memory, for one value with its key

TRANSIENT_ERRORS = (StaleError, UnavailableError)  # no answers: to be asked again


class Inspector(Protocol):
    """Answers the queries of conventions, and knows where the arrays of its answers lie."""

    @property
    def file(self) -> DataFile | None:
        """The data file that is looked at; None for a folder."""

    async def answer(self, question: Query) -> object: ...

    async def locate(self, path: str) -> ArrayLocation:
        """Where the array at this path lies; NotFoundError, AccessDeniedError, LinkLoopError."""

    def dependencies(self) -> Dependencies:
        """What all answers so far depend on, besides the file or folder itself."""


async def or_none(answer: Awaitable[object]) -> object:
    """None where there is no such thing, or where it cannot be read."""
    try:
        return await answer
    except TRANSIENT_ERRORS:
        raise
    except EsrffsError as error:
        log.debug("%s", error)
        return None


class FileInspector:
    """Answers from one HDF5 file, those that it links to, and those beside it."""

    def __init__(self, context: DataContext, source: DataFile) -> None:
        self._context = context
        self._source = source
        self._generation = context.files.folders.generation
        self._resolver = PathResolver(context)
        self._located: dict[str, ArrayLocation] = {}

    @property
    def file(self) -> DataFile | None:
        return self._source

    def dependencies(self) -> Dependencies:
        return Dependencies(self._generation, links=self._resolver.watched)

    async def answer(self, question: Query) -> object:
        return await or_none(self._answer(question))

    async def _answer(self, question: Query) -> object:
        match question:
            case ListMembers(path):
                source, inner = await self._file(path)
                members = await self._resolver.members(source, inner)
                return {name: e for name, one in members.items() if (e := entry_of(one))}
            case DescribeArray(path):
                return await describe_array(await self.locate(path))
            case ReadValues(path):
                return await self._values(await self.locate(path))
            case OwnName():
                return os.path.basename(self._source.path)
        return None

    async def _values(self, located: ArrayLocation) -> np.ndarray[Any, Any] | None:
        """Those of one element stay in the cache: titles are read for each of many scans."""
        if prod(located.info.shape) != 1:
            return await values_of(located)

        async def read() -> tuple[np.ndarray[Any, Any] | None]:
            return (await values_of(located),)

        key, cache = _ValueKey(located.key), self._context.cache
        return (await cache.get_or_compute(key, read, _value_nbytes))[0]

    async def locate(self, path: str) -> ArrayLocation:
        located = self._located.get(path)
        if located is None:
            source, inner = await self._file(path)
            located = self._located[path] = await self._resolver.locate_dataset(source, inner)
        return located

    async def _file(self, path: str) -> tuple[DataFile, str]:
        """The file that this path leads to, and the path in it."""
        parts = split_beside(path)
        if parts is None:
            return self._source, path
        name, inner = parts
        files = self._context.files
        other = os.path.join(os.path.dirname(self._source.path), name)
        await self._resolver.track(files.folders.absolute(other))
        if files.folders.confined:
            await files.folders.executor.run_in_thread(partial(self._permit, other))
        return await files.current(other, "hdf5"), inner

    def _permit(self, path: str) -> None:
        """In a shared mount: AccessDeniedError unless all readers of this file may read that."""
        folders = self._context.files.folders
        own, other = folders.absolute(self._source.path), folders.absolute(path)
        try:
            allowed = not folders.single_file and may_reference(own, other, folders.root)
        except OSError as error:
            raise at_path(path, error) from error
        if not allowed:
            raise AccessDeniedError(f"{path}: is more private than {self._source.path}")


@dataclass(frozen=True, slots=True)
class _ValueKey(CacheKey[tuple[np.ndarray[Any, Any] | None]]):
    location: bytes


def _value_nbytes(value: tuple[np.ndarray[Any, Any] | None]) -> int:
    return _VALUE_NBYTES_ESTIMATE + (0 if value[0] is None else value[0].nbytes)


async def values_of(located: ArrayLocation) -> np.ndarray[Any, Any] | None:
    """All values of a small dataset; None where it is a large one."""
    info = located.info
    nbytes = info.dtype.itemsize * prod(info.shape)
    if not 0 < nbytes <= READ_LIMIT:
        return np.empty(info.shape, info.dtype) if nbytes == 0 else None
    box = Box((0,) * len(info.shape), info.shape)
    data = await located.source.read(info.address, box, nbytes)
    return np.frombuffer(whole(data), info.dtype).reshape(info.shape)


async def describe_array(
    located: ArrayLocation, kind: MemberSummary | None = None
) -> MemberSummary:
    """The array, its attributes read where they are too many to have come with the listing."""
    info = located.info
    text = info.attributes.content if info.attributes else b""
    if text is None:
        text = await located.source.attributes(info.address)
    return replace(
        kind or MemberSummary("dataset"),
        shape=info.shape,
        dtype=info.dtype,
        colour=_is_colour(text),
    )


def _is_colour(attributes: bytes | None) -> bool:
    """By NeXus' `interpretation`, or the subclass of HDF5's Image and Palette specification."""
    if not attributes:
        return False
    known = json.loads(attributes)
    return (
        known.get("interpretation") in ("rgb-image", "rgba-image")
        or known.get("IMAGE_SUBCLASS") == "IMAGE_TRUECOLOR"
    )


def entry_of(member: Member) -> MemberSummary | None:
    match member:
        case GroupInfo():
            return MemberSummary("group")
        case DatasetInfo(attributes=text, shape=shape, dtype=dtype):
            if text is not None and text.content is None:
                return MemberSummary("dataset")  # `DescribeArray` tells the rest
            return MemberSummary(
                "dataset", shape, dtype, colour=_is_colour(text.content if text else b"")
            )
        case LinkInfo():
            return MemberSummary("link")
    return None
