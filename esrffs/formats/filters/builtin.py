"""Decoders of the filters of HDF5 itself: deflate, shuffle, fletcher32, szip.

Each function gets the stored bytes, the client data of the filter, and the number of bytes that are
needed at least.  It may return more bytes: HDF5, too, uses the first ones of a longer result.  A
size that is declared in the data is checked before memory is allocated for it (`believed`).
Formats: "HDF5 File Format Specification", section IV.A.2.l (filter pipeline message).
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np

from esrffs import limits
from esrffs.errors import TooLargeError
from esrffs.formats.filters.error_sentences import FilterDataError
from esrffs.formats.filters.native import blosc2_unshuffle
from esrffs.linux.buffers import allocate

ClientData = tuple[int, ...]
Buffer = bytes | bytearray | memoryview

LIMIT = 2**31 - 1  # bytes: the decoders count with a C int
_PIECE = 1 << 20  # bytes of a stream that are decompressed at a time

_lib: Any = imagecodecs  # its type stubs do not allow memoryviews


def room(size: int) -> memoryview:
    """A buffer of `size` bytes for decoded data; TooLargeError."""
    return allocate(size, "decoded")


def believed(declared: int, size: int) -> int:
    """The size that a chunk declares, checked.

    Raises FilterDataError if it is smaller than the needed `size`, or larger than `chunk_limit`.
    """
    if declared != size:
        try:
            limits.check_chunk("more than is needed", min(declared, LIMIT + 1))
        except TooLargeError as error:
            raise FilterDataError(f"they declare {declared} bytes, not {size}") from error
    if declared < size or declared > LIMIT:
        raise FilterDataError(f"they declare {declared} bytes, not {size}")
    return declared


def pieces(decompressor: Any, raw: memoryview, length: int = _PIECE) -> Iterator[bytes]:
    """Decompress a stream in pieces of `length` bytes.  Bytes after its end are ignored."""
    rest: Buffer = raw
    while not decompressor.eof:
        part = decompressor.decompress(rest, length)
        rest = getattr(decompressor, "unconsumed_tail", b"")
        if not part and not rest and not decompressor.eof:
            raise FilterDataError("the stream ends too early")
        yield part


def all_of(decompressor: Any, raw: memoryview, size: int) -> bytes:
    """Decompress a whole stream.  If it is longer than `size`, `chunk_limit` is checked."""
    parts, count = [], 0
    for part in pieces(decompressor, raw, max(size, _PIECE)):
        parts.append(part)
        count += len(part)
        if count > size:
            limits.check_chunk("more than is needed", count)
    return b"".join(parts)


def deflate(raw: memoryview, _client: ClientData, size: int) -> Buffer:
    """Decode deflate (RFC 1950).

    libdeflate, the fast decoder, fails if the result is longer than `size`; then zlib is used.
    """
    try:
        done: Buffer = _lib.deflate_decode(raw, out=room(size))
    except RuntimeError:
        return all_of(zlib.decompressobj(), raw, size)
    return done


def unshuffle(raw: memoryview, client: ClientData, _size: int) -> Buffer:
    """Undo shuffle, which stores the first bytes of all elements, then the second ones, and so on.

    The element size is `client[0]`.  Bytes after the last whole element are not shuffled.
    """
    itemsize, size = client[0], len(raw)
    whole = size - size % itemsize
    if itemsize == 1 or whole <= itemsize:
        return raw
    source, target = np.frombuffer(raw, np.uint8), np.frombuffer(room(size), np.uint8)
    if blosc2_unshuffle is not None and itemsize <= 255:
        blosc2_unshuffle(itemsize, whole, source.ctypes.data, target.ctypes.data)
    else:
        target[:whole].reshape(-1, itemsize)[:] = source[:whole].reshape(itemsize, -1).T
    target[whole:] = source[whole:]
    return target.data


def fletcher32(raw: memoryview, _client: ClientData, _size: int) -> Buffer:
    """Check and remove the checksum (the last 4 bytes, little-endian).

    HDF5 before 1.6.3 stored it with the bytes of each half swapped; HDF5 accepts both.
    """
    size = len(raw) - 4
    if size < 1:
        raise FilterDataError(f"{len(raw)} bytes hold no checksum")
    (stored,) = struct.unpack("<I", raw[size:])
    found: int = _lib.h5checksum_fletcher32(raw[:size])
    swapped = (found & 0x00FF00FF) << 8 | found >> 8 & 0x00FF00FF
    if stored not in (found, swapped):
        raise FilterDataError(f"checksum {found:08x} where {stored:08x} is stored")
    return raw[:size]


def szip(raw: memoryview, client: ClientData, size: int) -> Buffer:
    """Decode szip.  The decoded size (4 bytes, little-endian) is stored before the stream."""
    (declared,) = struct.unpack_from("<I", raw)
    mask, block, bits, line = client[0], client[1], client[2], client[3]
    out = room(believed(declared, size))
    done: Buffer = _lib.szip_decode(raw[4:], mask, block, bits, line, header=False, out=out)
    return done
