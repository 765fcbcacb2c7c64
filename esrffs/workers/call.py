"""One call of a function in a worker process, with a time limit.

Turns each way in which a call can end into a result or an EsrffsError.  The caller goes on at the
deadline even if the process cannot be killed: a process that waits for a disk or a server does not
end before this answers.
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

KILL_GRACE_SECONDS = 0.3  # time for a killed process to end
_unlimited = trio.CapacityLimiter(math.inf)


def _as_it_is(answer: Any) -> Any:
    return answer


@dataclass(slots=True, eq=False)
class WorkerCall:
    """The call `function(*arguments)`.

    `on_result` is called with the answer before the worker gets its next call.
    """

    function: Callable[..., Any]
    arguments: tuple[object, ...] = ()
    on_result: Callable[[Any], Any] = _as_it_is
    unkillable: bool = False  # abandoned, but its process could not be killed
    done: trio.Event = field(default_factory=trio.Event)
    _answer: Any = None
    _error: Exception | None = None
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def run(self, context: trio_parallel.WorkerContext) -> None:
        """Make the call, in a task of its own; `done` is set at its end."""
        self._error = ReaderTimeoutError("")
        with self._scope:
            try:
                answer = await context.run_sync(
                    self.function, *self.arguments, kill_on_cancel=True, limiter=_unlimited
                )
                # No `await` before this: the next call of this worker frees the shared buffer.
                self._answer, self._error = self.on_result(answer), None
            except Exception as error:  # raised by `result`
                # The traceback refers to this frame, and this frame to the error: such a cycle
                # would keep the process until the garbage collector runs.
                self._error = error.with_traceback(None)
        self.done.set()

    async def abandon(self) -> None:
        """Kill the process.  Waits for its end for `KILL_GRACE_SECONDS` at most."""
        self._scope.cancel()
        with trio.move_on_after(KILL_GRACE_SECONDS, shield=True):
            await self.done.wait()
        self.unkillable = not self.done.is_set()

    @property
    def cost_a_process(self) -> bool:
        """Whether a worker process was lost by this call."""
        return isinstance(self._error, ReaderTimeoutError | trio_parallel.BrokenWorkerError)

    def result(self, seconds: float) -> Any:
        """The answer of a call that has ended, or was abandoned after this many seconds.

        Raises the exception of the function; ReaderDiedError if the process ended;
        ReaderTimeoutError; and UnavailableError if the process cannot be killed: then the file is
        not the cause.
        """
        if self.unkillable:
            raise UnavailableError(no_answer(seconds))
        error, self._error = self._error, None  # no cycle of references, see `run`
        match error:
            case None:
                return self._answer
            case ReaderTimeoutError():
                raise ReaderTimeoutError(f"no answer within {seconds:g} s (time_limit)")
            case trio_parallel.BrokenWorkerError():
                raise _describe_exit(error) from None
            case OSError() | EOFError():  # for example, the fork server was killed
                never_started = _killed(f"a process does not start: {unforeseen(error)}")
                never_started.never_started = True
                raise never_started from error
            case MemoryError() | RecursionError() | pickle.PickleError():
                kind = type(error).__name__
                text = f"an answer that cannot be sent: {kind}: {error}"
                raise DamagedError(text) from error
        raise error


def open_shared_buffer(shared_buffer: protocol.SharedBuffer) -> tuple[int, protocol.SharedBuffer]:
    """A descriptor of the shared buffer, and the buffer; ReaderDiedError."""
    try:
        return shared_buffer.open(), shared_buffer
    except OSError as error:
        raise _killed(f"the reader process died ({error.strerror})") from error


def copy_shared_buffer(descriptor: int, nbytes: int, shared_buffer: protocol.SharedBuffer) -> Block:
    """The `nbytes` bytes in the shared buffer, with the errors of its elements if there are any."""
    if not shared_buffer.errors:
        return _copied(descriptor, nbytes)
    sent = _copied(descriptor, nbytes + shared_buffer.elements)
    codes = np.frombuffer(sent[nbytes:], np.uint8)
    return DamagedBlock(sent[:nbytes], codes, shared_buffer.errors)


def _copied(descriptor: int, nbytes: int) -> memoryview:
    """The first `nbytes` bytes.

    They are copied: a memory mapping would keep a descriptor open for as long as the block is
    cached.
    """
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
        return _killed("the reader process ended")  # for example, it cannot reach its source
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    ours = ReaderDiedError(f"the reader process died ({name})")
    ours.externally_killed = -code in (signal.SIGKILL, signal.SIGTERM)
    return ours


def _killed(text: str) -> ReaderDiedError:
    """A ReaderDiedError that is not caused by the file, which is then read again."""
    ours = ReaderDiedError(text)
    ours.externally_killed = True
    return ours
