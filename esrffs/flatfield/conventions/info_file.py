"""Darks of an image folder, and the `.info` file of ID19 that tells how often they were exposed.

A key of the file that is there but is no number ends the search with a refusal that quotes it: a
`darkend` that is divided by a wrong `DARK_N` would be wrong by the whole dark.  Does not: read
images.  The keys are those of tomoscan's `EDFTomoScan` (`edfscan.py`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from esrffs.flatfield.conventions.name_words import is_dark, is_flat, stem
from esrffs.flatfield.conventions.queries import MemberSummary, Queries, ReadTextFile
from esrffs.flatfield.plan import ConventionError

ACCUMULATED_DARK = re.compile(r"darkend\d{3,4}", re.ASCII)
COUNTS = ("tomo_n", "ref_on", "dark_n")
LARGEST = 1e15  # whole numbers below it are exact as floats

_LINE = re.compile(r"\s*(\w+)\s*=?(.*)", re.ASCII)
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

Members = Mapping[str, MemberSummary]


@dataclass(frozen=True, slots=True)
class ScanInfo:
    """What an `.info` file tells: the prefix of the projections, and counts by key, lower case."""

    prefix: str = ""
    counts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Darks:
    """Files of darks; each is the sum of `exposures`."""

    names: list[str]
    exposures: int = 1
    notes: tuple[str, ...] = ()


def is_projection(name: str, prefix: str) -> bool:
    """`<prefix>NNNN`, and the series of them; not the reconstruction, `<prefix>_slice_NNNN`."""
    if "slice_" in name or is_flat(name) or is_dark(name):
        return False
    if prefix:
        return bool(re.fullmatch(re.escape(prefix) + r"_?(\d+|#+)", name, re.ASCII))
    return bool(re.search(r"(\d|#)$", name, re.ASCII))


def read_info(members: Members) -> Queries[ScanInfo]:
    """The `.info` file of these images; an empty `ScanInfo` where there is none."""
    names = sorted(name for name in members if name.endswith(".info"))
    for name in names:
        prefix = name.removesuffix(".info")
        if any(is_projection(stem(other), prefix) for other in members) or len(names) == 1:
            answer: bytes | None = yield ReadTextFile(name)
            if answer is None:
                raise ConventionError(f"{name}: cannot be read, or is not a small file")
            return ScanInfo(prefix, counts(name, answer))
    return ScanInfo()


def counts(name: str, content: bytes) -> Mapping[str, float]:
    """The counts in the text of an `.info` file; ConventionError quotes one that is no number."""
    found: dict[str, float] = {}
    for line in re.split(r"\r\n|\r|\n", _decoded(content)):
        match = _LINE.match(line)
        if match is None or match[1].lower() not in COUNTS:
            continue
        key, text = match[1].lower(), match[2].partition("#")[0].strip()
        value = float(text) if _PLAIN_NUMBER.fullmatch(text) else None
        if value is None or not abs(value) < LARGEST:
            raise ConventionError(f"{name}: {match[1]} is {text!r}, which is no number")
        if key == "dark_n" and (value < 1 or value != int(value)):
            raise ConventionError(f"{name}: {match[1]} is {text!r}, not a whole number from 1 on")
        if found.setdefault(key, value) != value:
            raise ConventionError(f"{name}: {match[1]} is {found[key]:g}, and {text!r} further on")
    return found


def _decoded(content: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    return content.decode("latin-1")


def darks(members: Members) -> Queries[Darks]:
    """The files of darks: those that are one exposure, else `darkend0000` divided by `DARK_N`."""
    images = (name for name, entry in members.items() if entry.kind == "image")
    names = sorted(name for name in images if is_dark(stem(name)))
    accumulated = [name for name in names if ACCUMULATED_DARK.fullmatch(stem(name))]
    if not accumulated or len(accumulated) < len(names):
        return Darks([name for name in names if name not in accumulated])
    info = yield from read_info(members)
    if "dark_n" not in info.counts:
        note = "no DARK_N in an .info file: darkend is taken as one exposure"
        return Darks(accumulated, 1, (note,))
    return Darks(accumulated, int(info.counts["dark_n"]))
