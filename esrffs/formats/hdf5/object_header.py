"""Finds the stored mappings of a virtual dataset: its object header, and an object of a heap.

By the HDF5 File Format Specification, sections III.E, IV.A and IV.A.2.i.  Addresses and lengths
have eight bytes.  Raises struct.error, IndexError or ValueError for what is unusual; libhdf5 has to
be asked then.
"""

import os
import struct

from esrffs.formats import budget

_HeapObjects = dict[int, tuple[int, int]]  # offset and length in the file, by index
Heaps = dict[int, _HeapObjects]  # collections of the global heap, by address

_LAYOUT, _CONTINUATION, _VIRTUAL = 8, 16, 3
_SHARED = 2  # flag of a message that stands elsewhere
_HEADER_NBYTES = 64 << 10  # of an object header that are read, at most
_BLOCKS = 64  # of an object header
_HEAP_NBYTES = 256 << 20
_MANY = 4096  # objects of a heap: then it is looked how long this takes
_HEAPS = 64  # collections whose objects are remembered


def virtual_heap_object(raw: int, address: int, heaps: Heaps) -> bytes | None:
    """The mappings of the dataset whose object header is at this address, as they are stored.

    `raw` is a descriptor of the file, of which `heaps` are remembered.  None where it is no virtual
    dataset.  TooSlowError.
    """
    place = _place(raw, address)
    if place is None:
        return None
    heap, index = place
    if heap not in heaps:
        while len(heaps) >= _HEAPS:
            del heaps[next(iter(heaps))]
        heaps[heap] = _heap_objects(raw, heap)
    if index not in heaps[heap]:
        return None
    offset, length = heaps[heap][index]
    return os.pread(raw, length, offset)


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


def _heap_objects(raw: int, address: int) -> _HeapObjects:
    """Where the objects of a collection lie; of one number the last one, as libhdf5 takes it."""
    head = os.pread(raw, 16, address)
    size = struct.unpack_from("<Q", head, 8)[0]
    if head[:5] != b"GCOL\1" or size > _HEAP_NBYTES:
        return {}
    content = os.pread(raw, size, address)
    at, count, found = 16, 0, _HeapObjects()
    while at + 16 <= len(content):
        if count % _MANY == 0:
            budget.check("the heap of its mappings")
        count += 1
        index, _, length = struct.unpack_from("<HH4xQ", content, at)
        if index == 0 and length < 16:
            break
        if index and at + 16 + length <= len(content):
            found[index] = address + at + 16, length
        else:
            found.pop(index, None)
        at += length if index == 0 else 16 + -(-length // 8) * 8  # free space counts its header
    return found
