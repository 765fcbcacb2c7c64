"""What is worth remembering, bounded in bytes.

Decided here: what is dropped when memory is short (what was used longest ago), and that a second
asker waits for the first.  The key of a thing is everything that it depends on, so nothing is
ever invalidated.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

import trio

T = TypeVar("T")


@dataclass(slots=True)
class CacheStatistics:
    """How the cache did since the mount began."""

    hits: int = 0
    misses: int = 0
    dropped: int = 0


class ByteCache:
    """Values by key, the least recently used dropped first; `limit` in bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.counts = CacheStatistics()
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._making: dict[Hashable, trio.Event] = {}

    def __repr__(self) -> str:
        return f"<ByteCache {self.size} of {self.limit} bytes in {len(self._entries)} entries>"

    def lookup(self, key: Hashable) -> Any:
        """The value, or None; counts as use."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        self.counts.hits += 1
        return entry[0]

    def __contains__(self, key: Hashable) -> bool:
        """Is the value there?  Does not count as use."""
        return key in self._entries

    def is_computing(self, key: Hashable) -> bool:
        """Is somebody at work on this value?"""
        return key in self._making

    def discard(self, key: Hashable) -> None:
        """Let go of the value, if it is there: nobody will ask for it soon."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size -= entry[1]

    def pop(self, key: Hashable) -> Any:
        """The value, which then is not there any more, or None."""
        entry = self._entries.get(key)
        self.discard(key)
        return None if entry is None else entry[0]

    def put(self, key: Hashable, value: object, size: int) -> None:
        """Keep a value that nobody asked for yet."""
        if key not in self._entries and key not in self._making:
            self._keep(key, value, size)

    async def get_or_compute(
        self, key: Hashable, make: Callable[[], Awaitable[T]], size: Callable[[T], int]
    ) -> T:
        """The value for this key, made if need be; what `make` raises is not remembered.

        Who asks while another makes it waits, then looks again: the maker may have failed, or
        the value may be too large to be kept, and then the next one makes it for himself.
        """
        while (value := self.lookup(key)) is None:
            if (event := self._making.get(key)) is not None:
                await event.wait()
                continue
            self._making[key] = event = trio.Event()
            try:
                made = await make()
                self.counts.misses += 1
                self._keep(key, made, size(made))
            finally:
                del self._making[key]
                event.set()
            return made
        return value  # type: ignore[no-any-return]  # the key tells the type

    def _keep(self, key: Hashable, value: object, size: int) -> None:
        if size > self.limit:
            return
        self._entries[key] = value, size
        self.size += size
        self.evict_for(0)

    def evict_for(self, nbytes: int) -> None:
        """Drop what was used longest ago until so many bytes, needed for a moment, fit."""
        while self._entries and self.size + nbytes > self.limit:
            _, (_, dropped) = self._entries.popitem(last=False)
            self.size -= dropped
            self.counts.dropped += 1
