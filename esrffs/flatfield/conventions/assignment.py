"""What the conventions share: queries as functions, arrays of frames, their shapes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from esrffs.flatfield.conventions.name_words import DIGITS
from esrffs.flatfield.conventions.queries import (
    DescribeArray,
    ListMembers,
    MemberSummary,
    Queries,
    ReadValues,
)
from esrffs.flatfield.plan import (
    NO_DARK,
    REDUCED_BEFORE,
    ConventionError,
    Correction,
    CorrectionOptions,
    Flat,
    FrameRange,
    ReducedFrame,
)


@dataclass(frozen=True, slots=True)
class FrameStack:
    """An array of numbers that can be an image (y, x) or a stack (n, y, x).

    `colour`: its last axis are the samples of a pixel, so that it is neither
    (`check_same_frame_shape` says so).
    """

    path: str
    shape: tuple[int, ...]
    colour: bool = False

    @property
    def frames(self) -> int:
        return 1 if len(self.shape) == 2 else self.shape[0]

    @property
    def frame(self) -> tuple[int, ...]:
        return self.shape[-2:]

    @property
    def part(self) -> FrameRange:
        return FrameRange(self.path, 0, self.frames, len(self.shape) == 2)


def source(path: str, entry: MemberSummary | None) -> FrameStack | None:
    """The entry as an image or stack; None where it is something else."""
    if entry is None or entry.shape is None or entry.dtype is None:
        return None
    if entry.dtype.kind not in "iufb":
        return None
    if len(entry.shape) not in ((3, 4) if entry.colour else (2, 3)):
        return None
    return FrameStack(path, entry.shape, entry.colour)


def listing(path: str) -> Queries[Mapping[str, MemberSummary]]:
    answer: Mapping[str, MemberSummary] | None = yield ListMembers(path)
    return answer or {}


def describe(path: str, entry: MemberSummary | None = None) -> Queries[FrameStack | None]:
    """The image or stack at this path; no query where the entry has its shape already."""
    if entry is None or entry.shape is None:
        entry = yield DescribeArray(path)
    return source(path, entry)


def read(path: str) -> Queries[npt.NDArray[Any] | None]:
    answer: npt.NDArray[Any] | None = yield ReadValues(path)
    return answer


def read_text(path: str) -> Queries[str]:
    """A string dataset, or ""."""
    answer = yield from read(path)
    return "" if answer is None or answer.size != 1 else str(answer.reshape(-1)[0])


def join_path(path: str, *names: str) -> str:
    return "/".join(part for part in (path, *names) if part)


def number(name: str) -> float | None:
    """The name, if it is a number."""
    plain = re.fullmatch(rf"[+-]?{DIGITS}(\.{DIGITS})?", name, re.ASCII)
    return float(name) if plain else None


@dataclass(slots=True)
class ReducedFrames:
    """Reduced images by the index of their first frame; `notes` are for the log."""

    darks: dict[int, FrameStack] = field(default_factory=dict)
    flats: dict[int, FrameStack] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def keep_like(self, frame: tuple[int, ...]) -> None:
        """Leave out what has images of another shape than the frames of the scan."""
        for role, found in (("darks", self.darks), ("flats", self.flats)):
            other = next((one for one in found.values() if one.shape != frame), None)
            if other is not None:
                found.clear()
                self.notes.append(
                    f"{other.path} is {other.shape}, frames of the scan are {frame}: "
                    f"reduced {role} are left out"
                )


@dataclass(slots=True)
class RoleAssignment:
    """Which arrays have which role, before it is known whether their shapes agree."""

    convention: str
    options: CorrectionOptions
    dark: Sequence[FrameStack] = ()
    dark_divisor: int = 1
    flats: list[tuple[float, FrameStack]] = field(default_factory=list)
    dark_note: str = ""
    flat_note: str = ""

    def take_reduced(self, reduced: ReducedFrames) -> None:
        """What another program has reduced serves instead of what was assigned before."""
        if reduced.darks:
            self.dark, self.dark_divisor = [*reduced.darks.values()][:1], 1
            self.dark_note = REDUCED_BEFORE
        if reduced.flats:
            self.flats = [(float(at), one) for at, one in reduced.flats.items()]
            self.flat_note = REDUCED_BEFORE

    def correction(self) -> Correction:
        """The dark is the mean of all darks; a flat is the median of those at one abscissa.

        Without darks the dark is 0 if the mount has the option `dark=none`.  ConventionError where
        a role is missing, or shapes do not agree.
        """
        dark = [dark for dark in self.dark if dark.frames]
        runs: dict[float, list[FrameStack]] = {}
        for abscissa, flat in self.flats:
            if flat.frames:
                runs.setdefault(abscissa, []).append(flat)
        if not dark and not self.options.no_dark:
            raise ConventionError(
                f"{self.convention}: no dark image (`-o dark=none` corrects without one)"
            )
        if not runs:
            raise ConventionError(f"{self.convention}: no flat image")
        check_same_frame_shape([*dark, *(flat for run in runs.values() for flat in run)])
        if self.options.norm_current:
            raise ConventionError(f"norm=current: no machine current is known ({self.convention})")
        return Correction(
            ReducedFrame(
                tuple(one.part for one in dark), "mean", self.dark_divisor, note=self.dark_note
            )
            if dark
            else NO_DARK,
            tuple(
                Flat(
                    abscissa,
                    ReducedFrame(tuple(flat.part for flat in run), "median", note=self.flat_note),
                )
                for abscissa, run in sorted(runs.items())
            ),
            self.options.method,
            self.options.nan,
        )

    @property
    def reference(self) -> FrameStack:
        """An image whose shape all others must have, once there is a correction."""
        return next(one for one in (*self.dark, *(flat for _, flat in self.flats)) if one.frames)


def check_same_frame_shape(sources: Iterable[FrameStack]) -> None:
    """ConventionError unless all frames have one shape, and one sample for each pixel."""
    one, *others = sources
    for each in (one, *others):
        if each.colour:
            raise ConventionError(colour(each))
    for other in others:
        if other.frame != one.frame:
            raise ConventionError(
                f"shapes do not agree: {one.path} has frames {one.frame}, "
                f"{other.path} has {other.frame}"
            )


def colour(one: FrameStack) -> str:
    """Why a colour image is not corrected."""
    return (
        f"{one.path} is a colour image, {one.shape}: only images with one sample for each pixel "
        "are corrected"
    )
