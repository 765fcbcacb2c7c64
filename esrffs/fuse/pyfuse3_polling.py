"""How the loop of pyfuse3 waits for the next request.

Decided here: that a request which is there already is taken without a turn of the event loop, that
the next one is awaited for a moment before the process goes to sleep, and how many requests are
taken in a row.  trio's own waiting costs two turns of the loop for each request, and falling
asleep costs reader and daemon a switch of processes: together more than the answer to any
`getxattr` of `ls -l`, and as much as all that Python does for 128 KiB of data.

pyfuse3 looks up what it needs of trio in its own attribute `trio`, so that its asyncio mode can
put something else there; so does `install_in_pyfuse3`.
"""

import os
import select
import time
from collections.abc import Callable
from types import SimpleNamespace

import pyfuse3
import trio

MAX_CONSECUTIVE_REQUESTS = 32  # requests; then whoever else has something to do comes first
POLL_SECONDS = 60e-6  # seconds: what a reader needs between an answer and its next request


class BusyPoller:
    """`trio.lowlevel.wait_readable`, at once where there is something to read.

    `busy` tells whether the processors have better things to do than to wait.
    """

    def __init__(self, busy: Callable[[], bool]) -> None:
        self._busy = busy if len(os.sched_getaffinity(0)) > 1 else lambda: True
        self._polls: dict[int, select.poll] = {}
        self._left = MAX_CONSECUTIVE_REQUESTS

    async def wait(self, descriptor: int) -> None:
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
    """A lock whose owner may take it again before those who wait had their turn.

    Who answers a request without waiting for anything goes on to the next one; the others take
    over as soon as he waits.
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
    """Let pyfuse3 wait in this way, from its next `main` on."""
    lowlevel = SimpleNamespace(**vars(trio.lowlevel))
    lowlevel.wait_readable = BusyPoller(busy).wait
    own = SimpleNamespace(**vars(trio))
    own.lowlevel, own.Lock = lowlevel, UnfairLock
    vars(pyfuse3)["trio"] = own
