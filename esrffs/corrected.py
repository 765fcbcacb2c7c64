"""The directory `corrected/` and its files.

Decided here: what it shows.  Where it appears is decided in `esrffs.kitchen` and `esrffs.roles`,
what is computed, and when, in `esrffs.corrections`.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from math import prod
from typing import Any

import numpy as np

from esrffs import names, npy
from esrffs.attributes import to_json
from esrffs.corrections import Supplies, corrected_array, paths_of, pixels_of
from esrffs.errors import MissingError
from esrffs.files import ArrayHandle, Shared, TextHandle
from esrffs.kitchen import Kitchen
from esrffs.nodes import Handle, Node, Path, Stat
from esrffs.roles import Extra, Output, Recipe, provenance

NAME = b"corrected"


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A small file that esrffs made: its bytes are at hand."""

    path: Path
    digest: bytes
    status: os.stat_result
    content: bytes

    @property
    def key(self) -> bytes:
        return self.digest

    async def stat(self) -> Stat:
        return Stat.file(self.status, len(self.content))

    async def open(self) -> Handle:
        return TextHandle(self.content)

    def trouble(self) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class CorrectedFile:
    """`corrected/<name>.npy`."""

    path: Path
    shared: Shared
    kitchen: Kitchen
    output: Output

    @property
    def key(self) -> bytes:
        return self.kitchen.digest

    def _header(self) -> bytes:
        return npy.header(self.output.shape, np.dtype(np.float32))

    @property
    def _nbytes(self) -> int:
        return 4 * prod(self.output.shape)

    async def stat(self) -> Stat:
        return Stat.file(self.kitchen.status, len(self._header()) + self._nbytes)

    async def open(self) -> Handle:
        header, nbytes = self._header(), self._nbytes
        supplies = Supplies(self.shared, self.kitchen.answers.locate, pixels_of(self.output))
        try:
            await supplies.check(paths_of(self.output))
        except BaseException:
            supplies.close()
            raise
        array = corrected_array(self.output, supplies, self.kitchen.digest) if nbytes else None
        failed = partial(self.kitchen.errors.setdefault, self.output.name)
        return ArrayHandle(supplies, header, array, len(header) + nbytes, failed)

    def trouble(self) -> str | None:
        return self.kitchen.errors.get(self.output.name)


@dataclass(frozen=True, slots=True)
class CorrectedNode:
    """The directory `corrected/`; `kitchen` finds what it holds now, None if it is gone."""

    path: Path
    shared: Shared
    kitchen: Callable[[], Awaitable[Kitchen | None]]

    @property
    def key(self) -> bytes:
        return b"directory"

    def trouble(self) -> str | None:
        return None

    async def stat(self) -> Stat:
        return Stat.directory((await self._kitchen())[0].status)

    async def _kitchen(self) -> tuple[Kitchen, Recipe]:
        kitchen = await self.kitchen()
        if kitchen is None or kitchen.recipe is None:
            raise MissingError(f"{os.fsdecode(b'/'.join(self.path))}: nothing to correct any more")
        return kitchen, kitchen.recipe

    async def children(self) -> Mapping[bytes, Node]:
        kitchen, recipe = await self._kitchen()
        told = to_json(provenance(recipe, metadata.version("esrffs")))
        nodes: dict[bytes, Node] = {}
        for name, item in _named(recipe).items():
            path = (*self.path, name)
            if isinstance(item, Output):
                nodes[name] = CorrectedFile(path, self.shared, kitchen, item)
            else:
                content = _saved(item.values)
                nodes[name] = MadeFile(path, kitchen.digest, kitchen.status, content)
        path = (*self.path, b"attrs.json")
        nodes[path[-1]] = MadeFile(path, kitchen.digest, kitchen.status, told)
        return nodes

    async def child(self, name: bytes) -> Node:
        try:
            return (await self.children())[name]
        except KeyError:
            raise MissingError(f"no {name!r} in {os.fsdecode(b'/'.join(self.path))}") from None


def _named(recipe: Recipe) -> Mapping[bytes, Output | Extra]:
    items: list[Output | Extra] = [*recipe.outputs, *recipe.extras]
    wanted = ((names.escape(item.name), b".npy") for item in items)
    return dict(zip(names.distinct(wanted), items, strict=True))


def _saved(values: np.ndarray[Any, Any]) -> bytes:
    return npy.header(values.shape, values.dtype) + values.tobytes()


def free_name(taken: Iterable[bytes]) -> bytes:
    """What `corrected` is called where something else has that name."""
    return names.distinct([(NAME, b"")], taken)[0]
