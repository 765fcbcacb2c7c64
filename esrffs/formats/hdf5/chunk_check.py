"""Finds chunks of an HDF5 file that hold less than they should, before libhdf5 unpacks them.

libhdf5 believes each filter.  Where a filter gives less than the chunk has, or wants more than is
stored, libhdf5 reads beyond its buffer, and may find bytes of another file there.  Such a chunk is
damaged.
"""

import hashlib
import math
import os
from itertools import product

from esrffs.errors import DamagedError, UnsupportedError
from esrffs.formats.filters import codecs
from esrffs.formats.hdf5.filter_guard import guarded
from esrffs.formats.hdf5.layout import filters_of
from esrffs.formats.hdf5.library import (
    h5d,
    h5i,
    h5p,
    h5t,
    object_address,
    partial_chunks_unfiltered,
    translate_errors,
)
from esrffs.model import Box

Applied = list[tuple[int, tuple[int, ...]]]  # filters that were not skipped

_CHECKED = 256  # chunks that are known to be sound
_IN_HEAP_NBYTES = 16  # of what is stored in place of a sequence: its length, and where it is
_NBIT, _SCALE_OFFSET = 5, 6
_HEAD = 21  # bytes before the numbers of a scale-offset chunk
_ATOMIC, _ARRAY, _COMPOUND, _NO_OPERATION = 1, 2, 3, 4  # classes of n-bit's client data


