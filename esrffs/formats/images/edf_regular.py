"""EDF files whose frames follow each other at equal distances, told without parsing each header.

Decided here: when the header of a frame is like the first one.  Then the header of the first frame
only is parsed, and the others when their values are wanted.  A file of which anything is unusual
has no pace here, and all of it is parsed.
"""

import os
import re
from typing import NamedTuple

_HEAD = 1 << 14  # bytes in which the first header ends, or the file is not of this kind
_END = re.compile(rb"}\r?\n")
_SIZE = re.compile(rb"[{;]\s*SIZE\s*=\s*(\d{1,15})\s*;", re.IGNORECASE)
_BLANK = b" \t\n\r\x0b\x0c\x00"
_NUMBER = b"EDF_DATABLOCKID"  # of the frame
_STRUCTURE = (b"DIM_", b"SIZE", b"DATATYPE", b"BYTEORDER", b"COMPRESSION", b"EDF_")


class RegularSpacing(NamedTuple):
    """`frames` frames; headers and data take `step` bytes, of which `header` are headers."""

    header: int
    step: int
    frames: int


def regular_spacing(descriptor: int, size: int) -> RegularSpacing | None:
    """How the frames follow each other in a file of so many bytes; None where it is not as usual.

    Each header has the same structure: it is the first one, byte for byte, but for
    values that say nothing about the data.
    """
    first = os.pread(descriptor, _HEAD, 0)
    end = _END.search(first)
    told = _SIZE.search(first, 0, end.start()) if end else None
    if end is None or told is None or int(told[1]) == 0:
        return None
    first = first[: end.end()]
    step = len(first) + int(told[1])
    count, rest = divmod(size, step)
    if rest or count < 2:
        return None
    pattern = HeaderPattern(first)
    for frame in range(1, count):
        if not pattern.matches(os.pread(descriptor, len(first), frame * step)):
            return None
    return RegularSpacing(len(first), step, count)


class HeaderPattern:
    """A header (bytes, braces included), and which others say the same of their data.

    Those are it, byte for byte, but for values that say nothing about the data.
    """

    def __init__(self, header: bytes) -> None:
        self.nbytes = len(header)
        self._pattern = re.compile(b";".join(map(_pattern_for, header.split(b";"))))

    def __repr__(self) -> str:
        return f"<HeaderPattern of {self.nbytes} bytes>"

    def matches(self, content: bytes) -> bool:
        """Whether this content begins with such a header."""
        ended = _END.search(content, 0, self.nbytes)
        if ended is None or ended.end() != self.nbytes:
            return False
        return self._pattern.fullmatch(content, 0, self.nbytes) is not None


def _pattern_for(line: bytes) -> bytes:
    """The regular expression of lines that mean the same for the data as this one."""
    key, equals, _ = line.partition(b"=")
    name = key.strip(_BLANK).upper()
    if not equals:
        return b"[^;=]*"  # padding, or a remark
    if name.startswith(_STRUCTURE) and name != _NUMBER:
        return re.escape(line)
    return re.escape(key + equals) + b"[^;]*"
