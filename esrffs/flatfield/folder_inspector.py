"""Folders answer the queries of conventions, from their own files and those of other folders.

The other folders are of the same source, are watched, and are looked into only where everybody who
may list this one may list them.  Does not: decide which questions are asked.
"""

import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from esrffs.errors import AccessDeniedError, NotFoundError, at_path
from esrffs.flatfield.conventions.queries import (
    READ_LIMIT,
    DescribeArray,
    ListMembers,
    MemberSummary,
    OwnName,
    Query,
    ReadTextFile,
    ReadValues,
)
from esrffs.flatfield.dependencies import Dependencies
from esrffs.flatfield.inspectors import describe_array, entry_of, or_none, values_of
from esrffs.formats.file_series import parse_numbered_name
from esrffs.linux.permissions import may_list, may_reference
from esrffs.model import DatasetInfo, Generation
from esrffs.source.array_location import ArrayLocation
from esrffs.source.context import DataContext
from esrffs.source.listings import DataFileRef
from esrffs.source.path_resolver import HOPS, PathResolver

_IMAGE = "scan_0/instrument/detector_0/data"  # where silx, and so the reader of images, puts it


@dataclass(frozen=True, slots=True)
class Contents:
    """A folder: its data files and series (None: other files), and what may be a folder in it.

    `generations` are those of the data files, by their path in the source.
    """

    files: Mapping[str, DataFileRef | None]
    folders: frozenset[str] = frozenset()
    generations: Mapping[str, Generation] = field(default_factory=dict)


Look = Callable[[str], Awaitable[Contents]]


@dataclass(frozen=True, slots=True)
class FolderListing:
    """A folder of the source as it was listed.

    `path` is relative to the source.  `look` lists another folder of the source.  `version` tells
    these files, in these generations, from others.
    """

    path: str
    contents: Contents
    look: Look
    version: bytes


