"""The pool of worker processes: how many there are, their start and end, and the time of a call.

No worker outlives the daemon.  Does not: restrict what workers may do (`linux/sandbox`).
"""

import contextlib
import functools
import logging
import math
import multiprocessing
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
import trio
import trio_parallel

from esrffs.damage import Block
from esrffs.errors import MountError, ReaderDiedError, ReaderTimeoutError, UnavailableError
from esrffs.limits import Limits
from esrffs.linux import sandbox
from esrffs.model import Box
from esrffs.workers import protocol, server
from esrffs.workers.call import WorkerCall, copy_shared_buffer, open_shared_buffer

log = logging.getLogger(__name__)
T = TypeVar("T")

SLOW_CALL_SECONDS = 0.1  # after this time the slot of a call is given to another one
REBALANCE_ROUNDS = 50  # checks of the number of processes, SLOW_CALL_SECONDS apart
SURPLUS_ROUNDS = 10  # consecutive rounds with a surplus before one worker is retired
START_ATTEMPTS = 5  # for a process that is killed while it starts
MAX_EXTRA_WORKERS = 8  # processes in the place of busy ones
SPARE_WORKERS = 1  # idle process that is kept ready: a start takes as long as 100 calls
MAX_UNKILLABLE = 64  # with so many processes that cannot be killed, calls are refused
FORKSERVER_MODULES = ["esrffs.workers.server", "esrffs.formats.preload"]


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """The resources of the pool."""

    count: int = 2  # processes; `read` leaves one of them for other calls
    seconds: float = 30.0  # time limit of one call
    memory: int = 512 << 20  # bytes for one process
    sizes: Limits = field(default_factory=Limits)  # size limits in each worker


