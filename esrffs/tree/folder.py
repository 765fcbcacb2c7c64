"""What the user sees of the source: folders, passed files, data files, series.

Decided here: what a folder of the source shows.  What is inside a data file is decided in
`tree/group`.
"""

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from esrffs.encoders import file_names
from esrffs.errors import LinkLoopError, NotFoundError, UsageError
from esrffs.flatfield.folder_inspector import Contents, FolderListing
from esrffs.flatfield.resolved_plan import ResolvedPlan
from esrffs.flatfield.service import Outcome, folder_may_match
from esrffs.formats.file_series import group_series
from esrffs.model import Generation
from esrffs.source.listings import DataFileRef
from esrffs.source.path_resolver import HOPS
from esrffs.source.root import FolderEntry, SourceRoot
from esrffs.tree import corrected
from esrffs.tree.context import MountContext
from esrffs.tree.files import PassthroughFile
from esrffs.tree.group import GroupDirectory
from esrffs.tree.nodes import Allow, Node, Path, Stat, Symlink
from esrffs.tree.views import ViewFinder


async def make_root(mount: MountContext) -> "FolderDirectory | GroupDirectory":
    """The folder, or the data file, that is the source of a mount.

    NotFoundError, AccessDeniedError; UsageError for a file that is no data file.
    """
    folders = mount.data.files.folders
    if folders.single_file is None:
        return FolderDirectory(mount, (), "")
    entry = await folders.entry("", folders.single_file)
    if entry.format is None:
        raise UsageError(
            f"{folders.absolute(entry.path)}: is neither a folder nor a data file; mount its folder"
        )
    return GroupDirectory(mount, DataFileRef(mount.data, entry.path, entry.format), (), ())


