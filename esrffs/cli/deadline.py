"""How long a command waits for an answer of the kernel.

Decided here: what may wait for a daemon, a disk or a file server is done in a process of its own,
which is left behind when it does not come back.  A thread would not do: a process does not end
before the last of its threads, and one that waits for a file system cannot be killed.
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

SECONDS = 8.0  # for what a daemon answers at once


class OverdueError(MountError):
    """There was no answer in time."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns or raises, which can be pickled; OverdueError."""
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
    """What comes from a pipe until it is closed or enough; OverdueError."""
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
    """Whether these processes (descriptors of pidfd_open, by number) end within the time."""
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
    """In the child."""
    try:
        told = (True, work())
    except BaseException as error:  # is raised where it was asked for
        told = (False, error.with_traceback(None))
    try:
        with open(send, "wb") as file:
            pickle.dump(told, file)
    finally:
        os._exit(0)
