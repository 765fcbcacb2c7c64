"""The object header of a virtual dataset, and the object of the global heap that it names.

Decided here: how both are read from the file, by the HDF5 File Format Specification (III.E, IV.A
and IV.A.2.i).  Addresses and lengths have eight bytes.  What is odd raises struct.error, IndexError
or ValueError: then the library has to be asked.
"""

import os
import struct

_LAYOUT, _CONTINUATION, _VIRTUAL = 8, 16, 3
_SHARED = 2  # flag of a message that stands elsewhere
_HEADER_NBYTES = 64 << 10  # of an object header that are read, at most
_BLOCKS = 64  # of an object header
_HEAP_NBYTES = 256 << 20


def virtual_heap_object(raw: int, address: int) -> bytes | None:
    """The mappings of the dataset whose object header is at this address, as they are stored.

    `raw` is a descriptor of the file.  None where it is no virtual dataset.
    """
    place = _place(raw, address)
    return None if place is None else _heap_object(raw, *place)


def _place(raw: int, address: int) -> tuple[int, int] | None:
    """Address and index of the heap object that the object header at an address names."""
    head = os.pread(raw, _HEADER_NBYTES, address)
    if head[:4] == b"OHDR" and head[4] == 2:
        flags = head[5]
        at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        size = int.from_bytes(head[at : at + width], "little")
        blocks = [head[at + width : at + width + size]]
        return _layout_in(raw, blocks, "<BHB", 6 if flags & 4 else 4, 4)
    if head[0] == 1:
        size = struct.unpack_from("<I", head, 8)[0]
        return _layout_in(raw, [head[16 : 16 + size]], "<HHB", 8, 0)
    return None


def _layout_in(
    raw: int, blocks: list[bytes], head: str, head_nbytes: int, frame_nbytes: int
) -> tuple[int, int] | None:
    """Looks through all messages; a continued block has a signature and checksum (or neither).

    Of several layouts, or of one that is shared, only libhdf5 knows which it takes.
    """
    found: list[tuple[int, int] | None] = []
    for block in blocks:
        at = 0
        while at + head_nbytes <= len(block):
            kind, size, flags = struct.unpack_from(head, block, at)
            at += head_nbytes
            if kind == _LAYOUT:
                virtual = block[at] >= 4 and block[at + 1] == _VIRTUAL and not flags & _SHARED
                found.append(struct.unpack_from("<QI", block, at + 2) if virtual else None)
            if kind == _CONTINUATION and len(blocks) < _BLOCKS:
                start, length = struct.unpack_from("<QQ", block, at)
                more = os.pread(raw, min(length, _HEADER_NBYTES), start)
                blocks.append(more[frame_nbytes : len(more) - frame_nbytes])
            at += size
    return found[0] if len(found) == 1 else None


def _heap_object(raw: int, address: int, wanted: int) -> bytes | None:
    head = os.pread(raw, 16, address)
    size = struct.unpack_from("<Q", head, 8)[0]
    if head[:5] != b"GCOL\1" or size > _HEAP_NBYTES:
        return None
    content = os.pread(raw, size, address)
    at, found = 16, None
    while at + 16 <= len(content):
        index, _, length = struct.unpack_from("<HH4xQ", content, at)
        if index == 0 and length < 16:
            break
        if index == wanted:  # the last one of this number is what libhdf5 takes
            found = content[at + 16 : at + 16 + length] if at + length <= len(content) else None
        at += length if index == 0 else 16 + -(-length // 8) * 8  # free space counts its header
    return found
