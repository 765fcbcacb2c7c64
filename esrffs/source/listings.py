"""The entries of a group: what is in it, under which file names.

Decided here: which members and which JSON files a group shows, and in which order they take their
names.  How a name is spelled is decided in `encoders/file_names`.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from esrffs.cache import CacheKey
from esrffs.encoders import file_names
from esrffs.errors import EsrffsError
from esrffs.model import (
    BrokenInfo,
    DatasetInfo,
    Format,
    GroupInfo,
    GroupListing,
    JsonInfo,
    JsonText,
    LinkInfo,
    Member,
    MemberKind,
)
from esrffs.source.context import DataContext
from esrffs.source.data_file import DataFile

_AHEAD = 256  # groups: more are not told to a reader
_ENTRY_SIZE = 800  # bytes that an entry takes in memory, about

SUFFIX: dict[MemberKind | None, bytes] = {
    "group": b"",
    "dataset": b".npy",
    "text": b".json",
    None: b"",
}


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


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of the object at this address, as an entry of their own."""

    address: str
    text: JsonText


@dataclass(frozen=True, slots=True)
class Plan:
    """The entries of one group: what is where, under which names."""

    entries: Mapping[bytes, Member | Attributes]
    file_names: Mapping[str, bytes]  # by the member's own name
    identity: int | None
    groups: tuple[str, ...] = ()  # their addresses, in the order of the entries

    def size(self) -> int:
        return _ENTRY_SIZE * len(self.entries)


@dataclass(frozen=True, slots=True)
class PlanKey(CacheKey[Plan]):
    """The entries of the group at this address."""

    version: bytes
    address: str


def planned(listing: GroupListing, address: str) -> Plan:
    """Groups keep their names, then datasets in file order, then what esrffs adds."""
    order = sorted(listing.members, key=lambda member: _kind(member) != "group")
    chosen = file_names.unique_names(
        (file_names.escape(member.name), SUFFIX[_kind(member)]) for member in order
    )
    entries: dict[bytes, Member | Attributes] = dict(zip(chosen, order, strict=True))
    added: list[tuple[bytes, bytes, Attributes]] = []
    for name, member in entries.items():
        if isinstance(member, DatasetInfo | JsonInfo) and member.attributes is not None:
            stem = name.removesuffix(SUFFIX[_kind(member)])
            added.append((stem, b".attrs.json", Attributes(member.address, member.attributes)))
    if listing.attributes is not None:
        added.append((b"attrs", b".json", Attributes(address, listing.attributes)))
    further = file_names.unique_names(((stem, suffix) for stem, suffix, _ in added), taken=chosen)
    entries |= {name: item for name, (_, _, item) in zip(further, added, strict=True)}
    by_member: dict[str, bytes] = {}
    for name, member in zip(chosen, order, strict=True):
        by_member.setdefault(member.name, name)
    groups = tuple(member.address for member in order if isinstance(member, GroupInfo))
    return Plan(entries, by_member, listing.object_id, groups)


def _kind(member: Member) -> MemberKind | None:
    match member:
        case GroupInfo():
            return "group"
        case DatasetInfo():
            return "dataset"
        case JsonInfo():
            return "text"
        case LinkInfo() | BrokenInfo():
            return member.kind


async def plan(context: DataContext, source: DataFile, address: str) -> Plan:
    """The plan of the group at this address.

    For whoever walks through a file, those of the next groups are made with it: most groups are
    small, and the way to a reader costs more than what it does there.  While they are looked at,
    a reader lists the ones after them.
    """
    found = await _plan(context, source, address)
    then = source.walk.following.pop(address, None)
    if then is not None:
        context.start_task(_plan_ahead, context, source, then)
    return found


async def _plan_ahead(context: DataContext, source: DataFile, address: str) -> None:
    with contextlib.suppress(EsrffsError):  # whoever asks for it will hear
        await _plan(context, source, address)


async def _plan(context: DataContext, source: DataFile, address: str) -> Plan:
    async def make() -> Plan:
        following = _following(context, source, address)
        if following:
            found = await source.listings(address, following)
        else:
            listing = await source.listing(address)
            found = {address: listing, **listing.prefetched}
        plans = {other: planned(listing, other) for other, listing in found.items()}
        for other, plan_ in plans.items():
            context.cache.put(_key(source, other), plan_, plan_.size())
            source.walk.note(other)
        then = next((other for other in following if other not in plans), None)
        if then is not None:
            source.walk.following[address] = then
        return plans[address]

    return await context.cache.get_or_compute(_key(source, address), make, Plan.size)


def is_known(context: DataContext, source: DataFile, address: str) -> bool:
    """Was the group at this address looked into, not long ago?"""
    return _key(source, address) in context.cache


def _key(source: DataFile, address: str) -> PlanKey:
    return PlanKey(source.version, address)


def _following(context: DataContext, source: DataFile, address: str) -> Sequence[str]:
    """The groups after this one, if the one before it was looked at, as in a walk."""
    above = context.cache.lookup(_key(source, address.rpartition("/")[0]))
    if above is None or not address:
        return ()
    try:
        at = above.groups.index(address)
    except ValueError:
        return ()
    if not at or above.groups[at - 1] not in source.walk.listed:
        return ()
    return above.groups[at + 1 : at + 1 + _AHEAD]
