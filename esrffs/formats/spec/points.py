"""Which lines of one Spec scan are its header, points and spectra, and which are none of these.

Where a scan has `#L`, a point is a line after it with as many numbers as there are labels, or as
`#N` says where the two differ.  Nothing else decides: remarks and commands that go on over several
lines stand among the points of real files, with any number of words and numbers.

- Where the line right after `#L` is none, though it has numbers, and there is no other, the header
  is wrong: which column is which nobody knows.
- One text in a line of numbers is a text in that column; more are, where the lines of the scan have
  texts in the same columns.  A line of words is no point.
- After another `#L` with other labels come points of those, which are not shown.
- A last line without a line end may go on, even within its last number.  A point counts when a
  blank follows its last number; a spectrum when it has all channels that `#@CHANN` tells of, and
  does not stand before the point it belongs to, which then is missing: the file is being written.

Without `#L` no counter is shown; points then only tell which spectra belong together, and they are
the lines with as many numbers as `#N` says, or else as most lines have.

Does not: read the file.  `SpecFile` of silx is not used: it gives memory that nobody wrote where a
line is short, 0 for nan, nothing beyond 512 columns, and refuses what is not UTF-8.
"""

import re
from array import array
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from esrffs.formats.spec import headers as headers

MAX_NUMBERS = 1 << 20  # of the points of one scan that are kept as numbers: 8 MiB
MAX_LABEL_LINES = 64  # of one scan; a file of nothing else takes no hours
_SPECTRUM = re.compile(rb"@[A-Z]*\d*([ \t\\]|$)|@[A-Z]+[-+.\d]")
PLAIN_LINES = re.compile(rb"(?:[-+.\deE \t]*\r?\n)+")  # `++` goes wrong before Python 3.11.5
_DIGIT = re.compile(rb"\d").search
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Line(NamedTuple):  # made by millions
    """A line without its line end, and where it starts (byte); is it `whole`?"""

    start: int
    text: bytes
    whole: bool


@dataclass(frozen=True, slots=True, eq=False)
class ScanIndex:
    """What is in the text of one scan; `points` and `spectra` are starts and stops (bytes)."""

    header: tuple[bytes, ...]
    labels: tuple[bytes, ...]
    columns: int
    points: npt.NDArray[np.int64]  # (number of points, 2)
    spectra: npt.NDArray[np.int64]  # (number of spectra, 2)
    numbers: npt.NDArray[np.float64] | None  # (number of points, columns) where they are known
    before: npt.NDArray[np.int64]  # how many spectra come before each point
    left_out: npt.NDArray[np.int64]  # where lines start that are nothing of this
    unfinished: bool  # has the last of those no line end?
    misfit: (
        int | None
    )  # where the line right after `#L` starts, if it has numbers and there is no point

    def analysers(self, told: int) -> int | None:
        """How many spectra belong to a point; None where that cannot be said.

        Without any point it is what the header `told`.  The last point may lack spectra, or
        the point of the last spectra may be missing: the file is being written.
        """
        if not len(self.spectra):
            return 0
        if not len(self.points):
            return told
        first = int(self.before[0])
        each = first or (int(self.before[1]) if len(self.before) > 1 else len(self.spectra))
        expected = each * np.arange(bool(first), len(self.before) + bool(first))
        rest = len(self.spectra) - int(self.before[-1])
        if each and np.array_equal(self.before, expected) and rest <= each:
            return each
        each, rest = divmod(len(self.spectra), len(self.points))
        return each if each and not rest else None


@dataclass(slots=True)
class _Spans:
    """Starts and stops of lines, or of spectra of several lines."""

    starts: "array[int]" = field(default_factory=lambda: array("q"))
    stops: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, start: int, stop: int) -> None:
        self.starts.append(start)
        self.stops.append(stop)

    def extend(self, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> None:
        self.starts.frombytes(starts.tobytes())
        self.stops.frombytes(stops.tobytes())

    def as_array(self) -> npt.NDArray[np.int64]:
        return np.array([self.starts, self.stops], np.int64).T.reshape(-1, 2)


class PlainRows(NamedTuple):
    """Whole lines of nothing but numbers as Python reads them, without `_`, nan and inf.

    Starts and stops (without the line end) are in bytes from the first line; blank lines are left
    out.  `numbers` are those of all lines, in order.
    """

    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]
    widths: npt.NDArray[np.int64]
    numbers: "array[float]"


