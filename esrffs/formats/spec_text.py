"""Where scans, points and spectra lie in the text of a Spec file, and the numbers in them.

Decided here: which lines are scans, points and spectra.  Opening a file finds its scans; a survey
goes once through the text of one scan; numbers are parsed when they are read.

Only complete lines count: a file that is being written ends in half a number.  A last point without
a line end is complete when a blank follows all its numbers.  A point is a line of as many numbers
as most lines of the scan have; silx too leaves out the others, here they are counted.  `SpecFile`
of silx is not used: it gives memory that nobody wrote where a line is short, 0 for nan, nothing
beyond 512 columns, and refuses what is not UTF-8; and it takes longer.
"""

import os
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from esrffs.errors import DamagedError
from esrffs.formats.spec_headers import Floats, number, scan_number

CHUNK = 1 << 20  # bytes of text looked at at a time
_BLOCK = re.compile(rb"\n#([SF])(?!\S)([^\n]{0,60})")
_COLUMNS = re.compile(rb"^#N +(\d+)", re.MULTILINE)
_LINE, _MARK, _SCAN, _FILE = b"\n#SF"
_OVERLAP = 64  # bytes: as much as `_BLOCK` can match


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of the file."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan: `name` is its number and how often the number has come up, as "94.1"."""

    name: str
    span: Span
    file_header: Span


@dataclass(slots=True)
class _Lines:
    """Where lines (or spectra of several lines) lie."""

    starts: "array[int]" = field(default_factory=lambda: array("q"))
    stops: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, start: int, stop: int) -> None:
        self.starts.append(start)
        self.stops.append(stop)


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What is in the text of one scan; `points` and `spectra` are starts and stops (bytes)."""

    header: tuple[bytes, ...]
    columns: int
    points: npt.NDArray[np.int64]  # (number of points, 2)
    spectra: npt.NDArray[np.int64]  # (number of spectra, 2)
    before: npt.NDArray[np.int64]  # how many spectra come before each point
    left_out: int  # lines of numbers that are no points, since there are more or fewer numbers

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


class SpecText:
    """An open Spec file."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.fstat(self._fd)
            self.mtime = status.st_mtime
            self._end = self._complete(status.st_size)
            self.scans = tuple(self._scans())
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<SpecText of {len(self.scans)} scans>"

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def lines(self, span: Span) -> Iterator[tuple[int, bytes]]:
        """Where each line starts, and the line."""
        position, rest = span.start, b""
        while position + len(rest) < span.stop:
            at = position + len(rest)
            *whole, rest = (
                rest + self._read(at, min(max(CHUNK, len(rest)), span.stop - at))
            ).split(b"\n")
            for line in whole:
                yield position, line.rstrip(b"\r")
                position += len(line) + 1
        if rest:
            yield position, rest.rstrip(b"\r")

    def header(self, span: Span) -> tuple[bytes, ...]:
        return tuple(line for _, line in self.lines(span) if line.startswith(b"#"))

    def survey(self, span: Span) -> Survey:
        header: list[bytes] = []
        points, spectra = _Lines(), _Lines()
        before, widths = array("q"), array("q")
        opened: int | None = None  # where the spectrum began that goes on in this line
        for start, line in self.lines(span):
            first = line[:1]
            if first in (b"@", b"#") and opened is not None:
                spectra.add(opened, start)  # broken off: too short, which reading it will tell
                opened = None
            if first == b"@":
                opened = start
            elif first == b"#":
                header.append(line)
            if opened is not None:
                if not line.endswith(b"\\"):
                    spectra.add(opened, start + len(line))
                    opened = None
            elif first not in b"#" and (width := len(line.split())):
                points.add(start, start + len(line))
                before.append(len(spectra.starts))
                widths.append(width)
        columns = Counter(widths).most_common(1)[0][0] if widths else 0
        regular = np.array(widths, np.int64) == columns
        return Survey(
            tuple(header),
            columns,
            _spans(points)[regular],
            _spans(spectra),
            np.array(before, np.int64)[regular],
            int(np.count_nonzero(~regular)),
        )

    def column(self, points: npt.NDArray[np.int64], column: int) -> Floats:
        """One number of each of these points."""
        values: list[float] = []
        first = 0
        while first < len(points):
            base = int(points[first, 0])
            last = max(first + 1, int(np.searchsorted(points[:, 1], base + CHUNK, "right")))
            run = points[first:last] - base
            chunk = self._read(base, int(run[-1, 1]))
            rows = [chunk[start:stop] for start, stop in run.tolist()]
            values += _numbers([row.split(None, column + 1)[column] for row in rows])
            first = last
        return np.array(values, np.float64)

    def spectrum(self, span: npt.NDArray[np.int64]) -> Floats:
        """All channels of the spectrum that lies here."""
        start, stop = span.tolist()
        content = self._read(start, stop - start).lstrip(b"@").lstrip(_LETTERS)
        return np.array(_numbers(content.replace(b"\\", b" ").split()), np.float64)

    def _read(self, start: int, size: int) -> bytes:
        content = os.pread(self._fd, size, start)
        if len(content) != size:
            raise DamagedError(f"the file ends at byte {start + len(content)}: it was cut short")
        return content

    def _fill(self, start: int, room: memoryview) -> None:
        if (got := os.preadv(self._fd, [room], start)) != len(room):
            raise DamagedError(f"the file ends at byte {start + got}: it was cut short")

    def _complete(self, size: int) -> int:
        """Where the last complete line ends."""
        whole = size
        while size:
            start = max(0, size - CHUNK)
            content = self._read(start, size - start)
            found = content.rfind(b"\n")
            if found >= 0:
                return whole if size == whole and _is_row(content, found) else start + found + 1
            size = start
        return 0

    def _blocks(self) -> Iterator[tuple[int, bool, bytes]]:
        """Where scans and file headers start: position, is it a scan, what follows on the line."""
        room = bytearray(CHUNK + _OVERLAP + 1)
        for position in range(0, self._end, CHUNK):
            first = max(0, position - 1)
            size = min(position + CHUNK + _OVERLAP, self._end) - first
            content = memoryview(room)[1 : 1 + size] if not position else memoryview(room)[:size]
            self._fill(first, content)
            if not position:
                room[0], first, size = _LINE, -1, size + 1
            for at in _block_lines(room, size):
                match = _BLOCK.match(room, at, size)
                if match and first + at + 1 < position + CHUNK:
                    yield first + at + 1, match[1] == b"S", match[2]

    def _scans(self) -> Iterator[Scan]:
        """The scans; without `#F` whatever stands before the second block is the file header."""
        blocks = list(self._blocks())
        if not blocks:
            raise DamagedError("this is not a Spec file: no line starts with #S or #F")
        starts = [start for start, _, _ in blocks]
        stops = [*starts[1:], self._end]
        seen: Counter[int] = Counter()
        file_header = Span(0, next((start for start in starts if start), self._end))
        for (start, is_scan, after), stop in zip(blocks, stops, strict=True):
            if is_scan:
                number_ = scan_number(after[1:])
                seen[number_] += 1
                yield Scan(f"{number_}.{seen[number_]}", Span(start, stop), file_header)
            else:
                file_header = Span(start, stop)


