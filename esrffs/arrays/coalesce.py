"""Merge neighbouring ranges of a file into fewer reads.  Pure, integers only.

Behind a network each read costs a round trip, whatever its size up to about a MiB.  So ranges that
touch, or nearly so, are read as one run; and a long run is cut into reads that are made side by
side.
"""

from collections.abc import Iterable, Sequence

from esrffs.source.speed import READ_NBYTES

MAX_GAP_NBYTES = 64 << 10  # between two ranges, read for nothing when they are merged


def coalesce(ranges: Iterable[tuple[int, int]], gap: int = MAX_GAP_NBYTES) -> list[tuple[int, int]]:
    """The runs (first byte, number of bytes) that cover these ranges, in order of position.

    Two ranges come into one run where at most `gap` bytes lie between them.  Ranges may overlap,
    and come in any order; ranges of no bytes are left out.
    """
    runs: list[tuple[int, int]] = []
    for offset, count in sorted(one for one in ranges if one[1] > 0):
        if runs and offset <= sum(runs[-1]) + gap:
            first, length = runs[-1]
            runs[-1] = first, max(first + length, offset + count) - first
        else:
            runs.append((offset, count))
    return runs


def split(run: tuple[int, int], most: int = READ_NBYTES) -> Sequence[tuple[int, int]]:
    """This run as reads of at most `most` bytes each."""
    first, count = run
    return [(at, min(most, first + count - at)) for at in range(first, first + count, most)]
