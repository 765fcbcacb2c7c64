"""A faster way for pyfuse3 to wait for the next request.

A request that is there already is taken without a pass of trio's scheduler, and before the process
goes to sleep it polls for a moment.  With trio's own waiting, each request costs two scheduler
passes, and falling asleep costs a switch of processes: together more than answering a `getxattr`
of `ls -l`, and as much as all that Python does for 128 KiB of data.  `docs/design.md` has figures.

pyfuse3 looks up `trio.lowlevel.wait_readable` and `trio.Lock` in its own attribute `trio`, which
its asyncio mode replaces.  `install_in_pyfuse3` replaces that attribute, too.
"""

import os
import select
import time
from collections.abc import Callable
from types import SimpleNamespace

import pyfuse3
import trio

MAX_CONSECUTIVE_REQUESTS = 32  # then the other tasks of the loop have their turn
POLL_SECONDS = 60e-6  # what a program needs between an answer and its next request


class BusyPoller:
    """Waits like `trio.lowlevel.wait_readable`, but returns at once if there is something to read.

    `busy` says whether other threads or processes of the mount need the processors: then there is
    no polling.  Nor is there with a single processor.
    """

    def __init__(self, busy: Callable[[], bool]) -> None:
        self._busy = busy if len(os.sched_getaffinity(0)) > 1 else lambda: True
        self._polls: dict[int, select.poll] = {}
        self._left = MAX_CONSECUTIVE_REQUESTS

    async def wait(self, descriptor: int) -> None:
        """Return when this descriptor can be read from."""
        poll = self._polls.get(descriptor)
        if poll is None:
            poll = self._polls[descriptor] = select.poll()
            poll.register(descriptor, select.POLLIN)
        if self._left and self._soon(poll):
            self._left -= 1
            return
        self._left = MAX_CONSECUTIVE_REQUESTS
        await trio.lowlevel.wait_readable(descriptor)

    def _soon(self, poll: select.poll) -> bool:
        if poll.poll(0):
            return True
        if self._busy():
            return False
        end = time.perf_counter() + POLL_SECONDS
        while time.perf_counter() < end:
            if poll.poll(0):
                return True
        return False


class UnfairLock:
    """An unfair lock: the task that releases it may acquire it again before waiting tasks.

    So the task that answered a request without waiting goes on with the next one, and other tasks
    take over only when it waits.  (trio.Lock is fair, which costs a scheduler pass per request.)
    """

    def __init__(self) -> None:
        self._taken = False
        self._waiting = trio.lowlevel.ParkingLot()

    async def __aenter__(self) -> None:
        while self._taken:
            await self._waiting.park()
        self._taken = True

    async def __aexit__(self, *_: object) -> None:
        self._taken = False
        if self._waiting:
            self._waiting.unpark()


def install_in_pyfuse3(busy: Callable[[], bool]) -> None:
    """Let pyfuse3 use `BusyPoller` and `UnfairLock` from its next `main` on."""
    lowlevel = SimpleNamespace(**vars(trio.lowlevel))
    lowlevel.wait_readable = BusyPoller(busy).wait
    own = SimpleNamespace(**vars(trio))
    own.lowlevel, own.Lock = lowlevel, UnfairLock
    vars(pyfuse3)["trio"] = own