def _block_lines(content: bytearray, size: int) -> list[int]:
    """Line ends that are followed by `#S` or `#F`, in the first `size` bytes.

    Most of a file are numbers: this goes through them ten times as fast as a regular expression.
    """
    text = np.frombuffer(content, np.uint8, size)
    marks = np.flatnonzero(text[1:-1] == _MARK) + 1  # not the first byte, and not the last
    after = text[marks + 1]
    found = marks[(text[marks - 1] == _LINE) & ((after == _SCAN) | (after == _FILE))] - 1
    return found.tolist()  # type: ignore[no-any-return]  # integers


def _is_row(content: bytes, end: int) -> bool:
    """Whether what follows the last line end at `end` is a point with all that `#N` promises."""
    last, before = content[end + 1 :], content[: end + 1].rstrip()
    if last[:1] in b"#@" or not last[-1:].isspace() or before.endswith(b"\\"):
        return False
    return _COLUMNS.findall(before)[-1:] == [b"%d" % len(last.split())]


_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _spans(lines: _Lines) -> npt.NDArray[np.int64]:
    return np.array([lines.starts, lines.stops], np.int64).T.reshape(-1, 2)


def _numbers(tokens: list[bytes]) -> list[float]:
    if not any(b"_" in token for token in tokens):  # Python would read 1_0 as 10
        with suppress(ValueError):
            return [float(token) for token in tokens]
    return [_checked(token) for token in tokens]


def _checked(token: bytes) -> float:
    try:
        return number(token)
    except ValueError as error:
        raise DamagedError(str(error)) from error
