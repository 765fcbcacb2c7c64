"""Many calls on a slow source at the same time.

A file server needs the same time for one call and for thirty at once.  So a folder of thousands of
files is looked at by some threads together, each of which takes the next file when it is done
with one.  Does not: decide which calls may wait (`executor`).
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar, cast

import trio

from esrffs.source.executor import SourceExecutor

I = TypeVar("I")  # noqa: E741  # an item
T = TypeVar("T")

_FIRST_SECONDS = 0.002  # one thread alone works so long: short work needs no others
_TURN_SECONDS = 0.05  # a thread works so long before it reports; the time limit is for one turn


async def side_by_side(
    executor: SourceExecutor, work: Callable[[I], T], items: Sequence[I], parallel: int
) -> list[T]:
    """`work` of each item, in the order of the items, in at most `parallel` threads.

    Raises the first error that `work` raises.  UnavailableError where a thread makes no progress
    for as long as the time limit of the executor; a long list of items takes as long as it takes.
    """
    results: list[T | None] = [None] * len(items)
    pending = deque(enumerate(items))
    failures: list[Exception] = []

    def take_turn(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                number, item = pending.popleft()
            except IndexError:
                return
            results[number] = work(item)

    async def work_on(scope: trio.CancelScope) -> None:
        try:
            while pending:
                await executor.run_in_thread(partial(take_turn, _TURN_SECONDS))
        except Exception as error:
            failures.append(error)
            scope.cancel()

    try:
        await executor.run_in_thread(partial(take_turn, _FIRST_SECONDS))
        async with trio.open_nursery() as nursery:
            for _ in range(min(parallel, len(pending), executor.threads_to_spare())):
                nursery.start_soon(work_on, nursery.cancel_scope)
    finally:
        pending.clear()  # a thread that was left behind stops after its item
    if failures:
        raise failures[0]
    return cast(list[T], results)
