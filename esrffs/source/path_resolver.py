"""Follows a path to an object of a data file, through soft and external links.

The only code of the daemon that does so.  Every other file on the way is watched: a result holds as
long as these files are in the same generation.  At most 16 links are followed, as in HDF5.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from esrffs.errors import AccessDeniedError, EsrffsError, LinkLoopError, NotFoundError
from esrffs.model import DatasetInfo, Generation, GroupInfo, LinkInfo, Member
from esrffs.source.array_location import ArrayLocation
from esrffs.source.context import DataContext
from esrffs.source.data_file import DataFile
from esrffs.source.listings import DataFileRef, group_index

HOPS = 16  # links that lead to links: HDF5's own limit


class PathResolver:
    """Follows paths in data files, and remembers the other files that it came to."""

    def __init__(self, context: DataContext) -> None:
        self._context = context
        self._watched: dict[str, Generation | None] = {}

    @property
    def watched(self) -> Mapping[str, Generation | None]:
        """A copy: the generation of every other file on the way, None of one that is missing."""
        return dict(self._watched)

    async def track(self, *paths: str) -> None:
        folders = self._context.files.folders
        await folders.executor.check_paths(paths)
        for path in paths:
            self._watched[path] = await folders.executor.run(partial(folders.generation, path))

    async def locate_dataset(self, source: DataFile, path: str) -> ArrayLocation:
        """The dataset at this path; NotFoundError, AccessDeniedError, LinkLoopError."""
        source, info = await self.resolve(source, "", _steps(path))
        if not isinstance(info, DatasetInfo):
            raise NotFoundError(f"{source.path}: {path} is no dataset")
        await self.track(*info.dependencies)
        return ArrayLocation(
            source,
            info,
            state=await self._context.files.dependency_version(info.dependencies),
        )

    async def members(self, source: DataFile, path: str) -> Mapping[str, Member]:
        """The members of the group at this path by their names in the file; NotFoundError."""
        source, group = await self.resolve(source, "", _steps(path))
        if not isinstance(group, GroupInfo):
            raise NotFoundError(f"{source.path}: {path} is no group")
        return (await group_index(self._context, source, group.address)).by_name

    async def resolve(
        self, source: DataFile, address: str, steps: Sequence[str], hops: int = HOPS
    ) -> tuple[DataFile, Member]:
        """The object at these steps from the group at `address`, and its file.

        NotFoundError, AccessDeniedError; LinkLoopError after `hops` links.
        """
        found: Member = GroupInfo("", address)
        for step in steps:
            if not isinstance(found, GroupInfo):
                raise NotFoundError(f"{source.path}: no {step!r} in {found.name}")
            member = await self._member(source, found.address, step)
            if isinstance(member, LinkInfo):
                source, member = await self.resolve_link(source, found.address, member, hops - 1)
            found = member
        return source, found

    async def hard_path(
        self, source: DataFile, address: str, steps: Sequence[str]
    ) -> list[tuple[str, Member]]:
        """The members at these steps from a group, each with the address of its group.

        It ends where a member is no group (a link is not followed), or cannot be found.
        """
        found: list[tuple[str, Member]] = []
        for step in steps:
            try:
                member = await self._member(source, address, step)
            except EsrffsError:
                break
            found.append((address, member))
            if not isinstance(member, GroupInfo):
                break
            address = member.address
        return found

    async def _member(self, source: DataFile, group: str, name: str) -> Member:
        member = (await group_index(self._context, source, group)).by_name.get(name)
        if member is None:
            raise NotFoundError(f"{source.path}: no {name!r} in {group or '/'}")
        return member

    async def resolve_link(
        self, source: DataFile, group: str, link: LinkInfo, hops: int = HOPS
    ) -> tuple[DataFile, Member]:
        """The object to which a link in the group at the address `group` leads, and its file."""
        if hops < 0:
            raise LinkLoopError(f"{source.path}: {link.name}: too many links on the way")
        if link.forbidden:
            why = self._context.files.folders.refusal(link)
            raise AccessDeniedError(f"{source.path}: {link.name}: {why}")
        if link.file is not None:
            await self.track(link.file)
            other = await DataFileRef(self._context, link.file, "hdf5").source()
            return await self.resolve(other, "", _steps(link.path), hops)
        start = "" if link.path.startswith("/") else group
        return await self.resolve(source, start, _steps(link.path), hops)


def _steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step not in ("", ".")]
