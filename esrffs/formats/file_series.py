"""Find the series of numbered files among the names of a folder.  Pure: it sees only names.

The number of a file is the last group of digits in its stem (the name without `.gz` or `.bz2`, and
without its extension); an extension that is itself a number, as in Bruker files, is the number.
The files of a series have the same text before and after the number, and the same count of digits:
`x_9999.edf` and `x_10000.edf` are in different series.  Two files make a series; missing numbers
do not end it.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

_SUFFIX = re.compile(r"(?:\.[^.]*[^.0-9][^.]*)?(?:\.gz|\.bz2)?\Z")
_NUMBER = re.compile(r"(.*?)([0-9]+)([^0-9]*)\Z", re.DOTALL)


class NumberedName(NamedTuple):
    """The parts of a file name with a number; `before` and `after` are the same for a series."""

    before: str
    digits: str
    after: str

    @property
    def series(self) -> str:
        """The name of the series: one `#` for each digit."""
        return self.before + "#" * len(self.digits) + self.after


def parse_numbered_name(name: str) -> NumberedName | None:
    """The parts of a file name; None if it has no number."""
    start = _suffix_start(name)
    match = _NUMBER.match(name[:start])
    return NumberedName(match[1], match[2], match[3] + name[start:]) if match else None


def group_series(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The series among these names: from `NAME_####.edf` to its members, ordered by number.

    Only names of image files should be given.  The result does not depend on their order.
    """
    runs: dict[tuple[str, int, str], dict[str, str]] = {}
    for name in names:
        parts = parse_numbered_name(name)
        if parts is not None:
            run = runs.setdefault((parts.before, len(parts.digits), parts.after), {})
            run[parts.digits] = name
    found: dict[str, tuple[str, ...]] = {}
    for (before, width, after), run in sorted(runs.items()):
        if len(run) > 1:  # "a#1" and "a12" would both be called "a##": the first keeps the name
            members = tuple(run[digits] for digits in sorted(run))
            found.setdefault(before + "#" * width + after, members)
    return found


def _suffix_start(name: str) -> int:
    """The index where the extensions of a name begin.  An extension is no number."""
    for match in _SUFFIX.finditer(name):
        if match.start() > 0:
            return match.start()
    return len(name)