def plain_rows(content: bytes) -> PlainRows | None:
    """Lines that `PLAIN_LINES` has matched, at once; None where one of the words is no number."""
    try:
        numbers = array("d", map(float, content.split()))
    except ValueError:
        return None
    codes = np.frombuffer(content, np.uint8)
    blank = codes <= ord(" ")
    begins = ~blank
    begins[1:] &= blank[:-1]
    ends = np.flatnonzero(codes == ord("\n"))
    widths = np.diff(np.cumsum(begins, dtype=np.int64)[ends], prepend=0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    stops = ends - ((codes[ends - 1] == ord("\r")) & (ends > starts))
    some = widths > 0
    return PlainRows(starts[some], stops[some], widths[some], numbers)


@dataclass(slots=True)
class _Rows:
    """The lines that may be points: how many values each has, and which of them are texts.

    `numbers` are the values of all lines, in order; None once a line is not plain (`PlainRows`), or
    there are too many of them.
    """

    spans: _Spans = field(default_factory=_Spans)
    before: "array[int]" = field(default_factory=lambda: array("q"))
    widths: "array[int]" = field(default_factory=lambda: array("q"))
    texts: dict[int, tuple[int, ...]] = field(default_factory=dict)
    numbers: "array[float] | None" = field(default_factory=lambda: array("d"))

    def extend(self, start: int, rows: PlainRows, spectra: int) -> None:
        self.spans.extend(rows.starts + start, rows.stops + start)
        self.before.extend([spectra] * len(rows.widths))
        self.widths.frombytes(rows.widths.tobytes())
        if self.numbers is not None:
            self.numbers.extend(rows.numbers)
            if len(self.numbers) > MAX_NUMBERS:
                self.numbers = None

    def matrix(self, columns: int) -> npt.NDArray[np.float64] | None:
        """The numbers, where all lines have so many."""
        if self.numbers is None or not columns or set(self.widths) != {columns}:
            return None
        return np.frombuffer(self.numbers, np.float64).reshape(-1, columns)

    def add(self, line: Line, values: list[bytes], spectra: int) -> None:
        if texts := _texts(line.text, values):
            self.texts[len(self.widths)] = texts
        self.numbers = None
        self.spans.add(line.start, line.start + len(line.text))
        self.before.append(spectra)
        self.widths.append(len(values))

    def are_points(self, columns: int) -> npt.NDArray[np.bool_]:
        """Which of the lines are points of so many columns."""
        right: npt.NDArray[np.bool_] = np.array(self.widths, np.int64) == columns
        mixed = {i: texts for i, texts in self.texts.items() if right[i]}
        right[list(mixed)] = False
        usual: set[int] = set()
        if mixed and not right.any():
            usual.update(Counter(mixed.values()).most_common(1)[0][0])
        for i, texts in mixed.items():
            right[i] = len(texts) < columns and len(set(texts) - usual) <= 1
        return right


class _Survey:
    """A survey in the making."""

    def __init__(self) -> None:
        self._header: list[bytes] = []
        self._labels: list[bytes] = []  # what follows `#L`, of the lines before the first point
        self._known: list[list[bytes]] = []  # their names: of each line, of all
        self._labelled = 0  # lines of the header, up to the last of those
        self._just_labelled = False  # is `#L` the last line with "#"?
        self._first_row: int | None = None  # where it starts, if it is right after `#L`
        self._others = False  # do the lines belong to another `#L`?
        self._rows = _Rows()
        self._spectra = _Spans()
        self._spectrum: list[Line] = []  # the lines so far of the one that goes on
        self._left_out = array("q")
        self._unfinished = False

    @property
    def takes_plain(self) -> bool:
        """Would the next line, if it holds numbers, be one that may be a point?"""
        return not self._spectrum and not self._others

    def add_plain(self, start: int, content: bytes) -> bool:
        """Take these lines at once, which `PLAIN_LINES` has matched; False where they cannot be.

        `start` is where the first of them is in the file.
        """
        rows = plain_rows(content)
        if rows is None:
            return False
        first = not self._rows.widths
        self._rows.extend(start, rows, len(self._spectra.starts))
        if first and self._just_labelled and len(rows.widths):
            line = content[rows.starts[0] : rows.stops[0]]
            if all(map(_DIGIT, line.split())):
                self._first_row = start + int(rows.starts[0])
        return True

    def add(self, line: Line) -> None:
        first = line.text[:1]
        special = first in (b"@", b"#")
        if self._spectrum and special:
            self._spectra.add(self._spectrum[0].start, line.start)  # broken off: it is too short
            self._spectrum = []
        if self._spectrum or (special and _SPECTRUM.match(line.text)):
            self._add_to_spectrum(line)
        elif first == b"#":
            if line.whole:
                self._add_header(line.text)
        elif values := line.text.split():
            self._add_row(line, values)

    def _add_to_spectrum(self, line: Line) -> None:
        self._spectrum.append(line)
        if line.whole and line.text.rstrip().endswith(b"\\"):
            return
        if line.whole or self._has_all_channels():
            self._spectra.add(self._spectrum[0].start, line.start + len(line.text))
        else:
            self._left_out.append(self._spectrum[0].start)
            self._unfinished = True
        self._spectrum = []

    def _has_all_channels(self) -> bool:
        """Of a spectrum without a line end, where no point is to follow it."""
        before = self._rows.before
        if self._labels and (not before or before[0]):
            return False
        content = b"\n".join(line.text for line in self._spectrum)
        count = len(spectrum_values(content))
        told = headers.analyser_count(self._header)
        here = len(self._spectra.starts)  # how many spectra there are, since the last point
        here -= before[-1] if before else here // told * told
        return not content.rstrip().endswith(b"\\") and count == headers.channel_count(
            self._header, here if told > 1 else 0
        )

    def _add_header(self, text: bytes) -> None:
        self._header.append(text)
        self._just_labelled = headers.is_labels(text)
        if self._just_labelled:
            names = text[2:]
            if self._labels and self._rows.widths:
                self._others = names.split() not in self._known
            elif names.strip():
                self._labels = [*self._labels[1 - MAX_LABEL_LINES :], names]
                lines = (*self._labels, b" ".join(self._labels))
                self._known = [line.split() for line in lines]
                self._labelled = len(self._header)
                self._left_out.extend(self._rows.spans.starts)
                self._rows, self._first_row = _Rows(), None

    def _add_row(self, line: Line, values: list[bytes]) -> None:
        goes_on = not line.whole and not line.text[-1:].isspace()
        if self._others or goes_on or values[0][:1] in (b"#", b"@"):
            self._left_out.append(line.start)
            self._unfinished = goes_on
        else:
            self._rows.add(line, values, len(self._spectra.starts))
            if self._just_labelled and len(self._rows.widths) == 1 and all(map(_DIGIT, values)):
                self._first_row = line.start

    def finished(self) -> ScanIndex:
        if self._spectrum:  # a file that is being written ends within one
            self._left_out.append(self._spectrum[0].start)
        labels, columns = self._columns()
        spans = self._rows.spans.as_array()
        right = self._rows.are_points(columns)
        left_out = np.concatenate([np.array(self._left_out, np.int64), spans[~right, 0]])
        return ScanIndex(
            tuple(self._header),
            tuple(labels),
            columns,
            spans[right],
            self._spectra.as_array(),
            self._rows.matrix(columns),
            np.array(self._rows.before, np.int64)[right],
            np.unique(left_out),
            self._unfinished,
            self._first_row if self._labels and not right.any() else None,
        )

    def _columns(self) -> tuple[list[bytes], int]:
        """The labels, and how many numbers a point has."""
        told = headers.column_count(self._header[: self._labelled][::-1] + self._header)
        widths = Counter(self._rows.widths)
        if self._labels:
            labels = headers.labels(self._labels, told, widths)
            counts = (len(labels), len(labels) if told is None else told)
            return labels, max(counts, key=lambda count: widths[count])
        if told in widths or not widths:
            return [], told or 0
        return [], widths.most_common(1)[0][0]


def index_scan(parts: Iterable[tuple[int, bytes]]) -> ScanIndex:
    """Go once through the text of a scan.

    `parts` are whole lines, in order, each with the place (byte) where it begins; of the last one
    the last line may have no line end.
    """
    made = _Survey()
    for start, content in parts:
        at = looked_at = 0
        while at < len(content):
            if at >= looked_at and made.takes_plain:
                plain = PLAIN_LINES.match(content, at)
                if plain and made.add_plain(start + at, plain[0]):
                    at = plain.end()
                    continue
                looked_at = plain.end() if plain else at  # lines that go one by one
            end = content.find(b"\n", at)
            stop = len(content) if end < 0 else end
            text = content[at:stop].rstrip(b"\r") if end >= 0 else content[at:]
            made.add(Line(start + at, text, end >= 0))
            at = stop + 1
    return made.finished()


def spectrum_values(content: bytes) -> list[bytes]:
    """The channels of a spectrum, from `@A` to its end."""
    return content.lstrip(b"@").lstrip(_LETTERS).replace(b"\\", b" ").split()


def _texts(line: bytes, values: list[bytes]) -> tuple[int, ...]:
    """Which of the values of a line are no numbers."""
    try:
        deque(map(float, values), 0)
        if b"_" not in line:  # Python would read 1_0 as 10
            return ()
    except ValueError:
        pass
    return tuple(i for i, value in enumerate(values) if not _is_number(value))


def _is_number(value: bytes) -> bool:
    try:
        headers.number(value)
    except ValueError:
        return False
    return True
