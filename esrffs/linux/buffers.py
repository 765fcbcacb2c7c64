"""Where the memory of chunks and blocks comes from, and when the kernel gets it back.

The kernel clears each page that it hands out, and enters it into a table.  For a chunk of 8 MiB in
pages of 4 KiB that takes as long as its LZ4; in huge pages an eighth of it; in pages that were
used before, nothing.  So large buffers are mapped in huge pages, and kept for the next ones;
malloc, from which the others come, is told to keep what was freed as well.
"""

import contextlib
import ctypes
import mmap
import weakref
from collections import deque

import numpy as np

from esrffs.errors import TooLargeError

HUGE_PAGE_NBYTES = 2 << 20  # bytes of a huge page
MIN_HUGE_NBYTES = (
    HUGE_PAGE_NBYTES - HUGE_PAGE_NBYTES // 4
)  # bytes: smaller buffers would leave too much of a huge page unused
MAPPING_STEP_NBYTES = 512 << 10  # bytes: so that chunks of about the same size share their mappings
MAX_FREE_MAPPINGS = 8  # mappings that nobody uses, …
MAX_FREE_NBYTES = 16 << 20  # … of at most so many bytes: larger ones come and go

_libc = ctypes.CDLL(None)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of malloc.h

_free: deque[mmap.mmap] = deque(
    maxlen=MAX_FREE_MAPPINGS
)  # its methods are atomic: any thread may come


def allocate(nbytes: int, what: str) -> memoryview:
    """So many bytes with whatever was in them before, for as long as there is a view of them.

    TooLargeError where there is no room, which names `what` they are for.
    """
    try:
        return _large(nbytes) if nbytes >= MIN_HUGE_NBYTES else np.empty(nbytes, np.uint8).data
    except (MemoryError, OSError) as error:
        raise TooLargeError(
            f"{what}: not enough memory for {nbytes} bytes; end other programs, or mount with a"
            " smaller cache_size"
        ) from error


def _large(nbytes: int) -> memoryview:
    mapping = _mapping(nbytes)
    array = np.frombuffer(mapping, np.uint8, nbytes)
    weakref.finalize(array, _keep, mapping).atexit = False
    return array.data


def _mapping(nbytes: int) -> mmap.mmap:
    """One that is free, or a new one, of as many huge pages as come nearest to these bytes."""
    huge = (nbytes + HUGE_PAGE_NBYTES // 2) // HUGE_PAGE_NBYTES * HUGE_PAGE_NBYTES
    length = max(huge, -(-nbytes // MAPPING_STEP_NBYTES) * MAPPING_STEP_NBYTES)
    for mapping in reversed(tuple(_free)):
        if len(mapping) == length:
            with contextlib.suppress(ValueError, IndexError):  # another thread was faster
                _free.remove(mapping)
                return mapping
    mapping = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        mapping.madvise(mmap.MADV_HUGEPAGE, 0, huge)
    return mapping


def _keep(mapping: mmap.mmap) -> None:
    if len(mapping) <= MAX_FREE_NBYTES:
        _free.append(mapping)


def configure_malloc() -> None:
    """Let malloc use again what was freed, rather than give it back and ask for it anew.

    One arena for all threads: what one of them frees serves the next.  Without glibc nothing
    happens.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # larger ones come and go: glibc's own limit
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)
        mallopt(_M_ARENA_MAX, 1)


def trim() -> None:
    """Give the kernel all that is free: now and then, or what was ever needed at once stays.

    Some 80 ms for 300 MB; nothing where there is nothing.
    """
    _free.clear()
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
