"""Memory for chunks and blocks: large buffers in huge pages, which are used again.

The kernel clears each new page and enters it into a page table.  For a chunk of 8 MiB in pages of
4 KiB this takes as long as decoding LZ4; in huge pages it takes an eighth of that, in pages that
were used before no time at all.  Therefore large buffers are mapped in huge pages and kept for the
next ones, and malloc, which serves the small ones, keeps freed memory as well.
"""

import contextlib
import ctypes
import mmap
import weakref
from collections import deque

import numpy as np

from esrffs.errors import TooLargeError

HUGE_PAGE_NBYTES = 2 << 20  # bytes of a huge page
# Smaller buffers would leave more than a quarter of a huge page unused.
MIN_HUGE_NBYTES = HUGE_PAGE_NBYTES - HUGE_PAGE_NBYTES // 4
MAPPING_STEP_NBYTES = 512 << 10  # lengths are rounded up, so that similar chunks share mappings
MAX_FREE_MAPPINGS = 8  # free mappings that are kept for the next buffer, …
MAX_FREE_NBYTES = 16 << 20  # … each of at most this length; larger ones are unmapped

_libc = ctypes.CDLL(None)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of malloc.h

# Free mappings.  The methods of a deque are atomic, so that any thread may use it.
_free: deque[mmap.mmap] = deque(maxlen=MAX_FREE_MAPPINGS)


def allocate(nbytes: int, what: str) -> memoryview:
    """A writable buffer of `nbytes` bytes (dtype uint8), not initialised.

    It is freed when the last view of it is gone.  Raises TooLargeError if there is no memory;
    `what` begins the text of the error.
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
    """A free mapping of a fitting length, or a new one: `nbytes` rounded to whole huge pages."""
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
    """Make malloc keep freed memory for later requests, in one arena for all threads.

    Otherwise glibc returns large blocks to the kernel, and each new one has to be cleared again.
    Does nothing without glibc.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the largest value that glibc accepts
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)
        mallopt(_M_ARENA_MAX, 1)


def trim() -> None:
    """Return all free memory to the kernel.

    Called from time to time; otherwise the process would stay as large as it ever was.  Takes
    about 80 ms for 300 MB.
    """
    _free.clear()
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
