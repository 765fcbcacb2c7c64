"""What one [[corrected]] of `.esrffs.toml` says: numbers, choices, darks and flats.

Every mistake names the file, the table, the key and what is expected.
"""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Literal

from esrffs.flatfield.conventions.assignment import check_same_frame_shape
from esrffs.flatfield.conventions.config_references import Named, References
from esrffs.flatfield.conventions.name_words import frame_numbers, shared_numbers
from esrffs.flatfield.conventions.queries import Queries
from esrffs.flatfield.formula import Method
from esrffs.flatfield.plan import (
    NO_DARK,
    ConventionError,
    Correction,
    CorrectionOptions,
    Flat,
    FrameRange,
    ReducedFrame,
)

KEYS = (
    "name",
    "raw",
    "data",
    "keys",
    "at",
    "leave_out",
    "dark",
    "dark_reduction",
    "dark_n",
    "flat_dark",
    "flat",
    "flat_reduction",
    "interpolation",
    "scale",
    "nan",
)
LARGEST = 1e15  # of an abscissa: whole numbers below it are exact
_SPANS = 1000  # in one list

Table = dict[str, Any]
Wrong = Callable[[str, str], ConventionError]
Reduction = Literal["mean", "median"]


class Settings:
    """One table, and the arrays that it names; `notes` and `warnings` are for the log."""

    def __init__(self, where: str, table: Table, references: References) -> None:
        self.where, self.table, self.references = where, table, references
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self._frame: Named | None = None  # whose frames all others must be like
        for key in table:
            if key not in KEYS:
                near = get_close_matches(key, KEYS, 1)
                hint = f"did you mean `{near[0]}`?" if near else f"expected {', '.join(KEYS)}"
                raise self.wrong(key, f"unknown key; {hint}")

    def wrong(self, key: str, text: str) -> ConventionError:
        return ConventionError(f"{self.where}: `{key}`: {text}")

    def arrays(self, key: str, value: object = None, *, more: str = "") -> Queries[list[Named]]:
        """The arrays that the value of a key names, all of one frame shape."""
        try:
            found = yield from self.references.arrays(
                self.table.get(key) if value is None else value, more
            )
            for one in found:
                self._frame = self._frame or one
                check_same_frame_shape([self._frame.source, one.source])
        except ConventionError as error:
            raise self.wrong(key, str(error)) from None
        return found

    def correction(
        self, options: CorrectionOptions, dark: ReducedFrame, flats: tuple[Flat, ...]
    ) -> Queries[Correction]:
        nan = self.table.get("nan", options.nan)
        if nan is not None and (isinstance(nan, bool) or not isinstance(nan, int | float)):
            raise self.wrong("nan", f"expected a number, not {nan!r}")
        scale = self.number("scale", self.table.get("scale", 1.0))
        if not scale > 0:
            raise self.wrong("scale", f"expected a number above 0, not {scale!r}")
        method: Method = self._choice(
            "interpolation", options.method, ("linear", "nearest", "first")
        )
        own = (yield from self.dark("flat_dark", options)) if "flat_dark" in self.table else None
        return Correction(dark, flats, method, nan, own, scale)

    def dark(self, key: str, options: CorrectionOptions) -> Queries[ReducedFrame]:
        """A run of darks, or a constant."""
        value = self.table.get(key)
        if value is None and options.no_dark:
            return NO_DARK
        if isinstance(value, int | float) and not isinstance(value, bool):
            return ReducedFrame((), "mean", 1, self.number(key, value))
        found = yield from self.arrays(key, more=", or a number (0: no dark)")
        return self.reduced_dark([one.part for one in found])

    def reduced_dark(self, parts: list[FrameRange]) -> ReducedFrame:
        reduction: Reduction = self._choice("dark_reduction", "mean", ("mean", "median"))
        exposures = self.table.get("dark_n", 1)
        if isinstance(exposures, bool) or not isinstance(exposures, int) or exposures < 1:
            raise self.wrong("dark_n", f"expected a whole number from 1 on, not {exposures!r}")
        return ReducedFrame(tuple(parts), reduction, exposures)

    def flats(self) -> Queries[tuple[Flat, ...]]:
        """One flat for a text, several for several texts or tables `{ from, at }`."""
        value = self.table.get("flat")
        tables = value if isinstance(value, list) else [value]
        if not tables or not (
            all(isinstance(one, str) for one in tables)
            or all(isinstance(one, dict) and one.keys() == {"from", "at"} for one in tables)
        ):
            missing = "; it is missing" if value is None else ""
            raise self.wrong(
                "flat", 'expected a text, texts, or tables { from = "…", at = 0 }' + missing
            )
        groups: list[list[Named]] = []
        for one in tables:
            found = yield from self.arrays("flat", one["from"] if isinstance(one, dict) else one)
            groups.append(found)
        names = [found[0].name for found in groups]
        at = self._flat_abscissae(tables, names)
        if len(names) > 1 and isinstance(tables[0], str):
            self.notes += shared_numbers("flat", names, at)
        together: dict[float, list[FrameRange]] = {}
        for abscissa, found in zip(at, groups, strict=True):
            together.setdefault(abscissa, []).extend(flat.part for flat in found)
        return tuple(self.flat(at, parts) for at, parts in sorted(together.items()))

    def flat(self, at: float, parts: list[FrameRange]) -> Flat:
        reduction: Reduction = self._choice("flat_reduction", "median", ("mean", "median"))
        return Flat(at, ReducedFrame(tuple(parts), reduction))

    def _flat_abscissae(self, tables: list[Any], names: list[str]) -> list[float]:
        if isinstance(tables[0], dict):
            return [self.number("flat.at", one["at"]) for one in tables]
        if len(names) == 1:
            return [0.0]
        numbers = frame_numbers(names)
        return [float(at) if number is None else number for at, number in enumerate(numbers)]

    def number(self, key: str, value: object, more: str = "") -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not abs(value) < LARGEST
        ):
            raise self.wrong(key, f"expected a number{more}, not {value!r}")
        return float(value)

    def name(self, count: int) -> str | None:
        """The name of the result, if the table has one."""
        value = self.table.get("name")
        if value is not None and not isinstance(value, str):
            raise self.wrong("name", f"expected a text, not {value!r}")
        if value is not None and (count != 1 or not value or "/" in value):
            raise self.wrong("name", "expected a file name, and a single raw array")
        return value

    def _choice(self, key: str, default: Any, choices: tuple[str, ...]) -> Any:
        value = self.table.get(key, default)
        if value not in choices:
            raise self.wrong(key, f"expected one of {', '.join(choices)}, not {value!r}")
        return value


