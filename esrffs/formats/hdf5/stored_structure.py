"""The blocks of which the structure of an HDF5 file is made, and where each of them leads.

An object header leads to its continuation and, in a group, to its index.  A group of an old-style
file has a B-tree of symbol table nodes, and a heap of names.  A large group of a newer file has a
fractal heap of links, and one or two B-trees.  The links lead to further object headers.  As a file
grows these blocks are scattered over it, and libhdf5 reads them one after the other.  With this
module they can be found without libhdf5, and be fetched side by side (`metadata_prefetch`).

By the HDF5 File Format Specification 3.0, sections III.A to III.G and IV.A:
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
Addresses and lengths have eight bytes.

Does not: decide anything about the file.  What is odd or damaged leads nowhere; libhdf5 then reads
it by itself, and says what is wrong.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import NamedTuple

HEADER_NBYTES = 512  # of an object header that are looked at: its first messages
_UNDEFINED = (1 << 64) - 1
_LINK_INFO, _LINK, _CONTINUATION, _SYMBOL_TABLE = 0x02, 0x06, 0x10, 0x11  # messages
_TREE_NBYTES, _SYMBOLS_NBYTES = 544, 328  # with the default K of a file, which hardly any changes
_SYMBOL_NBYTES = 40
_TREE2_NBYTES, _FRACTAL_HEAP_NBYTES, _LOCAL_HEAP_NBYTES = 38, 146, 32
_MAX_LINKS = 100_000  # of one block
_MAX_ROWS = 64  # of an indirect block


class Block(NamedTuple):
    """`nbytes` bytes at an address; `leads_to` gives the next blocks, once it is given these."""

    address: int
    nbytes: int
    leads_to: "Callable[[bytes], Iterator[Block]] | None" = None


def next_blocks(block: Block, content: bytes) -> list[Block]:
    """The blocks to which a block with this content leads, as far as they can be told."""
    found: list[Block] = []
    if block.leads_to is not None:
        with suppress(struct.error, IndexError):  # damaged, or cut short
            found.extend(block.leads_to(content))
    return found


def object_header(address: int, depth: int) -> Block:
    """The object header at this address, to go down so many groups from there: 0 for none."""
    return Block(address, HEADER_NBYTES, partial(_after_header, depth))


def _after_header(depth: int, content: bytes) -> Iterator[Block]:
    if content[:4] == b"OHDR":
        flags = content[5]
        at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0) + (1 << (flags & 3))
        head, width = "<BH", 6 if flags & 4 else 4
    elif content[:1] == b"\1":
        at, head, width = 16, "<HH", 8
    else:
        return
    yield from _after_messages(depth, head, width, content[at:])


def _after_continuation(depth: int, head: str, width: int, content: bytes) -> Iterator[Block]:
    signature = 4 if content[:4] == b"OCHK" else 0
    yield from _after_messages(depth, head, width, content[signature:])


def _after_messages(depth: int, head: str, width: int, content: bytes) -> Iterator[Block]:
    at = 0
    while at + width <= len(content):
        kind, size = struct.unpack_from(head, content, at)
        at += width
        if kind == _CONTINUATION:
            address, nbytes = struct.unpack_from("<QQ", content, at)
            yield Block(address, nbytes, partial(_after_continuation, depth, head, width))
        elif depth and kind == _SYMBOL_TABLE:
            tree, heap = struct.unpack_from("<QQ", content, at)
            yield Block(tree, _TREE_NBYTES, partial(_after_tree, depth, 256))
            yield Block(heap, _LOCAL_HEAP_NBYTES, _after_local_heap)
        elif depth and kind == _LINK_INFO:
            yield from _after_link_info(depth, content[at : at + size])
        elif depth and kind == _LINK:
            address, _ = _link(content, at)
            if address is not None:
                yield object_header(address, depth - 1)
        at += size


# Groups of old-style files


def _after_tree(depth: int, above: int, content: bytes) -> Iterator[Block]:
    """`above`: the level of the node that led here, which has to be larger."""
    signature, level, used = struct.unpack_from("<4sxBH", content)
    if signature != b"TREE" or level >= above:
        return
    keys = content[24 : 32 + 16 * used]
    for child in struct.unpack(f"<{len(keys) // 8}Q", keys[: len(keys) // 8 * 8])[1::2]:
        if level:
            yield Block(child, _TREE_NBYTES, partial(_after_tree, depth, level))
        else:
            yield Block(child, _SYMBOLS_NBYTES, partial(_after_symbols, depth))


def _after_symbols(depth: int, content: bytes) -> Iterator[Block]:
    signature, count = struct.unpack_from("<4s2xH", content)
    if signature != b"SNOD":
        return
    for number in range(count):
        (address,) = struct.unpack_from("<Q", content, 16 + number * _SYMBOL_NBYTES)
        if address != _UNDEFINED:  # as of a soft link
            yield object_header(address, depth - 1)


def _after_local_heap(content: bytes) -> Iterator[Block]:
    size, _, names = struct.unpack_from("<QQQ", content, 8)
    if content[:4] == b"HEAP":
        yield Block(names, size)


# Groups of newer files


def _after_link_info(depth: int, info: bytes) -> Iterator[Block]:
    flags = info[1]
    at = 10 if flags & 1 else 2
    heap, *trees = struct.unpack_from("<QQQ" if flags & 2 else "<QQ", info, at)
    if heap == _UNDEFINED:  # the links are messages of the header
        return
    yield Block(heap, _FRACTAL_HEAP_NBYTES, partial(_after_fractal_heap, depth))
    for tree in trees:
        if tree != _UNDEFINED:
            yield Block(tree, _TREE2_NBYTES, _after_second_tree)


def _after_fractal_heap(depth: int, content: bytes) -> Iterator[Block]:
    flags = content[9]
    width, start, most, bits, _, root, rows = struct.unpack_from("<HQQHHQH", content, 110)
    if content[:4] != b"FRHP" or root == _UNDEFINED:
        return
    front = 13 + -(-bits // 8)  # bytes before what is in a block
    after = partial(_after_direct_block, depth, front + (4 if flags & 2 else 0))
    if rows == 0:
        yield Block(root, start, after)
        return
    sizes = [start << max(0, row - 1) for row in range(min(rows, _MAX_ROWS)) for _ in range(width)]
    sizes = [size for size in sizes if size <= most]
    yield Block(root, front + 8 * len(sizes), partial(_after_indirect_block, sizes, front, after))


def _after_indirect_block(
    sizes: list[int], front: int, after: Callable[[bytes], Iterator[Block]], content: bytes
) -> Iterator[Block]:
    if content[:4] != b"FHIB":
        return
    for number, size in enumerate(sizes):
        (address,) = struct.unpack_from("<Q", content, front + 8 * number)
        if address != _UNDEFINED:
            yield Block(address, size, after)


def _after_direct_block(depth: int, front: int, content: bytes) -> Iterator[Block]:
    """The links of a group lie one behind the other, unless some were removed."""
    if content[:4] != b"FHDB":
        return
    at = front
    for _ in range(_MAX_LINKS):
        if content[at : at + 1] != b"\1":  # the version of a link
            return
        address, at = _link(content, at)
        if address is not None:
            yield object_header(address, depth - 1)


def _link(content: bytes, at: int) -> tuple[int | None, int]:
    """The address in a link message (None of a soft or external link), and where it ends."""
    flags = content[at + 1]
    kind, at = (content[at + 2], at + 3) if flags & 8 else (0, at + 2)
    at += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    at += width + int.from_bytes(content[at : at + width], "little")
    if kind:
        return None, at + 2 + int.from_bytes(content[at : at + 2], "little")
    return struct.unpack_from("<Q", content, at)[0], at + 8


def _after_second_tree(content: bytes) -> Iterator[Block]:
    """A B-tree of version 2, down to its second level: thousands of links have no more."""
    signature, size, record, depth = struct.unpack_from("<4s2xIHH", content)
    root, used = struct.unpack_from("<QH", content, 16)
    if signature == b"BTHD" and root != _UNDEFINED:
        after = partial(_after_second_root, size, record, used) if depth == 1 else None
        yield Block(root, size, after)


def _after_second_root(size: int, record: int, used: int, content: bytes) -> Iterator[Block]:
    if content[:4] != b"BTIN" or not record:
        return
    most = (size - 10) // record  # records of a leaf
    step = 8 + (most.bit_length() + 7) // 8
    for number in range(used + 1):
        at = 6 + used * record + number * step
        yield Block(struct.unpack_from("<Q", content, at)[0], size)
