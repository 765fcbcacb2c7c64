"""The descriptors that a program is started with, and what it writes to them.

Decided here: that 0, 1 and 2 are always open, that nothing else of the caller's is kept, and that
an output whose reader is gone, or which is full, gives one line or none, never a traceback.
"""

import contextlib
import os
import sys
from typing import TextIO

from esrffs.errors import EsrffsError


def fill() -> None:
    """Open what of 0, 1 and 2 is closed: the next file would get its number, and be written to."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  # for as long as we live
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def close_inherited() -> None:
    """All others: a lock or a pipe of the caller's would last as long as the mount."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # that of the listing itself
                os.close(int(name))


def say(text: str) -> None:
    """Print a text, file names byte for byte; EsrffsError where it cannot be written."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        content = text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        content = text.encode(encoding, "backslashreplace")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(content + b"\n")
        sys.stdout.buffer.flush()
    except OSError as error:
        raise EsrffsError(f"cannot write to the standard output: {error.strerror}") from error


def warn(text: str) -> None:
    """One line to stderr, if somebody reads it; what names bring along does nothing to a terminal.

    The names of mounts are chosen by whoever mounts.
    """
    line = " ".join(text.splitlines())
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    with contextlib.suppress(OSError, ValueError):
        print(f"esrffs: {shown}", file=sys.stderr, flush=True)


def settle() -> None:
    """Before the end: what cannot be written any more is dropped, and changes no exit status."""
    for stream in (sys.stdout, sys.stderr):
        _settle(stream)


def _settle(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
