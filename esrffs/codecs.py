"""A compressed chunk's bytes → its array's bytes.

Decided here, and nowhere else: which HDF5 filters are undone inside the daemon, and by which
library.  Pure and synchronous; every heavy call lets go of the GIL, so chunks decode side by side.

The input may be hostile, and a crash here ends the mount.  So the size of every stage is known
before it runs (only one filter of a pipeline may change it), a size declared in the chunk must be
that size, and a decoder is used only if it keeps within both its input and its output.  The two
that trust their input, Blosc and the bitshuffle of hdf5plugin, get it after the sizes written
in it were added up.  What is not certain to be right and safe is not `supported` and goes to a
worker: Blosc2 (a container with sizes of its own), scale-offset, n-bit, szip, ZFP and the like.
"""

import ctypes
import importlib.util
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from esrffs.errors import DamagedError, TooLargeError, UnsupportedError
from esrffs.memory import buffer

Filters = tuple[tuple[int, tuple[int, ...]], ...]
Client = tuple[int, ...]
Buffer = bytes | bytearray | memoryview

_lib: Any = imagecodecs  # whose stubs do not know that it takes memoryviews

DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
LZF, BLOSC, LZ4, BITSHUFFLE, ZSTD = 32000, 32001, 32004, 32008, 32015

LIMIT = 2**31 - 1  # bytes: the decoders count with C's int
MANY = 2**16  # blocks; more must be at least BLOCK bytes each, or the walk over them is the work
BLOCK = 1024

_FIRST = 12  # bytes before the first block of LZ4 and bitshuffle
_STORED = struct.Struct(">I")  # before each of them


def supported(filters: Filters, itemsize: int) -> bool:
    """Can `decode` undo this pipeline (HDF5 filter numbers and client data, in writing order)?"""
    return (
        itemsize > 0
        and all(n in _STAGES and _STAGES[n].accepts(client) for n, client in filters)
        and sum(n not in _SAME_SIZE for n, _ in filters) <= 1
    )


def decode(
    raw: bytes | memoryview, filters: Filters, mask: int, itemsize: int, nbytes: int
) -> memoryview:
    """The `nbytes` bytes that this stored chunk stands for.

    Bit k of `mask` set: filter k was skipped when the chunk was written.  A chunk that cannot be
    what it claims to be is a DamagedError; one that only a worker should take, UnsupportedError.
    """
    if not supported(filters, itemsize):
        raise UnsupportedError(f"no decoder here for the filters {[n for n, _ in filters]}")
    if max(nbytes, len(raw)) > LIMIT:
        raise TooLargeError(f"a chunk of {nbytes} bytes ({len(raw)} stored)")
    chunk = memoryview(raw).cast("B")
    applied = [f for k, f in enumerate(filters) if not mask >> k & 1]
    while applied:
        number, client = applied.pop()
        sums = 4 * (number == FLETCHER32)
        if all(before in _SAME_SIZE for before, _ in applied):
            size = nbytes + 4 * sum(before == FLETCHER32 for before, _ in applied)
        else:  # the compressor is still to come
            size = len(chunk) - sums
        chunk = _undo(_STAGES[number], chunk, client, size)
    if len(chunk) != nbytes:
        raise DamagedError(f"a chunk of {nbytes} bytes holds {len(chunk)}")
    return chunk


def _undo(stage: "_Stage", chunk: memoryview, client: Client, size: int) -> memoryview:
    """One filter undone: exactly `size` bytes, or DamagedError."""
    if not chunk or size < 0:
        raise DamagedError(f"{stage.name}: {len(chunk)} bytes are no chunk")
    try:
        done = memoryview(stage.decode(chunk, client, size))
    except (RuntimeError, ValueError, struct.error) as exc:  # what imagecodecs raises, and we
        raise DamagedError(f"{stage.name}: {exc}") from exc
    if len(done) != size:
        raise DamagedError(f"{stage.name}: {len(done)} bytes where {size} belong")
    return done


def _target(size: int) -> memoryview:
    return buffer(size, "decoded")


# --- the filters of HDF5 itself -----------------------------------------------------------------


def _deflate(raw: memoryview, _client: Client, size: int) -> Buffer:
    done: Buffer = _lib.deflate_decode(raw, out=_target(size))
    return done


