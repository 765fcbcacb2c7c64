"""Files whose first bytes were read before, and a function that reads the first bytes of many
files.

A series may have thousands of files, and on a file server each call takes time.  Therefore several
threads read the first bytes of all files, and a file is opened again only for bytes beyond them.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from esrffs.formats.images.sized_file import SizedFile
from esrffs.formats.side_by_side import side_by_side

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class BegunFile(SizedFile):
    """A file of `size` bytes of which the first bytes, `head`, are known; opened when others are
    read.
    """

    def __init__(self, path: str, size: int, head: bytes) -> None:
        self.name = path
        self.size = size
        self.head = head[:size]
        self._descriptor: int | None = None

    def __repr__(self) -> str:
        return f"<BegunFile {self.name}: {len(self.head)} of {self.size} bytes known>"

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


class BegunTiff(BegunFile):
    """A TIFF of which some pieces are known: bytes by their offset, the first ones among them.

    The bytes are those of the file itself (`verbatim`).
    """

    verbatim = True

    def __init__(self, path: str, size: int, pieces: Mapping[int, bytes]) -> None:
        super().__init__(path, size, pieces[0])
        self._pieces = pieces

    def pread(self, offset: int, count: int) -> bytes:
        """Bytes from this offset on; fewer where the file ends."""
        count = min(count, self.size - offset)
        if count <= 0:
            return b""
        for start, piece in self._pieces.items():
            if start <= offset and offset + count <= start + len(piece):
                return piece[offset - start : offset - start + count]
        found = b""
        while len(found) < count:
            more = os.pread(self.fileno(), count - len(found), offset + len(found))
            if not more:
                break
            found += more
        return found

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        found = self.pread(self._position, len(view))
        view[: len(found)] = found
        self._position += len(found)
        return len(found)


def read_tiff_pieces(paths: Sequence[str], nbytes: int) -> list[dict[int, bytes] | OSError]:
    """The first `nbytes` bytes of each TIFF, and so many about its first directory.

    Or why they cannot be read; side by side if that is slow.
    """

    def pieces(path: str) -> dict[int, bytes] | OSError:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                head = os.pread(descriptor, nbytes, 0)
                offset = first_directory(head)
                if offset is None or offset + nbytes // 2 <= len(head) or len(head) < nbytes:
                    return {0: head}
                start = max(offset - nbytes // 2, 0)
                return {0: head, start: os.pread(descriptor, nbytes, start)}
            finally:
                os.close(descriptor)
        except OSError as error:
            return error

    return side_by_side(pieces, paths)


def first_directory(head: bytes) -> int | None:
    """Where the first directory of a TIFF or BigTIFF begins; None where its first bytes are odd."""
    order: Literal["<", ">"] = ">" if head.startswith(b"MM") else "<"
    try:
        version, first = struct.unpack_from(order + "HI", head, 2)
        if version == 43:
            (first,) = struct.unpack_from(order + "Q", head, 8)
    except struct.error:
        return None
    return int(first) if first < 1 << 62 else None


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
