"""Decompress `.gz`, `.bz2` and zlib streams, and count the bytes that can be trusted.

A gzip member (RFC 1952) and a zlib stream (RFC 1950) have their checksum at the end.  If it is
wrong, all bytes of the member are discarded: after a changed bit the decompressor returns wrong
bytes without an error.  bzip2 has a checksum for each block.  If a stream ends too early, the bytes
before are kept, because no checksum contradicts them.
"""

import bz2
import io
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MOST = 1 << 20  # bytes that are decompressed at a time
_ZEROS = b"\0"  # padding between and after streams, as tapes have it
_NEAR = 1 << 16  # bytes: see `_lost_its_end`

BinaryFile = io.RawIOBase | io.BufferedIOBase

CUT = "the file ends before its packed data do"


class _Zlib:
    """The decompressor of one gzip member or zlib stream."""

    piece = 1 << 16  # compressed bytes that are fed at a time

    def __init__(self, bits: int) -> None:
        self._stream = zlib.decompressobj(bits)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """The decompressed bytes, in pieces; zlib.error if they are damaged."""
        while True:
            content = self._stream.decompress(packed, _MOST)
            packed = self._stream.unconsumed_tail
            if content:
                yield content
            if self.eof or (not packed and len(content) < _MOST):
                return


class _Bzip2:
    """The decompressor of one bzip2 stream."""

    piece = 1 << 12  # compressed bytes that are fed at a time; few blocks are smaller

    def __init__(self) -> None:
        self._stream = bz2.BZ2Decompressor()

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """The decompressed bytes; OSError if the checksum of a block is wrong.

        When it ends, the checksums of all blocks that it returned were right.
        """
        content = self._stream.decompress(packed, _MOST)
        while content:
            yield content
            if self.eof:
                return
            content = self._stream.decompress(b"", _MOST)


