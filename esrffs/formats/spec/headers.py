"""The header lines of a Spec file: pure functions from lines (bytes) to names and numbers.

They say what a `#S`, `#D`, `#L`, `#O`, `#P`, `#G` or `#@` line means.  The rules are those of silx,
so that its users find the same names and values.  Where silx refuses the file or reads beyond the
end of a line, the value is what is written in the line.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_CHANNELS = 1 << 24  # no analyser has more; a typing error can
_QUOTED = 60  # characters
_EXPONENT = bytes.maketrans(b"dD", b"ee")
_CHANNEL_RANGE = re.compile(r"\s*\d+\s+" + r"\s+".join([r"([-+]?\d{1,18})"] * 3) + r"\s*")
_COUNT = re.compile(rb"[ \t]*(\d{1,9})(?!\S)")
_TWO_BLANKS = re.compile(rb" {2,}")
_PARTINGS = _TWO_BLANKS, re.compile(rb"[ \t]{2,}|\t"), re.compile(rb"[ \t]+")
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
        raise ValueError(f"{shortened(text(token))!r} is not a number")
    try:
        return float(token)
    except ValueError:
        try:
            return float(token.translate(_EXPONENT))
        except ValueError:
            raise ValueError(f"{shortened(text(token))!r} is not a number") from None


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


def is_labels(line: bytes) -> bool:
    """Whether this is a `#L` line."""
    return _keyed(line, b"L")


def column_count(lines: Sequence[bytes]) -> int | None:
    """What `#N` says; of several such lines, the first."""
    for line in lines:
        if _keyed(line, b"N") and (match := _COUNT.match(line[2:])):
            return int(match[1])
    return None


def labels(lines: Sequence[bytes], told: int | None, widths: Mapping[int, int]) -> list[bytes]:
    """The counters of a scan, from its `#L` line; of several before its points, the last.

    Two blanks or more stand between two labels, as in silx.  Where that does not give the number
    that `#N` has `told`, but parting at tabs or at single blanks does, or all lines together do,
    the labels are those.  Without `#N` it is the way that suits most lines; `widths` says how many
    lines there are of each number of values.
    """
    partings = [
        _parted(line, parting) for line in (lines[-1], b"  ".join(lines)) for parting in _PARTINGS
    ]
    if told is None:
        return max(partings, key=lambda found: widths.get(len(found), 0))
    return next((found for found in partings if len(found) == told), partings[0])


def motors(lines: Sequence[bytes], file_lines: Sequence[bytes]) -> list[bytes]:
    """The motors; silx, whose names are the contract, has no blank before a last single letter."""
    found = _numbered(lines, b"O") or _numbered(file_lines, b"O")
    return [motor for line in found for motor in _names(_LAST_LETTER.sub(rb"\1\2", line))]


def _names(line: bytes) -> list[bytes]:
    return _parted(line, _TWO_BLANKS)


def _parted(line: bytes, parting: re.Pattern[bytes]) -> list[bytes]:
    return [part.strip() for part in parting.split(line.strip()) if part.strip()]


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
    """a, b, c of `#@CALIB`.  Raises `ValueError` where it says something else."""
    line = _of_analyser(lines, b"@CALIB", analyser if analyser_count(lines) > 1 else 0)
    if line is None:
        return np.array([0.0, 1.0, 0.0])
    return np.array([number(token.encode()) for token in line.split()], np.float64)


def channels(lines: Sequence[bytes], analyser: int, length: int) -> range | Floats:
    """The channel numbers of a spectrum of this length, by `#@CHANN number first last step`.

    Raises `ValueError` where it says something else.
    """
    line = _of_analyser(lines, b"@CHANN", analyser)
    if line is None:
        return range(length)
    first, step, told = _channel_range(line)
    if length == 0 or len(told) <= 1 or len(told) == length:
        return told
    if len(told) > length:
        return told[:length]
    return np.linspace(first, first + step * length, length, endpoint=False)


def channel_count(lines: Sequence[bytes], analyser: int) -> int | None:
    """How many channels a spectrum has by `#@CHANN`; None where that does not say."""
    try:
        line = _of_analyser(lines, b"@CHANN", analyser)
        return max(int(line.split()[0]), len(_channel_range(line)[2])) if line else None
    except ValueError:
        return None


def _channel_range(line: str) -> tuple[int, int, range]:
    """First channel, step, and all channels."""
    found = _CHANNEL_RANGE.fullmatch(line)
    if not found or not int(found[3]):
        raise ValueError(
            f"#@CHANN {shortened(line)!r} does not say number, first, last and step of the channels"
        )
    first, last, step = (int(token) for token in found.groups())
    told = range(first, last + 1, step)
    if len(told) > _CHANNELS:
        raise ValueError(f"#@CHANN {shortened(line)!r} tells of {len(told)} channels")
    return first, step, told


def times(lines: Sequence[bytes], analyser: int) -> tuple[float, ...] | None:
    """Preset, live and elapsed time of `#@CTIME`, in seconds; None where it is not written."""
    line = _of_analyser(lines, b"@CTIME", analyser)
    if line is None:
        return None
    if len(line.split()) != 3:
        raise ValueError(f"#@CTIME {shortened(line)!r} is not three times")
    return tuple(number(token.encode()) for token in line.split())


def _of_analyser(lines: Sequence[bytes], key: bytes, analyser: int) -> str | None:
    """One line serves all analysers, several serve one each."""
    found = value(lines, key)
    if found is None:
        return None
    each = found.split("\n")
    if 1 < len(each) <= analyser:
        raise ValueError(f"there are {len(each)} lines #{key.decode()}, none for mca_{analyser}")
    return each[0] if len(each) == 1 else each[analyser]


def analyser_count(lines: Sequence[bytes]) -> int:
    """How many the header tells of."""
    return max(1, len((value(lines, b"@CHANN") or "").split("\n")))


def shortened(line: str) -> str:
    """A line as error texts quote it."""
    return line if len(line) <= _QUOTED else line[:_QUOTED] + "…"