@dataclass(frozen=True, slots=True)
class FolderDirectory:
    """A folder of the source.  `above` are the folders on the way, to notice circles."""

    mount: MountContext
    path: Path
    folder: str
    above: tuple[tuple[int, int], ...] = ()

    @property
    def key(self) -> bytes:
        return b"directory"

    @property
    def _folders(self) -> SourceRoot:
        return self.mount.data.files.folders

    def error_text(self) -> str | None:
        return self.mount.corrections.rejection(self.folder)

    async def diagnose(self) -> None:
        """Find out why there is no `corrected/` here."""
        found = await self._folders.scan(self.folder)
        await self._correction(found, self._series(found))

    async def stat(self) -> Stat:
        return Stat.read_only(await self._folders.status(self.folder))

    async def check(self) -> None:
        await self.stat()

    async def children(self) -> Mapping[bytes, Node]:
        nodes, found = await self._listed()
        if found is not None:
            nodes[found[0].path[-1]] = found[0]
        return nodes

    async def _listed(
        self,
    ) -> tuple[dict[bytes, Node], tuple[corrected.CorrectedDirectory, ...] | None]:
        """What the folder holds, series included; and `corrected/` and `absorption/`, if any."""
        above = await self._below()
        found = await self._folders.scan(self.folder)
        runs = self._series(found)
        nodes = {os.fsencode(entry.name): self._node(entry, above) for entry in found}
        for name, file in runs.items():
            path = (*self.path, os.fsencode(name))
            nodes.setdefault(path[-1], GroupDirectory(self.mount, file, path, path))
        if isinstance(await self._correction(found, runs), ResolvedPlan):
            return nodes, self._corrected(nodes)
        return nodes, None

    async def child(self, name: bytes) -> Node:
        return await self._views().lookup(name)

    async def child_if_allowed(self, name: bytes, allow: Allow) -> Node:
        return await self._views().lookup(name, allow)

    def _views(self) -> ViewFinder:
        cache = self.mount.data.cache
        return ViewFinder(
            self.path, self._entry, self._followed, self._names, cache, self.mount.views
        )

    async def _names(self) -> Iterable[bytes]:
        return [os.fsencode(entry.name) for entry in await self._folders.scan(self.folder)]

    async def _followed(self, name: bytes) -> Node:
        """What the symlink of this name leads to, through the folders of the source."""
        node = await self._entry(name)
        for _ in range(HOPS):
            if not isinstance(node, Symlink):
                return node
            steps = file_names.follow_link(node.path[:-1], node.target)
            node = FolderDirectory(self.mount, (), "")
            for step in steps:
                if not isinstance(node, FolderDirectory):
                    raise NotFoundError(f"{self.folder or '.'}: {name!r} leads nowhere")
                node = await node._entry(step)
        raise LinkLoopError(f"{self.folder or '.'}: {name!r}: too many links on the way")

    async def _entry(self, name: bytes) -> Node:
        """A real one: no view."""
        try:
            entry = await self._folders.entry(self.folder, os.fsdecode(name))
        except NotFoundError:
            if b"#" not in name and not name.startswith(corrected.NAMES):
                raise  # only series, `corrected` and `absorption` have names that no file has
        else:
            return self._node(entry, await self._below())
        nodes, found = await self._listed()
        nodes |= {node.path[-1]: node for node in found or ()}
        if name not in nodes:
            raise NotFoundError(f"{self.folder or '.'}: no {name!r} in it")
        return nodes[name]

    def _series(self, found: Sequence[FolderEntry]) -> Mapping[str, DataFileRef]:
        """The series among these files."""
        runs = {}
        images = {entry.name: entry for entry in found if entry.format == "image"}
        for name, members in group_series(images).items():
            files = tuple(os.path.join(self.folder, member) for member in members)
            if images[members[0]].single_frame:
                path = os.path.join(self.folder, name)
                runs[name] = DataFileRef(self.mount.data, path, "image", files)
        return runs

    async def _correction(
        self, found: Sequence[FolderEntry], runs: Mapping[str, DataFileRef]
    ) -> Outcome:
        """What `corrected/` holds, of a folder with these files and series."""
        if not folder_may_match(entry.name for entry in found):
            self.mount.corrections.forget_rejection(self.folder)
            return None
        state = repr([(entry.name, Generation.of(entry.status)) for entry in found]).encode()
        version = blake2b(state, digest_size=16).digest()
        contents = self._contents(found, runs)
        listing = FolderListing(self.folder, contents, self._look, version)
        return await self.mount.corrections.for_folder(listing)

    def _contents(self, found: Sequence[FolderEntry], runs: Mapping[str, DataFileRef]) -> Contents:
        """What `corrected/` may be made of."""
        files = {e.name: self._file(e) for e in found if stat.S_ISREG(e.status.st_mode)}
        folders = [e.name for e in found if e.link is not None or stat.S_ISDIR(e.status.st_mode)]
        known = {e.path: Generation.of(e.status) for e in found if files.get(e.name) is not None}
        return Contents({**runs, **files}, frozenset(folders), known)

    async def _look(self, folder: str) -> Contents:
        """Into another folder of the source."""
        other = FolderDirectory(self.mount, (), folder)
        found = await self._folders.scan(folder)
        return other._contents(found, other._series(found))

    def _file(self, entry: FolderEntry) -> DataFileRef | None:
        if entry.format is None:
            return None
        return DataFileRef(self.mount.data, entry.path, entry.format)

    def _corrected(self, taken: Iterable[bytes]) -> tuple[corrected.CorrectedDirectory, ...]:
        async def listed() -> Outcome:
            found = await self._folders.scan(self.folder)
            return await self._correction(found, self._series(found))

        async def find(name: bytes | None) -> Outcome:
            if name is None:
                return await listed()
            return await self.mount.corrections.for_file_in_folder(self.folder, name, listed)

        views = self.mount.views
        return corrected.directories(self.path, taken, self.mount.data, find, views)

    async def _below(self) -> tuple[tuple[int, int], ...]:
        status = await self._folders.status(self.folder)
        return (*self.above, (status.st_dev, status.st_ino))

    def _node(self, entry: FolderEntry, above: tuple[tuple[int, int], ...]) -> Node:
        path = (*self.path, os.fsencode(entry.name))
        if entry.link is not None:
            return Symlink(path, entry.status, os.fsencode(entry.link))
        if entry.format is not None:
            return GroupDirectory(
                self.mount, DataFileRef(self.mount.data, entry.path, entry.format), path, path
            )
        if not stat.S_ISDIR(entry.status.st_mode):
            return PassthroughFile(path, self._folders, entry.path, entry.status, self.mount.data)
        identity = entry.status.st_dev, entry.status.st_ino
        if identity in above:  # a link to a folder outside came round to where it started
            back = self.path[: above.index(identity)]
            return Symlink(path, entry.status, file_names.relative_link(back, self.path))
        return FolderDirectory(self.mount, path, entry.path, above)
