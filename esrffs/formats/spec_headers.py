"""The header lines of a Spec file: pure functions from lines (bytes) to names and numbers.

Decided here: what a `#S`, `#D`, `#L`, `#O`, `#P`, `#G` or `#@` line says.  The rules are those of
silx, so that its users find the same names and values; where silx refuses the file or reads past
the end of a line, the line says what is written in it.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_CHANNELS = 1 << 24  # no analyser has more; a typing error can
_EXPONENT = bytes.maketrans(b"dD", b"ee")
_LAST_LETTER = re.compile(rb"(\S) (\S)$")


def _iso8601(date: str) -> str:
    from silx.io.spech5 import spec_date_to_iso8601  # not in the daemon, which only recognises

    convert: Callable[[str], str] = spec_date_to_iso8601
    return convert(date)


def text(line: bytes) -> str:
    """UTF-8, else Latin-1: both have been written by Spec sessions."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def name(label: bytes) -> str:
    """What silx calls a counter or a motor: without "/"."""
    return label.replace(b"/", b"%").decode(errors="surrogateescape")


def number(token: bytes) -> float:
    """One number as Spec, C or Fortran writes it; `ValueError` for anything else."""
    if b"_" in token:  # Python would read 1_0 as 10
        raise ValueError(f"{text(token)!r} is not a number")
    try:
        return float(token)
    except ValueError:
        try:
            return float(token.translate(_EXPONENT))
        except ValueError:
            raise ValueError(f"{text(token)!r} is not a number") from None


def value(lines: Sequence[bytes], key: bytes) -> str | None:
    """What follows `#KEY`; of several such lines, one below the other."""
    found = [line[len(key) + 1 :] for line in lines if _keyed(line, key)]
    return "\n".join(text(rest.strip()) for rest in found) if found else None


def _keyed(line: bytes, key: bytes) -> bool:
    return line.startswith(b"#" + key) and not line[len(key) + 1 : len(key) + 2].strip()


def _numbered(lines: Sequence[bytes], letter: bytes) -> list[bytes]:
    """What follows `#O0`, `#O1`, …"""
    matches = (re.match(rb"#" + letter + rb"\d*(?!\S) ?(.*)", line) for line in lines)
    return [match[1] for match in matches if match]


def scan_number(after: bytes) -> int:
    """The number of a scan, from what follows `#S` and one blank; 0 where there is none."""
    match = re.match(rb"\s*([-+]?\d{1,18})", after.split(b" ", 1)[0])
    return int(match[1]) if match else 0


def title(lines: Sequence[bytes]) -> str:
    return (value(lines, b"S") or "").lstrip("0123456789").lstrip()


def start_time(lines: Sequence[bytes], file_lines: Sequence[bytes]) -> str:
    """ISO 8601 where the date is in one of the usual forms, else the date as it is written."""
    date = value(lines, b"D")
    if date is None:
        date = value(file_lines, b"D") or ""
    try:
        return _iso8601(date)
    except (IndexError, ValueError):
        return date


def labels(lines: Sequence[bytes]) -> list[bytes]:
    """The counters of a scan: two blanks or more stand between two labels."""
    for line in lines:
        if _keyed(line, b"L"):
            return _names(line[2:])
    return []


def motors(lines: Sequence[bytes], file_lines: Sequence[bytes]) -> list[bytes]:
    """The motors; silx, whose names are the contract, has no blank before a last single letter."""
    found = _numbered(lines, b"O") or _numbered(file_lines, b"O")
    return [motor for line in found for motor in _names(_LAST_LETTER.sub(rb"\1\2", line))]


def _names(line: bytes) -> list[bytes]:
    return [part for part in re.split(rb" {2,}", line.strip()) if part]


def positions(lines: Sequence[bytes], file_lines: Sequence[bytes]) -> list[bytes] | None:
    """The motor positions, as they are written; None without any `#P` line.

    silx reads a 0 more where a line of numbers ends in two blanks or more, which gives each motor
    of the later lines the position of the one before it (so in oleg.dat, from `#P7` on).  Its
    numbers are the contract, so that 0 is read here too.
    """
    found = _numbered(lines, b"P") or _numbered(file_lines, b"P")
    if not found:
        return None
    return [
        token
        for line in found
        for token in line.split() + ([b"0"] if line.strip() and line.endswith(b"  ") else [])
    ]


def unit_cell(lines: Sequence[bytes]) -> Floats | None:
    """a, b, c, α, β, γ of `#G1`, shape (1, 6); None where there is none or only zeros."""
    cell = _geometry(lines, b"G1")
    return cell[:6].reshape(1, 6) if len(cell) >= 6 and np.any(cell[:6]) else None


def ub_matrix(lines: Sequence[bytes]) -> Floats | None:
    """The orientation matrix of `#G3`, shape (1, 3, 3); None where there is none or only zeros."""
    matrix = _geometry(lines, b"G3")
    return matrix.reshape(1, 3, 3) if len(matrix) == 9 and np.any(matrix) else None


def _geometry(lines: Sequence[bytes], key: bytes) -> Floats:
    tokens = (value(lines, key) or "").split()
    try:
        return np.array([number(token.encode()) for token in tokens], np.float64)
    except ValueError:
        return np.empty(0)


def calibration(lines: Sequence[bytes], analyser: int) -> Floats:
    """a, b, c of `#@CALIB`.  Raises `ValueError`, `IndexError` where it says something else."""
    line = _of_analyser(lines, b"@CALIB", analyser if analysers(lines) > 1 else 0)
    if line is None:
        return np.array([0.0, 1.0, 0.0])
    return np.array([number(token.encode()) for token in line.split()], np.float64)


def channels(lines: Sequence[bytes], analyser: int, length: int) -> range | Floats:
    """The channel numbers of a spectrum of this length, by `#@CHANN number first last step`."""
    line = _of_analyser(lines, b"@CHANN", analyser)
    if line is None:
        return range(length)
    _, first, last, step = (int(token) for token in line.split())
    told = range(first, last + 1, step)
    if len(told) > _CHANNELS:
        raise ValueError(f"{line!r} tells of {len(told)} channels")
    if length == 0 or len(told) <= 1 or len(told) == length:
        return told
    if len(told) > length:
        return told[:length]
    return np.linspace(first, first + step * length, length, endpoint=False)


def times(lines: Sequence[bytes], analyser: int) -> tuple[float, ...] | None:
    """Preset, live and elapsed time of `#@CTIME`, in seconds; None where it is not written."""
    line = _of_analyser(lines, b"@CTIME", analyser)
    if line is None:
        return None
    if len(line.split()) != 3:
        raise ValueError(f"{line!r} is not three times")
    return tuple(number(token.encode()) for token in line.split())


def _of_analyser(lines: Sequence[bytes], key: bytes, analyser: int) -> str | None:
    """One line serves all analysers, several serve one each."""
    found = value(lines, key)
    if found is None:
        return None
    each = found.split("\n")
    return each[0] if len(each) == 1 else each[analyser]


def analysers(lines: Sequence[bytes]) -> int:
    """How many the header tells of."""
    return max(1, len((value(lines, b"@CHANN") or "").split("\n")))
