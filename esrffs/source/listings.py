"""The listings of groups, asked of a reader once and remembered.

A program that goes through a file gets the listings of the next groups with the one that it wants:
most groups are small, and the way to a reader costs more than what the reader does.  While the
program looks at those, a reader lists the ones after them.

Does not: name the entries of a directory (`tree/entries`), or follow links (`path_resolver`).
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from esrffs.cache import CacheKey
from esrffs.errors import EsrffsError
from esrffs.model import Format, GroupInfo, GroupListing, Member
from esrffs.source.context import DataContext
from esrffs.source.data_file import DataFile
from esrffs.source.group_walks import Following

MEMBER_NBYTES_ESTIMATE = 600  # that a member of a listing takes in memory

MAX_AHEAD = 1000  # places in one file at which somebody may go on


@dataclass(frozen=True, slots=True)
class DataFileRef:
    """Where a data file is; `members` are the files of a series, all relative to the source."""

    context: DataContext
    path: str
    format: Format
    members: tuple[str, ...] = ()

    async def source(self) -> DataFile:
        """The file as it is now."""
        if self.members:
            return await self.context.files.series(self.path, self.members)
        return await self.context.files.current(self.path, self.format)

    async def recent(self) -> DataFile:
        """The file as it was at most some milliseconds ago: for the status of a directory."""
        known = None if self.members else self.context.files.checked_just_now(self.path)
        return known or await self.source()


@dataclass(frozen=True, slots=True)
class ListingKey(CacheKey["GroupIndex"]):
    """A group of a data file in one generation."""

    version: bytes
    address: str


@dataclass(frozen=True, slots=True)
class GroupIndex:
    """The listing of a group, with its members by their own names (of two, the first).

    `groups` are the addresses of its groups in their order, `positions` their numbers.
    """

    listing: GroupListing
    by_name: Mapping[str, Member]
    groups: tuple[str, ...]
    positions: Mapping[str, int]

    @classmethod
    def of(cls, listing: GroupListing) -> "GroupIndex":
        by_name = {member.name: member for member in reversed(listing.members)}
        groups = tuple(one.address for one in listing.members if isinstance(one, GroupInfo))
        return cls(listing, by_name, groups, {address: n for n, address in enumerate(groups)})

    def nbytes(self) -> int:
        return MEMBER_NBYTES_ESTIMATE * (1 + len(self.listing.members))


async def group_index(context: DataContext, source: DataFile, address: str) -> GroupIndex:
    """The listing of the group at this address; NotFoundError, DamagedError and the like."""
    following = _following(context, source, address)
    found = await _listed(context, source, address, following)
    ahead = source.ahead.pop(address, None)
    if ahead is not None:
        context.start_task(_list_ahead, context, source, *ahead)
    return found


def is_known(context: DataContext, source: DataFile, address: str) -> bool:
    """Whether the group at this address was listed, not long ago."""
    return ListingKey(source.version, address) in context.cache


def _following(context: DataContext, source: DataFile, address: str) -> Following:
    above = context.cache.lookup(ListingKey(source.version, address.rpartition("/")[0]))
    if above is None:
        return source.walks.visit(address)
    return source.walks.visit(address, above.groups, above.positions)


async def _list_ahead(
    context: DataContext, source: DataFile, address: str, following: Following
) -> None:
    with contextlib.suppress(EsrffsError):  # a program that comes there gets the error
        await _listed(context, source, address, following)


async def _listed(
    context: DataContext, source: DataFile, address: str, following: Following
) -> GroupIndex:
    async def make() -> GroupIndex:
        new = [one for one in following.groups if not is_known(context, source, one)]
        if new:
            found = await source.listings(address, new, deep=following.deep)
        else:
            listing = await source.listing(address)
            found = {address: listing, **listing.prefetched}
        indexes = {other: GroupIndex.of(listing) for other, listing in found.items()}
        for other, index in indexes.items():
            context.cache.put(ListingKey(source.version, other), index, index.nbytes())
        for number, other in enumerate(new):
            if other not in indexes:  # where the next call begins, once a program comes here
                if len(source.ahead) >= MAX_AHEAD:
                    source.ahead.clear()
                rest = Following(new[number + 1 :], following.deep)
                source.ahead[address] = other, rest
                break
        return indexes[address]

    key = ListingKey(source.version, address)
    return await context.cache.get_or_compute(key, make, GroupIndex.nbytes)
