"""What a mount of a file server learnt, for the mounts that come after it.

Remembered are what files were recognised as, and the listings of groups and series.  The key of
each is everything that it depends on: the generation of the files (device, inode, size, times),
the versions of esrffs and of the libraries that read, and the limits of the mount.  So nothing is
believed of a file that changed.  A file that changed within the last moments is not remembered:
the clock of a file server may not tell its next change.

The database is called in threads, with a time limit of its own, and texts are made and read there.
An index that fails is not used any more by this mount.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from importlib import metadata
from typing import TypeVar

import trio

from esrffs.encoders import listing_json
from esrffs.formats.detect import Recognised
from esrffs.model import Format, Generation, GroupListing
from esrffs.source.index_file import IndexFile, IndexUnusableError, cache_home

log = logging.getLogger(__name__)
T = TypeVar("T")
K = TypeVar("K")

_SECONDS = 5.0  # of a call of the database: a home folder may be on a file server as well
_PAUSE_SECONDS = 0.2  # in which what is learnt is gathered, to be written at once
_LAST_SECONDS = 2.0  # for writing when the mount ends
_SETTLED_NS = 3_000_000_000  # since the last change of a file that is remembered
_MAX_WAITING = 50_000  # entries that wait to be written; what comes then is not remembered
_MAX_VALUE_NBYTES = 4 << 20  # bytes of one listing
_PACKAGES = ("esrffs", "numpy", "h5py", "silx", "fabio", "tifffile")
_FORMATS: Mapping[str | None, Format | None] = {
    "hdf5": "hdf5",
    "spec": "spec",
    "image": "image",
    None: None,
}

_Learnt = tuple[tuple[object, ...], Recognised | GroupListing]  # what the key is made of, and what


class Index:
    """The index of one mount; `limits` are the options on which listings depend.

    Without `enabled` nothing is looked up and nothing remembered.
    """

    def __init__(self, limits: Iterable[object] = (), *, enabled: bool = True) -> None:
        self.hits = self.misses = 0
        self._limits = tuple(limits)
        self._enabled = enabled
        self._reason = "" if enabled else "index=none"
        self._file: IndexFile | None = None
        self._lock = threading.Lock()  # a database takes one call at a time
        self._waiting: list[_Learnt] = []
        self._more = trio.Event()

    def __repr__(self) -> str:
        return f"<Index: {self.hits} hits, {self.misses} misses{', off' * (not self._enabled)}>"

    async def recognised(
        self, files: Sequence[tuple[str, Generation]]
    ) -> dict[tuple[str, Generation], Recognised]:
        """What these files, by name and generation, are taken for, as far as it is known."""
        return await self._get([("recognised", *file) for file in files], files, _read_recognised)

    async def listings(self, version: bytes, addresses: Sequence[str]) -> dict[str, GroupListing]:
        """The listings of groups of a data file (`DataFile.version`), as far as they are known."""
        keys = [("listing", version, address) for address in addresses]
        return await self._get(keys, addresses, listing_json.decode)

    def remember_recognised(self, name: str, generation: Generation, found: Recognised) -> None:
        """What the file of this name and generation is taken for."""
        if is_settled(generation):
            self._put(("recognised", name, generation), found)

    def remember_listing(
        self,
        version: bytes,
        generations: Iterable[Generation],
        address: str,
        listing: GroupListing,
    ) -> None:
        """The listing of a group, and those that came with it.

        `generations` are those of the files, of which `version` is a digest.
        """
        if is_settled(*generations):
            for other, one in {**listing.prefetched, address: listing}.items():
                self._put(("listing", version, other), one)

    async def status(self) -> dict[str, object]:
        """What `--status` shows; `entries` is null where the index was not used yet."""
        told: dict[str, object] = {"off": self._reason} if self._reason else {}
        entries = None
        if self._enabled and self._file is not None:
            with trio.move_on_after(_PAUSE_SECONDS):
                entries = await self._call(IndexFile.count)
        return {**told, "entries": entries, "hits": self.hits, "misses": self.misses}

    async def run(self) -> None:
        """Write what is learnt, a moment later; in a task, until it is cancelled."""
        try:
            while True:
                await self._more.wait()
                await trio.sleep(_PAUSE_SECONDS)
                await self._write()
        finally:
            with trio.move_on_after(_LAST_SECONDS, shield=True):
                await self._write()

    async def _write(self) -> None:
        self._more = trio.Event()
        learnt, self._waiting = self._waiting, []
        if learnt:
            await self._call(lambda file: file.put(self._encoded(learnt)))

    def _put(self, parts: tuple[object, ...], found: Recognised | GroupListing) -> None:
        if self._enabled and len(self._waiting) < _MAX_WAITING:
            self._waiting.append((parts, found))
            self._more.set()

    def _encoded(self, learnt: Sequence[_Learnt]) -> dict[bytes, bytes]:
        """Keys and values, for the database."""
        entries: dict[bytes, bytes] = {}
        for parts, found in learnt:
            if isinstance(found, Recognised):
                entries[self._key(parts)] = json.dumps([found.format, found.single_frame]).encode()
            else:
                text = listing_json.encode(found)
                if text is not None and len(text) <= _MAX_VALUE_NBYTES:
                    entries[self._key(parts)] = text
        return entries

    async def _get(
        self,
        keys: Sequence[tuple[object, ...]],
        wanted: Sequence[K],
        read: Callable[[bytes], T],
    ) -> dict[K, T]:
        """The values of these keys, each under what is `wanted` with it."""

        def get(file: IndexFile) -> dict[K, T]:
            names = dict(zip(map(self._key, keys), wanted, strict=True))
            found: dict[K, T] = {}
            for key, text in file.get([*names]).items():
                try:
                    found[names[key]] = read(text)
                except ValueError as error:
                    log.debug("index: %s", error)
            return found

        if not keys or not self._enabled:
            return {}
        found = await self._call(get) or {}
        self.hits += len(found)
        self.misses += len(keys) - len(found)
        return found

    async def _call(self, work: Callable[[IndexFile], T]) -> T | None:
        """What the file answers; None, from now on, if it cannot be used."""

        def call() -> T:
            with self._lock:
                if self._file is None:
                    self._file = IndexFile(cache_home(os.environ))
                return work(self._file)

        try:
            with trio.fail_after(_SECONDS):
                return await trio.to_thread.run_sync(call, abandon_on_cancel=True)
        except trio.TooSlowError:
            self._switch_off(f"its disk gave no answer within {_SECONDS:g} s")
        except IndexUnusableError as error:
            self._switch_off(str(error))
        return None

    def _switch_off(self, reason: str) -> None:
        if self._enabled:
            log.info("no index is kept for the next mount: %s", reason)
        self._enabled, self._reason = False, reason
        self._waiting = []

    def _key(self, parts: tuple[object, ...]) -> bytes:
        text = repr((_versions(), self._limits, *parts))
        return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def is_settled(*generations: Generation) -> bool:
    """Whether these files did not change in the last moments, by the clock of this machine."""
    latest = time.time_ns() - _SETTLED_NS
    return all(max(one.mtime_ns, one.ctime_ns) < latest for one in generations)


def _read_recognised(text: bytes) -> Recognised:
    """ValueError where the text is not what `Index` writes."""
    told = json.loads(text)
    if type(told) is not list or len(told) != 2 or type(told[1]) is not bool:
        raise ValueError("not what a file was recognised as")
    if not isinstance(told[0], str | None) or told[0] not in _FORMATS:
        raise ValueError("no format")
    return Recognised(_FORMATS[told[0]], told[1])


@cache
def _versions() -> tuple[object, ...]:
    """What listings depend on beside the files: the libraries that read, and the time zone."""
    return (*map(_version, _PACKAGES), time.tzname, time.timezone)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