class LeftOut:
    """Frames to leave out: numbers, and spans "first:last" without the last."""

    def __init__(self, settings: Settings) -> None:
        self._wrong = settings.wrong
        value = settings.table.get("leave_out", [])
        items = value if isinstance(value, list) else [value]
        if len(items) > _SPANS:
            raise self._wrong("leave_out", f"more than {_SPANS} numbers and spans")
        self._spans = {self._span(item): item for item in items}
        self._met: set[tuple[float, float]] = set()

    def _span(self, item: object) -> tuple[float, float]:
        if isinstance(item, int) and not isinstance(item, bool) and 0 <= item < LARGEST:
            return item, item + 1
        first, colon, last = item.partition(":") if isinstance(item, str) else ("", "", "")
        numbers = colon and first.isdecimal() and last.isdecimal() and len(first + last) < 30
        if numbers and int(first) < int(last):
            return int(first), int(last)
        raise self._wrong(
            "leave_out", f'expected numbers and spans such as [3, "10:20"], not {item!r}'
        )

    def has(self, number: float) -> bool:
        """Is the image with this number left out?"""
        fits = [span for span in self._spans if span[0] <= number < span[1]]
        self._met.update(fits)
        return bool(fits)

    def kept(self, first: int, last: int) -> list[tuple[int, int]]:
        """What remains of frames [first, last), as runs."""
        found, start = [], first
        for a, b in sorted(self._spans):
            if a < last and b > first:
                self._met.add((a, b))
                if start < a:
                    found.append((start, int(a)))
                start = max(start, int(b))
        return [*found, (start, last)] if start < last else found

    def check(self, there: str) -> None:
        """ConventionError where a number or span has no frame; `there` lists the frames."""
        for span, item in self._spans.items():
            if span not in self._met:
                raise self._wrong("leave_out", f"no frame {item!r}; there are {there}")
