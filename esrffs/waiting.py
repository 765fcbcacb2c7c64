"""How the loop of pyfuse3 waits for the next request.

Decided here: that a request which is there already is taken without a turn of the event loop, and
how many in a row.  trio's own waiting costs two turns of the loop for each request, about as much
time as all that Python does for 128 KiB of data.

pyfuse3 looks up what it needs of trio in its own attribute `trio`, so that its asyncio mode can
put something else there; so does `install`.
"""

import select
from types import SimpleNamespace

import pyfuse3
import trio

_IN_A_ROW = 32  # requests; then whoever else has something to do comes first


class _Readable:
    """`trio.lowlevel.wait_readable`, at once where there is something to read."""

    def __init__(self) -> None:
        self._polls: dict[int, select.poll] = {}
        self._left = _IN_A_ROW

    async def wait(self, descriptor: int) -> None:
        poll = self._polls.get(descriptor)
        if poll is None:
            poll = self._polls[descriptor] = select.poll()
            poll.register(descriptor, select.POLLIN)
        if self._left and poll.poll(0):
            self._left -= 1
            return
        self._left = _IN_A_ROW
        await trio.lowlevel.wait_readable(descriptor)


class _Lock:
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


def install() -> None:
    """Let pyfuse3 wait in this way, from its next `main` on."""
    lowlevel = SimpleNamespace(**vars(trio.lowlevel))
    lowlevel.wait_readable = _Readable().wait
    pyfuse3.trio = SimpleNamespace(**vars(trio))
    pyfuse3.trio.lowlevel = lowlevel
    pyfuse3.trio.Lock = _Lock
