"""Open files of the mount: where their bytes come from."""

from collections.abc import Awaitable, Callable

from esrffs.arrays.block_array import ArrayBytes, RefCounted, join_buffers
from esrffs.damage import PARTIAL
from esrffs.errors import EsrffsError
from esrffs.model import Buffer
from esrffs.source.verified_file import VerifiedFile

_PAGE_NBYTES = 4096  # what the kernel's page cache holds or does not hold, as a whole


class ArrayHandle:
    """An open `.npy`: the header, then the data.  `failed` is told what went wrong.

    `uncached`: the kernel is to ask for each read, and for no more than is read.  The page cache
    holds whole pages, so the header could not be read where it shares its page with damage.
    """

    uncached = False

    def __init__(
        self,
        held: RefCounted,
        header: bytes,
        array: ArrayBytes | None,
        size: int,
        failed: Callable[[str], object],
    ) -> None:
        self._held = held
        self._failed = failed
        self._header = header
        self._array = array
        self._size = size

    async def read(self, offset: int, count: int) -> Buffer:
        stop = min(offset + count, self._size)
        start = len(self._header)
        if self._array is None or stop <= start:
            return self._header[offset:stop]
        if offset >= stop:
            return b""
        try:
            data = await self._array.read(max(offset - start, 0), stop - start)
        except EsrffsError as error:
            self._failed(str(error))
            raise
        return data if offset >= start else join_buffers((self._header[offset:], data))

    async def look_at_first_page(self) -> None:
        """Find out whether it can be read; its block stays in the cache."""
        try:
            await self.read(0, _PAGE_NBYTES)
        except PARTIAL:
            self.uncached = True
        except EsrffsError:  # of the file, or of the moment: the read that comes will raise it
            pass

    def close(self) -> None:
        self._held.release()


class BytesHandle:
    """An open file whose bytes are at hand."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, offset: int, count: int) -> Buffer:
        return self._content[offset : offset + count]

    def close(self) -> None:
        pass


class CachedBytesHandle:
    """The same of so many bytes that the cache has them, not whoever leaves files open."""

    def __init__(self, made: Callable[[], Awaitable[bytes]]) -> None:
        self._made = made

    async def read(self, offset: int, count: int) -> Buffer:
        return (await self._made())[offset : offset + count]

    def close(self) -> None:
        pass


class PassthroughHandle:
    """An open file of the source."""

    def __init__(self, view: VerifiedFile, size: int) -> None:
        self._view = view
        view.add_samples((0, size // 2, size - 64))

    async def read(self, offset: int, count: int) -> Buffer:
        return await self._view.read_at_most(offset, count)

    def close(self) -> None:
        self._view.close()