class WorkerPool:
    """Runs functions in worker processes.  Made by `open_pool`.

    A call that takes longer than `SLOW_CALL_SECONDS` no longer counts against `PoolConfig.count`:
    another process replaces the busy one, so that nobody waits for a file that hangs.
    """

    def __init__(
        self, context: trio_parallel.WorkerContext, limits: PoolConfig, nursery: trio.Nursery
    ) -> None:
        self._context = context
        self._limits = limits
        self._nursery = nursery
        self._all = trio.CapacityLimiter(limits.count)
        self._bulk = trio.CapacityLimiter(max(1, limits.count - 1))
        self._levelling = False
        self._stuck = 0
        self.lost = 0

    def __repr__(self) -> str:
        busy, count = self._all.borrowed_tokens, self._limits.count
        return f"<WorkerPool: {busy} of {count} busy, {self.lost} lost>"

    @property
    def busy(self) -> bool:
        """Whether any worker is busy."""
        return self._all.borrowed_tokens > 0

    @property
    def count(self) -> int:
        return self._limits.count

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """The result of `function(*arguments)` in a worker; its exceptions are raised here.

        ReaderDiedError: the process ended.  ReaderTimeoutError: it took too long and was killed.
        UnavailableError: no worker became free.
        """
        async with self.slot(self._all):
            return cast(T, await self._await_result(WorkerCall(function, arguments), self._all))

    async def read(
        self,
        subject: protocol.ReaderSpec,
        address: str,
        box: Box,
        nbytes: int,
        dtype: np.dtype[np.generic] | None = None,
    ) -> Block:
        """The elements of this box as bytes: C order, in the dtype of the dataset.

        `nbytes` is their number; `dtype` that of the listing, if known.  Raises what `run` raises.
        """
        if nbytes == 0:
            return memoryview(b"")
        async with self.slot(self._bulk), self.slot(self._all):
            call = WorkerCall(
                server.read_box, (subject, address, box, nbytes, dtype), open_shared_buffer
            )
            descriptor, shared_buffer = await self._await_result(call, self._bulk, self._all)
        try:
            if shared_buffer.worker_should_retire:
                self._nursery.start_soon(self._retire_worker)
            return copy_shared_buffer(descriptor, nbytes, shared_buffer)
        finally:
            os.close(descriptor)

    async def _await_result(self, call: WorkerCall, *limiters: trio.CapacityLimiter) -> Any:
        """The result of the call.  While it is slow, its slots are given to other calls."""
        if self._stuck >= MAX_UNKILLABLE:
            raise UnavailableError(
                f"no reader was free: {self._stuck} wait for a disk or file server"
            )
        self._nursery.start_soon(self._work, call)
        try:
            with trio.move_on_after(SLOW_CALL_SECONDS):
                await call.done.wait()
            if not call.done.is_set():
                with (
                    self._extra_slot(*limiters),
                    trio.move_on_after(self._limits.seconds - SLOW_CALL_SECONDS),
                ):
                    await call.done.wait()
        finally:
            if not call.done.is_set():
                await call.abandon()
                self._stuck += call.unkillable
        if call.cost_a_process:
            self._on_worker_death()
        return call.result(self._limits.seconds)

    async def _work(self, call: WorkerCall) -> None:
        await call.run(self._context)
        self._stuck -= call.unkillable

    async def wait_until_ready(self) -> None:
        """Return when a worker has answered.  If it is killed while it starts, try again."""
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                await self.run(server.ping)
            except ReaderDiedError as error:
                if attempt == START_ATTEMPTS or not error.externally_killed:
                    raise
            else:
                return

    def _on_worker_death(self) -> None:
        self.lost += 1
        self._nursery.start_soon(self.rebalance)

    async def _retire_worker(self) -> None:
        """End the worker that answered last; it would be the next one to be used."""
        with contextlib.suppress(UnavailableError, ReaderTimeoutError, ReaderDiedError):
            await self.run(server.retire)

    async def rebalance(self) -> None:
        """Start or end workers until their number is right."""
        if self._levelling:
            return
        self._levelling = True
        surplus_rounds = 0
        try:
            for _ in range(REBALANCE_ROUNDS):
                await trio.sleep(SLOW_CALL_SECONDS)  # a retiring worker needs a moment to end
                now = self._context.statistics()
                there = now.idle_workers + now.running_workers - self._stuck
                least, most = (
                    n + SPARE_WORKERS for n in (self._limits.count, self._all.total_tokens)
                )
                if there < least or (now.idle_workers < SPARE_WORKERS and there < most):
                    async with trio.open_nursery() as nursery:
                        for _ in range(now.idle_workers + 1):  # all idle workers, and a new one
                            nursery.start_soon(self._ping)
                elif not (there > least and now.idle_workers > SPARE_WORKERS):
                    return
                elif (surplus_rounds := surplus_rounds + 1) > SURPLUS_ROUNDS:
                    await self._retire_worker()
        finally:
            self._levelling = False

    async def _ping(self) -> None:
        """Call a worker without waiting for a slot, so that one more process is started if
        needed.
        """
        call = WorkerCall(server.ping)
        await call.run(self._context)

    @contextlib.asynccontextmanager
    async def slot(self, limiter: trio.CapacityLimiter) -> AsyncIterator[None]:
        """A context that holds one slot of the limiter; UnavailableError if none is free in
        time.
        """
        token = object()
        with trio.move_on_after(self._limits.seconds) as waiting:
            await limiter.acquire_on_behalf_of(token)
        if waiting.cancelled_caught:
            raise UnavailableError(
                f"no reader was free within {self._limits.seconds:g} s (workers)"
            )
        try:
            yield
        finally:
            limiter.release_on_behalf_of(token)

    @contextlib.contextmanager
    def _extra_slot(self, *limiters: trio.CapacityLimiter) -> Iterator[None]:
        """A context in which each of these limiters has one more slot."""
        more = [
            one for one in limiters if one.total_tokens < self._limits.count + MAX_EXTRA_WORKERS
        ]
        for limiter in more:
            limiter.total_tokens += 1
        self._nursery.start_soon(self.rebalance)
        try:
            yield
        finally:
            for limiter in more:
                limiter.total_tokens -= 1
            self._nursery.start_soon(self.rebalance)


@contextlib.asynccontextmanager
async def open_pool(limits: PoolConfig, confine: str | None) -> AsyncIterator[WorkerPool]:
    """Start the workers and wait until each of them has answered; MountError if they do not start.

    `confine`: workers can open files below this folder only; None: everywhere.
    """
    lacking = sandbox.missing_protection()
    if lacking is not None:
        log.info("readers are not fully confined: %s", lacking)
    multiprocessing.set_forkserver_preload(FORKSERVER_MODULES)
    init = functools.partial(server.enter, limits.memory, confine, limits.sizes, limits.seconds)
    async with _open_context(init) as context, trio.open_nursery() as background:
        workers = WorkerPool(context, limits, background)
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(limits.count):
                    nursery.start_soon(workers.wait_until_ready)
        except* (ReaderDiedError, ReaderTimeoutError) as group:
            why = group.exceptions[0]
            raise MountError(f"the reader processes do not start: {why}") from None
        background.start_soon(workers.rebalance)
        yield workers
        background.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def _open_context(init: Callable[[], None]) -> AsyncIterator[trio_parallel.WorkerContext]:
    try:
        async with trio_parallel.open_worker_context(
            idle_timeout=math.inf,
            init=init,
            retire=server.should_retire,
            grace_period=0.5,
            worker_type=trio_parallel.WorkerType.FORKSERVER,
        ) as context:
            yield context
    except trio_parallel.BrokenWorkerError as error:
        log.debug("at the end: %s", error)  # a worker that was killed; not important any more
