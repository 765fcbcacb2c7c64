"""One question to a worker process.

Decided here: which error of ours each end of a call becomes, and that who asks goes on at the
deadline even if the process cannot be killed: one that waits for a disk or a server is not gone
before that answers.
"""

import math
import os
import pickle
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import trio
import trio_parallel

from esrffs.damage import Block, DamagedBlock
from esrffs.errors import (
    DamagedError,
    ReaderDiedError,
    ReaderTimeoutError,
    UnavailableError,
    no_answer,
    unforeseen,
)
from esrffs.linux.buffers import allocate
from esrffs.workers import protocol

KILL_GRACE_SECONDS = 0.3  # seconds that a process has to die
_unlimited = trio.CapacityLimiter(math.inf)


def _as_it_is(answer: Any) -> Any:
    return answer


@dataclass(slots=True, eq=False)
class WorkerCall:
    """`function(*arguments)`; `take` gets the answer before that worker is asked the next thing."""

    function: Callable[..., Any]
    arguments: tuple[object, ...] = ()
    on_result: Callable[[Any], Any] = _as_it_is
    unkillable: bool = False  # nobody waits for it any more, but its process lives on
    done: trio.Event = field(default_factory=trio.Event)
    _answer: Any = None
    _error: Exception | None = None
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def run(self, context: trio_parallel.WorkerContext) -> None:
        """In a task that nobody waits for."""
        self._error = ReaderTimeoutError("")
        with self._scope:
            try:
                answer = await context.run_sync(
                    self.function, *self.arguments, kill_on_cancel=True, limiter=_unlimited
                )
                # No `await` here: who runs next might ask the same worker, which drops a parcel.
                self._answer, self._error = self.on_result(answer), None
            except Exception as error:  # is raised where the answer was asked for
                # Not with this frame, which would keep both, and the process, for the collector.
                self._error = error.with_traceback(None)
        self.done.set()

    async def abandon(self) -> None:
        """Kill the process, and do not wait for its end for ever."""
        self._scope.cancel()
        with trio.move_on_after(KILL_GRACE_SECONDS, shield=True):
            await self.done.wait()
        self.unkillable = not self.done.is_set()

    @property
    def cost_a_process(self) -> bool:
        """Did it cost a process?"""
        return isinstance(self._error, ReaderTimeoutError | trio_parallel.BrokenWorkerError)

    def result(self, seconds: float) -> Any:
        """The answer, of a call that was made or given up after so many seconds.

        Raises what the function raised.  ReaderDiedError: the process died.  ReaderTimeoutError.
        UnavailableError: the process cannot be killed, so it is not the file that holds it up.
        """
        if self.unkillable:
            raise UnavailableError(no_answer(seconds))
        error, self._error = self._error, None  # for the same reason
        match error:
            case None:
                return self._answer
            case ReaderTimeoutError():
                raise ReaderTimeoutError(f"no answer within {seconds:g} s (time_limit)")
            case trio_parallel.BrokenWorkerError():
                raise _describe_exit(error) from None
            case OSError() | EOFError():  # the fork server was killed, say
                never_started = _killed(f"a process does not start: {unforeseen(error)}")
                never_started.never_started = True
                raise never_started from error
            case MemoryError() | RecursionError() | pickle.PickleError():
                kind = type(error).__name__
                text = f"an answer that cannot be sent: {kind}: {error}"
                raise DamagedError(text) from error
        raise error


def open_shared_buffer(shared_buffer: protocol.SharedBuffer) -> tuple[int, protocol.SharedBuffer]:
    """A descriptor of what was sent, and what was said of it."""
    try:
        return shared_buffer.open(), shared_buffer
    except OSError as error:
        raise _killed(f"the reader process died ({error.strerror})") from error


def copy_shared_buffer(descriptor: int, nbytes: int, shared_buffer: protocol.SharedBuffer) -> Block:
    """What was sent: so many bytes, and behind them which elements are missing, if any are."""
    if not shared_buffer.errors:
        return _copied(descriptor, nbytes)
    sent = _copied(descriptor, nbytes + shared_buffer.elements)
    codes = np.frombuffer(sent[nbytes:], np.uint8)
    return DamagedBlock(sent[:nbytes], codes, shared_buffer.errors)


def _copied(descriptor: int, nbytes: int) -> memoryview:
    """A mapping would keep a descriptor of its own for as long as it is remembered."""
    data = allocate(nbytes, "the answer of a reader")
    have = 0
    while have < nbytes:
        got = os.preadv(descriptor, [data[have:]], have)
        if not got:
            raise ReaderDiedError("the reader process gave less than it said")
        have += got
    return data


def _describe_exit(error: trio_parallel.BrokenWorkerError) -> ReaderDiedError:
    code = getattr(error.args[-1], "exitcode", None)
    if code is None or code >= 0:
        return _killed("the reader process ended")  # shut out of its source, for one
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    ours = ReaderDiedError(f"the reader process died ({name})")
    ours.externally_killed = -code in (signal.SIGKILL, signal.SIGTERM)
    return ours


def _killed(text: str) -> ReaderDiedError:
    """The file is not to blame: it is asked again."""
    ours = ReaderDiedError(text)
    ours.externally_killed = True
    return ours
