"""Many system calls on a slow file system at the same time, in a worker process.

On a local disk such a call takes microseconds, and all are made one after the other.  If they turn
out to take longer, several threads share them.  For system calls only: format libraries must not be
called from these threads.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

from esrffs import limits

I = TypeVar("I")  # noqa: E741  # an item
T = TypeVar("T")

_LOOK_SECONDS = 0.002  # after this time the mean time of a call is looked at
_SLOW_SECONDS = 0.0002  # threads are worth while if a call takes longer than this
_STACK_NBYTES = 1 << 18  # stack of a thread: the memory of a worker process is limited


def side_by_side(work: Callable[[I], T], items: Sequence[I]) -> list[T]:
    """`work` of each item, in the order of the items; at most `limits.parallel()` threads."""
    results: list[T | None] = [None] * len(items)
    pending = deque(enumerate(items))
    start = time.monotonic()
    while pending:
        elapsed, done = time.monotonic() - start, len(items) - len(pending)
        if elapsed > _LOOK_SECONDS and elapsed > done * _SLOW_SECONDS:
            _share(work, pending, results)
            break
        number, item = pending.popleft()
        results[number] = work(item)
    return cast(list[T], results)


def _share(work: Callable[[I], T], pending: deque[tuple[int, I]], results: list[T | None]) -> None:
    """Do the pending work in threads; the first exception of `work` ends it and is raised."""

    def run() -> None:
        while True:
            try:
                number, item = pending.popleft()
            except IndexError:
                return
            try:
                results[number] = work(item)
            except BaseException:
                pending.clear()
                raise

    count = min(limits.parallel(), len(pending))
    before = threading.stack_size(_STACK_NBYTES)
    try:
        with ThreadPoolExecutor(count) as pool:
            for finished in [pool.submit(run) for _ in range(count)]:
                finished.result()
    finally:
        threading.stack_size(before)
