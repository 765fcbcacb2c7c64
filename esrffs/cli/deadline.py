"""Time limits for calls that may block in the kernel.

Such a call is made in a child process, which is left behind if it does not return.  A thread would
not suffice: a process ends only with the last of its threads, and a thread that waits for a file
system cannot be killed.
"""

import os
import pickle
import select
import signal
import time
from collections.abc import Callable
from typing import TypeVar, cast

from esrffs.errors import MountError

T = TypeVar("T")

SECONDS = 8.0  # time limit for requests that a daemon answers at once


class OverdueError(MountError):
    """A call did not return in time."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """The result of `work`, or its exception; both are pickled.  OverdueError after the time
    limit.
    """
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        _answer(work, send)
    os.close(send)
    try:
        told = _read(receive, time.monotonic() + seconds)
    except OverdueError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, os.WNOHANG)
        raise
    finally:
        os.close(receive)
    os.waitpid(child, 0)
    if not told:
        raise MountError("a process that was to look at the mount was killed; try again")
    good, answer = pickle.loads(told)  # noqa: S301  # of our own process
    if not good:
        raise answer
    return cast(T, answer)


def read_until(descriptor: int, end: float, stop: Callable[[bytes], bool]) -> bytes:
    """The bytes of a pipe until it is closed, or enough bytes were read; OverdueError."""
    told = b""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not stop(told):
        left = end - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise OverdueError("there was no answer in time")
        part = os.read(descriptor, 1 << 16)
        if not part:
            break
        told += part
    return told


def gone(processes: dict[int, int], seconds: float) -> bool:
    """Whether these processes (pidfds, by pid) end within the time."""
    end = time.monotonic() + seconds
    for descriptor in processes.values():
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
            return False
    return True


def _read(descriptor: int, end: float) -> bytes:
    return read_until(descriptor, end, lambda _: False)


def _answer(work: Callable[[], object], send: int) -> None:
    """Run `work` in the child process and write the pickled result to the pipe."""
    try:
        told = (True, work())
    except BaseException as error:  # raised by `within`, in the parent
        told = (False, error.with_traceback(None))
    try:
        with open(send, "wb") as file:
            pickle.dump(told, file)
    finally:
        os._exit(0)
