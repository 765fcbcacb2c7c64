"""The directories `corrected/` and `absorption/`, and their files, as nodes of the tree.

`absorption/` holds -ln of what `corrected/` holds.  Like a view (`tree/views`) it is found by its
name and not listed, so that `find`, `du` and `cp -r` meet each number once.

Does not: decide where it appears (`flatfield/service`), or compute pixels
(`flatfield/corrected_array`).
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from io import BytesIO
from math import prod
from typing import Any

import numpy as np

from esrffs.encoders import file_names, npy, view_names, views, xattrs
from esrffs.encoders.file_image import ArrayDescription
from esrffs.errors import NotFoundError
from esrffs.flatfield.corrected_array import InputArrays, open_corrected_array, pixels_per_frame
from esrffs.flatfield.plan import CorrectedDataset, ReducedDataset
from esrffs.flatfield.resolved_plan import CorrectedEntry, ResolvedPlan
from esrffs.flatfield.service import Outcome
from esrffs.model import Buffer, FileStatus
from esrffs.source.context import DataContext
from esrffs.tree.context import ViewOptions
from esrffs.tree.handles import ArrayHandle, BytesHandle, OpenArray
from esrffs.tree.nodes import FileHandle, Node, Path, Stat
from esrffs.tree.nxtomo_entry import CorrectedContents
from esrffs.tree.view_files import ArrayFile
from esrffs.tree.views import ViewFinder, has_view, is_array

NAMES = b"corrected", b"absorption"

# Finds what the directory holds now; with the name of a file, what holds for that file.
Find = Callable[[bytes | None], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class InMemoryFile:
    """A small file that esrffs makes: `content` is all of it."""

    path: Path
    resolved: ResolvedPlan
    content: bytes

    @property
    def key(self) -> bytes:
        return blake2b(self.content, digest_size=16).digest()

    async def stat(self) -> Stat:
        return Stat.file(self.resolved.status, len(self.content))

    async def open(self) -> FileHandle:
        return BytesHandle(self.content)

    def error_text(self) -> str | None:
        return None

    async def xattrs(self) -> xattrs.Xattrs:
        if not self.path[-1].endswith(b".npy"):
            return {}
        values = self._values()
        return {
            **_origin(self.resolved.entries[0]),
            **xattrs.array_description(values.shape, values.dtype),
            **xattrs.view_formats(
                views.formats(ArrayDescription("", values.shape, values.dtype), colour=False)
            ),
        }

    def _values(self) -> np.ndarray[Any, Any]:
        return np.load(BytesIO(self.content))  # type: ignore[no-any-return]


class InMemoryArray(InMemoryFile):
    """A small array that esrffs makes."""

    __slots__ = ()

    @property
    def status(self) -> FileStatus:
        return self.resolved.status

    @property
    def listed_text(self) -> None:
        return None

    def description(self) -> ArrayDescription:
        values = self._values()
        name = os.fsdecode(self.path[-1]).removesuffix(".npy")
        return ArrayDescription(name, values.shape, values.dtype)

    async def is_colour(self) -> bool:
        return False

    async def open_array(self) -> OpenArray:
        values = self._values()
        return OpenArray(_Nothing(), _BytesArray(values.tobytes()), values.dtype, self.record_error)

    def record_error(self, text: str) -> None:
        """Nothing is recorded: only a view of it can fail, and the caller is told."""


@dataclass(frozen=True, slots=True)
class _BytesArray:
    content: bytes

    async def read(self, start: int, stop: int) -> Buffer:
        return self.content[start:stop]


class _Nothing:
    """Stands for an open file where none is open."""

    def acquire(self) -> None: ...

    def release(self) -> None: ...


@dataclass(frozen=True, slots=True)
class CorrectedFile:
    """`corrected/<name>.npy`."""

    path: Path
    context: DataContext
    entry: CorrectedEntry

    @property
    def key(self) -> bytes:
        return self.entry.key

    @property
    def output(self) -> CorrectedDataset | ReducedDataset:
        return self.entry.dataset

    def _header(self) -> bytes:
        return npy.header(self.output.shape, np.dtype(np.float32))

    @property
    def _nbytes(self) -> int:
        return 4 * prod(self.output.shape)

    async def stat(self) -> Stat:
        return Stat.file(self.entry.status, len(self._header()) + self._nbytes)

    @property
    def status(self) -> FileStatus:
        return self.entry.status

    @property
    def listed_text(self) -> None:
        return None

    def description(self) -> ArrayDescription:
        return ArrayDescription(self.output.name, self.output.shape, np.dtype(np.float32))

    async def is_colour(self) -> bool:
        return False

    async def open(self) -> FileHandle:
        array, header = await self.open_array(), self._header()
        size = len(header) + self._nbytes
        handle = ArrayHandle(array.held, header, array.array, size, array.failed)
        await handle.look_at_first_page()
        return handle

    async def open_array(self) -> OpenArray:
        pixels = pixels_per_frame(self.output)
        inputs = InputArrays(self.context, self.entry.inputs, pixels)
        try:
            await inputs.check(self.output)
            array = open_corrected_array(self.output, inputs, self.key) if self._nbytes else None
        except BaseException:
            inputs.release()
            raise
        threads = self.context.threads
        dtype = np.dtype(np.float32)
        return OpenArray(inputs, array, dtype, self.record_error, threads=threads)

    def record_error(self, text: str) -> None:
        self.context.errors.record(self.key, text)

    def error_text(self) -> str | None:
        return self.context.errors.text(self.key)

    async def xattrs(self) -> xattrs.Xattrs:
        described = xattrs.array_description(self.output.shape, np.dtype(np.float32))
        formats = xattrs.view_formats(views.formats(self.description(), colour=False))
        return {**_origin(self.entry), **described, **formats}


def _origin(entry: CorrectedEntry) -> xattrs.Xattrs:
    """Path and source of the first image that it is made of: of a result a raw one."""
    for part in entry.dataset.parts[:1]:
        first = entry.inputs[part.path]
        return xattrs.origin(first.info.address, first.source.path)
    return {}


@dataclass(frozen=True, slots=True)
class CorrectedDirectory:
    """The directory `corrected/` of a group or folder; with `absorption` the one beside it."""

    path: Path
    context: DataContext
    find: Find
    views: ViewOptions = field(default_factory=ViewOptions)
    absorption: bool = False

    @property
    def key(self) -> bytes:
        return b"directory"

    def _views(self) -> ViewFinder:
        async def names() -> Iterable[bytes]:
            return (await self._resolved()).files

        cache = self.context.cache
        return ViewFinder(self.path, self._entry, self._entry, names, cache, self.views)

    async def contents(self) -> CorrectedContents:
        resolved = await self._resolved()
        arrays = {name: node for name, node in self._nodes(resolved).items() if is_array(node)}
        return CorrectedContents(self.context, resolved, arrays)

    def record_error(self, text: str) -> None:
        """Nothing is recorded: no array of one axis is large, so no view of it is refused."""

    async def arrays(self) -> list[ArrayFile]:
        nodes = self._nodes(await self._resolved()).values()
        return [node for node in nodes if is_array(node) and len(node.description().shape) == 1]

    def error_text(self) -> str | None:
        return None

    async def xattrs(self) -> xattrs.Xattrs:
        formats = [name for name in view_names.GROUP_FORMATS if await has_view(self, name)]
        return xattrs.view_formats(formats)

    async def exists(self) -> bool:
        return isinstance(await self.find(None), ResolvedPlan)

    async def stat(self) -> Stat:
        return Stat.directory((await self._resolved()).status)

    async def _resolved(self, name: bytes | None = None) -> ResolvedPlan:
        resolved = await self.find(name)
        if not isinstance(resolved, ResolvedPlan):
            raise NotFoundError(f"{os.fsdecode(b'/'.join(self.path))}: nothing to correct any more")
        return resolved.absorption if self.absorption else resolved

    async def check(self) -> None:
        await self.stat()

    async def children(self) -> Mapping[bytes, Node]:
        nodes = self._nodes(await self._resolved())
        return nodes | await self._views().listed(nodes)

    async def child(self, name: bytes) -> Node:
        return await self._views().lookup(name)

    async def _entry(self, name: bytes) -> Node:
        """A file of the directory, no view."""
        resolved = await self._resolved(name)
        item = resolved.file(name)
        if item is None:
            raise NotFoundError(f"no {name!r} in {os.fsdecode(b'/'.join(self.path))}")
        return self._node(resolved, name, item)

    def _nodes(self, resolved: ResolvedPlan) -> dict[bytes, Node]:
        """What the directory lists."""
        return {name: self._node(resolved, name, item) for name, item in resolved.files.items()}

    def _node(self, resolved: ResolvedPlan, name: bytes, item: CorrectedEntry | bytes) -> Node:
        path = (*self.path, name)
        if isinstance(item, bytes):
            made = InMemoryArray if name.endswith(view_names.ARRAY_SUFFIX) else InMemoryFile
            return made(path, resolved, item)
        return CorrectedFile(path, self.context, item)


def directories(
    folder: Path, taken: Iterable[bytes], context: DataContext, find: Find, views: ViewOptions
) -> tuple[CorrectedDirectory, CorrectedDirectory]:
    """`corrected/` and `absorption/` of a folder or group, under names that nothing else has."""
    names = file_names.unique_names([(name, b"") for name in NAMES], taken)
    corrected, absorption = (
        CorrectedDirectory((*folder, name), context, find, views) for name in names
    )
    return corrected, replace(absorption, absorption=True)
