"""What a listing of a slow folder told about its entries, for the questions that follow it.

`ls -l` asks for the status of each entry after the kernel was given it with the listing.  On a
file server each answer costs a round trip, so the listing answers, for about as long as the kernel
itself believes a status (`attr_timeout`).  A program that opens a file is not answered from here:
what is opened is compared with what was listed, and `forget` is called where they differ.
Pure: the caller gives the time.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from posixpath import split
from typing import Generic, Protocol, TypeVar

from esrffs.model import FileStatus

MAX_ENTRIES = 100_000  # of all folders together; one folder may have more
MAX_STATUSES = 10_000  # of files that were looked at one by one
_TIMES_AS_LONG = 2  # a listing is believed for this many times as long as it took, …
_MAX_SECONDS = 10.0  # … but no longer


class Listed(Protocol):
    """An entry of a folder (`root.FolderEntry`)."""

    @property
    def name(self) -> str: ...

    @property
    def status(self) -> FileStatus: ...

    @property
    def link(self) -> str | None: ...


E = TypeVar("E", bound=Listed)


@dataclass(frozen=True, slots=True)
class _Listing(Generic[E]):
    status: FileStatus
    entries: Mapping[str, E]
    until: float


class RecentListings(Generic[E]):
    """The listings of the last moment, by the path of the folder.

    `believed`: seconds for which a listing answers; 0: none is remembered.  A listing that took
    longer than that is believed for twice the time it took, at most 10 s.
    """

    def __init__(self, believed: float) -> None:
        self._believed = believed
        self._listings: OrderedDict[str, _Listing[E]] = OrderedDict()
        self._total = 0  # entries
        self._statuses: OrderedDict[str, tuple[FileStatus, float]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<RecentListings: {self._total} entries of {len(self._listings)} folders>"

    def put(
        self, folder: str, status: FileStatus, entries: Sequence[E], started: float, now: float
    ) -> None:
        """Remember what a listing told that began at `started` and ends now."""
        self._drop(folder)
        if not self._believed:
            return
        seconds = max(self._believed, min(_TIMES_AS_LONG * (now - started), _MAX_SECONDS))
        by_name = {entry.name: entry for entry in entries}
        self._listings[folder] = _Listing(status, by_name, now + seconds)
        self._total += len(by_name)
        while self._total > MAX_ENTRIES and len(self._listings) > 1:
            self._drop(next(iter(self._listings)))

    def put_status(self, path: str, status: FileStatus, now: float) -> None:
        """Remember the status of one file or folder, links followed, as of now."""
        self._statuses.pop(path, None)
        if self._believed:
            self._statuses[path] = status, now + self._believed
        while len(self._statuses) > MAX_STATUSES:
            self._statuses.popitem(last=False)

    def entries(self, folder: str, now: float) -> list[E] | None:
        """All entries of the folder; None where they must be looked up."""
        listing = self._current(folder, now)
        return None if listing is None else list(listing.entries.values())

    def entry(self, folder: str, name: str, now: float) -> E | None:
        """One entry of the folder; None where it must be looked up, or is not there."""
        listing = self._current(folder, now)
        return None if listing is None else listing.entries.get(name)

    def status(self, path: str, now: float) -> FileStatus | None:
        """The status of this file or folder, links followed; None where it must be looked up."""
        listing = self._current(path, now)
        if listing is not None:
            return listing.status
        folder, name = split(path)
        entry = self.entry(folder, name, now) if name else None
        if entry is not None and entry.link is None:
            return entry.status
        status, until = self._statuses.get(path, (None, now))
        return status if now < until else None

    def forget(self, path: str) -> None:
        """This file or folder is not what was listed."""
        self._statuses.pop(path, None)
        self._drop(path)
        self._drop(split(path)[0])

    def _current(self, folder: str, now: float) -> _Listing[E] | None:
        listing = self._listings.get(folder)
        if listing is not None and now >= listing.until:
            self._drop(folder)
            return None
        return listing

    def _drop(self, folder: str) -> None:
        listing = self._listings.pop(folder, None)
        if listing is not None:
            self._total -= len(listing.entries)
