"""Files whose first bytes were read before, and a function that reads the first bytes of many
files.

A series may have thousands of files, and on a file server each call takes time.  Therefore several
threads read the first bytes of all files, and a file is opened again only for bytes beyond them.
"""

import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from esrffs.formats.side_by_side import side_by_side

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class BegunFile(io.RawIOBase):
    """A file of `size` bytes of which the first bytes, `head`, are known; opened when others are
    read.
    """

    def __init__(self, path: str, size: int, head: bytes) -> None:
        self.name = path
        self.size = size
        self.head = head[:size]
        self._position = 0
        self._descriptor: int | None = None

    def __repr__(self) -> str:
        return f"<BegunFile {self.name}: {len(self.head)} of {self.size} bytes known>"

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = start + offset
        return self._position

    @property
    def is_open(self) -> bool:
        """Whether the file was opened, because other bytes than the known ones were read."""
        return self._descriptor is not None

    def fileno(self) -> int:
        """A descriptor of the file, which is opened if it is not yet."""
        if self._descriptor is None:
            self._descriptor = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptor

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read bytes at the position; fewer than wanted at the end of the known ones."""
        view = memoryview(buffer).cast("B")
        known = self.head[self._position : self._position + len(view)]
        if known:
            view[: len(known)] = known
            count = len(known)
        elif self._position >= self.size:
            count = 0
        else:
            count = os.preadv(self.fileno(), [view], self._position)
        self._position += count
        return count

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        super().close()


def read_heads(paths: Sequence[str], nbytes: int) -> list[bytes | OSError]:
    """The first `nbytes` bytes of each file, or the OSError; in several threads if the files are
    slow.
    """

    def head(path: str) -> bytes | OSError:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.pread(descriptor, nbytes, 0)
            finally:
                os.close(descriptor)
        except OSError as error:
            return error

    return side_by_side(head, paths)
