"""`python -m benchmarks`: make the material, measure, print the table."""

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks import growth, material, report, rows
from benchmarks.timing import Clock


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 MB, three rounds")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--only", default="", help="groups of rows, separated by commas")
    parser.add_argument("--keep", type=Path, help="folder for the material, kept for the next run")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser.parse_args()


def _told(text: str) -> None:
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _material(keep: Path | None, scratch: Path, *, quick: bool) -> tuple[Path, int]:
    folder = (keep or scratch) / ("quick" if quick else "whole")
    done = folder / "frames"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        done.write_text(str(material.make(folder, quick=quick, told=_told)))
    return folder, int(done.read_text())


def main() -> None:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is mounted is unmounted
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    with tempfile.TemporaryDirectory(prefix="esrffs-bench-") as name:
        scratch = Path(name)
        source, frames = _material(arguments.keep, scratch, quick=arguments.quick)
        _told("reading everything once")
        material.warm(source)
        program = shutil.which("h5ls") is not None
        clock = Clock(source, scratch, _told)
        groups = {
            "stacks": lambda _: rows.stacks(),
            "frames": lambda k: rows.frames(frames, 5 + 7 * k),
            "readers": lambda _: rows.side_by_side(),
            "corrected": lambda _: rows.corrected(),
            "listings": lambda _: rows.listings(program=program),
            "formats": lambda _: rows.other_formats() + rows.conversions(),
            "small": lambda _: rows.small_files(),
        }
        chosen = [n for n in groups if not arguments.only or n in arguments.only.split(",")]
        started, load = time.monotonic(), []
        for k in range(rounds):
            for group in chosen:
                clock.round(group, groups[group](k))
                load.append(os.getloadavg()[0])
        found = [line for n in chosen for line in report.lines(groups[n](0), clock.times)]
        grown = growth.measure(source, scratch, _told) if not arguments.only else []
        _told("")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, ", end="")
    print(f"{rounds} rounds in {time.monotonic() - started:.0f} s, ", end="")
    print(f"load {min(load):.1f} … {max(load):.1f}\n")
    print(report.table(found))
    print("\n| reading | peak of daemon and workers, MiB |\n|---|---|")
    for group, peaks in clock.peaks.items():
        print(f"| {group} | {max(peaks):.0f} |")
    if grown:
        print(growth.table(grown))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(line) for line in found], indent=1))


if __name__ == "__main__":
    main()