def _unshuffle(raw: memoryview, client: Client, size: int) -> Buffer:
    """The first bytes of all elements, then the second ones …; what is no whole element, as is."""
    itemsize, whole = client[0], size - size % client[0]
    if len(raw) != size or itemsize == 1 or whole <= itemsize:
        return raw
    source, target = np.frombuffer(raw, np.uint8), np.frombuffer(_target(size), np.uint8)
    if _blosc2_unshuffle is not None and itemsize <= 255:
        _blosc2_unshuffle(itemsize, whole, source.ctypes.data, target.ctypes.data)
    else:
        target[:whole].reshape(-1, itemsize)[:] = source[:whole].reshape(itemsize, -1).T
    target[whole:] = source[whole:]
    return target.data


def _fletcher32(raw: memoryview, _client: Client, size: int) -> Buffer:
    """Old libraries stored the sums with the bytes of both halves swapped: HDF5 takes either."""
    if len(raw) != size + 4:
        raise ValueError(f"{len(raw)} bytes where {size + 4} belong")
    (stored,) = struct.unpack("<I", raw[size:])
    found: int = _lib.h5checksum_fletcher32(raw[:size])
    swapped = (found & 0x00FF00FF) << 8 | found >> 8 & 0x00FF00FF
    if stored not in (found, swapped):
        raise ValueError(f"checksum {found:08x} where {stored:08x} is stored")
    return raw[:size]


# --- the filters of h5py and hdf5plugin ---------------------------------------------------------


def _lzf(raw: memoryview, _client: Client, size: int) -> Buffer:
    done: Buffer = _lib.lzf_decode(raw, out=_target(size))
    return done


def _zstd(raw: memoryview, _client: Client, size: int) -> Buffer:
    """The first frame is to declare the size; one that does not is for hdf5plugin to judge."""
    magic, head = struct.unpack_from("<IB", raw)
    single, width = head >> 5 & 1, (0, 2, 4, 8)[head >> 6] or head >> 5 & 1
    at = 6 - single + (0, 1, 2, 4)[head & 3]  # behind the window and the dictionary's number
    declared = int.from_bytes(raw[at : at + width], "little") + (256 if width == 2 else 0)
    if magic != 0xFD2FB528 or width == 0:
        raise UnsupportedError("zstd: the chunk does not declare its size")
    if declared != size:
        raise ValueError(f"declares {declared} bytes, not {size}")
    done: Buffer = _lib.zstd_decode(raw, out=_target(size))
    return done


def _blosc(raw: memoryview, _client: Client, size: int) -> Buffer:
    """c-blosc believes the stored size that the chunk declares: it must be there."""
    declared, _block, stored = struct.unpack_from("<III", raw, 4)
    if declared != size or not 16 <= stored <= len(raw):
        raise ValueError(f"declares {declared} bytes in {stored}, not {size} in {len(raw)}")
    done: Buffer = _lib.blosc_decode(raw, out=_target(size), numthreads=1)
    return done


