"""Darks and flats of another scan, for one that has none of its own.

A night may have one calibration, and a series of turns flats at its ends only.  Frames are counted
over the scans in their order, so that a flat is at its place in time: before the first frame of a
scan (a negative abscissa), or after its last.
"""

from collections.abc import Sequence
from typing import NamedTuple

from esrffs.flatfield.conventions.assignment import FrameStack
from esrffs.flatfield.plan import FrameRange


class Run(NamedTuple):
    """Frames of one role that follow each other: abscissae [first, last), and whose they are.

    `sources` are whole stacks; `frames` are those of one stack, if it is a part of it.
    """

    first: float
    last: float
    sources: tuple[FrameStack, ...]
    scan: str
    frames: tuple[int, int] | None = None
    current: float | None = None

    @property
    def parts(self) -> tuple[FrameRange, ...]:
        if self.frames is None:
            return tuple(source.part for source in self.sources)
        return (FrameRange(self.sources[0].path, *self.frames),)


def nearest_flats(runs: Sequence[Run], start: float, stop: float) -> list[Run]:
    """The last run before a scan [start, stop), and the first one after it."""
    before = [run for run in runs if run.last <= start]
    after = [run for run in runs if run.first >= stop]
    found = [max(before, key=lambda run: run.last)] if before else []
    return found + ([min(after, key=lambda run: run.first)] if after else [])


def nearest_dark(runs: Sequence[Run], start: float, stop: float) -> Run | None:
    """The run nearest to a scan [start, stop); of two as near the one before it."""

    def distance(run: Run) -> tuple[float, float]:
        return max(start - run.last, run.first - stop), run.first

    return min(runs, key=distance, default=None)


def borrowed(role: str, runs: Sequence[Run]) -> str:
    """A note for the log."""
    scans = ", ".join(dict.fromkeys(run.scan for run in runs))
    return f"it has no {role} of its own: those of {scans} serve"
