"""The directory `corrected/` and its files.

Decided here: what it shows.  Where it appears is decided in `flatfield/service` and
`flatfield/conventions/detect`, what is computed, and when, in `flatfield/corrected_array`.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from importlib import metadata
from io import BytesIO
from math import prod
from typing import Any, NamedTuple, cast

import numpy as np

from esrffs.encoders import file_names, npy, view_names, views, xattrs
from esrffs.encoders.file_image import ArrayDescription
from esrffs.encoders.json_text import to_json
from esrffs.errors import EsrffsError, NotFoundError
from esrffs.flatfield.corrected_array import (
    InputArrays,
    input_paths,
    open_corrected_array,
    pixels_per_frame,
)
from esrffs.flatfield.plan import CorrectedDataset, CorrectionPlan
from esrffs.flatfield.provenance import provenance
from esrffs.flatfield.service import ResolvedPlan
from esrffs.model import Buffer, FileStatus, Generation
from esrffs.source.context import DataContext
from esrffs.tree.context import ViewOptions
from esrffs.tree.handles import ArrayHandle, BytesHandle, OpenArray
from esrffs.tree.hdf5_view import ArrayContents
from esrffs.tree.nodes import FileHandle, Node, Path, Stat
from esrffs.tree.view_files import ArrayFile
from esrffs.tree.views import ViewFinder, is_array

NAME = b"corrected"
_ATTRIBUTES = b"attrs.json"
_ENTRY_SIZE = 500  # bytes that an entry takes in memory, about


class CorrectedEntry(NamedTuple):
    """An output; what its bytes depend on; the status that its file has."""

    output: CorrectedDataset
    key: bytes
    status: FileStatus


Shown = Mapping[bytes, CorrectedEntry | bytes]  # or the content of a file that esrffs made


@dataclass(frozen=True, slots=True)
class InMemoryFile:
    """A small file that esrffs made: its bytes are at hand."""

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
            **await _origin(self.resolved),
            **xattrs.array_description(values.shape, values.dtype),
            **xattrs.view_formats(
                views.formats(ArrayDescription("", values.shape, values.dtype), colour=False)
            ),
        }

    def _values(self) -> np.ndarray[Any, Any]:
        return np.load(BytesIO(self.content))  # type: ignore[no-any-return]


class InMemoryArray(InMemoryFile):
    """A small array that esrffs made."""

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
        """Its bytes are at hand: only a view of it can be refused, which the caller hears."""


@dataclass(frozen=True, slots=True)
class _BytesArray:
    content: bytes

    async def read(self, start: int, stop: int) -> Buffer:
        return self.content[start:stop]


class _Nothing:
    """What holds no file open."""

    def acquire(self) -> None: ...

    def release(self) -> None: ...


@dataclass(frozen=True, slots=True)
class CorrectedFile:
    """`corrected/<name>.npy`."""

    path: Path
    context: DataContext
    resolved: ResolvedPlan
    entry: CorrectedEntry

    @property
    def key(self) -> bytes:
        return self.entry.key

    @property
    def output(self) -> CorrectedDataset:
        return self.entry.output

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
        inputs = InputArrays(
            self.context, self.resolved.inspector.locate, pixels_per_frame(self.output)
        )
        try:
            await inputs.check(self.output)
            array = open_corrected_array(self.output, inputs, self.key) if self._nbytes else None
        except BaseException:
            inputs.release()
            raise
        return OpenArray(inputs, array, np.dtype(np.float32), self.record_error)

    def record_error(self, text: str) -> None:
        self.resolved.errors.setdefault(self.output.name, text)

    def error_text(self) -> str | None:
        return self.resolved.errors.get(self.output.name)

    async def xattrs(self) -> xattrs.Xattrs:
        told = xattrs.array_description(self.output.shape, np.dtype(np.float32))
        formats = xattrs.view_formats(views.formats(self.description(), colour=False))
        return {**await _origin(self.resolved, self.output), **told, **formats}


async def _origin(resolved: ResolvedPlan, output: CorrectedDataset | None = None) -> xattrs.Xattrs:
    """Path and source are those of the first raw image (of this output)."""
    output = output or cast(CorrectionPlan, resolved.plan).outputs[0]
    try:
        raw = await resolved.inspector.locate(output.raw[0].part.path)
    except EsrffsError:
        return {}
    return xattrs.origin(raw.info.address, raw.source.path)


@dataclass(frozen=True, slots=True)
class CorrectedDirectory:
    """The directory `corrected/`; `resolved` finds what it holds now, None if it is gone."""

    path: Path
    context: DataContext
    resolved: Callable[[], Awaitable[ResolvedPlan | None]]
    views: ViewOptions = field(default_factory=ViewOptions)

    @property
    def key(self) -> bytes:
        return b"directory"

    def _views(self) -> ViewFinder:
        async def names() -> Iterable[bytes]:
            return (await self._shown())[1]

        cache = self.context.cache
        return ViewFinder(self.path, self._entry, self._entry, names, cache, self.views)

    async def contents(self) -> ArrayContents:
        resolved, shown = await self._shown()
        nodes = {name: self._node(resolved, name, item) for name, item in shown.items()}
        arrays = {name: node for name, node in nodes.items() if is_array(node)}
        told = cast(bytes, shown[_ATTRIBUTES])
        version = blake2b(b"".join(resolved.keys) + told, digest_size=16).digest()
        return ArrayContents(self.context.files, version, resolved.status, arrays, told)

    def record_error(self, text: str) -> None:
        """None of its arrays has one axis and is large: no view of the directory is refused."""

    async def arrays(self) -> list[ArrayFile]:
        resolved, shown = await self._shown()
        nodes = [self._node(resolved, name, item) for name, item in shown.items()]
        return [node for node in nodes if is_array(node) and len(node.description().shape) == 1]

    def error_text(self) -> str | None:
        return None

    async def stat(self) -> Stat:
        return Stat.directory((await self._resolved())[0].status)

    async def _resolved(self) -> tuple[ResolvedPlan, CorrectionPlan]:
        resolved = await self.resolved()
        if resolved is None or resolved.plan is None:
            raise NotFoundError(f"{os.fsdecode(b'/'.join(self.path))}: nothing to correct any more")
        return resolved, resolved.plan

    async def _shown(self) -> tuple[ResolvedPlan, Shown]:
        resolved, plan = await self._resolved()

        async def make() -> Shown:
            return _shown(plan, resolved)

        return resolved, await self.context.cache.get_or_compute((resolved, "shown"), make, _size)

    async def children(self) -> Mapping[bytes, Node]:
        resolved, shown = await self._shown()
        nodes = {name: self._node(resolved, name, item) for name, item in shown.items()}
        return nodes | await self._views().listed(nodes)

    async def child(self, name: bytes) -> Node:
        return await self._views().lookup(name)

    async def _entry(self, name: bytes) -> Node:
        """A real one.  A folder of thousands of images is not looked through for each of them."""
        executor = self.context.files.folders.executor
        key = self.path, "last"
        memory = await self.context.cache.get_or_compute(key, _nothing, lambda _: _ENTRY_SIZE)
        last = memory.last
        if last is not None and await executor.run(partial(last.serves, name)):
            return self._node(last.resolved, name, last.shown[name])
        mark = None  # of the folder before it is looked at
        if last is not None:
            mark = await executor.run(last.resolved.inspector.mark)
        resolved, shown = await self._shown()
        memory.last = _Last(resolved, shown, mark)
        if name not in shown:
            raise NotFoundError(f"no {name!r} in {os.fsdecode(b'/'.join(self.path))}")
        return self._node(resolved, name, shown[name])

    def _node(self, resolved: ResolvedPlan, name: bytes, item: CorrectedEntry | bytes) -> Node:
        path = (*self.path, name)
        if isinstance(item, bytes):
            made = InMemoryArray if name.endswith(view_names.ARRAY_SUFFIX) else InMemoryFile
            return made(path, resolved, item)
        return CorrectedFile(path, self.context, resolved, item)


@dataclass(frozen=True, slots=True)
class _Last:
    """What was found last in a folder, and the state of the folder just before."""

    resolved: ResolvedPlan
    shown: Shown
    mark: Generation | None

    def serves(self, name: bytes) -> bool:
        """Is this file what it was then?"""
        entry = self.shown.get(name)
        answers = self.resolved.inspector
        return (
            self.mark is not None
            and isinstance(entry, CorrectedEntry)
            and answers.mark() == self.mark
            and answers.same(input_paths(entry.output))
        )


@dataclass(slots=True)
class _Memory:
    last: _Last | None = None


async def _nothing() -> _Memory:
    return _Memory()


def _shown(plan: CorrectionPlan, resolved: ResolvedPlan) -> Shown:
    """Everything in the directory, by file name."""
    wanted = [
        *(one.name for one in plan.outputs),
        *(one.name for one in plan.extras),
    ]
    chosen = file_names.unique_names((file_names.escape(name), b".npy") for name in wanted)
    outputs, extras = chosen[: len(plan.outputs)], chosen[len(plan.outputs) :]
    entries = map(CorrectedEntry, plan.outputs, resolved.keys, resolved.statuses)
    shown: dict[bytes, CorrectedEntry | bytes] = dict(zip(outputs, entries, strict=True))
    for name, extra in zip(extras, plan.extras, strict=True):
        shown[name] = _saved(extra.values)
    stems = [os.fsdecode(name.removesuffix(b".npy")) for name in outputs]
    shown[_ATTRIBUTES] = to_json(provenance(plan, stems, metadata.version("esrffs")))
    return shown


def _size(shown: Shown) -> int:
    contents = sum(len(item) for item in shown.values() if isinstance(item, bytes))
    return contents + _ENTRY_SIZE * len(shown)


def _saved(values: np.ndarray[Any, Any]) -> bytes:
    return npy.header(values.shape, values.dtype) + values.tobytes()


def directory_name(taken: Iterable[bytes]) -> bytes:
    """What `corrected` is called where something else has that name."""
    return file_names.unique_names([(NAME, b"")], taken)[0]
