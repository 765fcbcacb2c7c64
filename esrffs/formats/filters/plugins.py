"""Decoders of the filters of h5py and hdf5plugin: LZF, bzip2, zstd, Blosc, LZ4, bitshuffle.

The functions have the parameters of those in `builtin`.  Decoders that trust the sizes in their
input are called only after these sizes were checked.
"""

import bz2
import struct
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np

from esrffs import limits
from esrffs.errors import UnsupportedError
from esrffs.formats.filters.builtin import Buffer, ClientData, all_of, believed, room
from esrffs.formats.filters.error_sentences import FilterDataError
from esrffs.formats.filters.native import bitunshuffle

# More blocks than MANY must have at least BLOCK bytes each; else the loop over them takes too long.
MANY = 2**16
BLOCK = 1024

_LZF_RATIO = 132  # the largest possible ratio of LZF: 3 bytes stand for at most 264
_FIRST = 12  # bytes before the first block of LZ4 and bitshuffle
_STORED = struct.Struct(">I")  # the stored size of a block, before each block

_BLOSC_COPIED = 2  # flag of a chunk that did not shrink

Wanted = tuple[int, int] | None  # bytes [first, last) of the chunk that are needed; None: all

_lib: Any = imagecodecs  # its type stubs do not allow memoryviews


def lzf(raw: memoryview, _client: ClientData, size: int) -> Buffer:
    """Decode LZF.

    The format does not store the decoded size: if `size` is too small, larger sizes are tried.
    """
    tried = max(size, 1)
    while True:
        try:
            done: Buffer = _lib.lzf_decode(raw, out=room(tried))
        except RuntimeError:
            tried *= 2
            if tried > len(raw) * _LZF_RATIO:  # the buffer was not too small: it is damaged
                raise
            limits.check_chunk("more than is needed", tried)
        else:
            return done


def bzip2(raw: memoryview, _client: ClientData, size: int) -> Buffer:
    return all_of(bz2.BZ2Decompressor(), raw, size)


def zstd(raw: memoryview, _client: ClientData, size: int) -> Buffer:
    """Decode zstd (RFC 8878).  UnsupportedError if the first frame does not declare its size."""
    magic, head = struct.unpack_from("<IB", raw)
    single, width = head >> 5 & 1, (0, 2, 4, 8)[head >> 6] or head >> 5 & 1
    at = 6 - single + (0, 1, 2, 4)[head & 3]  # after the window descriptor and dictionary ID
    declared = int.from_bytes(raw[at : at + width], "little") + (256 if width == 2 else 0)
    if magic != 0xFD2FB528 or width == 0:
        raise UnsupportedError("zstd: the chunk does not declare its size")
    out = room(believed(declared, size))
    end = _end_of_frame(raw, at + width, head)
    if end < len(raw):  # a worker decides: hdf5plugin may accept it
        raise UnsupportedError("zstd: something else stands behind the frame")
    done: Buffer = _lib.zstd_decode(raw[:end], out=out)
    return done


def _end_of_frame(raw: memoryview, at: int, head: int) -> int:
    """The position of the end of a zstd frame whose blocks begin at `at` (RFC 8878, 3.1.1)."""
    last = 0
    while not last:
        block = int.from_bytes(raw[at : at + 3], "little")
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        at += 3 + (1 if kind == 1 else size)
        if at > len(raw):
            raise FilterDataError("the frame ends after the chunk")
    return at + 4 * (head >> 2 & 1)


