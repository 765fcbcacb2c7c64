"""Runs the rows of a group, and keeps the times.

All that is compared is measured in turn, in one run, so that other work of the machine meets all
alike.  Each first read is from a fresh mount, and medians of all rounds are compared.  A virtual
machine may get each page of memory from its host at the first touch, which takes longer than to
read it: so memory is touched before each measurement.
"""

import contextlib
import gc
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.floor import served
from benchmarks.machine import Mount, mounted, own_cpu
from benchmarks.rows import Row, Work

TOUCHED = 2 << 30  # bytes: the largest result, and its pages in the cache of the kernel
READ_AHEADS = {"ordinary": 128, "root": 1024}  # KiB


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds by the clock, and of processor time (this process, the daemon and its workers)."""

    wall: float
    cpu: float


Key = tuple[str, str, str]  # row, who, which time: ("gzip", "ordinary" or a rival, "first")
Times = dict[Key, list[Taken]]


def _timed(work: Work, at: Path, cpu: Callable[[], float], *, prepared: bool) -> tuple[Taken, Any]:
    go = work(at) if prepared else partial(work, at)
    gc.collect()
    np.empty(TOUCHED, np.uint8)[:: os.sysconf("SC_PAGESIZE")] = 1
    before, start = cpu(), time.perf_counter()
    result = go()
    wall = time.perf_counter() - start
    return Taken(wall, cpu() - before), result


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return bool(one == other)


class Clock:
    """Runs rows and keeps what they took."""

    def __init__(self, source: Path, scratch: Path, told: Callable[[str], None]) -> None:
        self.times: Times = defaultdict(list)
        self.peaks: dict[str, list[float]] = defaultdict(list)  # MiB, by name of a group
        self._source = source
        self._scratch = scratch
        self._told = told

    def round(self, name: str, rows: Sequence[Row]) -> None:
        """All rows once, in a fresh mount of each kind."""
        with contextlib.ExitStack() as stack:
            mounts = {
                kind: stack.enter_context(
                    mounted(self._source, self._scratch / kind, f"read_ahead={kib}")
                )
                for kind, kib in READ_AHEADS.items()
            }
            if any(row.nbytes for row in rows):
                for kind, kib in READ_AHEADS.items():
                    at = self._scratch / f"floor-{kind}"
                    stack.enter_context(served("benchmarks.floor", at, at, kib))
            for row in rows:
                self._told(f"{name}: {row.name}")
                self._row(row, mounts)
                self._floor(row)
            self.peaks[name].append(max(mount.peak() for mount in mounts.values()))

    def _floor(self, row: Row) -> None:
        """The same number of bytes from the server of `benchmarks.floor`, and the decoders alone.

        The server has a new file for each, of which the kernel knows nothing.
        """
        if not row.nbytes:
            return
        for kind in READ_AHEADS:
            at = self._scratch / f"floor-{kind}" / f"{row.nbytes}-{time.monotonic_ns()}"
            read = partial(np.fromfile, dtype=np.uint8)
            taken, _ = _timed(read, at, own_cpu, prepared=False)
            self.times[row.name, f"floor, {kind}", "first"].append(taken)
        if row.decoding is not None:
            taken, _ = _timed(row.decoding, self._source, own_cpu, prepared=True)
            self.times[row.name, "decoding", "first"].append(taken)

    def _row(self, row: Row, mounts: Mapping[str, Mount]) -> None:
        for rival in row.rivals:
            taken, expected = _timed(rival.work, self._source, own_cpu, prepared=row.prepared)
            self.times[row.name, rival.name, "first"].append(taken)
        for kind, mount in mounts.items():
            self._ours(row, kind, mount, expected)

    def _ours(self, row: Row, kind: str, mount: Mount, expected: Any) -> None:
        def cpu() -> float:
            return own_cpu() + mount.cpu()

        taken, result = _timed(row.ours, mount.path, cpu, prepared=row.prepared)
        if row.alike and not same(result, expected):
            raise AssertionError(f"{row.name}: not what {row.rivals[-1].name} reads")
        self.times[row.name, kind, "first"].append(taken)
        if row.again is not None:
            del result
            taken, result = _timed(row.again.work, self._source, own_cpu, prepared=False)
            self.times[row.name, row.again.name, "again"].append(taken)
            del result
            taken, _ = _timed(row.ours, mount.path, cpu, prepared=False)
            self.times[row.name, kind, "again"].append(taken)


def middle(taken: Sequence[Taken]) -> Taken:
    return Taken(median(t.wall for t in taken), median(t.cpu for t in taken))


def least(taken: Sequence[Taken]) -> Taken:
    return Taken(min(t.wall for t in taken), min(t.cpu for t in taken))
