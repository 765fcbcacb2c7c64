"""A file of the source as it was when it was opened, or an error.

Close-to-open consistency: an open file gives the bytes that it had when it was opened, or raises
StaleError.  A file that only grew goes on being served; samples of its bytes tell that.  A read
takes what the page cache has at once (`preadv2` with RWF_NOWAIT), the rest in a thread; on a slow
file system all of it in a thread, which looks at the file's generation on the same way.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import trio

from esrffs.background import gather
from esrffs.errors import DamagedError, EsrffsError, StaleError
from esrffs.linux.buffers import allocate
from esrffs.model import Generation
from esrffs.source.executor import SourceExecutor

T = TypeVar("T")

SAMPLE_NBYTES = 64  # bytes compared at each place that is watched
_NEAR_NBYTES = 64 << 10  # samples that lie so near each other come with one read


def sample_offsets(offset: int, nbytes: int) -> tuple[int, ...]:
    """Offsets in a run of `nbytes` bytes whose samples tell one state of it from another."""
    last = max(nbytes - SAMPLE_NBYTES, 0)
    return tuple(dict.fromkeys(offset + last * i // 8 for i in range(9)))


class VerifiedFile:
    """The bytes of one file, which is open until `close`.  `name` is for error texts."""

    def __init__(
        self,
        descriptor: int,
        generation: Generation,
        name: str,
        executor: SourceExecutor | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._executor = executor or SourceExecutor()
        self._name = name
        self._verified = generation
        self._device = generation.device
        self._samples: dict[int, bytes] = {}
        self._readers = 0
        self._closing = False
        if Generation.of(os.fstat(descriptor)) != generation:
            self.close()
            raise StaleError(f"{name}: changed since it was listed")

    def __repr__(self) -> str:
        return f"<VerifiedFile of {self._name}>"

    @property
    def is_slow(self) -> bool:
        """Whether reads should be few and long, and many in flight."""
        return self._executor.is_slow(self._device)

    @property
    def read_ahead_nbytes(self) -> int:
        """How many bytes are worth reading ahead on this file's file system."""
        return self._executor.read_ahead_nbytes(self._device)

    def close(self) -> None:
        """Close the descriptor, but not under a reader: its number might become another file."""
        self._closing = True
        if not self._readers:
            os.close(self._descriptor)

    def add_samples(self, offsets: Iterable[int]) -> None:
        """Take samples of the bytes at these offsets: if the file grows, they tell it from another.

        StaleError where earlier samples, or its size and time if it was not sampled before, show
        that the file was rewritten: what is there now must not pass for what was there.
        """
        self._keep_samples(self._sample(self._new(offsets)))

    async def sample(self, offsets: Iterable[int], nbytes: int = SAMPLE_NBYTES) -> None:
        """`add_samples`, for a task; on a remote file system side by side, in threads.

        `nbytes`: what is watched at each place has no more; what lies behind it may be written
        while the file grows.
        """
        nbytes = min(nbytes, SAMPLE_NBYTES)
        new = self._new(offsets)
        if not self._executor.remote:
            self._keep_samples(self._sample(new, nbytes))
            return
        found: dict[int, bytes] = {}

        async def take(part: Sequence[int]) -> None:
            found.update(await self._in_thread(lambda: self._sample(part, nbytes), nbytes))

        near = max(new, default=0) - min(new, default=0) <= _NEAR_NBYTES
        parts = [new] if near else [[offset] for offset in new]
        await gather([partial(take, part) for part in parts])
        await self._executor.run(partial(self._keep_samples, found))

    def _new(self, offsets: Iterable[int]) -> list[int]:
        return [offset for offset in offsets if offset >= 0 and offset not in self._samples]

    def _sample(self, offsets: Iterable[int], nbytes: int = SAMPLE_NBYTES) -> dict[int, bytes]:
        return {offset: os.pread(self._descriptor, nbytes, offset) for offset in offsets}

    def _keep_samples(self, new: dict[int, bytes]) -> None:
        if self._samples:
            self.verify()
        elif new and self._executor.remote:  # it took a while, in which the file may have changed
            now, old = Generation.of(os.fstat(self._descriptor)), self._verified
            if (now.size, now.mtime_ns) != (old.size, old.mtime_ns) and now.size <= old.size:
                raise StaleError(f"{self._name}: changed since it was listed")
        self._samples |= new

    async def verified(self) -> Generation:
        """`verify`, without stopping the mount."""
        return await self._executor.run(self.verify)

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
        data = await self.read_at_most(offset, count)
        if len(data) < count:
            raise self._short(offset, len(data), count)
        return data

    async def read_at_most(self, offset: int, count: int) -> memoryview:
        """These bytes, fewer where the file ends before; StaleError."""
        if self.is_slow:
            return await self.fetch(offset, count)
        data = allocate(count, self._name)
        with self._reading():
            try:
                have = self._read_cached(data, offset)
                if have < count and not await self._executor.run(
                    partial(self._ends, offset + have)
                ):
                    read_on = partial(self._read_on, data[have:], offset + have)
                    have += await self._executor.run_in_thread(read_on)
                await self.verified()
            except DamagedError:
                await self.verified()  # what was rewritten is stale, whatever it looks like now
                raise
        return data[:have]

    async def fetch(
        self,
        offset: int,
        count: int,
        into: memoryview | None = None,
        limiter: trio.CapacityLimiter | None = None,
    ) -> memoryview:
        """`read_at_most` in one call in a thread, measured; into this buffer, if one is given.

        `limiter`: so many such calls at a time.
        """
        data = allocate(count, self._name) if into is None else into

        def read() -> int:
            try:
                have = self._read_on(data, offset)
            except DamagedError:
                self.verify()  # what was rewritten is stale, whatever it looks like now
                raise
            self.verify()
            return have

        return data[: await self._in_thread(read, count, limiter)]

    async def _in_thread(
        self, work: Callable[[], T], nbytes: int, limiter: trio.CapacityLimiter | None = None
    ) -> T:
        with self._reading():
            return await self._executor.read(work, self._device, nbytes, limiter)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Keep the descriptor open meanwhile."""
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            if self._closing:
                self.close()

    def read_sync(self, offset: int, count: int) -> memoryview:
        """`read`, for a caller in a thread, which has to call `verify` afterwards."""
        data = allocate(count, self._name)
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
        """Read as far as the file goes.  May wait for the disk, so it runs in a thread."""
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
