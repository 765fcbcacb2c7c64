"""Mounts of esrffs for the benchmarks, and what they use.

Processor time is that of all who take part: this process, the daemon and its worker processes.
Memory is that of the daemon and its worker processes.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Mount:
    """A running esrffs."""

    path: Path
    pid: int

    def processes(self) -> list[int]:
        """The daemon, its workers, and their helpers."""
        return [self.pid, *_descendants(self.pid)]

    def cpu(self) -> float:
        """Seconds of processor that the daemon and all its children have used."""
        return sum(_cpu(pid) for pid in self.processes())

    def peak(self) -> float:
        """MiB: the sum of what each process had in memory at its worst."""
        return sum(_status(pid, "VmHWM") for pid in self.processes()) / 1024

    def shared(self) -> float:
        """MiB that the processes take now, what they share counted once (PSS)."""
        return sum(_pss(pid) for pid in self.processes()) / 1024


@contextlib.contextmanager
def mounted(source: Path, at: Path, *options: str, index: Path | None = None) -> Iterator[Mount]:
    """`source`, mounted for as long as this lasts.

    `index`: the folder in which mounts keep what they learnt for later ones; None: a new one.
    """
    at.mkdir(exist_ok=True)
    program = Path(sys.executable).with_name("esrffs")
    command = [str(program), str(source), str(at), *(f"-o{option}" for option in options)]
    with tempfile.TemporaryDirectory(prefix="esrffs-bench-index-") as fresh:
        environment = {**os.environ, "XDG_CACHE_HOME": str(index or fresh)}
        subprocess.run(command, check=True, env=environment)
        try:
            yield Mount(at, json.loads(os.getxattr(at, "user.esrffs.status"))["pid"])
        finally:
            subprocess.run([program, "-u", at], check=True)
            while os.path.ismount(at):
                time.sleep(0.01)


def own_cpu() -> float:
    """Seconds of processor that this process and its ended children have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                for child in map(int, file.read().split()):
                    yield child
                    yield from _descendants(child)


def _cpu(pid: int) -> float:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return sum(map(int, file.read().rpartition(")")[2].split()[11:15])) / _TICKS
    return 0.0


def _status(pid: int, name: str) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1])
    return 0


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