def _lz4(raw: memoryview, _client: Client, size: int) -> Buffer:
    """A block that did not shrink is stored as is."""
    block = min(_header(raw, size), size)
    ends = _ends(raw, -(-size // block))
    target = _target(size)
    for k, (start, end) in enumerate(pairwise((_FIRST, *ends))):
        part, room = raw[start + 4 : end], target[k * block : (k + 1) * block]
        if len(part) == len(room):
            room[:] = part
        elif len(_lib.lz4_decode(part, out=room)) != len(room):
            raise ValueError(f"block {k} is too short")
    return target


def _bitshuffle(raw: memoryview, client: Client, size: int) -> Buffer:
    """The last block is a multiple of 8 elements; what remains after that is stored as is."""
    itemsize, block = client[2], client[3] if len(client) > 3 else 0
    function = _bitunshuffle[client[4] if len(client) > 4 else 0]
    if size % itemsize:
        raise ValueError(f"{size} bytes are no whole number of elements of {itemsize}")
    count, start = size // itemsize, 0
    needed = size
    if client[4:5] in ((), (0,)):
        if len(raw) != size:
            raise ValueError(f"{len(raw)} bytes where {size} belong")
    else:
        block, start = _header(raw, size) // itemsize, _FIRST
        if block == 0 or block % 8:
            raise ValueError(f"blocks of {block} elements")
        blocks = count // block + (count % block >= 8)
        needed = (_ends(raw, blocks) or [_FIRST])[-1] + count % 8 * itemsize
    if len(raw) < needed:
        raise ValueError(f"{len(raw)} bytes where {needed} belong")
    source, target = np.frombuffer(raw, np.uint8), np.frombuffer(_target(size), np.uint8)
    code = function(source.ctypes.data + start, target.ctypes.data, count, itemsize, block)
    if code < 0:
        raise ValueError(f"bitshuffle's error {code}")
    return target.data


def _header(raw: memoryview, size: int) -> int:
    """LZ4 and bitshuffle chunks open alike: the size of the array, and of a block, in bytes."""
    declared, block = struct.unpack_from(">QI", raw)
    if declared != size or block == 0:
        raise ValueError(f"declares {declared} bytes in blocks of {block}, not {size}")
    return int(block)


def _ends(raw: memoryview, count: int) -> list[int]:
    """Where each block after such a header ends; its stored size is before it."""
    if _FIRST + 4 * count > len(raw):
        raise ValueError(f"{count} blocks in {len(raw)} bytes")
    if count > max(MANY, len(raw) // BLOCK):
        raise UnsupportedError(f"{count} blocks in a chunk of {len(raw)} bytes")
    stored, at, ends = _STORED.unpack_from, _FIRST, []
    for _ in range(count):  # with the GIL, so as little as possible
        at += 4 + stored(raw, at)[0]
        ends.append(at)
    if at > len(raw):
        raise ValueError(f"the last of {count} blocks ends after the chunk")
    return ends


# --- hdf5plugin's own libraries -----------------------------------------------------------------


def _function(library: str, name: str, *arguments: type) -> Callable[..., int] | None:
    """A C function of one of hdf5plugin's filters (never imported: that would bring h5py here)."""
    spec = importlib.util.find_spec("hdf5plugin")
    for folder in (spec and spec.submodule_search_locations) or ():
        try:
            found = getattr(ctypes.CDLL(str(Path(folder, "plugins", library))), name)
        except (OSError, AttributeError):  # another build of hdf5plugin: a worker decodes
            continue
        found.argtypes, found.restype = arguments, ctypes.c_int64
        return found  # type: ignore[no-any-return]  # ctypes calls it Any
    return None


def _of_bitshuffle(name: str) -> Callable[..., int] | None:
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    return _function("libh5bshuf.so", name, pointer, pointer, size, size, size)


_bitunshuffle = {
    client: function
    for client, name in {
        0: "bshuf_bitunshuffle",
        2: "bshuf_decompress_lz4",
        3: "bshuf_decompress_zstd",
    }.items()
    if (function := _of_bitshuffle(name)) is not None
}

_blosc2_unshuffle = _function(
    "libh5blosc2.so",
    "blosc2_unshuffle",
    *(ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p),
)


# --- the table ----------------------------------------------------------------------------------


class _Stage:
    def __init__(
        self,
        name: str,
        decode: Callable[[memoryview, Client, int], Buffer],
        accepts: Callable[[Client], bool] = lambda _client: True,
    ) -> None:
        self.name, self.decode, self.accepts = name, decode, accepts


def _bitshuffle_accepts(client: Client) -> bool:
    """Version, version, size of an element[, elements in a block[, compressor[, level]]]."""
    return (
        len(client) >= 3
        and 0 < client[2] <= LIMIT
        and not any(block % 8 for block in client[3:4])
        and (client[4] if len(client) > 4 else 0) in _bitunshuffle
    )


_SAME_SIZE = (SHUFFLE, FLETCHER32)  # (fletcher32: four bytes more)
_STAGES = {
    DEFLATE: _Stage("deflate", _deflate),
    SHUFFLE: _Stage("shuffle", _unshuffle, lambda client: len(client) == 1 and client[0] > 0),
    FLETCHER32: _Stage("fletcher32", _fletcher32),
    LZF: _Stage("LZF", _lzf),
    BLOSC: _Stage("Blosc", _blosc),
    LZ4: _Stage("LZ4", _lz4),
    BITSHUFFLE: _Stage("bitshuffle", _bitshuffle, _bitshuffle_accepts),
    ZSTD: _Stage("zstd", _zstd),
}

_unshuffle(memoryview(bytes(64)), (2,), 64)  # c-blosc2 looks up the CPU's features, once, unlocked
