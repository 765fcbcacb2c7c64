"""The directories (IFDs) of a TIFF, one for each page, found without reading pixels.

Each directory is read once and little of it is kept: a file may have tens of thousands.  The bytes
come from a plain file, or from one that is compressed as `.gz` or `.bz2`.
Format: TIFF 6.0 (https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf) and BigTIFF.
"""

import io
import os
import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from esrffs.errors import DamagedError
from esrffs.formats.images.packed import PackedFile, is_packed, open_packed
from esrffs.formats.images.sized_file import SizedFile

_WINDOW = 64 << 20  # decompressed bytes that are kept: offsets may point back a little
_STEP = 1 << 20  # bytes
_FIRST_LOOK = 512  # bytes that are read first; most directories are smaller
MOST_PAGES = 1 << 20  # pages or frames of one file
_MOST_ENTRIES = 4096  # entries of a directory; the limit of tifffile
_TYPES = {  # TIFF data types and those of NumPy
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
    """The bytes of a TIFF, plain or decompressed."""

    size: int
    verbatim: bool  # they are those of the file itself

    def pread(self, offset: int, count: int) -> bytes:
        """`count` bytes at `offset`; fewer at the end of the file."""

    def close(self) -> None:
        """Close the file."""


class PlainFile(io.FileIO):
    """An uncompressed file.  It is never memory-mapped, as it may be cut short at any time."""

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


class UnpackedFile(SizedFile):
    """The decompressed bytes of a file, as far as they can be trusted; the last ones are kept.

    The file is decompressed to its end when it is opened, so that all checksums are
    verified.  Raises DamagedError if nothing of it can be trusted.
    """

    verbatim = False

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._stream: PackedFile | None = None  # until the file was found to be sound
        with open_packed(path) as file:
            file.run_out()
            if file.fault and not file.trusted:
                raise DamagedError(file.fault)
            self.size = file.trusted
        self._begin()

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
            self._begin()
        while self._first + len(self._window) < offset + count and self._grow(offset):
            pass
        start = offset - self._first
        return bytes(memoryview(self._window)[start : start + count])

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        super().close()

    def _begin(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = open_packed(self._path)
        self._window = bytearray()
        self._first = 0  # position of the first byte of the window

    def _grow(self, wanted: int) -> bool:
        """Decompress the next piece, and drop bytes far before `wanted`.  False at the end."""
        piece = (self._stream and self._stream.read(_STEP)) or b""
        self._window += piece
        too_many = min(len(self._window) - _WINDOW, wanted - self._first)
        if too_many > 0:
            del self._window[:too_many]
            self._first += too_many
        return bool(piece)


def open_content(path: str) -> PlainFile | UnpackedFile:
    """The bytes of the TIFF in this file; DamagedError."""
    return UnpackedFile(path) if is_packed(path) else PlainFile(path)


class Directory(NamedTuple):
    """One directory as it is stored; `entries` are the bytes of all entries."""

    offset: int
    entries: bytes


Values = npt.NDArray[np.generic]


class Directories:
    """The chain of directories of one file; `end` says why it ends too early, or is ""."""

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
        """Type, count and field of each tag; of a tag that occurs twice, the first."""
        found: dict[int, tuple[int, int, bytes]] = {}
        for tag, kind, count, field in self._entry.iter_unpack(directory.entries):
            found.setdefault(tag, (kind, count, field))
        return found

    def content_of(self, entry: tuple[int, int, bytes], most: int) -> bytes | None:
        """The bytes of a value; None if there are more than `most`.  DamagedError if it is cut
        short.
        """
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
        """The values of an entry; texts and bytes are one value.  DamagedError."""
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
