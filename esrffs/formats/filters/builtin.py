"""The filters of HDF5 itself, undone: deflate, shuffle, fletcher32, szip.

Decided here: what is believed of a stream that declares its own size, or holds more than is needed.
Each function is given what is stored, the filter's client data, and the size that is needed at
least; what it gives may be longer, for HDF5 takes the first bytes of more.
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

LIMIT = 2**31 - 1  # bytes: the decoders count with C's int
_PIECE = 1 << 20  # bytes of a stream that are unpacked at a time

_lib: Any = imagecodecs  # whose stubs do not know that it takes memoryviews


def room(size: int) -> memoryview:
    return allocate(size, "decoded")


def believed(declared: int, size: int) -> int:
    """A size that a chunk declares: at least the one that is needed, and none to fear."""
    if declared != size:
        try:
            limits.check_chunk("more than is needed", min(declared, LIMIT + 1))
        except TooLargeError as error:
            raise FilterDataError(f"they declare {declared} bytes, not {size}") from error
    if declared < size or declared > LIMIT:
        raise FilterDataError(f"they declare {declared} bytes, not {size}")
    return declared


def pieces(decompressor: Any, raw: memoryview, length: int = _PIECE) -> Iterator[bytes]:
    """A stream, unpacked so many bytes at a time; what stands behind its end is ignored."""
    rest: Buffer = raw
    while not decompressor.eof:
        part = decompressor.decompress(rest, length)
        rest = getattr(decompressor, "unconsumed_tail", b"")
        if not part and not rest and not decompressor.eof:
            raise FilterDataError("the stream ends too early")
        yield part


def all_of(decompressor: Any, raw: memoryview, size: int) -> bytes:
    """All of a stream that may hold more than is needed."""
    parts, count = [], 0
    for part in pieces(decompressor, raw, max(size, _PIECE)):
        parts.append(part)
        count += len(part)
        if count > size:
            limits.check_chunk("more than is needed", count)
    return b"".join(parts)


def deflate(raw: memoryview, _client: ClientData, size: int) -> Buffer:
    """What is longer than it need be does not fit into the target, and is unpacked by zlib."""
    try:
        done: Buffer = _lib.deflate_decode(raw, out=room(size))
    except RuntimeError:
        return all_of(zlib.decompressobj(), raw, size)
    return done


def unshuffle(raw: memoryview, client: ClientData, _size: int) -> Buffer:
    """The first bytes of all elements, then the second ones …; what is no whole element, as is."""
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
    """Old libraries stored the sums with the bytes of both halves swapped: HDF5 takes either."""
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
    """The size of the array stands before the stream; the rest is told by the client data."""
    (declared,) = struct.unpack_from("<I", raw)
    mask, block, bits, line = client[0], client[1], client[2], client[3]
    out = room(believed(declared, size))
    done: Buffer = _lib.szip_decode(raw[4:], mask, block, bits, line, header=False, out=out)
    return done
