"""Start a mount in the background.

The command returns 0 only when its mount answers; if it returns anything else, nothing is mounted.
"""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from esrffs import errors
from esrffs.cli import deadline
from esrffs.cli.unmounting import located, state, take_away_in_time
from esrffs.errors import EsrffsError, MountError

log = logging.getLogger(__name__)

_READY = "ready"
_GRACE = 5.0  # seconds that a daemon gets to end


def run_in_background(
    serve_: Callable[[Callable[[], None]], None], mountpoint: str, seconds: float
) -> None:
    """Run `serve_(ready)` in a child process, and return when the mount answers.

    If the child fails, is not ready in time, or the command is interrupted, the child is ended,
    nothing stays mounted, and the error is raised.
    """
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        _detached(serve_, send)
    os.close(send)
    os.waitpid(child, 0)
    told = b""
    try:
        end = time.monotonic() + seconds
        told = deadline.read_until(receive, end, lambda read: read.count(b"\n") > 1)
        _check_ready(told, mountpoint)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is mounted: Ctrl-C comes too late
    except BaseException as error:
        _abandon(told, mountpoint)
        if isinstance(error, deadline.OverdueError):
            text = f"{mountpoint}: the mount was not ready within {seconds:g} s; see the log"
            raise MountError(text) from None
        raise
    finally:
        os.close(receive)


def _check_ready(told: bytes, mountpoint: str) -> None:
    """Check that the daemon has reported that it is ready, and that the mount answers."""
    text = told.decode("utf-8", "surrogateescape").partition("\n")[2]
    kind, _, why = text.strip().partition(" ")
    if kind == _READY:
        with located(mountpoint) as place:
            if place is None or state(place)[0] != "answers":
                raise MountError(f"{mountpoint}: was mounted, and does not answer; see the log")
    elif not why:
        raise MountError("the daemon ended before the mount was ready; see the log")
    else:
        raise getattr(errors, kind)(why)


def _abandon(told: bytes, mountpoint: str) -> None:
    """End the daemon and unmount what it has mounted."""
    number, _, why = told.partition(b"\n")
    with contextlib.suppress(OSError, ValueError):
        process = {int(number): os.pidfd_open(int(number))}
        ending = why and not why.startswith(_READY.encode())
        if not (ending and deadline.gone(process, _GRACE)):
            signal.pidfd_send_signal(process[int(number)], signal.SIGTERM)
            if not deadline.gone(process, _GRACE):
                signal.pidfd_send_signal(process[int(number)], signal.SIGKILL)
                deadline.gone(process, _GRACE)
    with contextlib.suppress(MountError), located(mountpoint) as place:
        if place is not None:
            take_away_in_time(place, dead=True)


def _detached(serve_: Callable[[Callable[[], None]], None], send: int) -> NoReturn:
    """In the child process: leave the terminal, report to the parent, serve, end."""
    os.setsid()
    if os.fork():
        os._exit(0)  # the process that remains cannot get a controlling terminal
    os.chdir("/")

    def tell(text: str) -> None:
        os.write(send, text.replace("\n", " ").encode("utf-8", "surrogateescape") + b"\n")

    def ready() -> None:
        try:
            tell(_READY)
            os.close(send)
        except OSError:
            raise MountError("whoever wanted the mount is gone") from None

    def fail(error: EsrffsError) -> NoReturn:
        with contextlib.suppress(OSError):
            tell(f"{type(error).__name__} {error}")
        sys.exit(1)

    try:
        tell(str(os.getpid()))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        os.close(nowhere)
        serve_(ready)
    except EsrffsError as error:
        log.error("%s", error)  # noqa: TRY400  # the text says it all
        fail(error)
    except Exception as error:
        log.exception("internal error")
        fail(MountError(errors.unforeseen(error)))
    sys.exit(0)  # not os._exit: multiprocessing must remove its folder
