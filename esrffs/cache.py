"""The cache of a mount: values that are worth remembering, bounded in bytes.

A key holds all that its value depends on (the generation of the file among it), so an entry never
has to be invalidated: a file that changed has other keys.  When memory is short, the entry that was
used longest ago is dropped.  Callers that ask for one key at the same time share one computation.
Does not: hold state.  An entry may be dropped at any time, so it must be possible to compute it
again.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import trio

T = TypeVar("T")


class CacheKey(Generic[T]):
    """Base of the frozen dataclasses that are keys of the cache; `T` is the type of the values.

    A key class stands in the module that computes its values.  Keys of different classes are never
    equal.
    """

    __slots__ = ()


@dataclass(slots=True)
class CacheStatistics:
    """What the cache did since the mount began."""

    hits: int = 0
    misses: int = 0
    dropped: int = 0


class ByteCache:
    """Values by key, at most `limit` bytes of them; the least recently used is dropped first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.counts = CacheStatistics()
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._computing: dict[Hashable, trio.Event] = {}

    def __repr__(self) -> str:
        return f"<ByteCache {self.size} of {self.limit} bytes in {len(self._entries)} entries>"

    def lookup(self, key: CacheKey[T]) -> T | None:
        """The value, or None.  Counts as a use."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        self.counts.hits += 1
        value: T = entry[0]  # the key tells the type
        return value

    def __contains__(self, key: Hashable) -> bool:
        """Whether there is a value.  Does not count as a use."""
        return key in self._entries

    def is_computing(self, key: Hashable) -> bool:
        """Whether a task computes this value now."""
        return key in self._computing

    def discard(self, key: Hashable) -> None:
        """Drop the value, if there is one: it will hardly be asked for again."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size -= entry[1]

    def put(self, key: CacheKey[T], value: T, nbytes: int) -> None:
        """Keep a value that was not asked for, unless there is one or one is being computed."""
        if key not in self._entries and key not in self._computing:
            self._keep(key, value, nbytes)

    async def get_or_compute(
        self,
        key: CacheKey[T],
        compute: Callable[[], Awaitable[T]],
        nbytes: Callable[[T], int],
        is_current: Callable[[T], Awaitable[bool]] | None = None,
    ) -> T:
        """The value for this key, computed if there is none; `nbytes` says what it occupies.

        `is_current` says whether a value that was kept may still be used; if not, it is computed
        again.

        Concurrent callers for one key wait for the first computation.  If it fails, or its value
        is larger than the cache, the next caller computes again.  Exceptions are not cached.
        """
        while True:
            value: T | None = self.lookup(key)
            if value is not None:
                if is_current is None or await is_current(value):
                    return value
                entry = self._entries.get(key)
                if entry is not None and entry[0] is value:
                    self.discard(key)
            elif (event := self._computing.get(key)) is not None:
                await event.wait()
            else:
                return await self._compute(key, compute, nbytes)

    async def _compute(
        self, key: Hashable, compute: Callable[[], Awaitable[T]], nbytes: Callable[[T], int]
    ) -> T:
        self._computing[key] = event = trio.Event()
        try:
            value = await compute()
            self.counts.misses += 1
            self._keep(key, value, nbytes(value))
        finally:
            del self._computing[key]
            event.set()
        return value

    def _keep(self, key: Hashable, value: object, nbytes: int) -> None:
        if nbytes > self.limit:
            return
        self._entries[key] = value, nbytes
        self.size += nbytes
        self.evict_for(0)

    def evict_for(self, nbytes: int) -> None:
        """Drop what was used longest ago until this many bytes, needed for a moment, fit."""
        while self._entries and self.size + nbytes > self.limit:
            _, (_, dropped) = self._entries.popitem(last=False)
            self.size -= dropped
            self.counts.dropped += 1
