"""Directories that are open for reading, with their entries.

The entries of an open directory keep their positions, whatever is made or removed in the source
meanwhile, so that a listing in several parts neither repeats nor misses a name.  All open
directories together hold a limited number of entries.  If a program leaves thousands of
directories open, those that were read longest ago drop their entries, and are listed again when
reading goes on.
"""

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from esrffs.tree.nodes import Directory, Node, Stat

MAX_HELD_ENTRIES = 100_000  # entries: some 100 MB


@dataclass(slots=True)
class OpenDirectory:
    """A directory, and its status when its entries were listed last."""

    node: Directory
    status: Stat | None = None


Entries = Sequence[tuple[bytes, Node]]


class OpenDirectories:
    """The open directories by handle.

    They hold at most `held` entries together, or those of one directory if it has more.
    """

    def __init__(self, held: int = MAX_HELD_ENTRIES) -> None:
        self._held = held
        self._open: dict[int, OpenDirectory] = {}
        self._entries: OrderedDict[int, Entries] = OrderedDict()  # the latest at the end
        self._total = 0  # of all of them
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"<OpenDirectories: {len(self._open)} open>"

    def open(self, node: Directory) -> int:
        """Open a directory; returns its handle."""
        number = next(self._numbers)
        self._open[number] = OpenDirectory(node)
        return number

    def node(self, number: int) -> Directory | None:
        """The directory with this handle; None if there is none."""
        listing = self._open.get(number)
        return listing.node if listing else None

    def close(self, number: int) -> None:
        """Close a directory."""
        self._forget(number)
        self._open.pop(number, None)

    async def read(self, number: int, *, anew: bool) -> tuple[OpenDirectory, Entries]:
        """The directory and its entries; `anew`: as they are now, else as they were listed last.

        KeyError for a handle that is not open.
        """
        listing, entries = self._open[number], self._entries.get(number)
        if anew or entries is None:
            entries = tuple((await listing.node.children()).items())
            listing.status = await listing.node.stat()
            if number in self._open:  # still: it may have been closed meanwhile
                self._keep(number, entries)
        return listing, entries

    def _keep(self, number: int, entries: Entries) -> None:
        self._forget(number)
        self._entries[number] = entries
        self._total += len(entries)
        while self._total > self._held and len(self._entries) > 1:
            self._forget(next(iter(self._entries)))

    def _forget(self, number: int) -> None:
        self._total -= len(self._entries.pop(number, ()))
