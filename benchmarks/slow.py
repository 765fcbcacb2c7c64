"""The group *slow source*: the rows of `slow_rows`, at 10 ms and at 1 ms a call.

Each row has a mount of its own, made as an ordinary user would (read-ahead of 128 KiB), with an
empty index of what earlier mounts learnt.  Before each measurement the names that the kernel
remembers of the source expire.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import slow_rows
from benchmarks.floor import served
from benchmarks.machine import mounted
from benchmarks.rows import Row, Work
from benchmarks.slow_source import CACHED_SECONDS, CALLS
from benchmarks.timing import READ_AHEADS, same

LATENCIES = (10.0, 1.0)  # milliseconds
_SERVER = "benchmarks.slow_source"


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds; calls that the source got; how many of them waited at the same time at most."""

    seconds: float
    calls: int
    in_flight: int


Key = tuple[float, str, str]  # milliseconds, row, rival ("" is esrffs)


@dataclass(frozen=True, slots=True)
class SlowLine:
    """One comparison: medians, `ratio` above 1 where esrffs is faster."""

    milliseconds: float
    name: str
    rival: str
    goal: float | None
    ratio: float
    best: float
    theirs: Measured
    ours: Measured


class SlowClock:
    """Runs the rows and keeps what they took."""

    def __init__(self, folder: Path, scratch: Path, told: Callable[[str], None]) -> None:
        self._folder = folder
        self._scratch = scratch
        self._told = told
        self._found: dict[Key, list[Measured]] = defaultdict(list)

    def round(self) -> None:
        """All rows once at each latency."""
        for milliseconds in LATENCIES:
            for row in slow_rows.rows():
                with self._source(milliseconds) as source:
                    self._row(milliseconds, source, row)
            self._second_mount(milliseconds)

    @contextmanager
    def _source(self, milliseconds: float) -> Iterator[Path]:
        """The folder with this latency, anew: the kernel remembers nothing of it."""
        source = self._scratch / "server"
        with served(_SERVER, source, self._folder, source, milliseconds):
            yield source

    def _row(self, milliseconds: float, source: Path, row: Row) -> None:
        expected: object = None
        for rival in row.rivals:
            self._told(f"slow source, {milliseconds:g} ms: {row.name}: {rival.name}")
            expected = self._timed((milliseconds, row.name, rival.name), source, rival.work, source)
        with self._mounted(source) as mount:
            self._told(f"slow source, {milliseconds:g} ms: {row.name}: esrffs")
            found = self._timed((milliseconds, row.name, ""), source, row.ours, mount)
        if row.alike and not same(found, expected):
            raise AssertionError(f"{row.name}: not what {row.rivals[-1].name} reads")

    def _second_mount(self, milliseconds: float) -> None:
        """A mount learns what is in the folders, then another mount is asked."""
        rows = slow_rows.again()
        with self._source(milliseconds) as source:
            index = self._scratch / f"index{time.monotonic_ns()}"
            with self._mounted(source, index) as mount:
                for row in rows:
                    row.ours(mount)
            for row in rows:
                for rival in row.rivals:
                    key = milliseconds, row.name, rival.name
                    self._timed(key, source, rival.work, source)
            with self._mounted(source, index) as mount:
                for row in rows:
                    self._told(f"slow source, {milliseconds:g} ms: {row.name}")
                    self._timed((milliseconds, row.name, ""), source, row.ours, mount)

    @contextmanager
    def _mounted(self, source: Path, index: Path | None = None) -> Iterator[Path]:
        read_ahead = f"read_ahead={READ_AHEADS['ordinary']}"
        with mounted(source, self._scratch / "mount", read_ahead, index=index) as mount:
            yield mount.path

    def _timed(self, key: Key, source: Path, work: Work, at: Path) -> object:
        time.sleep(CACHED_SECONDS + 0.1)
        before, start = _calls(source), time.perf_counter()
        found = work(at)
        seconds, after = time.perf_counter() - start, _calls(source)
        most = after.pop("most")
        calls = sum(after.values()) - sum(before.values()) + before["most"]
        self._found[key].append(Measured(seconds, calls, most))
        return found

    def lines(self) -> list[SlowLine]:
        """What was found so far, as medians of all rounds."""
        found = []
        for milliseconds in LATENCIES:
            for row in (*slow_rows.rows(), *slow_rows.again()):
                ours = self._found[milliseconds, row.name, ""]
                for rival in row.rivals if ours else ():
                    theirs = self._found[milliseconds, row.name, rival.name]
                    found.append(
                        SlowLine(
                            milliseconds,
                            row.name,
                            rival.name,
                            rival.goal if milliseconds == max(LATENCIES) else None,
                            _middle(theirs).seconds / _middle(ours).seconds,
                            min(one.seconds for one in theirs) / min(one.seconds for one in ours),
                            _middle(theirs),
                            _middle(ours),
                        )
                    )
        return found


def _calls(source: Path) -> dict[str, int]:
    """Calls by kind since the server began; "most": at the same time since this was asked last."""
    found: dict[str, int] = json.loads(os.getxattr(source, CALLS))
    return found


def _middle(measured: Sequence[Measured]) -> Measured:
    return Measured(
        median(one.seconds for one in measured),
        round(median(one.calls for one in measured)),
        round(median(one.in_flight for one in measured)),
    )


def table(lines: Sequence[SlowLine]) -> str:
    """Markdown: one line for each comparison."""
    head = [
        "\n| latency | read | against | goal | ratio | best of | s | calls | at the same time |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(head + [_markdown(line) for line in lines])


def _markdown(line: SlowLine) -> str:
    reached = line.goal is None or line.ratio >= line.goal
    cells = [
        f"{line.milliseconds:g} ms",
        line.name,
        line.rival,
        "" if line.goal is None else f"{line.goal:g}",
        f"{line.ratio:.2f}{'' if reached else ' ✗'}",
        f"{line.best:.2f}",
        f"{line.theirs.seconds:.2f} : {line.ours.seconds:.2f}",
        f"{line.theirs.calls} : {line.ours.calls}",
        f"{line.theirs.in_flight} : {line.ours.in_flight}",
    ]
    return "| " + " | ".join(cells) + " |"
