"""Decode the filter pipeline of a compressed HDF5 chunk.

This module decides which filters are decoded in the daemon, and by which library.  Pure and
synchronous; all long calls release the GIL, so that several chunks are decoded at the same time.

The input may be hostile, and a crash here would end the mount.  Therefore the least size of the
result of each filter is known before it runs (only one filter of a pipeline may change the size), a
size that is declared in the chunk must be at least that and within `chunk_limit`, and a decoder is
used only if it never reads or writes beyond its buffers.  Blosc and the bitshuffle of hdf5plugin
trust the sizes in their input: these are checked first.  All other filters are not `supported` and
are left to a worker: Blosc2 (a container with sizes of its own), scale-offset, n-bit, ZFP, …
"""

import struct
import zlib
from collections.abc import Callable

from esrffs.errors import DamagedError, TooLargeError, UnsupportedError
from esrffs.formats.filters import builtin, plugins
from esrffs.formats.filters.builtin import LIMIT, Buffer, ClientData
from esrffs.formats.filters.error_sentences import damage
from esrffs.formats.filters.native import bitunshuffle

Filters = tuple[tuple[int, tuple[int, ...]], ...]

DEFLATE, SHUFFLE, FLETCHER32, SZIP, BZIP2 = 1, 2, 3, 4, 307
LZF, BLOSC, LZ4, BITSHUFFLE, ZSTD = 32000, 32001, 32004, 32008, 32015


def supported(filters: Filters, itemsize: int) -> bool:
    """Whether `decode` can decode this pipeline (filter numbers, client data; in writing order)."""
    return (
        itemsize > 0
        and all(n in _STAGES and _STAGES[n].accepts(client) for n, client in filters)
        and sum(n not in SAME_SIZE for n, _ in filters) <= 1
    )


def decode(
    raw: bytes | memoryview,
    filters: Filters,
    mask: int,
    itemsize: int,
    nbytes: int,
    wanted: tuple[int, int] | None = None,
) -> memoryview:
    """The first `nbytes` bytes of the decoded chunk.

    `wanted`: only bytes [first, last) of the result are needed; the others are undefined.  If bit k
    of `mask` is set, filter k was skipped when the chunk was written.  Raises DamagedError if the
    chunk is damaged, UnsupportedError if it should be decoded by a worker, and TooLargeError.
    """
    applied = [f for k, f in enumerate(filters) if not mask >> k & 1]
    if not supported(tuple(applied), itemsize):
        raise UnsupportedError(f"no decoder here for the filters {[n for n, _ in applied]}")
    if max(nbytes, len(raw)) > LIMIT:
        raise TooLargeError(f"a chunk of {nbytes} bytes ({len(raw)} stored)")
    chunk = memoryview(raw).cast("B")
    while applied:
        number, client = applied.pop()
        if all(before in SAME_SIZE for before, _ in applied):
            size = nbytes + 4 * sum(before == FLETCHER32 for before, _ in applied)
        else:  # the size is known only after the compressor, which is decoded later
            size = 0
        alone = wanted is not None and len(filters) == 1
        chunk = _undo(_STAGES[number], chunk, client, size, wanted if alone else None)
    if len(chunk) < nbytes:
        raise DamagedError(f"a chunk of {nbytes} bytes holds {len(chunk)}")
    return chunk[:nbytes]


def undone(chunk: memoryview, number: int, client: ClientData, least: int) -> memoryview:
    """Decode one filter: at least `least` bytes; DamagedError, UnsupportedError."""
    return _undo(_STAGES[number], chunk, client, least)


def decoded_nbytes(filters: Filters, wanted: int, nbytes: int) -> int:
    """About how many bytes are decoded to get `wanted` bytes of a chunk of `nbytes` bytes."""
    if not filters:
        return wanted
    (number, client), *others = filters
    if others or _STAGES[number].decode_part is None:
        return nbytes
    # Others tell their blocks, which are small, in the chunk alone; so does LZ4, from 0 for 1 GiB.
    block = (client[:1] or (0,))[0] or 1 << 30 if number == LZ4 else 1
    return min(-(-wanted // block) * block, nbytes)


def _undo(
    stage: "_Filter",
    chunk: memoryview,
    client: ClientData,
    size: int,
    wanted: tuple[int, int] | None = None,
) -> memoryview:
    """Decode one filter: at least `size` bytes; DamagedError, UnsupportedError."""
    if not chunk:
        raise DamagedError(damage(stage.name, "0 bytes are no chunk"))
    try:
        if wanted is not None and stage.decode_part is not None:
            done = memoryview(stage.decode_part(chunk, client, size, wanted))
        else:
            done = memoryview(stage.decode(chunk, client, size))
    except _FAILURES as exc:
        raise DamagedError(damage(stage.name, exc)) from exc
    if len(done) < size:
        raise DamagedError(damage(stage.name, f"{len(done)} bytes where {size} belong"))
    return done


class _Filter:
    def __init__(
        self,
        name: str,
        decode: Callable[[memoryview, ClientData, int], Buffer],
        accepts: Callable[[ClientData], bool] = lambda _client: True,
        decode_part: Callable[[memoryview, ClientData, int, tuple[int, int]], Buffer] | None = None,
    ) -> None:
        self.name, self.decode, self.accepts = name, decode, accepts
        self.decode_part = decode_part  # of a codec that compresses block by block


def _shuffle_accepts(client: ClientData) -> bool:
    return len(client) == 1 and client[0] > 0


def _szip_accepts(client: ClientData) -> bool:
    """Client data: options, pixels per block, bits per pixel, pixels per scan line."""
    return (
        len(client) == 4
        and client[1] in range(2, 33, 2)
        and client[2] in (*range(1, 25), 32, 64)
        and 0 < client[3] <= client[1] * 4096
    )


def _bitshuffle_accepts(client: ClientData) -> bool:
    """Client data: version, version, element size[, elements per block[, compressor[, level]]]."""
    return (
        len(client) >= 3
        and 0 < client[2] <= LIMIT
        and not any(block % 8 for block in client[3:4])
        and (client[4] if len(client) > 4 else 0) in bitunshuffle
    )


# Exceptions of imagecodecs, of the standard library, and of this package.
_FAILURES = (RuntimeError, ValueError, OSError, EOFError, struct.error, zlib.error)
SAME_SIZE = (SHUFFLE, FLETCHER32)  # fletcher32 removes 4 bytes
_STAGES = {
    DEFLATE: _Filter("deflate", builtin.deflate),
    SHUFFLE: _Filter("shuffle", builtin.unshuffle, _shuffle_accepts),
    FLETCHER32: _Filter("fletcher32", builtin.fletcher32),
    SZIP: _Filter("szip", builtin.szip, _szip_accepts),
    BZIP2: _Filter("bzip2", plugins.bzip2),
    LZF: _Filter("LZF", plugins.lzf),
    BLOSC: _Filter("Blosc", plugins.blosc, decode_part=plugins.blosc),
    LZ4: _Filter("LZ4", plugins.lz4, decode_part=plugins.lz4),
    BITSHUFFLE: _Filter("bitshuffle", plugins.bitshuffle, _bitshuffle_accepts, plugins.bitshuffle),
    ZSTD: _Filter("zstd", plugins.zstd),
}

# At its first call c-blosc2 detects the features of the CPU, without a lock: done here once.
builtin.unshuffle(memoryview(bytes(64)), (2,), 64)
