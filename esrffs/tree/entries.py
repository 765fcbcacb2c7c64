"""The entries of a group: which members and which JSON files it shows, under which file names.

Groups keep their names, then datasets take theirs in file order, then the JSON files of attributes:
where two names collide, the later one is changed.  How a name is spelled is in
`encoders/file_names`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from esrffs.cache import CacheKey
from esrffs.encoders import file_names
from esrffs.model import (
    BrokenInfo,
    DatasetInfo,
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
from esrffs.source.listings import group_index

ENTRY_NBYTES_ESTIMATE = 250  # that an entry takes in memory, besides its member
_SUFFIX: dict[MemberKind | None, bytes] = {
    "group": b"",
    "dataset": b".npy",
    "text": b".json",
    None: b"",
}


@dataclass(frozen=True, slots=True)
class AttributesEntry:
    """The attributes of the object at this address, as an entry of their own."""

    address: str
    text: JsonText


@dataclass(frozen=True, slots=True)
class DirectoryEntries:
    """The entries of one group by their file names.

    `file_names` gives the file name by the member's own name (of two, the first), `identity` is
    that of the group (`GroupInfo.identity`).
    """

    entries: Mapping[bytes, Member | AttributesEntry]
    file_names: Mapping[str, bytes]
    identity: int | None

    def nbytes(self) -> int:
        return ENTRY_NBYTES_ESTIMATE * (1 + len(self.entries))


@dataclass(frozen=True, slots=True)
class EntriesKey(CacheKey[DirectoryEntries]):
    """A group of a data file in one generation."""

    version: bytes
    address: str


async def directory_entries(
    context: DataContext, source: DataFile, address: str
) -> DirectoryEntries:
    """The entries of the group at this address; NotFoundError, DamagedError and the like."""
    index = await group_index(context, source, address)
    key = EntriesKey(source.version, address)
    entries = context.cache.lookup(key)
    if entries is None:
        entries = name_entries(index.listing, address)
        context.cache.put(key, entries, entries.nbytes())
    return entries


def name_entries(listing: GroupListing, address: str) -> DirectoryEntries:
    """The entries of the group with this listing, at this address."""
    order = sorted(listing.members, key=lambda member: _kind(member) != "group")
    chosen = file_names.unique_names(
        (file_names.escape(member.name), _SUFFIX[_kind(member)]) for member in order
    )
    entries: dict[bytes, Member | AttributesEntry] = dict(zip(chosen, order, strict=True))
    added: list[tuple[bytes, bytes, AttributesEntry]] = []
    for name, member in entries.items():
        if isinstance(member, DatasetInfo | JsonInfo) and member.attributes is not None:
            stem = name.removesuffix(_SUFFIX[_kind(member)])
            entry = AttributesEntry(member.address, member.attributes)
            added.append((stem, b".attrs.json", entry))
    if listing.attributes is not None:
        added.append((b"attrs", b".json", AttributesEntry(address, listing.attributes)))
    further = file_names.unique_names(((stem, suffix) for stem, suffix, _ in added), taken=chosen)
    entries |= {name: item for name, (_, _, item) in zip(further, added, strict=True)}
    by_member: dict[str, bytes] = {}
    for name, member in zip(chosen, order, strict=True):
        by_member.setdefault(member.name, name)
    return DirectoryEntries(entries, by_member, listing.object_id)


def default_names(steps: Sequence[str], kind: MemberKind | None) -> tuple[bytes, ...]:
    """The file names of objects with these names, one in the other, where nothing collides.

    `kind` is that of the last one.
    """
    if not steps:
        return ()
    last = file_names.shorten(file_names.escape(steps[-1]), _SUFFIX[kind])
    return (*(file_names.escape(step) for step in steps[:-1]), last)


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
