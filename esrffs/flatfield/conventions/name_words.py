"""Read roles and numbers from names: whole words such as `flat`, and the number of a frame.

A name is read without its folder and its extensions (`stem`).  Does not: look at files, or decide
which convention is followed.
"""

import re
from collections.abc import Iterable, Sequence

DIGITS = r"\d{1,15}"  # of a number in a name: it must be exact as a float
COMPRESSED = re.compile(r"\.(gz|bz2)$", re.IGNORECASE)
NUMBER = re.compile(rf"(?<!\d){DIGITS}(?:\.{DIGITS})?(?!\d)", re.ASCII)
BLISS_SCAN = re.compile(r"\d{1,15}\.\d{1,15}", re.ASCII)  # `2.1`: the name of a scan
LONGEST_LIST = 8  # names in one message

DIGITS_ONLY = re.compile(DIGITS, re.ASCII)
_DIGITS_ALONE = re.compile(r"\d+", re.ASCII)
_NO_LETTER = r"(?![^\W\d_])"
_FLAT = re.compile(rf"(?:flats?|flatfield|ref|refhst){_NO_LETTER}", re.IGNORECASE)
_DARK = re.compile(rf"(?:darks?|darkend|darkfield){_NO_LETTER}", re.IGNORECASE)


def stem(name: str) -> str:
    """The name of a file without its folder and its extension.

    `.edf.gz` is one extension; one of digits alone is none, but the number of a frame.
    """
    name = COMPRESSED.sub("", name.rpartition("/")[2])
    first, _, extension = name.rpartition(".")
    return name if not first or _DIGITS_ALONE.fullmatch(extension) else first


def is_flat(name: str) -> bool:
    """The name begins with a word for flats; `flatworm` is another word."""
    return bool(_FLAT.match(name.rpartition("/")[2]))


def is_dark(name: str) -> bool:
    """The name begins with a word for darks; `darkwood` is another word."""
    return bool(_DARK.match(name.rpartition("/")[2]))


def frame_numbers(stems: Sequence[str]) -> list[float | None]:
    """The number in each name: of its runs of digits, the one that differs between the names.

    Names are compared with those that have the same text around their runs; a name that is alone
    with its text is compared with all that have as many runs.  Of several runs that differ, the
    last one that tells all these names apart is taken, else the last of them; where none differs,
    the last of all.  None for a name without digits.
    """
    runs = [NUMBER.findall(name) for name in stems]
    texts = [NUMBER.sub("#", name) for name in stems]
    by_text: dict[str, list[int]] = {}
    by_count: dict[int, list[int]] = {}
    for place, text in enumerate(texts):
        by_text.setdefault(text, []).append(place)
        by_count.setdefault(len(runs[place]), []).append(place)
    columns = {text: _column([runs[at] for at in places]) for text, places in by_text.items()}
    pooled = {count: _column([runs[at] for at in places]) for count, places in by_count.items()}
    found: list[float | None] = []
    for text, own in zip(texts, runs, strict=True):
        column = columns[text] if len(by_text[text]) > 1 else pooled[len(own)]
        found.append(None if column is None else float(own[column]))
    return found


def _column(names: list[list[str]]) -> int | None:
    """Which of the runs of digits is the number; all names have equally many."""
    columns = [{float(run) for run in column} for column in zip(*names, strict=True)]
    differing = [place for place, values in enumerate(columns) if len(values) > 1]
    error_log = [place for place in differing if len(columns[place]) == len(names)]
    return max(error_log or differing or range(len(columns)), default=None)


def abscissae(names: Sequence[str]) -> list[float]:
    """The number in each file name, and the position of a name that has none."""
    return [*frame_positions(names, names).values()]


def frame_positions(names: Sequence[str], order: Sequence[str]) -> dict[str, float]:
    """The number in each file name; for one that has none, its position in `order`."""
    numbers = frame_numbers([_numbered_stem(name) for name in names])
    places = {name: float(place) for place, name in enumerate(order)}
    return {
        name: places[name] if number is None else number
        for name, number in zip(names, numbers, strict=True)
    }


def _numbered_stem(name: str) -> str:
    """The stem; an extension of digits is a number of its own, not the decimals of another."""
    one = stem(name)
    return re.sub(r"\.(\d+)$", r" \1", one, flags=re.ASCII) if name.endswith(one) else one


def shared_numbers(role: str, names: Sequence[str], at: Sequence[float]) -> list[str]:
    """Notes for the log: all raw images, or flats of different names, that have one number."""
    found: dict[float, dict[str, str]] = {}
    for name, number in zip(names, at, strict=True):
        found.setdefault(number, {}).setdefault(stem(name), name)
    same = [(number, list(one.values())) for number, one in found.items() if len(one) > 1]
    if role == "raw image" and len(found) > 1:
        return []
    text = "all are corrected alike" if role == "raw image" else "they are taken as one run"
    return [f"one number, {at:g}, in the names of {listed(one)}: {text}" for at, one in same]


def listed(names: Iterable[str]) -> str:
    """Some names for a message: the first ones, and how many there are."""
    known = sorted(names)
    shown = ", ".join(known[:LONGEST_LIST])
    return f"{shown}, … ({len(known)} in all)" if len(known) > LONGEST_LIST else shown or "nothing"


def series_member(series: str, value: int) -> str:
    """The file of a series `NAME_####.edf` with this number."""
    return re.sub(r"#+(?=[^#]*$)", lambda digits: str(value).zfill(len(digits[0])), series, count=1)
