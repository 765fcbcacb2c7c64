"""`python -m benchmarks`: make the material, measure, print the table."""

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import growth, material, report, rows, slow
from benchmarks.rows import Row
from benchmarks.timing import Clock

SLOW = "slow"  # the group that has a source of its own
SLOW_ROUNDS = 3  # at most: waiting varies less than computing


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 MB, three rounds")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--only", default="", help="groups of rows, separated by commas")
    parser.add_argument("--keep", type=Path, help="folder for the material, kept for the next run")
    return parser.parse_args()


def _told(text: str) -> None:
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _material(folder: Path, *, quick: bool) -> int:
    """The files of all local groups; the number of frames in the large stacks."""
    done = folder / "frames"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        done.write_text(str(material.make(folder, quick=quick, told=_told)))
    _told("reading everything once")
    material.warm(folder)
    return int(done.read_text())


def _slow_material(folder: Path) -> None:
    """The files of the group *slow source*."""
    done = folder.with_name("slow.done")
    if not done.exists():
        _told("making files for the slow source")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        material.slow(folder)
        done.touch()
    material.warm(folder)


def _groups(frames: int) -> dict[str, Callable[[int], list[Row]]]:
    """The local groups by name: the rows of round k."""
    program = shutil.which("h5ls") is not None
    return {
        "stacks": lambda _: rows.stacks(frames),
        "frames": lambda k: rows.frames(frames, 5 + 7 * k),
        "readers": lambda _: rows.side_by_side(),
        "corrected": lambda _: rows.corrected(frames),
        "listings": lambda _: rows.listings(program=program),
        "formats": lambda _: rows.other_formats() + rows.conversions(),
        "small": lambda _: rows.small_files(),
    }


def _local(only: list[str], folder: Path, scratch: Path, *, quick: bool, rounds: int) -> None:
    """Measure the local groups and print their tables."""
    groups = _groups(_material(folder, quick=quick))
    chosen = [name for name in groups if not only or name in only]
    clock = Clock(folder, scratch, _told)
    for k in range(rounds):
        for group in chosen:
            clock.round(group, groups[group](k))
    found = [line for n in chosen for line in report.lines(groups[n](0), clock.times)]
    grown = growth.measure(folder, scratch, _told) if not only else []
    _told("")
    print(report.table(found))
    print(report.floor_table([row for n in chosen for row in groups[n](0)], clock.times))
    print("\n| reading | peak of daemon and workers, MiB |\n|---|---|")
    for group, peaks in clock.peaks.items():
        print(f"| {group} | {max(peaks):.0f} |")
    if grown:
        print(growth.table(grown))


def _behind_slow_source(folder: Path, scratch: Path, rounds: int) -> None:
    """Measure the group *slow source* and print its table."""
    _slow_material(folder)
    clock = slow.SlowClock(folder, scratch, _told)
    try:
        for _ in range(min(rounds, SLOW_ROUNDS)):
            clock.round()
    finally:  # when it is interrupted, what was measured so far
        _told("")
        print(slow.table(clock.lines()))


def main() -> None:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is mounted is unmounted
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    only = arguments.only.split(",") if arguments.only else []
    started, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="esrffs-bench-") as name:
        kept, scratch = arguments.keep or Path(name), Path(name)
        if only != [SLOW]:
            local = kept / ("quick" if arguments.quick else "whole")
            _local(only, local, scratch, quick=arguments.quick, rounds=rounds)
        if not only or SLOW in only:
            _behind_slow_source(kept / SLOW, scratch, rounds)
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, ", end="")
    print(f"{rounds} rounds in {time.monotonic() - started:.0f} s, ", end="")
    print(f"load {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
