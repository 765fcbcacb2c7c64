"""What a handle reads from, and whether it is still what was opened.

Decided here: close-to-open (CONTRACT §8).  A handle gives the bytes of the state in which it was
opened, or StaleError.  A file that only grew keeps serving: it is larger, and samples of what the
handle depends on are what they were.  How bytes are read: without waiting where the page cache
has them, in a thread elsewhere.
"""

import errno
import os
from collections.abc import Iterable
from functools import partial

import trio

from esrffs.damage import Block
from esrffs.errors import DamagedError, EsrffsError, MissingError, StaleError
from esrffs.memory import buffer
from esrffs.model import Box, Generation
from esrffs.patience import Patience
from esrffs.sources import Source, Sources

SAMPLE = 64  # bytes compared at each place that is watched
OPEN_PARTS = 32  # files of a series, or of a virtual dataset, that stay open for one handle
_PATIENCE = 5  # tries of a reader at a file that is being written
_PAUSE = 0.05  # seconds between them, longer each time


def spread(offset: int, nbytes: int) -> tuple[int, ...]:
    """Places in a run of bytes whose samples tell one state of it from another."""
    last = max(nbytes - SAMPLE, 0)
    return tuple(dict.fromkeys(offset + last * i // 8 for i in range(9)))


class FileView:
    """The bytes of one file, by descriptor: closed with `close`."""

    def __init__(
        self,
        descriptor: int,
        generation: Generation,
        name: str,
        patience: Patience | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._patience = patience or Patience()
        self._name = name
        self._verified = generation
        self._samples: dict[int, bytes] = {}
        self._readers = 0
        self._closing = False
        if Generation.of(os.fstat(descriptor)) != generation:
            self.close()
            raise StaleError(f"{name}: changed since it was listed")

    def __repr__(self) -> str:
        return f"<FileView of {self._name}>"

    def close(self) -> None:
        """Close the descriptor, but not under a reader: its number might become another file."""
        self._closing = True
        if not self._readers:
            os.close(self._descriptor)

    def watch(self, offsets: Iterable[int]) -> None:
        """If the file grows, the bytes at these places tell whether that is all that happened."""
        self._samples |= {
            offset: os.pread(self._descriptor, SAMPLE, offset) for offset in offsets if offset >= 0
        }

    async def verified(self) -> Generation:
        """`verify`, without stopping the mount."""
        return await self._patience.call(self.verify)

    def verify(self) -> Generation:
        """The generation of the file, which is the one that was opened but for growth.

        StaleError where it was rewritten, cut or (nothing being watched) may have been.
        """
        now = Generation.of(os.fstat(self._descriptor))
        if now == self._verified:
            return now
        old = self._verified
        if (now.size, now.mtime_ns) != (old.size, old.mtime_ns) and not (
            now.size > old.size and self._samples and self._unchanged()
        ):
            raise StaleError(f"{self._name}: was rewritten since it was opened")
        self._verified = now
        return now

    def _unchanged(self) -> bool:
        return all(
            os.pread(self._descriptor, len(sample), offset) == sample
            for offset, sample in self._samples.items()
        )

    async def read(self, offset: int, count: int) -> memoryview:
        """Exactly these bytes; DamagedError where the file ends before, StaleError."""
        data = await self.read_upto(offset, count)
        if len(data) < count:
            raise self._short(offset, len(data), count)
        return data

    async def read_upto(self, offset: int, count: int) -> memoryview:
        """These bytes, fewer where the file ends before; StaleError."""
        data = buffer(count, self._name)
        self._readers += 1
        try:
            have = self._read_cached(data, offset)
            if have < count and not await self._patience.call(partial(self._ends, offset + have)):
                read_on = partial(self._read_on, data[have:], offset + have)
                have += await self._patience.in_thread(read_on)
            await self.verified()
        except DamagedError:
            await self.verified()  # what was rewritten is stale, whatever it looks like now
            raise
        finally:
            self._readers -= 1
            if self._closing:
                self.close()
        return data[:have]

    def read_now(self, offset: int, count: int) -> memoryview:
        """`read` for a thread; whoever calls it verifies afterwards."""
        data = buffer(count, self._name)
        have = self._read_on(data, offset)
        if have < count:
            raise self._short(offset, have, count)
        return data

    def _short(self, offset: int, have: int, count: int) -> EsrffsError:
        return DamagedError(
            f"{self._name}: ends at byte {offset + have}, {count - have} bytes too early"
        )

    def _ends(self, offset: int) -> bool:
        return os.fstat(self._descriptor).st_size <= offset

    def _read_cached(self, data: memoryview, offset: int) -> int:
        try:
            return os.preadv(self._descriptor, [data], offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
                return 0
            raise self._failed(error) from error

    def _read_on(self, data: memoryview, offset: int) -> int:
        """What is not in the page cache: may wait for the disk, hence runs in a thread."""
        have = 0
        try:
            while have < len(data):
                got = os.preadv(self._descriptor, [data[have:]], offset + have)
                if not got:
                    break
                have += got
        except OSError as error:
            raise self._failed(error) from error
        return have

    def _failed(self, error: OSError) -> EsrffsError:
        return DamagedError(f"{self._name}: cannot be read: {error.strerror}")


class Opened:
    """One data file as one handle sees it.

    `state` is that of the other files on which its values depend (`Sources.state`).
    """

    def __init__(self, sources: Sources, source: Source, state: bytes = b"") -> None:
        self.source = source
        self.sources = sources
        self.state = state
        self._views: dict[int, FileView] = {}
        self._parts: list[Opened] = []
        self._holders = 1

    def __repr__(self) -> str:
        return f"<Opened {self.source.path}>"

    def hold(self) -> None:
        """One more `close` is needed: a descriptor must not be closed under who reads from it."""
        self._holders += 1

    def close(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            for view in self._views.values():
                view.close()
            self._views.clear()
            self.close_parts()

    def add_part(self, part: "Opened") -> None:
        """Another file that this one is made of: closed with it, or before by `close_parts`."""
        self._parts.append(part)

    def close_parts(self) -> None:
        while self._parts:
            self._parts.pop().close()

    def view(self, number: int = 0) -> FileView:
        """The bytes of the file itself, or of this member of the series."""
        view = self._views.get(number)
        return self._kept(number, self._viewed(number)) if view is None else view

    async def viewed(self, number: int = 0) -> FileView:
        """`view`, without stopping the mount."""
        if number not in self._views:
            patience = self.sources.folders.patience
            view = await patience.call(partial(self._viewed, number), FileView.close)
            if number not in self._views:  # nobody else was faster
                return self._kept(number, view)
            view.close()
        return self._views[number]

    def _viewed(self, number: int) -> FileView:
        folders, subject = self.sources.folders, self.source.subject
        descriptor = folders.open(subject.paths[number])
        name = self._name(number)
        return FileView(descriptor, subject.generations[number], name, folders.patience)

    def _kept(self, number: int, view: FileView) -> FileView:
        if len(self._views) >= OPEN_PARTS:
            self._views.pop(next(iter(self._views))).close()
        self._views[number] = view
        return view

    def _name(self, number: int) -> str:
        subject = self.source.subject
        return os.path.basename(subject.paths[number]) if subject.series else self.source.path

    async def _again(self, seen: Generation) -> Source:
        """The file in the state that its descriptor shows: a reader opens what is called so now."""
        source = await self.sources.current(self.source.path, self.source.subject.format)
        if source.subject.generations != (seen,):
            raise StaleError(f"{source.path}: was rewritten since it was opened")
        return source

    async def ask(self, address: str, box: Box, nbytes: int) -> Block:
        """The elements of this box, from a reader; a file in change is tried again for a while."""
        source = self.source
        for attempt in range(1, _PATIENCE + 1):
            try:
                if not source.subject.series:
                    source = await self._again(await (await self.viewed()).verified())
                return await source.read(address, box, nbytes)
            except MissingError as error:
                raise StaleError(f"{source.path}: is gone") from error
            except StaleError:
                if source.subject.series or attempt == _PATIENCE:
                    raise
            await trio.sleep(_PAUSE * attempt)
        raise AssertionError("unreachable")
