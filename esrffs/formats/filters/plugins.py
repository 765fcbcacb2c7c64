"""The filters of h5py and hdf5plugin, undone: LZF, bzip2, zstd, Blosc, LZ4, bitshuffle.

Decided here: what of a chunk is checked before a decoder that trusts its input gets it.  The
functions are those of `builtin` in kind.
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

MANY = 2**16  # blocks; more must be at least BLOCK bytes each, or the walk over them is the work
BLOCK = 1024

_LZF_RATIO = 132  # times: no LZF stream unpacks to more (3 bytes stand for at most 264)
_FIRST = 12  # bytes before the first block of LZ4 and bitshuffle
_STORED = struct.Struct(">I")  # before each of them

_BLOSC_COPIED = 2  # flag of a chunk that did not shrink

Wanted = tuple[int, int] | None  # bytes [first, last) of the chunk that are needed; None: all

_lib: Any = imagecodecs  # whose stubs do not know that it takes memoryviews


def lzf(raw: memoryview, _client: ClientData, size: int) -> Buffer:
    """It does not say how much it holds: where that is more than is needed, room is tried for."""
    tried = max(size, 1)
    while True:
        try:
            done: Buffer = _lib.lzf_decode(raw, out=room(tried))
        except RuntimeError:
            tried *= 2
            if tried > len(raw) * _LZF_RATIO:  # so it was not for want of room
                raise
            limits.check_chunk("more than is needed", tried)
        else:
            return done


def bzip2(raw: memoryview, _client: ClientData, size: int) -> Buffer:
    return all_of(bz2.BZ2Decompressor(), raw, size)


def zstd(raw: memoryview, _client: ClientData, size: int) -> Buffer:
    """The first frame is to declare the size; one that does not is for hdf5plugin to judge."""
    magic, head = struct.unpack_from("<IB", raw)
    single, width = head >> 5 & 1, (0, 2, 4, 8)[head >> 6] or head >> 5 & 1
    at = 6 - single + (0, 1, 2, 4)[head & 3]  # behind the window and the dictionary's number
    declared = int.from_bytes(raw[at : at + width], "little") + (256 if width == 2 else 0)
    if magic != 0xFD2FB528 or width == 0:
        raise UnsupportedError("zstd: the chunk does not declare its size")
    out = room(believed(declared, size))
    end = _end_of_frame(raw, at + width, head)
    if end < len(raw):  # which hdf5plugin takes, or not
        raise UnsupportedError("zstd: something else stands behind the frame")
    done: Buffer = _lib.zstd_decode(raw[:end], out=out)
    return done


def _end_of_frame(raw: memoryview, at: int, head: int) -> int:
    """Where the zstd frame ends whose blocks begin here; the walk is as long as it has blocks."""
    last = 0
    while not last:
        block = int.from_bytes(raw[at : at + 3], "little")
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        at += 3 + (1 if kind == 1 else size)
        if at > len(raw):
            raise FilterDataError("the frame ends after the chunk")
    return at + 4 * (head >> 2 & 1)


def blosc(raw: memoryview, _client: ClientData, size: int, wanted: Wanted = None) -> Buffer:
    """c-blosc believes the stored size that the chunk declares: it must be there."""
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
    """These blocks of a Blosc chunk as a chunk of their own.

    After the header of 16 bytes (sizes at 4 and 12) stands where each block begins; where it ends
    is told by what begins next.  https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst
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
    """A block that did not shrink is stored as is."""
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
    """The last block is a multiple of 8 elements; what remains after that is stored as is."""
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
    """The blocks (first, last + 1) in which the wanted ones of so many bytes lie."""
    first, last = wanted or (0, size)
    return min(first, size) // block, -(-min(last, size) // block)


def _header(raw: memoryview, size: int) -> tuple[int, int]:
    """LZ4 and bitshuffle chunks open alike: the size of the array, and of a block, in bytes."""
    declared, block = struct.unpack_from(">QI", raw)
    if block == 0:
        raise FilterDataError("they declare blocks of no bytes")
    return believed(declared, size), int(block)


def _ends(raw: memoryview, count: int) -> list[int]:
    """Where each block after such a header ends; its stored size is before it."""
    if _FIRST + 4 * count > len(raw):
        raise FilterDataError(f"{count} blocks in {len(raw)} bytes")
    if count > max(MANY, len(raw) // BLOCK):
        raise UnsupportedError(f"{count} blocks in a chunk of {len(raw)} bytes")
    stored, at, ends = _STORED.unpack_from, _FIRST, []
    for _ in range(count):  # with the GIL, so as little as possible
        at += 4 + stored(raw, at)[0]
        ends.append(at)
    if at > len(raw):
        raise FilterDataError(f"the last of {count} blocks ends after the chunk")
    return ends
