"""Chunks of an HDF5 file that hold less than they should.

Decided here: what is checked before libhdf5 is let unpack a chunk.  It believes each filter: where
one gives less than the chunk has, or wants more than is stored, it reads on behind its buffer, and
what it finds there may be of another file.  Such a chunk is damaged.
"""

import math
from itertools import product

from esrffs.errors import DamagedError, UnsupportedError
from esrffs.formats.filters import codecs
from esrffs.formats.hdf5.filter_guard import guarded
from esrffs.formats.hdf5.layout import filters_of
from esrffs.formats.hdf5.library import h5d, h5p, partial_chunks_unfiltered, translate_errors
from esrffs.model import Box

Applied = list[tuple[int, tuple[int, ...]]]  # filters that were not skipped

_NBIT, _SCALE_OFFSET = 5, 6
_HEAD = 21  # bytes before the numbers of a scale-offset chunk
_ATOMIC, _ARRAY, _COMPOUND, _NO_OPERATION = 1, 2, 3, 4  # classes of n-bit's client data


def check_chunks(dataset: h5d.DatasetID, plist: h5p.PropDCID, box: Box) -> int:
    """DamagedError if a chunk of this box is too short; what hdf5plugin's filters must give.

    Those are watched while they work (`hdf5_guard`), as nothing else knows what they will give.
    """
    filters = filters_of(plist)
    chunk, shape = plist.get_chunk(), dataset.shape
    nbytes = math.prod(chunk) * dataset.get_type().get_size()
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
        with translate_errors(name):
            _, raw = dataset.read_direct_chunk(corner)
        try:
            least = max(least, _check(memoryview(raw), applied, nbytes))
        except (DamagedError, UnsupportedError) as error:
            raise type(error)(f"{name}: {error}") from error
    return least


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
