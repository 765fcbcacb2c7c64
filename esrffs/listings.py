"""Directories that are open for reading.

Decided here: that the entries of an open directory stay in place, whatever is made or removed
meanwhile, and how many entries all open directories hold together.  Who leaves thousands open
makes the least recently read ones list themselves anew when they are read on.
"""

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from esrffs.nodes import Directory, Node, Stat

_HELD = 100_000  # entries: some 100 MB


@dataclass(slots=True)
class Listing:
    """An open directory; `entries` is None before it is read, or when others took its place."""

    node: Directory
    entries: Sequence[tuple[bytes, Node]] | None = None
    status: Stat | None = None


class Listings:
    """The open directories by number; at most `held` entries, or those of one directory."""

    def __init__(self, held: int = _HELD) -> None:
        self._held = held
        self._open: dict[int, Listing] = {}
        self._full: OrderedDict[int, Listing] = OrderedDict()  # with entries, the latest at the end
        self._total = 0  # entries in them
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"<Listings: {len(self._open)} directories open>"

    def open(self, node: Directory) -> int:
        number = next(self._numbers)
        self._open[number] = Listing(node)
        return number

    def close(self, number: int) -> None:
        self._empty(number)
        self._open.pop(number, None)

    async def read(
        self, number: int, *, anew: bool
    ) -> tuple[Listing, Sequence[tuple[bytes, Node]]]:
        """The directory and its entries: as they are now, or as they were when it was read last."""
        listing = self._open[number]
        entries = listing.entries
        if anew or entries is None:
            entries = tuple((await listing.node.children()).items())
            listing.status = await listing.node.stat()
            if number in self._open:  # still: it may have been closed meanwhile
                self._fill(number, entries)
        return listing, entries

    def _fill(self, number: int, entries: Sequence[tuple[bytes, Node]]) -> None:
        self._empty(number)
        listing = self._full[number] = self._open[number]
        listing.entries = entries
        self._total += len(entries)
        while self._total > self._held and len(self._full) > 1:
            self._empty(next(iter(self._full)))

    def _empty(self, number: int) -> None:
        listing = self._full.pop(number, None)
        if listing is not None and listing.entries is not None:
            self._total -= len(listing.entries)
            listing.entries = None
