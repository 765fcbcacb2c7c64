"""Which files of a folder make up numbered runs.  Pure: names only.

Decided here: what a series is.  The number is the last group of digits in the stem (the name
without its extension, and without `.gz` or `.bz2` before that); an extension that is itself a
number, as Bruker has it, is the number.  A run has one prefix, one count of digits, and one text
after the digits; so `x_9999.edf` and `x_10000.edf` are of different runs.  Two names make a run,
gaps do not end it.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

_SUFFIX = re.compile(r"(?:\.[^.]*[^.0-9][^.]*)?(?:\.gz|\.bz2)?\Z")
_NUMBER = re.compile(r"(.*?)([0-9]+)([^0-9]*)\Z", re.DOTALL)


class NumberedName(NamedTuple):
    """A file name taken apart: `before` and `after` are the same throughout a series."""

    before: str
    digits: str
    after: str

    @property
    def series(self) -> str:
        """The name of the series: one `#` for each digit."""
        return self.before + "#" * len(self.digits) + self.after


def parse_numbered_name(name: str) -> NumberedName | None:
    """The parts of a name with a number in it."""
    start = _suffix_start(name)
    match = _NUMBER.match(name[:start])
    return NumberedName(match[1], match[2], match[3] + name[start:]) if match else None


def group_series(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The runs among these names: `NAME_####.edf` → its members, ordered by number.

    Only names of raster files should be given.  Ordered by name, whatever the order of `names`.
    """
    runs: dict[tuple[str, int, str], dict[str, str]] = {}
    for name in names:
        parts = parse_numbered_name(name)
        if parts is not None:
            run = runs.setdefault((parts.before, len(parts.digits), parts.after), {})
            run[parts.digits] = name
    found: dict[str, tuple[str, ...]] = {}
    for (before, width, after), run in sorted(runs.items()):
        if len(run) > 1:  # "a#1" and "a12" would both be "a##": the first keeps the name
            members = tuple(run[digits] for digits in sorted(run))
            found.setdefault(before + "#" * width + after, members)
    return found


def _suffix_start(name: str) -> int:
    """Where the extensions of a name begin: the first is no number, and not the whole name."""
    for match in _SUFFIX.finditer(name):
        if match.start() > 0:
            return match.start()
    return len(name)
