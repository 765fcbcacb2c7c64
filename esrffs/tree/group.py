"""What the user sees inside a data file: groups as directories, and what is in them.

Each member of a group becomes a node here, and a link becomes a symlink, or what it leads to.
Does not: name the entries (`tree/entries`), follow paths (`source/path_resolver`), or put together
the bytes of files (`tree/files`).
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import trio

from esrffs.encoders import file_names, xattrs
from esrffs.encoders.view_names import GROUP_FORMATS
from esrffs.encoders.xattrs import Xattrs
from esrffs.errors import AccessDeniedError, DamagedError, EsrffsError, NotFoundError
from esrffs.flatfield.resolved_plan import ResolvedPlan
from esrffs.flatfield.service import Outcome
from esrffs.model import (
    BrokenInfo,
    DatasetInfo,
    GroupInfo,
    JsonInfo,
    LinkInfo,
    Member,
    MemberKind,
)
from esrffs.source.data_file import DataFile
from esrffs.source.listings import DataFileRef, is_known
from esrffs.source.path_resolver import PathResolver
from esrffs.source.retry import retry_while_changing
from esrffs.tree import corrected
from esrffs.tree.context import MountContext
from esrffs.tree.entries import (
    AttributesEntry,
    DirectoryEntries,
    default_names,
    directory_entries,
)
from esrffs.tree.files import JsonFile, NpyFile, attribute_xattrs, inner_path
from esrffs.tree.hdf5_contents import FileContents
from esrffs.tree.nodes import BrokenFile, Node, Path, Stat, Symlink
from esrffs.tree.view_files import ArrayFile
from esrffs.tree.views import ViewFinder, has_view

NODES_PER_CHECKPOINT = 500  # entries that are made without a look at other requests


@dataclass(frozen=True, slots=True)
class GroupDirectory:
    """A data file (then `path` is `root`), or a group in it.

    `root` is where the group at `top_address` of the file is seen: the root of the file, or in a
    file that is seen only through an external link, the target of that.  `ancestors` are the groups
    on the way, by identity, to notice hard links that go in circles.
    """

    mount: MountContext
    file: DataFileRef
    path: Path
    root: Path
    address: str = ""
    top_address: str = ""
    ancestors: Mapping[tuple[bytes, int], Path] = field(default_factory=dict)

    @property
    def key(self) -> bytes:
        return b"directory"

    def error_text(self) -> str | None:
        source = self.file.context.files.last_seen(self.file.path)
        if source is None:
            return None
        if self.path != self.root:
            return source.error_text(self.address)
        return source.error_text_within("")

    async def stat(self) -> Stat:
        return Stat.directory((await self.file.recent()).status)

    async def listed_xattrs(self) -> xattrs.Xattrs:
        """As of a file that nobody has looked into: `ls -l` of its folder asks, and opens none."""
        source = await self.file.source()
        if self.path == self.root and not is_known(self.file.context, source, self.address):
            return xattrs.origin(self.address, source.path)
        return await self._told(known=True)

    async def xattrs(self) -> xattrs.Xattrs:
        return await self._told(known=False)

    async def _told(self, *, known: bool) -> Xattrs:
        """The extended attributes; those of HDF5 objects are among them, of other formats none.

        `known`: the group is not listed to tell which views it has, so that no file is opened.
        """
        source = await self.file.source()
        if source.subject.format != "hdf5":
            place = xattrs.origin(inner_path(self.path[len(self.root) :]), source.path)
            return {**place, **await self._view_formats(source, known=known)}
        told = await attribute_xattrs(self.file.context, source, self.address)
        formats = await self._view_formats(source, known=known)
        return {**xattrs.origin(self.address, source.path), **formats, **told}

    async def _view_formats(self, source: DataFile, *, known: bool) -> Xattrs:
        if known and not is_known(self.file.context, source, self.address):
            return {}
        try:
            names = [name for name in GROUP_FORMATS if await has_view(self, name)]
        except EsrffsError:
            return {}  # the error is an extended attribute, too
        return xattrs.view_formats(names)

    async def check(self) -> None:
        await self.file.source()  # a `stat` may be some milliseconds old

    async def children(self) -> Mapping[bytes, Node]:
        source, listed = await self._entries()
        above = self._ancestors_of_children(source, listed)
        nodes: dict[bytes, Node] = {}
        for name, entry in listed.entries.items():
            nodes[name] = await self._node(source, above, name, entry)
            if len(nodes) % NODES_PER_CHECKPOINT == 0:
                await trio.lowlevel.checkpoint()  # others are served meanwhile
        found = await self.mount.corrections.for_group(source, self.address)
        if isinstance(found, ResolvedPlan):
            node, _ = self._corrected(listed)
            nodes[node.path[-1]] = node
        return nodes | await self._views().listed(nodes)

    def _corrected(
        self, listed: DirectoryEntries
    ) -> tuple[corrected.CorrectedDirectory, corrected.CorrectedDirectory]:
        async def find(_name: bytes | None) -> Outcome:
            return await self.mount.corrections.for_group(await self.file.source(), self.address)

        context, views = self.file.context, self.mount.views
        return corrected.directories(self.path, listed.entries, context, find, views)

    async def diagnose(self) -> None:
        """Find out why there is no `corrected/` here."""
        await self.mount.corrections.for_group(await self.file.source(), self.address)

    def _views(self) -> ViewFinder:
        async def names() -> Iterable[bytes]:
            return (await self._entries())[1].entries

        cache, options = self.file.context.cache, self.mount.views
        own = None if self.path else self.file.context.files.folders.single_file
        mounted_file = None if own is None else (os.fsencode(own), self)
        return ViewFinder(
            self.path, self._entry, self._followed, names, cache, options, mounted_file
        )

    def record_error(self, text: str) -> None:
        source = self.file.context.files.last_seen(self.file.path)
        if source is not None:
            source.record_error(self.address, text)

    async def arrays(self) -> list[ArrayFile]:
        """Those of one axis that could be columns, in file order; links to such are among them."""
        source, listed = await self._entries()
        found: list[ArrayFile] = []
        for name, entry in listed.entries.items():
            if isinstance(entry, DatasetInfo) and len(entry.shape) == 1:
                node = await self._node(source, self.ancestors, name, entry)
            elif isinstance(entry, LinkInfo) and entry.kind == "dataset" and not entry.forbidden:
                try:
                    node = await self._linked(source, (*self.path, name), entry)
                except EsrffsError:
                    continue  # it tells of itself why
            else:
                continue
            if isinstance(node, NpyFile) and len(node.info.shape) == 1:
                if isinstance(entry, LinkInfo):  # as this group calls it
                    node = replace(node, info=replace(node.info, name=entry.name, label=""))
                found.append(node)
        return found

    async def contents(self) -> FileContents:
        return FileContents(self.file.context, await self.file.source(), self.address)

    async def _followed(self, name: bytes) -> Node:
        """Where the symlink of this name leads."""
        source, listed = await self._entries()
        entry, path = listed.entries[name], (*self.path, name)
        if isinstance(entry, LinkInfo):
            return await self._linked(source, path, entry)
        if isinstance(entry, GroupInfo):  # a circle: the group itself
            return replace(self, address=entry.address)
        raise NotFoundError(f"{self.file.path}: {name!r} leads nowhere")

    async def _linked(self, source: DataFile, path: Path, link: LinkInfo) -> Node:
        """What a link leads to, as if it were here."""
        resolver = PathResolver(self.file.context)
        other, member = await resolver.resolve_link(source, self.address, link)
        if not isinstance(member, GroupInfo | DatasetInfo | JsonInfo):
            raise NotFoundError(f"{self.file.path}: {link.name!r} leads nowhere")
        file = self.file
        if other.version != source.version:
            file = DataFileRef(self.file.context, other.path, "hdf5")
        return await self._object(file, other, {}, path, member)

    async def child(self, name: bytes) -> Node:
        return await self._views().lookup(name)

    async def _entry(self, name: bytes) -> Node:
        """A real one: no view."""
        source, listed = await self._entries()
        entry = listed.entries.get(name)
        if entry is None:
            for node in self._corrected(listed):
                if name == node.path[-1] and await node.exists():
                    return node
            raise NotFoundError(f"{self.file.path}: no {name!r} in {self.address or '/'}")
        return await self._node(source, self._ancestors_of_children(source, listed), name, entry)

    async def _entries(self) -> tuple[DataFile, DirectoryEntries]:
        """What is in the group, as the file is now."""

        async def attempt() -> tuple[DataFile, DirectoryEntries]:
            source = await self.file.source()
            return source, await directory_entries(self.file.context, source, self.address)

        return await retry_while_changing(attempt)

    def _ancestors_of_children(
        self, source: DataFile, listed: DirectoryEntries
    ) -> Mapping[tuple[bytes, int], Path]:
        if listed.identity is None:
            return self.ancestors
        return {**self.ancestors, (source.version, listed.identity): self.path}

    async def _node(
        self,
        source: DataFile,
        above: Mapping[tuple[bytes, int], Path],
        name: bytes,
        entry: Member | AttributesEntry,
    ) -> Node:
        path = (*self.path, name)
        match entry:
            case LinkInfo():
                return await self._link(source, above, path, entry)
            case AttributesEntry(address, text):
                ask = source.attributes
                return JsonFile(path, source, address, text, ask, self.file.context.cache)
            case BrokenInfo():
                return BrokenFile(path, source, self._broken(source, entry))
        return await self._object(self.file, source, above, path, entry)

    def _broken(self, source: DataFile, entry: BrokenInfo) -> EsrffsError:
        """Told at the file as well, as what is found out when an object is read."""
        address = f"{self.address}/{entry.name}"
        reason = entry.reason
        if not reason.startswith(address):
            reason = f"{address}: {reason}"
        error = (AccessDeniedError if entry.forbidden else DamagedError)(f"{source.path}: {reason}")
        error.errno = entry.errno or error.errno
        source.record_error(address, str(error))
        return error

    async def _object(
        self,
        file: DataFileRef,
        source: DataFile,
        above: Mapping[tuple[bytes, int], Path],
        path: Path,
        found: GroupInfo | DatasetInfo | JsonInfo,
    ) -> Node:
        """A group, dataset or text of this file or, behind an external link, of another."""
        match found:
            case DatasetInfo():
                state = await file.context.files.dependency_version(found.dependencies)
                return NpyFile(path, source, found, file.context, state)
            case JsonInfo(_, address, content):
                return JsonFile(path, source, address, content, source.text, file.context.cache)
            case GroupInfo(_, address, identity):
                back = None if identity is None else above.get((source.version, identity))
                if back is not None:
                    return Symlink(path, source.status, file_names.relative_link(back, path[:-1]))
                if file == self.file:
                    return GroupDirectory(
                        self.mount, file, path, self.root, address, self.top_address, above
                    )
                return GroupDirectory(self.mount, file, path, path, address, address, above)

    async def _link(
        self,
        source: DataFile,
        above: Mapping[tuple[bytes, int], Path],
        path: Path,
        link: LinkInfo,
    ) -> Node:
        """A symlink; where it would lead out of the mount, what it leads to."""
        folders = self.file.context.files.folders
        if link.refusal is not None and link.file is not None and not link.path.strip("/."):
            # A file's own directory, for certain: the kernel asks whether somebody may enter it.
            inside = folders.path_as_named(link.file)
            if inside is not None:
                to = tuple(os.fsencode(inside).split(b"/"))
                return Symlink(path, source.status, file_names.relative_link(to, self.path))
        if link.forbidden:
            why = folders.refusal(link)
            entry = BrokenInfo(link.name, why, forbidden=True)
            return BrokenFile(path, source, self._broken(source, entry))
        target = await self._target(source, link)
        if isinstance(target, bytes):
            return Symlink(path, source.status, target)
        file = self.file if link.file is None else DataFileRef(self.file.context, link.file, "hdf5")
        other = await file.source()
        return await self._object(file, other, above, path, await other.find(link.path))

    async def _target(self, source: DataFile, link: LinkInfo) -> bytes | None:
        """The text of the symlink; None where the target is nowhere in the mount."""
        steps = [step for step in link.path.split("/") if step not in ("", ".")]
        folders = self.file.context.files.folders
        if link.file is not None:
            inside = await folders.find_inside(link.file)
            if inside is None:
                return None if link.kind else os.fsencode(os.path.join(link.file, *steps))
            base = () if folders.single_file else tuple(os.fsencode(inside).split(b"/"))
            return file_names.relative_link((*base, *default_names(steps, link.kind)), self.path)
        start, address = self.path, self.address
        if link.path.startswith("/"):
            start, address = self.root, self.top_address
            outer = [step for step in self.top_address.split("/") if step]
            if steps[: len(outer)] != outer:
                return None if link.kind else b"/".join(default_names(steps, None)) or b"."
            steps = steps[len(outer) :]
        names = await self._file_names(source, address, steps, link.kind)
        return file_names.relative_link((*start, *names), self.path)

    async def _file_names(
        self, source: DataFile, address: str, steps: Sequence[str], kind: MemberKind | None
    ) -> Path:
        """The file names of these steps from a group; what cannot be found has default names."""
        context = self.file.context
        path: list[bytes] = []
        for group, member in await PathResolver(context).hard_path(source, address, steps):
            path.append((await directory_entries(context, source, group)).file_names[member.name])
        return (*path, *default_names(steps[len(path) :], kind))
