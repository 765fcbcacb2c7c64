"""Background work: tasks that nobody waits for, threads that compute, and memory for read-ahead."""

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from esrffs.errors import EsrffsError

T = TypeVar("T")

log = logging.getLogger(__name__)


StartTask = Callable[..., None]  # starts a task: an async function and its arguments


def task_starter(nursery: trio.Nursery) -> StartTask:
    """A function that starts tasks in `nursery`; an exception in a task is logged, not raised."""

    async def run(task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        try:
            await task(*arguments)
        except Exception:
            log.exception("internal error in %s", task.__qualname__)

    def start(task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        nursery.start_soon(run, task, *arguments)

    return start


async def gather(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """The results of these calls, which run at the same time.

    If some raise an EsrffsError, the first of them (by position) is raised after all have ended.
    """
    if len(calls) == 1:
        return [await calls[0]()]
    results: dict[int, T] = {}
    failures: dict[int, EsrffsError] = {}

    async def run(number: int) -> None:
        try:
            results[number] = await calls[number]()
        except EsrffsError as error:
            failures[number] = error

    async with trio.open_nursery() as nursery:
        for number in range(len(calls)):
            nursery.start_soon(run, number)
    if failures:
        raise failures[min(failures)]
    return [results[number] for number in range(len(calls))]


class DecodeThreads:
    """How many threads of a mount compute at a time: to decode, to correct, to encode."""

    def __init__(self, count: int | None = None) -> None:
        self.count = count or os.cpu_count() or 1
        self.limiter = trio.CapacityLimiter(self.count)  # more threads would only take turns
        self.large = trio.CapacityLimiter(1)  # for chunks that take much memory
        self.skipping = trio.CapacityLimiter(1)  # for chunks of which most is passed over

    def __repr__(self) -> str:
        return f"<DecodeThreads: {self.limiter.borrowed_tokens} of {self.count} at work>"

    @property
    def busy(self) -> bool:
        """Whether any of them computes now."""
        return self.limiter.borrowed_tokens > 0


class ReadAheadBudget:
    """Memory for blocks that are made before they are asked for, shared by all readers of a mount.

    A block counts from the moment when it is begun until it is read or its reader is closed.
    `used` and `wasted` are the bytes of such blocks that were read, and that were not.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit  # bytes
        self.held = 0  # bytes: begun, and not read yet
        self.used = 0  # bytes
        self.wasted = 0  # bytes

    def __repr__(self) -> str:
        return f"<ReadAheadBudget {self.held} of {self.limit} bytes>"

    def status(self) -> dict[str, int]:
        """For `user.esrffs.status`: all in bytes."""
        return {
            "bytes": self.held,
            "limit": self.limit,
            "bytes_used": self.used,
            "bytes_wasted": self.wasted,
        }

    def take(self, nbytes: int) -> bool:
        """Reserve this many bytes; False, and nothing is reserved, where they do not fit."""
        if self.held + nbytes > self.limit:
            return False
        self.held += nbytes
        return True

    def give_back(self, nbytes: int, *, used: bool) -> None:
        """End a reservation of this many bytes; `used`: the block was read."""
        self.held -= nbytes
        if used:
            self.used += nbytes
        else:
            self.wasted += nbytes
