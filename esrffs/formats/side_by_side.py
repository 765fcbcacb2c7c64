"""Many plain calls on a slow file system at the same time, in a worker process.

On a local disk such a call takes microseconds, and all are made one after the other.  Where they
turn out to take longer, threads share them.  For calls of the operating system only: no format
library may be used from these threads.
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

_LOOK_SECONDS = 0.002  # after so long it is looked how fast the calls are, and …
_SLOW_SECONDS = 0.0002  # … calls that take longer than this are worth a thread
_STACK_NBYTES = 1 << 18  # of a thread: the memory of a worker process is limited


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
    """All that is pending, in threads; raises the first error of `work`."""

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
