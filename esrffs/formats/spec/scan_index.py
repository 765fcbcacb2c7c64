"""Where scans lie in the text of a Spec file, and the numbers in it.

Opening a file finds its scans; a survey goes once through the text of one scan (`spec_points`);
columns are parsed when they are read.

A scan starts in a line of its own, as in silx; but where Spec was stopped within a line of numbers,
the `#S` (or `#F`) of what comes next stands in that line.

Does not: decide what the lines of a scan are.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from esrffs.errors import DamagedError
from esrffs.formats.spec.headers import Floats, number, scan_number, shortened, text
from esrffs.formats.spec.points import Line, ScanIndex, index_scan, spectrum_values

Ints = npt.NDArray[np.int64]

CHUNK = 1 << 20  # bytes of text looked at at a time
_BLOCK = re.compile(rb"#([SF])(?!\S)([^\n]{0,60})")
_GLUED = re.compile(rb"#S[ \t]+\d+[ \t]|#F[ \t]+\S")
_ROW = re.compile(rb"(@[A-Z]* )?[-+.\deE \t]+")  # does not go back: lines may be long
_LINE, _MARK, _SCAN, _FILE = b"\n#SF"
_SHOWN = 256  # bytes of a line that may be quoted
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


class SpecFile:
    """An open Spec file."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.fstat(self._fd)
            self.mtime = status.st_mtime
            self._end = status.st_size
            self._last_header: tuple[Span, tuple[bytes, ...]] | None = None
            self._last_counted = 0, 1  # a byte, and the number of its line
            self._lines_before = [0]  # each chunk, as far as anybody asked
            self.scans = tuple(self._scans())
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<SpecFile of {len(self.scans)} scans>"

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def lines(self, span: Span) -> Iterator[Line]:
        position, rest = span.start, b""
        while position + len(rest) < span.stop:
            at = position + len(rest)
            *whole, rest = (
                rest + self._read(at, min(max(CHUNK, len(rest)), span.stop - at))
            ).split(b"\n")
            for line in whole:
                yield Line(position, line.rstrip(b"\r"), True)
                position += len(line) + 1
        if rest:
            yield Line(position, rest, False)

    def header(self, span: Span) -> tuple[bytes, ...]:
        """The lines of a file header; the last one is remembered, for thousands of scans."""
        if self._last_header is None or self._last_header[0] != span:
            lines = self.lines(span)
            found = (line.text for line in lines if line.whole and line.text.startswith(b"#"))
            self._last_header = span, tuple(found)
        return self._last_header[1]

    def survey(self, span: Span) -> ScanIndex:
        return index_scan(self._whole_parts(span))

    def _whole_parts(self, span: Span) -> Iterator[tuple[int, bytes]]:
        """Runs of whole lines, and where they begin; of the last one the last line may be cut."""
        position, rest = span.start, b""
        while position + len(rest) < span.stop:
            at = position + len(rest)
            rest += self._read(at, min(max(CHUNK, len(rest)), span.stop - at))
            end = rest.rfind(b"\n") + 1
            if end:
                yield position, rest[:end]
                position, rest = position + end, rest[end:]
        if rest:
            yield position, rest

    def line_number(self, position: int) -> int:
        """The number of the line with this byte; the first line of the file is 1."""
        chunk = position // CHUNK
        while len(self._lines_before) <= chunk:
            start = (len(self._lines_before) - 1) * CHUNK
            count = self._read(start, CHUNK).count(b"\n")
            self._lines_before.append(self._lines_before[-1] + count)
        start, number_ = chunk * CHUNK, 1 + self._lines_before[chunk]
        if start <= self._last_counted[0] <= position:  # in turn, as the lines of a scan are
            start, number_ = self._last_counted
        number_ += self._read(start, position - start).count(b"\n")
        self._last_counted = position, number_
        return number_

    def line(self, position: int) -> str:
        """The line that starts here, shortened."""
        content = self._read(position, min(_SHOWN, self._end - position))
        return shortened(text(content.split(b"\n", 1)[0].strip()))

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
            tokens = [row.split(None, column + 1)[column] for row in rows]
            values += self._numbers(tokens, points[first:last, 0])
            first = last
        return np.array(values, np.float64)

    def spectrum(self, span: npt.NDArray[np.int64]) -> Floats:
        """All channels of the spectrum that lies here."""
        start, stop = span.tolist()
        tokens = spectrum_values(self._read(start, stop - start))
        return np.array(self._numbers(tokens, [start] * len(tokens)), np.float64)

    def _numbers(self, tokens: list[bytes], starts: Sequence[int] | Ints) -> list[float]:
        """The numbers; `starts` are the lines that they come from."""
        if (values := _floats(tokens)) is not None:
            return values
        return [self._number(*of_line) for of_line in zip(tokens, starts, strict=True)]

    def _number(self, token: bytes, start: int) -> float:
        try:
            return number(token)
        except ValueError as error:
            where = f"line {self.line_number(int(start))}"
            raise DamagedError(f"{where} ({self.line(int(start))!r}): {error}") from error

    def check_size(self, nbytes: int) -> None:
        """DamagedError where the file has fewer bytes by now."""
        size = os.fstat(self._fd).st_size
        if size < nbytes:
            raise DamagedError(f"the file ends at byte {size}: it was cut short")

    def _read(self, start: int, size: int) -> bytes:
        content = os.pread(self._fd, size, start)
        if len(content) != size:
            raise DamagedError(f"the file ends at byte {start + len(content)}: it was cut short")
        return content

    def _fill(self, start: int, room: memoryview) -> None:
        if (got := os.preadv(self._fd, [room], start)) != len(room):
            raise DamagedError(f"the file ends at byte {start + got}: it was cut short")

    def _whole_lines(self) -> int:
        """Where the last line end of the file is, and one."""
        size = self._end
        while size:
            start = max(0, size - CHUNK)
            found = self._read(start, size - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            size = start
        return 0

    def _blocks(self) -> Iterator[tuple[int, bool, bytes]]:
        """Where scans and file headers start: position, is it a scan, what follows on the line."""
        room = bytearray(CHUNK + _OVERLAP + 1)
        whole = self._whole_lines()
        for position in range(0, whole, CHUNK):
            first = max(0, position - 1)
            size = min(position + CHUNK + _OVERLAP, whole) - first
            content = memoryview(room)[1 : 1 + size] if not position else memoryview(room)[:size]
            self._fill(first, content)
            if not position:
                room[0], first, size = _LINE, -1, size + 1
            for at in self._block_starts(room, size, first):
                if first + at >= position + CHUNK:
                    break
                if match := _BLOCK.match(room, at, size):
                    yield first + at, match[1] == b"S", match[2]

    def _block_starts(self, room: bytearray, size: int, first: int) -> Iterator[int]:
        """Where lines start with `#S` or `#F`, or have it behind numbers; `first`: see `_blocks`.

        In a line only the first of many is looked at, or a line of a hundred thousand takes hours.
        """
        before, start, seen = 0, -1, False  # `start`: the line end before the line of the mark
        for at in _marks(room, size):
            if (found := room.rfind(b"\n", before, at)) >= 0:
                start, seen = found, False
            before = at
            if start == at - 1:
                yield at
            elif not seen and _GLUED.match(room, at, size):
                seen = True
                if _ROW.fullmatch(self._line_until(first, bytes(room[start + 1 : at]), start)):
                    yield at

    def _line_until(self, first: int, content: bytes, start: int) -> bytes:
        """`content`, and what of its line is before byte `first` of the file."""
        if start >= 0:
            return content
        size = min(first, CHUNK)
        return self._read(first - size, size).rpartition(b"\n")[2] + content

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


def _marks(content: bytearray, size: int) -> list[int]:
    """Where `#S` and `#F` are, in the first `size` bytes but the first.

    Most of a file are numbers: this goes through them ten times as fast as a regular expression.
    """
    codes = np.frombuffer(content, np.uint8, size)
    marks = np.flatnonzero(codes[1:-1] == _MARK) + 1  # not the first byte, and not the last
    after = codes[marks + 1]
    return marks[(after == _SCAN) | (after == _FILE)].tolist()  # type: ignore[no-any-return]


def _floats(tokens: list[bytes]) -> list[float] | None:
    """The numbers, where all are as Python reads them."""
    if not any(b"_" in token for token in tokens):  # Python would read 1_0 as 10
        with suppress(ValueError):
            return [float(token) for token in tokens]
    return None
