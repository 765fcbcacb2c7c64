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
        self._open: OrderedDict[int, Listing] = OrderedDict()  # the one read last at the end
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"<Listings: {len(self._open)} directories open>"

    def open(self, node: Directory) -> int:
        number = next(self._numbers)
        self._open[number] = Listing(node)
        return number

    def close(self, number: int) -> None:
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
            listing.entries = entries
            self._make_room(number)
        return listing, entries

    def _make_room(self, number: int) -> None:
        if number in self._open:
            self._open.move_to_end(number)
        total = sum(len(listing.entries or ()) for listing in self._open.values())
        for listing in list(self._open.values())[:-1]:
            if total <= self._held:
                return
            total -= len(listing.entries or ())
            listing.entries = None
