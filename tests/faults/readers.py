"""Readers that crash, hang and swell, put into esrffs' reader processes by the tests.

The program has no hooks for tests.  `program` writes a script that is `esrffs` with
`tests.faults.installed` among the modules that the fork server loads before it makes reader
processes; loading it there puts `open_reader` aside.  The name of a file says what happens when it
is read; its content is a small HDF5 file.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from esrffs import model
from esrffs.formats import readers
from esrffs.model import Reader

_SCRIPT = """\
#!{python}
import os
import sys
sys.path.insert(0, {root!r})
os.environ["PYTHONPATH"] = {root!r}  # for the fork server, which does not start in this folder
if __name__ == "__main__":
    from esrffs.cli.main import main
    from esrffs.workers import pool
    pool.FORKSERVER_MODULES.append("tests.faults.installed")
    sys.exit(main())
"""


def program(path: Path) -> Path:
    """Write the script that stands for `esrffs`."""
    root = str(Path(__file__).parents[2])
    path.write_text(_SCRIPT.format(python=sys.executable, root=root))
    path.chmod(0o755)
    return path


def _hang() -> None:
    """As a loop in libhdf5 does: the interpreter's lock is held, signals are not looked at."""
    ctypes.PyDLL(None).pause()


def _swell() -> None:
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 10) * (16 << 10)))


def _die(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


FAULTS: dict[str, Callable[[], None]] = {
    "segv": lambda: ctypes.string_at(0),  # a real one
    "abrt": lambda: ctypes.CDLL(None).abort(),
    "bus": _die(signal.SIGBUS),
    "kill": _die(signal.SIGKILL),
    "exit": lambda: os._exit(3),
    "hang": _hang,
    "swell": _swell,
    "sleep": lambda: time.sleep(3),
    "recursion": lambda: FAULTS["recursion"](),
}


class _Faulty:
    """A sound reader, but for the methods that the name of the file says: `read-segv-1.h5`."""

    def __init__(self, reader: Reader, method: str, fault: str) -> None:
        self._reader = reader
        self._method = method
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        if name == self._method or (name == "sound" and self._method == "read"):
            FAULTS[self._fault]()
        return getattr(self._reader, name)


_open_reader = readers.open_reader


def _open(format_: model.Format, path: str, confine: str | None) -> Reader:
    reader = _open_reader(format_, path, confine)
    method, _, fault = os.path.basename(path).partition("-")
    fault = fault.partition("-")[0].removesuffix(".h5")
    if fault not in FAULTS:
        return reader
    return _Faulty(reader, method, fault)


def install() -> None:
    """From now on; `tests.faults.installed` does it in the fork server."""
    readers.open_reader = _open