def check_chunks(
    dataset: h5d.DatasetID, plist: h5p.PropDCID, box: Box, sound: "SoundChunks | None" = None
) -> int:
    """DamagedError if a chunk of this box is too short; what hdf5plugin's filters must give.

    Those are watched while they work (`filter_guard`), as nothing else knows what they will give.
    `sound` remembers: a chunk that is read in many parts would be unpacked for each.
    """
    filters = filters_of(plist)
    chunk, shape = plist.get_chunk(), dataset.shape
    nbytes = math.prod(chunk) * stored_itemsize(dataset.get_type())
    edges = partial_chunks_unfiltered(plist)
    axes = [range(a // k * k, b, k) for a, b, k in zip(box.start, box.stop, chunk, strict=True)]
    least = 0
    for corner in product(*axes):
        stored = dataset.get_chunk_info_by_coord(corner)
        if stored.byte_offset is None or not stored.size:
            continue
        partial = any(a + k > n for a, k, n in zip(corner, chunk, shape, strict=True))
        mask = -1 if edges and partial else stored.filter_mask
        applied = [f for k, f in enumerate(filters) if not mask >> k & 1]
        name = f"chunk at {', '.join(map(str, corner))}"
        if not applied:
            if stored.size < nbytes:
                raise DamagedError(f"{name}: {stored.size} bytes where {nbytes} belong")
            continue
        known = None if sound is None else sound.least(dataset, corner, stored)
        if known is not None:
            least = max(least, known)
            continue
        with translate_errors(name):
            _, raw = dataset.read_direct_chunk(corner)
        try:
            needed = _check(memoryview(raw), applied, nbytes)
            least = max(least, needed)
            if sound is not None:
                sound.remember(dataset, corner, stored, raw, needed)
        except (DamagedError, UnsupportedError) as error:
            raise type(error)(f"{name}: {error}") from error
    return least


def stored_itemsize(stored: h5t.TypeID) -> int:
    """Bytes of an element in the file: HDF5 tells how long texts and sequences are in memory."""
    size = int(stored.get_size())
    match stored:
        case h5t.TypeVlenID():
            return _IN_HEAP_NBYTES
        case h5t.TypeStringID() if stored.is_variable_str():
            return _IN_HEAP_NBYTES
        case h5t.TypeArrayID():
            return int(math.prod(stored.get_array_dims()) * stored_itemsize(stored.get_super()))
        case h5t.TypeCompoundID():
            members = [stored.get_member_type(i) for i in range(stored.get_nmembers())]
            return size + sum(stored_itemsize(m) - int(m.get_size()) for m in members)
    return size


class SoundChunks:
    """Chunks that were checked, with what was stored then.

    Whether that still is there is seen in the file itself: to read a chunk by libhdf5 as it is
    stored would make it forget the one that it has unpacked.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[bytes, int]] = {}

    def least(
        self, dataset: h5d.DatasetID, corner: tuple[int, ...], stored: h5d.StoreInfo
    ) -> int | None:
        """What was found out about this chunk, if it is the same."""
        raw = _file_of(dataset)
        known = self._known.get(_key(raw, dataset, corner, stored))
        if known is None or _digest(os.pread(raw, stored.size, stored.byte_offset)) != known[0]:
            return None
        return known[1]

    def remember(
        self,
        dataset: h5d.DatasetID,
        corner: tuple[int, ...],
        stored: h5d.StoreInfo,
        content: bytes,
        least: int,
    ) -> None:
        """This chunk, of this content, is sound; only where it lies where it is told."""
        raw = _file_of(dataset)
        digest = _digest(content)
        if _digest(os.pread(raw, stored.size, stored.byte_offset)) == digest:
            while len(self._known) >= _CHECKED:
                del self._known[next(iter(self._known))]
            self._known[_key(raw, dataset, corner, stored)] = digest, least


def _file_of(dataset: h5d.DatasetID) -> int:
    return int(h5i.get_file_id(dataset).get_vfd_handle())


def _key(
    raw: int, dataset: h5d.DatasetID, corner: tuple[int, ...], stored: h5d.StoreInfo
) -> tuple[object, ...]:
    status = os.fstat(raw)
    file = status.st_dev, status.st_ino
    return file, object_address(dataset), corner, *stored


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content).digest()


def _check(raw: memoryview, applied: Applied, nbytes: int) -> int:
    """The least that a filter of hdf5plugin must give in the end; 0 where none is left to judge."""
    data: memoryview | None = raw  # None behind a filter that is not undone here
    size = len(raw)
    while applied:
        number, client = applied.pop()
        if data is not None and codecs.supported(((number, client),), 1):
            needed = 0 if any(f[0] not in codecs.SAME_SIZE for f in applied) else nbytes
            try:
                data = codecs.undone(data, number, client, needed)
            except UnsupportedError:  # such a one as only hdf5plugin judges
                return _left_to_the_guard(applied, nbytes)
            size = len(data)
        elif data is not None and guarded(number):
            return _left_to_the_guard(applied, nbytes)
        elif data is not None and number in (_SCALE_OFFSET, _NBIT):
            size, data = _unpacked(number, client, data), None
        elif data is None and number in codecs.SAME_SIZE:
            size -= 4 * (number == codecs.FLETCHER32)
        elif data is None:
            raise UnsupportedError("packed twice, in a way that cannot be checked")
        else:
            return 0  # nobody has it, and libhdf5 says so
    if size < nbytes:
        raise DamagedError(f"gives {size} bytes where {nbytes} belong")
    return 0


def _left_to_the_guard(applied: Applied, nbytes: int) -> int:
    if any(number not in codecs.SAME_SIZE for number, _ in applied):
        raise UnsupportedError("packed twice, in a way that cannot be checked")
    return nbytes + 4 * sum(number == codecs.FLETCHER32 for number, _ in applied)


def _unpacked(number: int, client: tuple[int, ...], data: memoryview) -> int:
    """The bytes that come of it; DamagedError where it would want more than there are."""
    try:
        if number == _SCALE_OFFSET:
            count, size = client[2], client[4]
            bits = int.from_bytes(data[:4], "little")
            needed = _HEAD + -(-bits * count // 8)
        elif client[1]:  # n-bit that leaves the numbers as they are
            return len(data)
        else:
            count = client[2]
            bits, size, _ = _bits(client, 3)
            needed = -(-bits * count // 8)
    except (IndexError, ZeroDivisionError, RecursionError) as error:
        raise DamagedError(f"the parameters of filter {number} make no sense") from error
    if number == _SCALE_OFFSET and bits > 8 * size:
        raise DamagedError(f"{bits} bits for each number of {size} bytes")
    if len(data) < needed:
        raise DamagedError(f"{len(data)} bytes where filter {number} needs {needed}")
    return count * size


def _bits(client: tuple[int, ...], at: int) -> tuple[int, int, int]:
    """Bits and bytes of the element that is described here, and where the next one is."""
    kind, size = client[at], client[at + 1]
    if kind == _ATOMIC:
        return client[at + 3], size, at + 5
    if kind == _ARRAY:
        bits, inner, after = _bits(client, at + 2)
        return bits * (size // inner), size, after
    if kind == _COMPOUND:
        total, after = 0, at + 3
        for _ in range(client[at + 2]):
            bits, _, after = _bits(client, after + 1)
            total += bits
        return total, size, after
    if kind == _NO_OPERATION:
        return 8 * size, size, at + 2
    raise IndexError
