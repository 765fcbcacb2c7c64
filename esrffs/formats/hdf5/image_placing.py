"""Giving the arrays of an HDF5 file their places, after libhdf5 has written all else.

libhdf5 aligns data only together with everything else of that size, and would have every header
take 4096 bytes.  So it is told to allocate no data at all, and the addresses are put in here: into
the layout message of each dataset's header, and the end of the file into the superblock.

The format: HDF5 File Format Specification 3.0, II.A (superblock), IV.A.1 (headers), IV.A.2.i (data
layout message); https://docs.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html.  The checksum is
Bob Jenkins' lookup3, "hashlittle", https://burtleburtle.net/bob/c/lookup3.c.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from esrffs.errors import UnsupportedError
from esrffs.formats.hdf5.image import ALIGNMENT

_LAYOUT, _CONTINUATION = 0x08, 0x10  # types of messages
_CONTIGUOUS = 1
_NOWHERE = (1 << 64) - 1
_MASK = 0xFFFFFFFF


class Placed(NamedTuple):
    """Where the data of a dataset lie now; `content`: those that libhdf5 had written elsewhere."""

    offset: int
    content: bytes | None


def place_data(content: bytearray, datasets: Sequence[tuple[int, int]]) -> tuple[list[Placed], int]:
    """Lay out the data of `datasets` (address of the header, bytes) behind `content`.

    Changes the addresses in `content`, and blanks what moves; returns the size of the file, too.
    """
    placed = []
    end = len(content)
    for header, nbytes in datasets:
        offset = -(-end // ALIGNMENT) * ALIGNMENT
        old = _set_address(content, header, offset, nbytes)
        moved = None
        if old is not None:
            moved = bytes(content[old : old + nbytes])
            content[old : old + nbytes] = bytes(nbytes)
        placed.append(Placed(offset, moved))
        end = offset + nbytes
    _set_end(content, end)
    return placed, end


def _set_end(content: bytearray, end: int) -> None:
    """The "end of file address" of the superblock."""
    version = content[8]
    if version == 0:
        struct.pack_into("<Q", content, 40, end)
    elif version in (2, 3):
        struct.pack_into("<Q", content, 28, end)
        struct.pack_into("<I", content, 44, checksum(bytes(content[:44])))
    else:
        raise UnsupportedError(f"HDF5 has written a superblock of version {version}")


def _set_address(content: bytearray, header: int, offset: int, nbytes: int) -> int | None:
    """Put it into the header; returns what was there, None where nothing was allocated."""
    second = content[header : header + 4] == b"OHDR"
    messages = _messages_2(content, header) if second else _messages_1(content, header)
    for kind, at, chunk, length in messages:
        if kind == _LAYOUT:
            version, layout, old, size = struct.unpack_from("<BBQQ", content, at)
            if version not in (3, 4) or layout != _CONTIGUOUS or size != nbytes:
                break
            struct.pack_into("<Q", content, at + 2, offset)
            if second:
                value = checksum(bytes(content[chunk : chunk + length]))
                struct.pack_into("<I", content, chunk + length, value)
            return None if old == _NOWHERE else int(old)
    raise UnsupportedError("HDF5 has written the header of a dataset in a way not known here")


_Message = tuple[int, int, int, int]  # its type, where its data lie, its chunk's place and length


def _messages_1(content: bytearray, header: int) -> Iterator[_Message]:
    """The messages of a header of version 1."""
    chunks = [(header + 16, struct.unpack_from("<I", content, header + 8)[0])]
    for at, length in chunks:
        end = at + length
        while at + 8 <= end:
            kind, size = struct.unpack_from("<HH", content, at)
            if kind == _CONTINUATION:
                chunks.append(struct.unpack_from("<QQ", content, at + 8))
            yield kind, at + 8, 0, 0
            at += 8 + size


def _messages_2(content: bytearray, header: int) -> Iterator[_Message]:
    """The messages of a header of version 2; each of its chunks ends in a checksum."""
    flags = content[header + 5]
    at = header + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(content[at : at + width], "little")
    prefix = 4 + (2 if flags & 4 else 0)
    chunks = [(header, at + width, at + width + size)]
    for start, at, end in chunks:
        while at + prefix <= end:
            kind, size = content[at], int.from_bytes(content[at + 1 : at + 3], "little")
            if kind == _CONTINUATION:
                place, length = struct.unpack_from("<QQ", content, at + prefix)
                chunks.append((place, place + 4, place + length - 4))
            yield kind, at + prefix, start, end - start
            at += prefix + size


def checksum(data: bytes) -> int:
    """Jenkins' lookup3 of these bytes, begun with 0."""
    length = len(data)
    a = b = c = (0xDEADBEEF + length) & _MASK
    if not length:
        return c
    full = (length - 1) // 12  # the last 12 bytes, or what there is of them, are mixed otherwise
    words = struct.unpack(f"<{3 * (full + 1)}I", data.ljust(12 * (full + 1), b"\0"))
    for index in range(0, 3 * full, 3):
        a, b, c = a + words[index], b + words[index + 1], c + words[index + 2]
        a = (a - c & _MASK) ^ _turned(c, 4)
        c += b
        b = (b - a & _MASK) ^ _turned(a, 6)
        a += c
        c = (c - b & _MASK) ^ _turned(b, 8)
        b += a
        a = (a - c & _MASK) ^ _turned(c, 16)
        c += b
        b = (b - a & _MASK) ^ _turned(a, 19)
        a += c
        c = (c - b & _MASK) ^ _turned(b, 4)
        b += a
    a, b, c = (n + m & _MASK for n, m in zip((a, b, c), words[3 * full :], strict=True))
    c = (c ^ b) - _turned(b, 14) & _MASK
    a = (a ^ c) - _turned(c, 11) & _MASK
    b = (b ^ a) - _turned(a, 25) & _MASK
    c = (c ^ b) - _turned(b, 16) & _MASK
    a = (a ^ c) - _turned(c, 4) & _MASK
    b = (b ^ a) - _turned(a, 14) & _MASK
    return int((c ^ b) - _turned(b, 24) & _MASK)


def _turned(value: int, bits: int) -> int:
    value &= _MASK
    return (value << bits | value >> 32 - bits) & _MASK
