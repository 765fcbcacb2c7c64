"""Roles named by the user, in the `.esrffs.toml` of a folder (docs/corrected.md has examples).

It may be a stranger's, and the mount waits while it is looked at: so it is bounded what it may ask.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Literal

from esrffs.flatfield import Method
from esrffs.roles_names import frame_numbers, stem
from esrffs.roles_parts import Source, agree, describe
from esrffs.roles_words import (
    Correction,
    Entry,
    Flat,
    Options,
    Output,
    Part,
    ReadFile,
    Recipe,
    Reduced,
    RefusalError,
    Steps,
    Stretch,
)

FILE = ".esrffs.toml"
KEYS = (
    "name",
    "raw",
    "at",
    "dark",
    "dark_reduction",
    "dark_n",
    "flat",
    "flat_reduction",
    "interpolation",
    "nan",
)
_BYTES = 1 << 16
_DOTS = 100  # in one line
_PATTERN = 255  # bytes: as long as a name may be
LARGEST = 1e15  # of an abscissa: whole numbers below it are exact
FRAMES = re.compile(r"(.*)\[(\d{0,15}):(\d{0,15})\]", re.ASCII | re.DOTALL)

Members = Mapping[str, Entry]
Table = dict[str, Any]


def configured(members: Members, options: Options) -> Steps[Recipe | None]:
    if FILE not in members:
        return None
    answer: bytes | None = yield ReadFile(FILE)
    if answer is None:
        raise RefusalError(f"{FILE}: cannot be read, or is not a small file")
    document = _document(answer)
    tables = document.pop("corrected", None)
    if document:
        raise RefusalError(f"{FILE}: unknown key `{next(iter(document))}`; expected [[corrected]]")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise RefusalError(f"{FILE}: expected one or more tables [[corrected]]")
    if options.norm_current:
        raise RefusalError(f"norm=current: no machine current is known ({FILE})")
    outputs: dict[str, Output] = {}
    work = _Work()
    for count, table in enumerate(tables, 1):
        where = f"{FILE}: [[corrected]] number {count}"
        for output in (yield from _Table(where, table, members, work).outputs(options)):
            if output.name in outputs:
                raise RefusalError(f"{where}: `name`: there are two results {output.name!r}")
            outputs[output.name] = output
    return Recipe(FILE, tuple(outputs.values()))


def _document(answer: bytes) -> Table:
    if len(answer) > _BYTES:
        raise RefusalError(f"{FILE}: longer than {_BYTES} bytes")
    if any(line.count(b".") > _DOTS for line in answer.split(b"\n")):  # tomllib takes their square
        raise RefusalError(f"{FILE}: a line with more than {_DOTS} dots")
    try:
        return tomllib.loads(answer.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # of which TOMLDecodeError is one
        raise RefusalError(f"{FILE}: not TOML: {error}") from None


@dataclass(slots=True)
class _Work:
    """What all tables of one file may still ask for."""

    comparisons: int = 1_000_000  # of a name with a pattern: a second
    files: int = 200_000  # that are named, again and again perhaps

    def spend(self, comparisons: int, files: int) -> bool:
        self.comparisons -= comparisons
        self.files -= files
        return self.comparisons >= 0 and self.files >= 0


class _Table:
    """One [[corrected]]; every mistake names the file, the table, the key and what is expected."""

    def __init__(self, where: str, table: Table, members: Members, work: _Work) -> None:
        self.where, self.table, self.members, self.work = where, table, members, work
        for key in table:
            if key not in KEYS:
                near = get_close_matches(key, KEYS, 1)
                hint = f"did you mean `{near[0]}`?" if near else f"expected {', '.join(KEYS)}"
                raise self._wrong(key, f"unknown key; {hint}")

    def _wrong(self, key: str, text: str) -> RefusalError:
        return RefusalError(f"{self.where}: `{key}`: {text}")

    def outputs(self, options: Options) -> Steps[list[Output]]:
        correction, dark = yield from self._correction(options)
        sources = yield from self._many("raw")
        name = self._text("name")
        if name is not None and (len(sources) != 1 or not name or "/" in name):
            raise self._wrong("name", "expected a file name, and a single raw array")
        found = []
        numbers = frame_numbers([_name(one.path) for _, one in sources])
        for position, (part, one) in enumerate(sources):
            self._agree("raw", dark, one)
            shape = one.shape if len(one.shape) == 2 else (part.last - part.first, *one.frame)
            stretch = Stretch(part, self._at(position, numbers[position], part, one))
            found.append(Output(name or _name(one.path), shape, (stretch,), correction))
        return found

    def _correction(self, options: Options) -> Steps[tuple[Correction, Source]]:
        darks = yield from self._many("dark")
        dark = darks[0][1]
        for _, one in darks:
            self._agree("dark", dark, one)
        flats = yield from self._flats(dark)
        nan = self.table.get("nan", options.nan)
        if nan is not None and (isinstance(nan, bool) or not isinstance(nan, int | float)):
            raise self._wrong("nan", f"expected a number, not {nan!r}")
        method: Method = self._choice(
            "interpolation", options.method, ("linear", "nearest", "first")
        )
        reduction: Literal["mean", "median"] = self._choice(
            "dark_reduction", "mean", ("mean", "median")
        )
        exposures = self.table.get("dark_n", 1)
        if isinstance(exposures, bool) or not isinstance(exposures, int) or exposures < 1:
            raise self._wrong("dark_n", f"expected a whole number from 1 on, not {exposures!r}")
        frames = Reduced(tuple(part for part, _ in darks), reduction, exposures)
        return Correction(frames, flats, method, nan), dark

    def _flats(self, dark: Source) -> Steps[tuple[Flat, ...]]:
        value = self.table.get("flat")
        reduction: Literal["mean", "median"] = self._choice(
            "flat_reduction", "median", ("mean", "median")
        )
        tables = value if isinstance(value, list) else [value]
        if not tables or not (
            all(isinstance(one, str) for one in tables)
            or all(isinstance(one, dict) and one.keys() == {"from", "at"} for one in tables)
        ):
            raise self._wrong("flat", 'expected a text, texts, or tables { from = "…", at = 0 }')
        runs: dict[float, list[Part]] = {}
        groups = []
        for one in tables:
            found = yield from self._many("flat", one["from"] if isinstance(one, dict) else one)
            groups.append(found)
        numbers = frame_numbers([_name(found[0][1].path) for found in groups])
        for position, (one, found) in enumerate(zip(tables, groups, strict=True)):
            if isinstance(one, str) and len(tables) > 1:
                number = numbers[position]
                abscissa = float(position) if number is None else number
            else:
                abscissa = self._number("flat.at", one["at"]) if isinstance(one, dict) else 0.0
            for part, flat in found:
                self._agree("flat", dark, flat)
                runs.setdefault(abscissa, []).append(part)
        return tuple(
            Flat(abscissa, Reduced(tuple(parts), reduction))
            for abscissa, parts in sorted(runs.items())
        )

    def _many(self, key: str, value: object = None) -> Steps[list[tuple[Part, Source]]]:
        """The arrays that a text or a list of texts refers to; at least one."""
        value = self.table.get(key) if value is None else value
        texts = value if isinstance(value, list) else [value]
        if not texts or not all(isinstance(text, str) and text for text in texts):
            raise self._wrong(key, f'expected a text such as "file.edf", or several, not {value!r}')
        found = []
        for reference in [one for text in texts for one in self._expanded(key, str(text))]:
            one = yield from self._one(key, reference)
            found.append(one)
        return found

    def _expanded(self, key: str, text: str) -> list[str]:
        file, colons, inner = text.partition("::")
        if not re.search(r"[*?]", file):
            self._spend(key, 0, 1)
            return [text]
        if len(file) > _PATTERN:
            raise self._wrong(key, f"no file is called {file[:_PATTERN]!r}…")
        self._spend(key, len(self.members), 0)
        pattern = re.sub(r"\[", "[[]", file)
        names = [
            name
            for name, entry in self.members.items()
            if entry.kind != "series" and not name.startswith(".") and fnmatchcase(name, pattern)
        ]
        if not names:
            raise self._wrong(key, f"no file is called {file!r}")
        self._spend(key, 0, len(names))
        return [name + colons + inner for name in sorted(names)]

    def _spend(self, key: str, comparisons: int, files: int) -> None:
        if not self.work.spend(comparisons, files):
            raise self._wrong(key, "too many files, or patterns for too many files")

    def _one(self, key: str, text: str) -> Steps[tuple[Part, Source]]:
        """`file`, `file::path`, with `[first:last]` for some frames of a stack."""
        frames = FRAMES.fullmatch(text)
        file, colons, inner = (frames[1] if frames else text).partition("::")
        if file.startswith("/") or ".." in file.split("/"):
            raise self._wrong(key, f"{text!r} leads out of the folder")
        path = file + (colons and "::" + inner.strip("/"))
        one = yield from describe(path)
        if one is None:
            raise self._wrong(key, f"no image or stack of numbers at {path!r}")
        first = int(frames[2] or 0) if frames else 0
        last = int(frames[3] or one.frames) if frames else one.frames
        if not 0 <= first < last <= one.frames:
            raise self._wrong(key, f"{text!r}: expected frames within [0:{one.frames}]")
        return Part(path, first, last), replace(one, path=path)

    def _at(self, position: int, number: float | None, part: Part, one: Source) -> float:
        """Abscissa of the first frame: as told, else a stack's position, else the name's number."""
        at = self.table.get("at")
        if at is not None and at not in ("name", "position"):
            return self._number("at", at, ', "name" or "position"')
        if len(one.shape) == 3:
            return float(part.first)
        if at == "name" and number is None:
            raise self._wrong("at", f"{one.path!r} has no number in its name")
        return float(position) if number is None or at == "position" else number

    def _number(self, key: str, value: object, more: str = "") -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not abs(value) < LARGEST
        ):
            raise self._wrong(key, f"expected a number{more}, not {value!r}")
        return float(value)

    def _text(self, key: str) -> str | None:
        value = self.table.get(key)
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, f"expected a text, not {value!r}")
        return value

    def _choice(self, key: str, default: Any, choices: tuple[str, ...]) -> Any:
        value = self.table.get(key, default)
        if value not in choices:
            raise self._wrong(key, f"expected one of {', '.join(choices)}, not {value!r}")
        return value

    def _agree(self, key: str, one: Source, other: Source) -> None:
        try:
            agree([one, other])
        except RefusalError as error:
            raise self._wrong(key, str(error)) from None


def _name(path: str) -> str:
    """The last name of `file::a/b`, or the stem of a file."""
    file, colons, inner = path.partition("::")
    return inner.rpartition("/")[2] if colons else stem(file.rpartition("/")[2])
