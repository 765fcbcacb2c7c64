"""A file of the source as it was when it was opened, or an error."""

import errno
import os
from collections.abc import Iterable
from functools import partial

from esrffs.errors import DamagedError, EsrffsError, StaleError
from esrffs.linux.buffers import allocate
from esrffs.model import Generation
from esrffs.source.executor import SourceExecutor

SAMPLE_NBYTES = 64  # bytes compared at each place that is watched


def sample_offsets(offset: int, nbytes: int) -> tuple[int, ...]:
    """Places in a run of bytes whose samples tell one state of it from another."""
    last = max(nbytes - SAMPLE_NBYTES, 0)
    return tuple(dict.fromkeys(offset + last * i // 8 for i in range(9)))


class VerifiedFile:
    """The bytes of one file, by descriptor: closed with `close`."""

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
        self._samples: dict[int, bytes] = {}
        self._readers = 0
        self._closing = False
        if Generation.of(os.fstat(descriptor)) != generation:
            self.close()
            raise StaleError(f"{name}: changed since it was listed")

    def __repr__(self) -> str:
        return f"<VerifiedFile of {self._name}>"

    def close(self) -> None:
        """Close the descriptor, but not under a reader: its number might become another file."""
        self._closing = True
        if not self._readers:
            os.close(self._descriptor)

    def add_samples(self, offsets: Iterable[int]) -> None:
        """If the file grows, the bytes at these places tell whether that is all that happened.

        StaleError where those that were taken before tell already that it is not: what is there
        now must not pass for what was there.
        """
        new = {
            offset: os.pread(self._descriptor, SAMPLE_NBYTES, offset)
            for offset in offsets
            if offset >= 0 and offset not in self._samples
        }
        if self._samples:
            self.verify()
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
        data = allocate(count, self._name)
        self._readers += 1
        try:
            have = self._read_cached(data, offset)
            if have < count and not await self._executor.run(partial(self._ends, offset + have)):
                read_on = partial(self._read_on, data[have:], offset + have)
                have += await self._executor.run_in_thread(read_on)
            await self.verified()
        except DamagedError:
            await self.verified()  # what was rewritten is stale, whatever it looks like now
            raise
        finally:
            self._readers -= 1
            if self._closing:
                self.close()
        return data[:have]

    def read_sync(self, offset: int, count: int) -> memoryview:
        """`read` for a thread; whoever calls it verifies afterwards."""
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
