"""The processes that host readers.

Decided here: how many there are, how they are started, how long they may take, who waits for whom,
and that none outlives the daemon.  Which rights they have is decided in `esrffs.sandbox`.
"""

import contextlib
import functools
import logging
import math
import multiprocessing
import os
import pickle
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np
import trio
import trio_parallel

from esrffs import hosting, sandbox
from esrffs.errors import BusyError, DamagedError, DeadlineError, MountError, WorkerError
from esrffs.limits import Sizes
from esrffs.model import Box

log = logging.getLogger(__name__)
T = TypeVar("T")

_LONG = 0.1  # seconds after which nobody waits for a call any more
_TRIES = 20  # to have as many processes as there are to be
_STARTS = 5  # of a process that is killed while it starts
_FURTHER = 8  # processes that may take the place of those that are long at something
_PRELOADED = ["esrffs.hosting", "esrffs.formats.preloaded"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the readers may use."""

    count: int = 2  # processes; one is always left for what is not bulk
    seconds: float = 30.0  # for one call
    memory: int = 512 << 20  # bytes, for one process
    sizes: Sizes = field(default_factory=Sizes)  # of what one of them makes


class Workers:
    """Runs functions in worker processes; made by `open_workers`.

    A call that lasts longer than `_LONG` no longer counts against `Limits.count`: another
    process takes the place of the one that is busy, so that nobody waits behind a file that hangs.
    """

    def __init__(
        self, context: trio_parallel.WorkerContext, limits: Limits, nursery: trio.Nursery
    ) -> None:
        self._context = context
        self._limits = limits
        self._nursery = nursery
        self._all = trio.CapacityLimiter(limits.count)
        self._bulk = trio.CapacityLimiter(max(1, limits.count - 1))
        self._unlimited = trio.CapacityLimiter(math.inf)
        self._levelling = False
        self.lost = 0

    def __repr__(self) -> str:
        busy = self._all.borrowed_tokens
        return f"<Workers: {busy} of {self._limits.count} busy, {self.lost} lost>"

    @property
    def count(self) -> int:
        return self._limits.count

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """`function(*arguments)` in a worker; what it raises is raised here.

        WorkerError: the process died.  DeadlineError: it took too long, and was killed.
        BusyError: none became free.
        """
        async with self._lent(self._all):
            with trio.move_on_after(self._limits.seconds):
                try:
                    return cast(
                        T,
                        await self._context.run_sync(
                            function, *arguments, kill_on_cancel=True, limiter=self._unlimited
                        ),
                    )
                except trio_parallel.BrokenWorkerError as error:
                    self._mourn()
                    raise _death(error) from None
                except (OSError, EOFError) as error:  # the fork server was killed, say
                    unborn = _killed(f"the reader process does not start ({error})")
                    unborn.unborn = True
                    raise unborn from error
                except (MemoryError, RecursionError, pickle.PickleError) as error:
                    text = f"an answer that cannot be sent: {type(error).__name__}: {error}"
                    raise DamagedError(text) from error
            self._mourn()
            raise DeadlineError(f"no answer within {self._limits.seconds:g} s (time_limit)")

    async def read(
        self, subject: hosting.Subject, address: str, box: Box, nbytes: int
    ) -> memoryview:
        """The elements of this box, as C-ordered bytes."""
        if nbytes == 0:
            return memoryview(b"")
        async with self._lent(self._bulk):
            parcel = await self.run(hosting.read, subject, address, box, nbytes)
            # No `await` here: who runs next might ask the same worker, which then drops the parcel.
            try:
                descriptor = parcel.open()
            except OSError as error:
                raise _killed(f"the reader process died ({error.strerror})") from error
        try:
            if parcel.weary:
                self._nursery.start_soon(self._dismiss)
            return _content(descriptor, nbytes)
        finally:
            os.close(descriptor)

    async def begin(self) -> None:
        """Return when a process has answered; one that is killed meanwhile is no matter."""
        for attempt in range(1, _STARTS + 1):
            try:
                await self.run(hosting.ready)
            except WorkerError as error:
                if attempt == _STARTS or not error.killed:
                    raise
            else:
                return

    def _mourn(self) -> None:
        self.lost += 1
        self._nursery.start_soon(self._level)

    async def _dismiss(self) -> None:
        """End the worker that answered last: it is the first to be asked again."""
        with contextlib.suppress(BusyError, DeadlineError, WorkerError):
            await self.run(hosting.leave)

    async def _level(self) -> None:
        """Have as many processes as there are to be: for the dead, new ones; the surplus leaves."""
        if self._levelling:
            return
        self._levelling = True
        try:
            for _ in range(_TRIES):
                await trio.sleep(_LONG)  # those that are told to leave take a moment
                now = self._context.statistics()
                there = now.idle_workers + now.running_workers
                if there < self._limits.count:
                    async with trio.open_nursery() as nursery:
                        for _ in range(now.idle_workers + 1):  # all that are idle, and one more
                            nursery.start_soon(self._ready)
                elif there > self._limits.count and now.idle_workers:
                    await self._dismiss()
                else:
                    return
        finally:
            self._levelling = False

    async def _ready(self) -> None:
        with contextlib.suppress(trio_parallel.BrokenWorkerError, OSError, EOFError):
            await self._context.run_sync(
                hosting.ready, kill_on_cancel=True, limiter=self._unlimited
            )

    @contextlib.asynccontextmanager
    async def place(self, limiter: trio.CapacityLimiter) -> AsyncIterator[None]:
        """One of the limiter's places, waited for no longer than a call may take; BusyError."""
        token = object()
        with trio.move_on_after(self._limits.seconds) as waiting:
            await limiter.acquire_on_behalf_of(token)
        if waiting.cancelled_caught:
            raise BusyError(f"no reader was free within {self._limits.seconds:g} s (workers)")
        try:
            yield
        finally:
            limiter.release_on_behalf_of(token)

    @contextlib.asynccontextmanager
    async def _lent(self, limiter: trio.CapacityLimiter) -> AsyncIterator[None]:
        """A place which is filled again if it is not given back soon."""
        async with self.place(limiter):
            done = trio.Event()
            self._nursery.start_soon(self._lend, limiter, done)
            try:
                yield
            finally:
                done.set()

    async def _lend(self, limiter: trio.CapacityLimiter, done: trio.Event) -> None:
        with trio.move_on_after(_LONG):
            await done.wait()
            return
        if limiter.total_tokens >= self._limits.count + _FURTHER:
            return
        limiter.total_tokens += 1
        try:
            await done.wait()
        finally:
            limiter.total_tokens -= 1
            self._nursery.start_soon(self._level)


@contextlib.asynccontextmanager
async def open_workers(limits: Limits, confine: str | None) -> AsyncIterator[Workers]:
    """Start the worker processes and wait until each of them has answered.

    What they read lies beneath the folder `confine`, if there is one.
    """
    lacking = sandbox.missing()
    if lacking is not None:
        log.info("readers are not fully confined: %s", lacking)
    multiprocessing.set_forkserver_preload(_PRELOADED)
    init = functools.partial(hosting.enter, limits.memory, confine, limits.sizes)
    async with _open_context(init) as context, trio.open_nursery() as background:
        workers = Workers(context, limits, background)
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(limits.count):
                    nursery.start_soon(workers.begin)
        except* (WorkerError, DeadlineError) as group:
            why = group.exceptions[0]
            raise MountError(f"the reader processes do not start: {why!r}") from None
        yield workers
        background.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def _open_context(init: Callable[[], None]) -> AsyncIterator[trio_parallel.WorkerContext]:
    try:
        async with trio_parallel.open_worker_context(
            idle_timeout=math.inf,
            init=init,
            retire=hosting.weary,
            grace_period=0.5,
            worker_type=trio_parallel.WorkerType.FORKSERVER,
        ) as context:
            yield context
    except trio_parallel.BrokenWorkerError as error:
        log.debug("at the end: %s", error)  # a worker that was killed before does not matter now


def _content(descriptor: int, nbytes: int) -> memoryview:
    """Copied: a mapping would keep a descriptor of its own for as long as it is remembered."""
    buffer = np.empty(nbytes, np.uint8).data
    have = 0
    while have < nbytes:
        got = os.preadv(descriptor, [buffer[have:]], have)
        if not got:
            raise WorkerError("the reader process gave less than it said")
        have += got
    return buffer


def _death(error: trio_parallel.BrokenWorkerError) -> WorkerError:
    code = getattr(error.args[-1], "exitcode", None)
    if code is None or code >= 0:
        return _killed("the reader process ended")  # shut out of its source, for one
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    ours = WorkerError(f"the reader process died ({name})")
    ours.killed = -code in (signal.SIGKILL, signal.SIGTERM)
    return ours


def _killed(text: str) -> WorkerError:
    """The file is not to blame: it is asked again."""
    ours = WorkerError(text)
    ours.killed = True
    return ours