class FolderInspector:
    """Answers from the files of a folder, and of others of the source, which are watched."""

    def __init__(self, context: DataContext, listing: FolderListing) -> None:
        self._folders = context.files.folders
        self._folder = listing.path
        self._look = listing.look
        self._resolver = PathResolver(context)
        self._located: dict[str, ArrayLocation] = {}
        self._texts: dict[str, Generation | None] = {}
        self._files: dict[str, DataFileRef | None] = {}  # by path from this folder
        self._members: dict[str, tuple[str, int]] = {}  # the series of a file, and where in it
        self._listed: dict[
            str, Mapping[str, MemberSummary]
        ] = {}  # by path of a folder from this one
        self._others: dict[str, Generation | None] = {}  # folders
        self._files_of_others: dict[str, Generation] = {}
        self._add("", listing.contents)

    def _add(self, place: str, contents: Contents) -> None:
        folders = {name: MemberSummary("folder") for name in contents.folders}
        files = {name: _listed(file) for name, file in contents.files.items()}
        self._listed[place] = {**files, **folders}
        for name, file in contents.files.items():
            self._files[os.path.join(place, name)] = file
            for index, member in enumerate(file.members if file is not None else ()):
                path = os.path.join(place, os.path.basename(member))
                self._members[path] = os.path.join(place, name), index

    @property
    def file(self) -> None:
        return None

    def dependencies(self) -> Dependencies:
        return Dependencies(
            self._folders.generation,
            links=self._resolver.watched,
            folders=dict(self._others),
            files=dict(self._files_of_others),
            texts=dict(self._texts),
        )

    async def answer(self, question: Query) -> object:
        return await or_none(self._answer(question))

    async def _answer(self, question: Query) -> object:
        match question:
            case ListMembers(path):
                return await self._members_at(path)
            case DescribeArray(path):
                file = self._files.get(path)
                kind = _listed(file) if file is not None else None
                return await describe_array(await self._at(path), kind)
            case ReadValues(path):
                await self._open_to_all(path.partition("::")[0])
                return await values_of(await self._at(path))
            case ReadTextFile(name):
                path = os.path.join(self._folder, name)
                run = self._folders.executor.run_in_thread
                self._texts[path] = await run(partial(self._folders.generation, path))
                return await run(partial(self._content, path))
            case OwnName():
                return os.path.basename(self._folders.absolute(self._folder))
        return None

    async def _members_at(self, path: str) -> Mapping[str, MemberSummary]:
        """Of a folder, or of the group `file::path` of an HDF5 file."""
        name, colons, inner = path.partition("::")
        if not colons:
            return await self._contents(path)
        source = await (await self._open_to_all(name)).source()
        if source.subject.format != "hdf5":
            raise NotFoundError(f"{source.path}: is no HDF5 file")
        members = await self._resolver.members(source, inner)
        return {name: e for name, one in members.items() if (e := entry_of(one))}

    async def _contents(self, place: str) -> Mapping[str, MemberSummary]:
        """What is in the folder at this path, which may lead up and down within the source."""
        if place not in self._listed:
            folder = await self._reached(_within(self._folder, place))
            contents = await self._look(folder)
            self._files_of_others.update(contents.generations)
            self._add(place, contents)
        return self._listed[place]

    async def _reached(self, path: str, hops: int = HOPS) -> str:
        """The folder at this path of the source, its links followed; each on the way is watched."""
        found = ""
        for name in filter(None, path.split("/")):
            entry = await self._folders.entry(found, name)
            found = entry.path
            if entry.link is not None:
                where = partial(self._folders.path_inside, self._folders.absolute(found))
                inside = await self._folders.executor.run_in_thread(where)
                if inside is None or not hops:
                    raise NotFoundError(f"{found}: leads out of the source, or nowhere")
                found = await self._reached(inside, hops - 1)
            elif not stat.S_ISDIR(entry.status.st_mode):
                raise NotFoundError(f"{found}: is no folder")
            else:
                self._others[found] = self._folders.generation(found)
        await self._folders.executor.run_in_thread(partial(self._permit, found))
        return found

    def _permit(self, folder: str) -> None:
        """In a shared mount: AccessDeniedError unless all who may list this one may list that."""
        folders = self._folders
        if not folders.confined:
            return
        here, there = folders.absolute(self._folder), folders.absolute(folder)
        try:
            allowed = may_reference(here, there, folders.root) and may_list(here, there)
        except OSError as error:
            raise at_path(folder, error) from error
        if not allowed:
            raise AccessDeniedError(f"{folder}: is more private than {self._folder or '.'}")

    async def locate(self, path: str) -> ArrayLocation:
        """The array of a file, which may be one frame of a series that was described."""
        series, index = self._members.get(path, ("", 0))
        if path not in self._located and series in self._located:
            whole = self._located[series]
            return ArrayLocation(whole.source, whole.info, index)
        return await self._at(path)

    async def _at(self, path: str) -> ArrayLocation:
        located = self._located.get(path)
        if located is None:
            located = self._located[path] = await self._found(path)
        return located

    async def _file(self, name: str) -> DataFileRef:
        if "/" in name:
            await self._contents(os.path.dirname(name))
        file = self._files.get(name)
        if file is None:
            raise NotFoundError(f"{os.path.join(self._folder, name)}: is no data file")
        return file

    async def _open_to_all(self, name: str) -> DataFileRef:
        """A file of which names and values may show in errors, and in `attrs.json`."""
        file, folders = await self._file(name), self._folders
        if folders.confined:
            check = partial(self._check, file.path, folders.absolute(file.path))
            await folders.executor.run_in_thread(check)
        return file

    async def _found(self, path: str) -> ArrayLocation:
        name, _, inner = path.partition("::")
        file = await self._file(name)
        source = await file.source()
        if file.format == "hdf5":
            return await self._resolver.locate_dataset(source, inner)
        info = await source.find(inner or _IMAGE)
        if not isinstance(info, DatasetInfo):
            raise NotFoundError(f"{file.path}: {inner} is no dataset")
        return ArrayLocation(source, info)

    def _content(self, path: str) -> bytes | None:
        descriptor = self._folders.open(path)
        try:
            if self._folders.confined:
                self._check(path, f"/proc/self/fd/{descriptor}")
            content = os.pread(descriptor, READ_LIMIT + 1, 0)
        finally:
            os.close(descriptor)
        return content if len(content) <= READ_LIMIT else None

    def _check(self, path: str, place: str) -> None:
        """In a shared mount: AccessDeniedError unless all who may list this folder may read it.

        The content of the file shows in error texts.
        """
        folders = self._folders
        try:
            allowed = may_reference(folders.absolute(self._folder), place, folders.root)
        except OSError as error:
            raise at_path(path, error) from error
        if not allowed:
            raise AccessDeniedError(f"{path}: is more private than its folder")


def _within(folder: str, place: str) -> str:
    """The path in the source of what is at `place` from a folder."""
    path = os.path.normpath(os.path.join(folder, place))
    if os.path.isabs(place) or path.split("/")[0] == "..":
        raise AccessDeniedError(f"{place}: leads out of the source")
    return "" if path == "." else path


def _listed(file: DataFileRef | None) -> MemberSummary:
    if file is None:
        return MemberSummary("other")
    if file.members:
        parts = (parse_numbered_name(os.path.basename(member)) for member in file.members)
        return MemberSummary("series", numbers=tuple(int(part.digits) for part in parts if part))
    return MemberSummary("image" if file.format == "image" else "data")