class PackedFile(io.RawIOBase):
    """The content of a compressed file as a file.  Seeking back decompresses it from the start.

    `trusted` is the number of bytes so far that no checksum contradicts; `fault` says why there are
    no more, or is "".  `run_out` reads to the end.  `kind`: "gzip", "bzip2", or "zlib" (one stream
    only).
    """

    def __init__(self, file: BinaryFile, kind: str) -> None:
        self.name = getattr(file, "name", "")
        self._file = file
        self._kind = kind
        self._careful: int | None = None  # from this position on, one byte is fed at a time
        self._start()

    def _start(self) -> None:
        self._file.seek(0)
        self.trusted = 0
        self.fault = ""
        self._position = 0
        self._piece = memoryview(b"")
        self._unused = b""  # bytes that were read beyond the end of a stream
        self._pieces = self._unpacked()

    def __repr__(self) -> str:
        return f"<PackedFile: {self._kind} of {self.name!r}>"

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("the length of packed data is not known")
        target = offset + (self._position if whence == io.SEEK_CUR else 0)
        if target < self._position:
            self._start()
        while self._position < target and self._fill():
            self._take(target - self._position)
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._fill():
            piece = self._take(len(view) - done)
            view[done : done + len(piece)] = piece
            done += len(piece)
        return done

    def run_out(self) -> None:
        """Decompress the rest, so that `trusted` and `fault` are those of the whole file."""
        while self._fill():
            self._take(len(self._piece))

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _fill(self) -> bool:
        """Whether there are more bytes; reads the next piece."""
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        return len(self._piece) > 0

    def _take(self, most: int) -> memoryview:
        taken, self._piece = self._piece[:most], self._piece[most:]
        self._position += len(taken)
        return taken

    def _unpacked(self) -> Iterator[bytes]:
        """The bytes of all streams; it ends at a stream that is damaged or cut short."""
        total, rest = 0, b""  # decompressed bytes; bytes that were read of the next stream
        while True:
            stream = _stream(self._kind)
            for content in self._one(stream, rest, total):
                total += len(content)
                yield content
            if not stream.eof:
                return
            self.trusted = total
            rest = self._next()
            if not rest:
                return

    def _one(self, stream: _Zlib | _Bzip2, rest: bytes, total: int) -> Iterator[bytes]:
        """The bytes of one stream, which begins with `rest`; `total` bytes came before it."""
        while not stream.eof:
            at = self._file.tell() - len(rest)
            careful = self._careful is not None and at >= self._careful
            size = 1 if careful else stream.piece
            packed, rest = rest[:size] or self._file.read(size), rest[size:]
            if not packed:
                self._ended(total, stream)
                return
            try:
                for content in stream.feed(packed):
                    total += len(content)
                    yield content
            except (zlib.error, OSError, EOFError):
                if self._kind == "bzip2" and not careful:
                    yield from self._once_more(at, total)
                else:
                    self._damaged()
                return
            if self._kind == "bzip2":
                self.trusted = total
        self._unused = stream.unused_data + rest

    def _next(self) -> bytes:
        """The first bytes of the next stream; b"" if there is none."""
        rest = self._unused
        if self._kind == "zlib":
            return b""
        while not (rest := rest.lstrip(_ZEROS)):
            rest = self._file.read(_Zlib.piece)
            if not rest:
                return b""
        rest += self._file.read(1) if len(rest) == 1 else b""
        if not (b"\x1f\x8b" if self._kind == "gzip" else b"BZ").startswith(rest[:2]):
            self.fault = f"behind its packed data stands something that is no {self._kind}"
            return b""
        return rest

    def _ended(self, total: int, stream: _Zlib | _Bzip2) -> None:
        """To be called when the file ends within a stream."""
        if self._kind != "bzip2" and self._lost_its_end(total):
            self._damaged()
            return
        self.fault = CUT
        if isinstance(stream, _Zlib):  # of bzip2, all blocks that came out were checked
            self.trusted = total

    def _lost_its_end(self, total: int) -> bool:
        """Whether the trailer of a gzip member was taken for data, because a bit was changed.

        Then the last four bytes of the file are about the length of the member; in a file that was
        cut short they are arbitrary.
        """
        if self._kind != "gzip" or self._file.tell() < 18:
            return False
        self._file.seek(-4, io.SEEK_CUR)
        told = int.from_bytes(self._file.read(4), "little")
        away = (told - (total - self.trusted)) % (1 << 32)
        return min(away, (1 << 32) - away) < _NEAR

    def _once_more(self, at: int, total: int) -> Iterator[bytes]:
        """The bytes after the first `total` ones that the piece at this position gives.

        When `bz2` raises an error, it loses the blocks that it decoded in the same call.  Fed byte
        by byte, it returns all blocks before the damaged one.
        """
        self._careful = at
        self._file.seek(0)
        for content in self._unpacked():
            if content[total:]:
                yield content[total:]
            total = max(total - len(content), 0)

    def _damaged(self) -> None:
        self.fault = f"its packed data are damaged: {self._kind} finds a wrong checksum or code"


def open_packed(path: str) -> PackedFile:
    """The content of a file whose name ends in `.gz` or `.bz2`."""
    return PackedFile(open(path, "rb"), "gzip" if path.endswith(".gz") else "bzip2")


def is_packed(path: str) -> bool:
    return path.endswith((".gz", ".bz2"))


def packed_nbytes(file: BinaryFile, kind: str) -> int | None:
    """The compressed length of the stream at the position of the file; None if it is damaged."""
    stream, taken = _stream(kind), 0
    try:
        while not stream.eof:
            piece = file.read(stream.piece)
            if not piece:
                return None
            taken += len(piece)
            for _ in stream.feed(piece):
                pass
    except (zlib.error, OSError, EOFError):
        return None
    return taken - len(stream.unused_data)


def _stream(kind: str) -> _Zlib | _Bzip2:
    if kind == "bzip2":
        return _Bzip2()
    return _Zlib(zlib.MAX_WBITS | 16 if kind == "gzip" else zlib.MAX_WBITS)
