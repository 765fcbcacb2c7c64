"""One EDF header: where it begins and ends, and its keys.

The rules are FabIO's.  Does not: know what a key says about the data (`edf_blocks`).
"""

import re
from collections.abc import Mapping

from esrffs.errors import DamagedError
from esrffs.formats.images.packed import BinaryFile, packed_nbytes

_BLOCK = 512  # bytes, in which a header begins
_HEADER = 512 * _BLOCK  # bytes of a header, unless it tells of more itself, but
_LONGEST_HEADER = 1 << 24  # … no more than that
_AHEAD = 1 << 12  # bytes: what is read at a time
_END = re.compile(rb"}\r?\n")
_BLANK = b" \t\n\r\x0b\x0c\x00"
_HEADER_SIZE = re.compile(rb"EDF_HeaderSize\s*=\s*(\d{1,9})\s*;")
_NO_DEFAULTS = ("SIZE", "IMAGE", "HEADERID")  # of the general block, for the other ones


class Window:
    """What was read last of a file, so that a look ahead costs no way back."""

    def __init__(self, file: BinaryFile, limit: int | None) -> None:
        self._file = file
        self._limit = limit
        self._start = 0
        self._content = b""
        file.seek(0)

    def at(self, offset: int, count: int) -> bytes:
        """So many bytes from there on; fewer at the end, and none behind it, however far."""
        if self._limit is not None:
            if offset >= self._limit:
                return b""
            count = min(count, self._limit - offset)
        end = self._start + len(self._content)
        if not self._start <= offset <= end:
            if self._file.seek(offset) != offset:
                return b""
            self._start, self._content, end = offset, b"", offset
        elif len(self._content) > _HEADER:
            self._content = self._content[offset - self._start :]
            self._start = offset
        while end < offset + count:
            more = self._file.read(max(offset + count - end, _AHEAD))
            if not more:
                break
            self._content += more
            end += len(more)
        begin = offset - self._start
        return self._content[begin : begin + count]

    def reaches(self, offset: int) -> bool:
        """Whether the file has a byte there; where its length is known, nothing is read."""
        if self._limit is not None:
            return offset < self._limit
        return bool(self.at(offset, 1))

    def is_behind_end(self, offset: int) -> bool:
        """Whether a file whose length is known has no byte there."""
        return self._limit is not None and offset >= self._limit

    def packed(self, offset: int, kind: str) -> int | None:
        """How many bytes the packed stream takes that begins there."""
        self._start, self._content = self._file.seek(offset), b""
        nbytes = packed_nbytes(self._file, kind)
        self._start = self._file.tell()
        return nbytes


def read_header(window: Window, position: int) -> tuple[dict[str, str], int] | None:
    """The header that begins there, and where its data do; None at the end of the file."""
    text = window.at(position, _BLOCK)
    brace = text.find(b"{")
    if brace < 0 and len(text) < _BLOCK and not text.strip(_BLANK):
        return None
    if brace < 0 or text[:brace].strip(_BLANK):
        raise DamagedError("something that is no EDF header")
    told = _HEADER_SIZE.search(text)
    most = min(max(_HEADER, int(told[1]) if told else 0), _LONGEST_HEADER)
    size = _BLOCK
    while not (end := _END.search(text, brace)):
        if len(text) < size or size > most:
            raise DamagedError("an EDF header that does not end")
        size *= 2
        text = window.at(position, size)
    return header_keys(text[brace + 1 : end.start()]), position + end.end()


def header_keys(text: bytes) -> dict[str, str]:
    """The keys and values of a header, whose text is given without its braces."""
    header = {}
    for line in text.split(b";"):
        key, equals, value = line.partition(b"=")
        key, value = key.strip(_BLANK), value.strip(_BLANK)
        if equals and key.isascii() and value.isascii():
            header[key.decode("ascii")] = value.decode("ascii")
    return header


def add_defaults(header: dict[str, str], general: Mapping[str, str]) -> None:
    """What the general block says of all frames."""
    for key, value in general.items():
        if not key.startswith("EDF_") and key.upper() not in _NO_DEFAULTS:
            header.setdefault(key, value)


def integer(keys: Mapping[str, str], key: str) -> int | None:
    """`12` and `12.0` are integers; None where there is no such key."""
    text = keys.get(key)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        raise DamagedError(f"its {key} {text[:80]!r} is not a number") from None


def is_blank(window: Window, position: int) -> bool:
    """Do padding, or nothing more, stand there?"""
    return not window.at(position, _AHEAD).strip(_BLANK)


def is_followed(window: Window, position: int) -> bool:
    """Does a header, or nothing more, stand there?"""
    if position and not window.at(position - 1, 1):
        return False
    try:
        read_header(window, position)
    except DamagedError:
        return False
    return True
