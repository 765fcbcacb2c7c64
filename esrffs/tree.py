"""What the user sees of the source: folders, passed files, data files, series.

Decided here: what a folder of the source shows.  What is inside a data file is decided in
`esrffs.groups`.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from esrffs import names
from esrffs.errors import MissingError, UsageError
from esrffs.files import PassedFile, Shared
from esrffs.folders import Entry, Folders
from esrffs.groups import DataFile, GroupNode
from esrffs.nodes import Node, Path, Stat, Symlink
from esrffs.series import series


async def root(shared: Shared) -> "FolderNode | GroupNode":
    """The folder, or the data file, that is the source of a mount.

    MissingError, ForbiddenError; UsageError for a file that is no data file.
    """
    folders = shared.sources.folders
    if folders.single is None:
        return FolderNode(shared, (), "")
    entry = await folders.entry("", folders.single)
    if entry.format is None:
        raise UsageError(f"{folders.absolute(entry.path)}: is neither a folder nor a data file")
    return GroupNode(DataFile(shared, entry.path, entry.format), (), ())


@dataclass(frozen=True, slots=True)
class FolderNode:
    """A folder of the source.  `above` are the folders on the way, to notice circles."""

    shared: Shared
    path: Path
    folder: str
    above: tuple[tuple[int, int], ...] = ()

    @property
    def key(self) -> bytes:
        return b"directory"

    @property
    def _folders(self) -> Folders:
        return self.shared.sources.folders

    def trouble(self) -> str | None:
        return None

    async def stat(self) -> Stat:
        return Stat.same(await self._folders.status(self.folder))

    async def children(self) -> Mapping[bytes, Node]:
        above = await self._below()
        found = await self._folders.scan(self.folder)
        nodes = {os.fsencode(entry.name): self._node(entry, above) for entry in found}
        rasters = (entry.name for entry in found if entry.format == "raster")
        for name, members in series(rasters).items():
            if os.fsencode(name) not in nodes and await self._folders.one_frame(
                os.path.join(self.folder, members[0])
            ):
                nodes[os.fsencode(name)] = self._series(name, members)
        return nodes

    async def child(self, name: bytes) -> Node:
        try:
            entry = await self._folders.entry(self.folder, os.fsdecode(name))
        except MissingError:
            if b"#" not in name:  # only a series has a name that no file has
                raise
        else:
            return self._node(entry, await self._below())
        try:
            return (await self.children())[name]
        except KeyError:
            raise MissingError(f"{self.folder or '.'}: no {name!r} in it") from None

    async def _below(self) -> tuple[tuple[int, int], ...]:
        status = await self._folders.status(self.folder)
        return (*self.above, (status.st_dev, status.st_ino))

    def _node(self, entry: Entry, above: tuple[tuple[int, int], ...]) -> Node:
        path = (*self.path, os.fsencode(entry.name))
        if entry.link is not None:
            return Symlink(path, entry.status, os.fsencode(entry.link))
        if entry.format is not None:
            return GroupNode(DataFile(self.shared, entry.path, entry.format), path, path)
        if not stat.S_ISDIR(entry.status.st_mode):
            return PassedFile(path, self._folders, entry.path, entry.status)
        identity = entry.status.st_dev, entry.status.st_ino
        if identity in above:  # a link to a folder outside came round to where it started
            back = self.path[: above.index(identity)]
            return Symlink(path, entry.status, names.relative(back, self.path))
        return FolderNode(self.shared, path, entry.path, above)

    def _series(self, name: str, members: tuple[str, ...]) -> Node:
        path = (*self.path, os.fsencode(name))
        files = tuple(os.path.join(self.folder, member) for member in members)
        file = DataFile(self.shared, os.path.join(self.folder, name), "raster", files)
        return GroupNode(file, path, path)