def blosc(raw: memoryview, _client: ClientData, size: int, wanted: Wanted = None) -> Buffer:
    """Decode Blosc 1.  c-blosc trusts the sizes in the header, which are checked here.

    https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst
    """
    declared, block, stored = struct.unpack_from("<III", raw, 4)
    if not 16 <= stored <= len(raw):
        raise FilterDataError(f"they declare {stored} stored bytes of {len(raw)}")
    out = room(believed(declared, size))
    if wanted is not None and 0 < block < declared and not raw[2] & _BLOSC_COPIED:
        first, last = _blocks(wanted, declared, block)
        first = min(first, max(declared // block - 1, 0))  # no chunk is shorter than a block
        part = _blosc_part(raw[:stored], declared, block, first, last)
        place = out[first * block : min(last * block, declared)]
        _lib.blosc_decode(part, out=place, numthreads=1)
        return out
    done: Buffer = _lib.blosc_decode(raw, out=out, numthreads=1)
    return done


def _blosc_part(raw: memoryview, declared: int, block: int, first: int, last: int) -> bytearray:
    """The blocks [first, last) of a Blosc chunk as a chunk of their own.

    After the header of 16 bytes (decoded size at 4, stored size at 12) the start of each block is
    stored (int32, little-endian).  A block ends where another one begins, or the chunk ends.
    """
    count = -(-declared // block)
    if count > max(MANY, len(raw) // BLOCK):
        raise UnsupportedError(f"{count} blocks in a chunk of {len(raw)} bytes")
    table = 16 + 4 * count
    if table > len(raw):
        raise FilterDataError(f"{count} blocks in {len(raw)} bytes")
    starts = np.frombuffer(raw, "<i4", count, 16).astype(np.int64)
    if not ((starts >= table) & (starts < len(raw))).all():
        raise FilterDataError("a block begins outside the chunk")
    chosen = starts[first:last]
    begin, behind = int(chosen.min()), starts[starts > chosen.max()]
    end = int(behind.min()) if len(behind) else len(raw)
    moved = chosen - begin + 16 + 4 * len(chosen)
    part = bytearray(raw[:16]) + moved.astype("<i4").tobytes() + raw[begin:end]
    struct.pack_into("<I", part, 4, min(last * block, declared) - first * block)
    struct.pack_into("<I", part, 12, len(part))
    return part


def lz4(raw: memoryview, _client: ClientData, size: int, wanted: Wanted = None) -> Buffer:
    """Decode LZ4 in blocks.  A block that did not become smaller is stored uncompressed.

    https://github.com/nexusformat/HDF5-External-Filter-Plugins/blob/master/LZ4/H5Zlz4.c
    """
    size, block = _header(raw, size)
    block = min(block, size)
    ends = _ends(raw, -(-size // block))
    out = room(size)
    first, last = _blocks(wanted, size, block)
    for k, (start, end) in enumerate(pairwise((_FIRST, *ends)[first : last + 1]), first):
        part, place = raw[start + 4 : end], out[k * block : (k + 1) * block]
        if len(part) == len(place):
            place[:] = part
        elif len(_lib.lz4_decode(part, out=place)) != len(place):
            raise FilterDataError(f"block {k} is too short")
    return out


def bitshuffle(raw: memoryview, client: ClientData, size: int, wanted: Wanted = None) -> Buffer:
    """Decode bitshuffle, with LZ4, zstd or without compression.

    All blocks have a multiple of 8 elements; elements after the last block are stored as they are.
    https://github.com/kiyo-masui/bitshuffle/blob/master/src/bshuf_h5filter.c
    """
    itemsize, block = client[2], client[3] if len(client) > 3 else 0
    function = bitunshuffle[client[4] if len(client) > 4 else 0]
    packed, start = client[4:5] not in ((), (0,)), 0
    if packed:
        size, length = _header(raw, size)
        block, start = length // itemsize, _FIRST
        if block == 0 or block % 8:
            raise FilterDataError(f"they declare blocks of {block} elements")
    else:
        size = len(raw)
    if size % itemsize:
        raise FilterDataError(f"{size} bytes are no whole number of elements of {itemsize}")
    count = needed = size // itemsize
    first, stop = 0, count  # elements
    if packed:
        blocks = count // block + (count % block >= 8)
        ends = [_FIRST, *_ends(raw, blocks)]
        needed = ends[-1] + count % 8 * itemsize
        begin, end = _blocks(wanted, size, block * itemsize)
        if begin < blocks:
            first, start = begin * block, ends[begin]
        if end < blocks:
            stop = end * block
    if len(raw) < needed:
        raise FilterDataError(f"{len(raw)} bytes where {needed} belong")
    source, target = np.frombuffer(raw, np.uint8), np.frombuffer(room(size), np.uint8)
    code = function(
        source.ctypes.data + start,
        target.ctypes.data + first * itemsize,
        stop - first,
        itemsize,
        block,
    )
    if code < 0:
        raise FilterDataError(f"bitshuffle's error {code}")
    return target.data


def _blocks(wanted: Wanted, size: int, block: int) -> tuple[int, int]:
    """The range of blocks that contain the wanted bytes: (first, last + 1).

    `size` and `block` are the bytes of the whole and of a block.
    """
    first, last = wanted or (0, size)
    return min(first, size) // block, -(-min(last, size) // block)


def _header(raw: memoryview, size: int) -> tuple[int, int]:
    """The decoded size and the block size, in bytes, at the start of LZ4 and bitshuffle chunks."""
    declared, block = struct.unpack_from(">QI", raw)
    if block == 0:
        raise FilterDataError("they declare blocks of no bytes")
    return believed(declared, size), int(block)


def _ends(raw: memoryview, count: int) -> list[int]:
    """The end of each of `count` blocks after the header.  Before each is its stored size."""
    if _FIRST + 4 * count > len(raw):
        raise FilterDataError(f"{count} blocks in {len(raw)} bytes")
    if count > max(MANY, len(raw) // BLOCK):
        raise UnsupportedError(f"{count} blocks in a chunk of {len(raw)} bytes")
    stored, at, ends = _STORED.unpack_from, _FIRST, []
    for _ in range(count):  # holds the GIL, so it does as little as possible
        at += 4 + stored(raw, at)[0]
        ends.append(at)
    if at > len(raw):
        raise FilterDataError(f"the last of {count} blocks ends after the chunk")
    return ends
