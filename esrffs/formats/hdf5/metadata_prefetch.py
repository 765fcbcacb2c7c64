"""Fetches the structure of an HDF5 file before libhdf5 reads it.

libhdf5 reads the structure of a file (object headers, attributes, indexes of groups) in pieces of a
few hundred bytes, one after the other.  On a file server each piece costs a round trip.  This
module finds the pieces first (`stored_structure`), level by level, and asks the kernel to fetch all
pieces of a level side by side (posix_fadvise, POSIX_FADV_WILLNEED).  libhdf5 then finds them in the
page cache.  A program that goes through a file group by group gets the next groups as well.

Does not: keep bytes, or tell anybody what is in the file.  libhdf5 reads what it would read without
this module, so a file that changes is noticed as before.  Where the page cache has the header of a
group (a local file that was read before), nothing is done.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from esrffs.formats.hdf5.stored_structure import Block, next_blocks, object_header

PIECE_NBYTES = 16 << 10  # fetched around a block: what was written with it is often read with it
MAX_GAP_NBYTES = 48 << 10  # between two pieces: fetched too, which costs less than a round trip
REQUEST_NBYTES = 128 << 10  # the kernel drops what is beyond its read-ahead, by default so long
MAX_BLOCK_NBYTES = 1 << 20  # more is no structure that anybody wrote
MAX_BLOCKS = 8192  # fetched for one listing; 128 MiB if each lies by itself
MAX_READ_NBYTES = 32 << 20  # of blocks that are looked into for one listing
BATCH = 256  # objects of a group; so many, or twice as many, are fetched before they are read
MAX_SIBLINGS = 32  # groups that are fetched with all that is in them
WHOLE_DEPTH = 16  # groups below each other
MAX_KNOWN = 50_000  # groups whose place among their siblings is known


class Link(NamedTuple):
    """One link of a group: `address` is that of its object in the file, None if not a hard link.

    `type` is one of h5py's `h5l.TYPE_*`.
    """

    name: bytes
    type: int
    address: int | None


class _Siblings:
    """The objects of one group by their addresses, in the order in which they are listed."""

    def __init__(self, addresses: tuple[int, ...]) -> None:
        self.addresses = addresses
        self.next = 0  # the number of the one after the group that was listed last
        self.width = 0  # how many were fetched last


class MetadataPrefetch:
    """Fetches pieces of one file, given by its descriptor.  Errors are left to libhdf5 to tell.

    `base` is where address 0 of HDF5 is in the file, in bytes: behind a user block.
    """

    def __init__(self, descriptor: int, base: int = 0) -> None:
        self._descriptor = descriptor
        self._base = base
        self._places: dict[int, tuple[_Siblings, int]] = {}
        self._fetched: set[int] = set()  # addresses of what needs not be fetched again
        self._looked_at: tuple[int | None, bool] = None, False
        self.has_waited = False  # for anything of this file, which lies on a file server then

    def look_at(self, address: int) -> None:
        """The object at this address is opened next: is its header in the page cache?"""
        self._looked_at = address, self._is_cached(address + self._base)

    def group(self, address: int) -> None:
        """The group at this address is listed next: fetch its index and its members.

        Where the one before it in its parent was listed, fetch also what is below it, and the
        groups after it: twice as many each time.
        """
        siblings, number = self._places.get(address, (_Siblings((address,)), 0))
        in_turn = 0 < siblings.next <= number
        siblings.next = number + 1
        if self._looked_at[0] != address:
            self.look_at(address)
        # A header in the page cache means a local file, unless it was fetched with its parent.
        if address in self._fetched or (self._looked_at[1] and not self.has_waited):
            return
        self.has_waited = True
        siblings.width = min(max(1, 2 * siblings.width), MAX_SIBLINGS) if in_turn else 1
        depth = WHOLE_DEPTH if in_turn else 1
        chosen = siblings.addresses[number : number + siblings.width]
        self._fetch_structure([object_header(one, depth) for one in chosen], whole=in_turn)

    def learn(self, links: Sequence[Link]) -> "_Siblings":
        """Remember which objects follow each other in a group."""
        siblings = _Siblings(tuple(link.address for link in links if link.address is not None))
        if len(self._places) > MAX_KNOWN:
            self._places.clear()
        for number, address in enumerate(siblings.addresses):
            self._places[address] = siblings, number
        return siblings

    def links(self, links: Sequence[Link]) -> Iterator[Link]:
        """The links in their order, each after its object was asked for: at most 512 ahead."""
        siblings = self.learn(links)
        for number in range(0, len(links), BATCH):
            first = number and number + BATCH
            coming = siblings.addresses[first : number + 2 * BATCH]
            if coming and not self._is_cached(coming[-1] + self._base):
                self._fetch(Block(address, 1) for address in coming)
            yield from links[number : number + BATCH]

    def stored(self, runs: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes that stand in these runs of the file (offset and length), short at its end."""
        self._fetch(Block(offset - self._base, nbytes) for offset, nbytes in runs)
        return [os.pread(self._descriptor, nbytes, offset) for offset, nbytes in runs]

    def _fetch_structure(self, level: list[Block], *, whole: bool) -> None:
        """Fetch these blocks, then those to which they lead, and so on."""
        end = os.fstat(self._descriptor).st_size - self._base
        seen: set[int] = set()
        left = MAX_READ_NBYTES
        while level and len(seen) < MAX_BLOCKS:
            new = {block.address: block for block in level if block.address not in seen}
            level = [
                block
                for block in new.values()
                if block.nbytes <= MAX_BLOCK_NBYTES and block.address < end
            ][: MAX_BLOCKS - len(seen)]
            seen.update(new)
            self._fetch(level)
            level, left = self._after(level, left)
        if whole:
            if len(self._fetched) > MAX_KNOWN:
                self._fetched.clear()
            self._fetched |= seen

    def _after(self, level: list[Block], left: int) -> tuple[list[Block], int]:
        """The blocks to which these lead, and how many bytes may still be read after that."""
        found: list[Block] = []
        for block in level:
            if block.leads_to is None:
                continue
            left -= block.nbytes
            if left < 0 or len(found) > MAX_BLOCKS:
                break
            found += next_blocks(block, self._read(block))
        return found, left

    def _fetch(self, blocks: Iterable[Block]) -> None:
        try:
            for start, stop in pieces((one.address + self._base, one.nbytes) for one in blocks):
                for offset in range(start, stop, REQUEST_NBYTES):
                    nbytes = min(REQUEST_NBYTES, stop - offset)
                    os.posix_fadvise(self._descriptor, offset, nbytes, os.POSIX_FADV_WILLNEED)
        except (OSError, OverflowError):
            return  # a file system without read-ahead, or a damaged address

    def _is_cached(self, offset: int) -> bool:
        """Whether the page cache has this byte; False where the file system cannot say."""
        try:
            return os.preadv(self._descriptor, [bytearray(1)], offset, os.RWF_NOWAIT) >= 0
        except (OSError, OverflowError):
            return False

    def _read(self, block: Block) -> bytes:
        try:
            return os.pread(self._descriptor, block.nbytes, block.address + self._base)
        except (OSError, OverflowError):
            return b""


def pieces(blocks: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Starts and stops (bytes) of the aligned pieces in which these blocks are, near ones joined.

    A block is its start and its length in bytes.
    """
    start = stop = 0
    for first, nbytes in sorted(blocks):
        begin = first - first % PIECE_NBYTES
        end = -(-(first + nbytes) // PIECE_NBYTES) * PIECE_NBYTES
        if stop and begin - stop <= MAX_GAP_NBYTES:
            stop = max(stop, end)
            continue
        if stop:
            yield start, stop
        start, stop = begin, end
    if stop:
        yield start, stop
