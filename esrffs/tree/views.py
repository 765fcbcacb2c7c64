"""Finds the views of arrays and groups by their names, and lists those that are listed.

A view is found where no real entry of the directory has its name.  A symlink to an array or group
has views that are symlinks to the views of its target.
Does not: make views (`tree/view_files`, `tree/hdf5_view`).
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeGuard

import trio

from esrffs.cache import ByteCache
from esrffs.encoders import edf, file_names, tiff, view_names, views
from esrffs.errors import EsrffsError, NotFoundError, TooLargeError
from esrffs.tree.context import ViewOptions
from esrffs.tree.edf_headers import frame_headers
from esrffs.tree.hdf5_view import GroupContents, hdf5_view
from esrffs.tree.nodes import Allow, Node, Path, Symlink
from esrffs.tree.view_files import (
    ArrayFile,
    ImageView,
    listed_text_view,
    table_view,
    text_view,
)
from esrffs.tree.view_frames import FramesDirectory, frame_view

NODES_PER_CHECKPOINT = 500  # entries that are made without a look at other requests
_CUT_LENGTH = file_names.NAME_MAX - 3  # bytes of the shortest name that may have been cut

log = logging.getLogger(__name__)

Lookup = Callable[[bytes], Awaitable[Node]]  # real entries only; NotFoundError


class ArrayGroup(Node, Protocol):
    """A directory that may be a table."""

    async def arrays(self) -> Sequence[ArrayFile]:
        """Its arrays of one axis, in file order, links to arrays included."""

    async def contents(self) -> GroupContents:
        """What its HDF5 view is made of."""

    def record_error(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class ViewFinder:
    """Finds views in one directory: `real` looks up an entry, `follow` where one leads.

    `mounted_file` is the name of the source and its root group, at the top of a mount of one data
    file: the file is not an entry there, but has views beside its entries.
    """

    path: Path
    real: Lookup
    follow: Lookup
    names: Callable[[], Awaitable[Iterable[bytes]]]  # of all entries
    cache: ByteCache
    options: ViewOptions
    mounted_file: tuple[bytes, ArrayGroup] | None = None

    async def lookup(self, name: bytes, allow: Allow | None = None) -> Node:
        """The entry of this name, or else the view; NotFoundError as of the entry.

        `allow` is called with the status of a group before anything is read for a view of it.
        """
        try:
            return await self.real(name)
        except NotFoundError as error:
            try:
                return await self.find(name, allow)
            except NotFoundError:
                raise error from None

    async def find(self, name: bytes, allow: Allow | None = None) -> Node:
        """The view of this name; NotFoundError where there is none, TooLargeError."""
        path = (*self.path, name)
        view = await self._view_of_mounted_file(path, name)
        if view is not None:
            return view
        for entry, format_ in await self._candidates(name):
            try:
                node = await self.real(entry)
            except NotFoundError:
                continue
            if allow is not None and is_group(node) and format_ in view_names.GROUP_FORMATS:
                allow(await node.stat())
            found = await self._view(path, node, entry, format_)
            if found is not None:
                return found
        raise NotFoundError(f"no {name!r} in {b'/'.join(self.path).decode('utf-8', 'replace')}")

    async def _view_of_mounted_file(self, path: Path, name: bytes) -> Node | None:
        parts = view_names.split(name)
        if self.mounted_file is None or parts is None:
            return None
        own, group = self.mounted_file
        stem, format_ = parts
        if stem != own or format_ not in view_names.GROUP_FORMATS:
            return None
        return await group_view(path, group, format_, self.cache, self.options.limit)

    async def _candidates(self, name: bytes) -> Sequence[tuple[bytes, str]]:
        """The entries of which this may be a view: an array before a group."""
        parts = view_names.split(name)
        if parts is None:
            return ()
        stem, format_ = parts
        if len(name) >= _CUT_LENGTH:  # perhaps cut: look at all entries
            entries = [(one, view_names.stem(one)) for one in await self.names()]
            if format_ not in view_names.GROUP_FORMATS:
                entries = [(one, of) for one, of in entries if one != of]
            return [
                (one, format_) for one, of in entries if view_names.view_name(of, format_) == name
            ]
        groups = [(stem, format_)] if format_ in view_names.GROUP_FORMATS else []
        return [(stem + view_names.ARRAY_SUFFIX, format_), *groups]

    async def _view(self, path: Path, node: Node, entry: bytes, format_: str) -> Node | None:
        if isinstance(node, Symlink):
            try:
                leads_to = await self.follow(entry)
                if not await has_view(leads_to, format_):
                    return None
            except EsrffsError:  # dangling, or where nobody may look
                return None
            target = _view_target(node, entry, format_)
            return None if target is None else Symlink(path, node.status, target)
        if is_array(node):
            return await self.array_view(path, node, format_)
        if is_group(node) and format_ in view_names.GROUP_FORMATS:
            return await group_view(path, node, format_, self.cache, self.options.limit)
        return None

    async def array_view(self, path: Path, array: ArrayFile, format_: str) -> Node | None:
        """This view of an array, None where it has none; TooLargeError."""
        colour = await array.is_colour()
        described = array.description()
        if not views.has_format(described, format_, colour=colour):
            return None
        limit = self.options.limit
        match format_:
            case "txt":
                return await text_view(path, array, self.cache, limit)
            case "csv":
                return await table_view(path, (array,), self.cache, limit)
            case "tif":
                return ImageView(path, (array,), tiff.tiff_image(described, colour=colour))
            case "edf":
                frames = described.shape[0] if len(described.shape) == 3 else 1
                headers = () if colour else await frame_headers(array, frames)
                return ImageView(path, (array,), edf.edf_image(described, headers))
            case "png":
                return frame_view(path, array, format_, 0, colour, self.cache, limit)
            case _:
                headers = ()
                if format_ == "edfs":
                    frames = views.frame_count(described, colour=colour)
                    headers = await frame_headers(array, frames)
                return FramesDirectory(path, array, format_, colour, self.cache, limit, headers)

    async def listed(self, nodes: Mapping[bytes, Node]) -> dict[bytes, Node]:
        """The views of these entries that are listed; real entries keep their names."""
        found: dict[bytes, Node] = {}
        wanted = [name for name in view_names.FORMATS if name in self.options.listed]
        arrays = [(entry, node) for entry, node in nodes.items() if wanted and is_array(node)]
        for number, (entry, node) in enumerate(arrays, 1):
            for format_ in wanted:
                if format_ != "txt" and not views.is_counted(node.description(), format_):
                    continue
                name = view_names.view_name(view_names.stem(entry), format_)
                if name in nodes or name in found:
                    continue
                view = await self._listed_view((*self.path, name), node, format_)
                if view is not None:
                    found[name] = view
            if number % NODES_PER_CHECKPOINT == 0:
                await trio.lowlevel.checkpoint()  # others are served meanwhile
        return found

    async def _listed_view(self, path: Path, array: ArrayFile, format_: str) -> Node | None:
        if format_ == "txt":
            return listed_text_view(path, array, self.cache, self.options.limit)
        return await self.array_view(path, array, format_)


async def group_view(
    path: Path, group: ArrayGroup, format_: str, cache: ByteCache, limit: int
) -> Node | None:
    """This view of a group, None where it has none; TooLargeError."""
    if format_ == "h5":
        return await _hdf5_view(path, group, cache, limit)
    arrays = await group.arrays()
    chosen = views.columns([array.description() for array in arrays])
    if not chosen:
        return None
    left_out = [one.description().name for k, one in enumerate(arrays) if k not in set(chosen)]
    if left_out:
        log.debug("%s: columns of other lengths are left out: %s", path[-1], ", ".join(left_out))
    try:
        return await table_view(path, tuple(arrays[k] for k in chosen), cache, limit)
    except TooLargeError as error:
        group.record_error(str(error))
        raise


async def _hdf5_view(path: Path, group: ArrayGroup, cache: ByteCache, limit: int) -> Node:
    try:
        return await hdf5_view(path, await group.contents(), cache, limit)
    except TooLargeError as error:
        group.record_error(str(error))
        raise


async def has_view(node: Node, format_: str) -> bool:
    if is_array(node):
        return views.has_format(node.description(), format_, colour=await node.is_colour())
    if is_group(node) and format_ in view_names.GROUP_FORMATS:
        if format_ == "h5":
            return True
        return bool(views.columns([array.description() for array in await node.arrays()]))
    return False


def is_array(node: Node) -> TypeGuard[ArrayFile]:
    return hasattr(node, "open_array")


def is_group(node: Node) -> TypeGuard[ArrayGroup]:
    return hasattr(node, "arrays")


def _view_target(link: Symlink, entry: bytes, format_: str) -> bytes | None:
    """Where the view of the target is; None where the target has no name of its own."""
    here = link.path[:-1]
    target = file_names.follow_link(here, link.target)
    if not target or link.target.startswith(b"/"):
        return None
    of_array = entry.endswith(view_names.ARRAY_SUFFIX)
    stem = view_names.stem(target[-1]) if of_array else target[-1]
    return file_names.relative_link((*target[:-1], view_names.view_name(stem, format_)), here)
