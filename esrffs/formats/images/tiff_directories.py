"""The directories (IFDs) of a TIFF: one for each page, found without a look at the pages' data.

Decided here: how the bytes of a TIFF are got at (a plain file, or what is packed in `.gz` or
`.bz2`), and where its chain of directories ends.  Each is read once, and few bytes of each are
kept: a file may have tens of thousands.
"""

import io
import os
import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from esrffs.errors import DamagedError
from esrffs.formats.images.packed import is_packed, open_packed

_WINDOW = 64 << 20  # bytes of an unpacked file that are kept: writers go back a little
_STEP = 1 << 20  # bytes
_FIRST_LOOK = 512  # bytes: most directories are smaller
MOST_PAGES = 1 << 20  # more is no number of pages, or of frames
_MOST_ENTRIES = 4096  # of a directory; tifffile's limit
_TYPES = {  # of TIFF → of NumPy
    1: "u1",
    2: "S1",
    3: "u2",
    4: "u4",
    5: "2u4",
    6: "i1",
    7: "S1",
    8: "i2",
    9: "i4",
    10: "2i4",
    11: "f4",
    12: "f8",
    13: "u4",
    16: "u8",
    17: "i8",
    18: "u8",
}
_SIZES = {code: np.dtype(name).itemsize for code, name in _TYPES.items()}


class Content(Protocol):
    """The bytes of a TIFF."""

    size: int
    verbatim: bool  # they are those of the file itself

    def pread(self, offset: int, count: int) -> bytes:
        """Fewer bytes where the file ends."""

    def close(self) -> None:
        """Let go of the file."""


class PlainFile(io.FileIO):
    """A file that holds a TIFF.  Never mapped: it may be cut short at any time."""

    verbatim = True

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.size = os.fstat(self.fileno()).st_size

    def pread(self, offset: int, count: int) -> bytes:
        if offset >= self.size:
            return b""
        parts = []
        while count > 0 and (part := os.pread(self.fileno(), count, offset)):
            parts.append(part)
            offset, count = offset + len(part), count - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class UnpackedFile(io.RawIOBase):
    """What is packed in a file, as far as it can be trusted; its last bytes are kept.

    Unpacked once to its end as it opens: then its checksums have been seen.  DamagedError where
    nothing of it can be trusted.
    """

    verbatim = False

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._position = 0
        with open_packed(path) as file:
            file.run_out()
            if file.fault and not file.trusted:
                raise DamagedError(file.fault)
            self.size = file.trusted
        self._begin()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(start + offset, 0)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # a plain buffer
        content = self.pread(self._position, len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def pread(self, offset: int, count: int) -> bytes:
        count = min(count, self.size - offset)
        if count <= 0:
            return b""
        if offset < self._first:
            self._stream.close()
            self._begin()
        while self._first + len(self._window) < offset + count and self._grow(offset):
            pass
        start = offset - self._first
        return bytes(memoryview(self._window)[start : start + count])

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

    def _begin(self) -> None:
        self._stream = open_packed(self._path)
        self._window = bytearray()
        self._first = 0  # position of the first byte of the window

    def _grow(self, wanted: int) -> bool:
        """Unpack a little more; what lies far before `wanted` is let go.  False at the end."""
        piece = self._stream.read(_STEP) or b""
        self._window += piece
        too_many = min(len(self._window) - _WINDOW, wanted - self._first)
        if too_many > 0:
            del self._window[:too_many]
            self._first += too_many
        return bool(piece)


def open_content(path: str) -> PlainFile | UnpackedFile:
    """The bytes of the TIFF in this file."""
    return UnpackedFile(path) if is_packed(path) else PlainFile(path)


class Directory(NamedTuple):
    """One directory as it lies in the file: `entries` is all of its entries."""

    offset: int
    entries: bytes


Values = npt.NDArray[np.generic]


class Directories:
    """The chain of directories of one file; `end` says why it ends too early, "" if it does not."""

    def __init__(self, content: Content) -> None:
        self._content = content
        head = content.pread(0, 16)
        self.order: Literal["<", ">"] = ">" if head.startswith(b"MM") else "<"
        try:
            version, first = struct.unpack(self.order + "HI", head[2:8])
            if version == 43:
                (first,) = struct.unpack(self.order + "Q", head[8:16])
        except struct.error:
            raise DamagedError("the file ends within its first bytes") from None
        self._count, self._next = ("Q", "Q") if version == 43 else ("H", "I")
        self._entry = struct.Struct(self.order + ("HHQ8s" if version == 43 else "HHI4s"))
        self.end = ""
        self.chain = list(self._walk(first))
        if not self.chain:
            raise DamagedError(self.end or "the file has no directory of an image")

    def __repr__(self) -> str:
        return f"<Directories: {len(self.chain)} of a TIFF>"

    def tags(self, directory: Directory) -> dict[int, tuple[int, int, bytes]]:
        """Type, count and field of each tag; of a tag that stands there twice, the first."""
        found: dict[int, tuple[int, int, bytes]] = {}
        for tag, kind, count, field in self._entry.iter_unpack(directory.entries):
            found.setdefault(tag, (kind, count, field))
        return found

    def content_of(self, entry: tuple[int, int, bytes], most: int) -> bytes | None:
        """The bytes of a value, None where it has more than `most`.  DamagedError if cut short."""
        kind, count, field = entry
        nbytes = _SIZES.get(kind, 1) * count
        if nbytes <= len(field):
            return field[:nbytes]
        if nbytes > most:
            return None
        (offset,) = struct.unpack(self.order + self._next, field)
        content = self._content.pread(offset, nbytes)
        if len(content) < nbytes:
            raise DamagedError("the file ends within a TIFF directory")
        return content

    def values(self, entry: tuple[int, int, bytes]) -> Values:
        """The values of an entry; texts and bytes in one piece.  DamagedError."""
        content = self.content_of(entry, self._content.size)
        if content is None:
            raise DamagedError("the file ends within a TIFF directory")
        name = _TYPES.get(entry[0], "S1")
        if name == "S1":
            return np.array(content)
        return np.frombuffer(content, np.dtype(name).newbyteorder(self.order))

    def _walk(self, offset: int) -> Iterator[Directory]:
        seen: set[int] = set()
        count_size, next_size = struct.calcsize(self._count), struct.calcsize(self._next)
        while offset:
            page = f"page {len(seen)}"
            if len(seen) == MOST_PAGES:
                self.end = f"{page}: more pages are not looked for"
                return
            if offset in seen:
                self.end = f"{page}: the TIFF directories go round in a circle"
                return
            seen.add(offset)
            look = self._content.pread(offset, _FIRST_LOOK)
            if len(look) < count_size:
                self.end = f"{page}: the file ends before its directory"
                return
            (count,) = struct.unpack_from(self.order + self._count, look)
            if not 0 < count <= _MOST_ENTRIES:
                self.end = f"{page}: a directory of {count} entries is none of an image"
                return
            stop = count_size + count * self._entry.size
            if len(look) < stop + next_size:
                look = self._content.pread(offset, stop + next_size)
            if len(look) < stop:
                self.end = f"{page}: the file ends within a TIFF directory"
                return
            yield Directory(offset, look[count_size:stop])
            if len(look) < stop + next_size:
                self.end = f"page {len(seen)}: the file ends within a TIFF directory"
                return
            (offset,) = struct.unpack_from(self.order + self._next, look, stop)
