"""The processes that host readers.

Decided here: how many there are, how they are started, what they may use (time, address space,
rights), and that none outlives the daemon.
"""

import contextlib
import ctypes
import functools
import logging
import math
import mmap
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import trio
import trio_parallel

from esrffs import hosting
from esrffs.errors import DeadlineError, MountError, WorkerError
from esrffs.model import Box

log = logging.getLogger(__name__)
T = TypeVar("T")

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_PR_SET_NO_NEW_PRIVS = 38
_PRELOADED = [
    "esrffs.hosting",
    "esrffs.formats.hdf5",
    "esrffs.formats.spec",
    "esrffs.formats.raster",
    "silx.io.spech5",
    "silx.io.fabioh5",
]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the readers may use."""

    count: int = 2  # processes; one is always left for what is not bulk
    seconds: float = 30.0  # for one call
    address_space: int = 2 << 30  # bytes, for one process


class Workers:
    """Runs functions in worker processes; made by `open_workers`."""

    def __init__(self, context: trio_parallel.WorkerContext, limits: Limits) -> None:
        self._context = context
        self._limits = limits
        self._all = trio.CapacityLimiter(limits.count)
        self._bulk = trio.CapacityLimiter(max(1, limits.count - 1))
        self._unlimited = trio.CapacityLimiter(math.inf)
        self.lost = 0

    def __repr__(self) -> str:
        busy = self._all.borrowed_tokens
        return f"<Workers: {busy} of {self._limits.count} busy, {self.lost} lost>"

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """`function(*arguments)` in a worker; what it raises is raised here.

        WorkerError: the process died.  DeadlineError: it took too long, and was killed.
        """
        async with self._all:
            with trio.move_on_after(self._limits.seconds):
                try:
                    return cast(
                        T,
                        await self._context.run_sync(
                            function, *arguments, kill_on_cancel=True, limiter=self._unlimited
                        ),
                    )
                except trio_parallel.BrokenWorkerError as error:
                    self.lost += 1
                    raise WorkerError(f"the reader process died{_cause(error)}") from None
            self.lost += 1
            raise DeadlineError(f"no answer within {self._limits.seconds:g} s")

    async def read(
        self, subject: hosting.Subject, address: str, box: Box, nbytes: int
    ) -> memoryview:
        """The elements of this box, as C-ordered bytes."""
        if nbytes == 0:
            return memoryview(b"")
        descriptor = os.memfd_create("esrffs", os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, nbytes)
            path = f"/proc/{os.getpid()}/fd/{descriptor}"
            async with self._bulk:
                await self.run(hosting.read_into, path, subject, address, box, nbytes)
            return memoryview(mmap.mmap(descriptor, nbytes, prot=mmap.PROT_READ))
        finally:
            os.close(descriptor)


@contextlib.asynccontextmanager
async def open_workers(limits: Limits) -> AsyncIterator[Workers]:
    """Start the worker processes and wait until each of them has answered."""
    multiprocessing.set_forkserver_preload(_PRELOADED)
    async with trio_parallel.open_worker_context(
        idle_timeout=math.inf,
        init=functools.partial(_confine, limits.address_space),
        grace_period=0.5,
        worker_type=trio_parallel.WorkerType.FORKSERVER,
    ) as context:
        workers = Workers(context, limits)
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(limits.count):
                    nursery.start_soon(workers.run, hosting.ready)
        except* (OSError, EOFError, WorkerError, DeadlineError) as group:
            why = group.exceptions[0]
            raise MountError(f"the reader processes do not start: {why!r}") from None
        yield workers


def _confine(address_space: int) -> None:
    """Called once in each new worker."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # the parent is the fork server, which …
    if os.getppid() == 1:  # … ends with the daemon; it may have ended already
        os._exit(1)
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable()  # the libraries' remarks: what matters comes back as an error
    with open(os.devnull, "r+b") as nowhere:  # silx and libhdf5 print
        for descriptor in (0, 1, 2):
            os.dup2(nowhere.fileno(), descriptor)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # for as long as it lives


def _cause(error: trio_parallel.BrokenWorkerError) -> str:
    code = getattr(error.args[-1], "exitcode", None)
    if code is None or code >= 0:
        return ""
    return f" ({signal.Signals(-code).name})"
