"""Roles from the names of image files in a folder: any folder, and the older folders of ID19.

The names of ID19 folders are those of tomoscan's `edfscan.py` and `edfframereducer.py`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from esrffs.flatfield.conventions.assignment import FrameStack, RoleAssignment, colour, describe
from esrffs.flatfield.conventions.info_file import darks, is_projection, read_info
from esrffs.flatfield.conventions.name_words import (
    abscissae,
    frame_positions,
    is_dark,
    is_flat,
    series_member,
    shared_numbers,
    stem,
)
from esrffs.flatfield.conventions.queries import MemberSummary, Queries
from esrffs.flatfield.conventions.reduced_frames import reduced_in_folder
from esrffs.flatfield.plan import (
    ConventionError,
    CorrectedDataset,
    CorrectionOptions,
    CorrectionPlan,
    FrameRange,
    RawRun,
)

Members = Mapping[str, MemberSummary]

REDUCED_FLAT = re.compile(r"refHST_?(\d{1,15})", re.ASCII)
RAW_FLAT = re.compile(r"ref(?!HST)(?![a-zA-Z]).*?\d{3,4}_(\d{3,4})", re.ASCII)


def _files(members: Members, chosen: Callable[[str], object]) -> list[str]:
    """Single image files whose stem is chosen, by name."""
    images = (name for name, entry in members.items() if entry.kind == "image")
    return sorted(name for name in images if chosen(stem(name)))


def _numbered(members: Members, pattern: re.Pattern[str]) -> dict[int, list[str]]:
    """Single image files whose stem fits, by the number that the pattern finds."""
    found: dict[int, list[str]] = {}
    for name in _files(members, pattern.fullmatch):
        if fits := pattern.fullmatch(stem(name)):
            found.setdefault(int(fits[1]), []).append(name)
    return found


def image_sources(names: Iterable[str], members: Members) -> Queries[list[FrameStack]]:
    """These files as images or stacks; ConventionError where one of them is neither."""
    found = []
    for name in names:
        one = yield from describe(name, members[name])
        if one is None:
            raise ConventionError(f"{name} holds no image that can be read")
        found.append(one)
    return found


def named_images(members: Members, options: CorrectionOptions) -> Queries[CorrectionPlan | None]:
    """`dark*.edf`, `flat*.edf` and `ref*.edf` by whole words, all other images and series raw."""
    flats = _files(members, is_flat)
    found = (yield from darks(members)) if _files(members, is_dark) else None
    reduced = yield from reduced_in_folder(members)
    if not flats and found is None and not reduced.darks and not reduced.flats:
        return None
    assignment = RoleAssignment("folder of images", options)
    others = [
        name
        for name, entry in members.items()
        if entry.kind in ("image", "series") and not is_dark(name) and not is_flat(name)
    ]
    if not others:
        words = ("darks", found or reduced.darks), ("flats", flats or reduced.flats)
        there = " and ".join(word for word, names in words if names)
        raise ConventionError(
            f"{assignment.convention}: {there} were found, but no image to correct"
        )
    notes: list[str] = []
    if found is not None:
        assignment.dark = yield from image_sources(found.names, members)
        assignment.dark_divisor = found.exposures
        notes += found.notes
    at = abscissae(flats)
    sources = yield from image_sources(flats, members)
    assignment.flats = list(zip(at, sources, strict=True))
    notes += [*shared_numbers("flat", flats, at), *reduced.notes]
    assignment.take_reduced(reduced)
    return (yield from plan_of_images(others, members, assignment, notes))


def id19(members: Members, options: CorrectionOptions) -> Queries[CorrectionPlan | None]:
    """`darkend0000.edf`/`dark.edf`, `ref0000_1500.edf`, `refHST1500.edf`, `<prefix>.info`.

    What is reduced already (`dark.edf`, `refHST…`) serves before what it was made from.
    """
    raw_flats = _numbered(members, RAW_FLAT)
    reduced_flats = _numbered(members, REDUCED_FLAT)
    if not raw_flats and not reduced_flats:
        return None
    assignment = RoleAssignment("ID19 folder", options)
    info = yield from read_info(members)
    found = yield from darks(members)
    assignment.dark = yield from image_sources(found.names, members)
    assignment.dark_divisor = found.exposures
    for at, names in (raw_flats | reduced_flats).items():
        sources = yield from image_sources(names, members)
        assignment.flats += [(float(at), one) for one in sources]
    reduced = yield from reduced_in_folder(members)
    assignment.take_reduced(reduced)
    others = [
        name
        for name, entry in members.items()
        if entry.kind in ("image", "series") and is_projection(stem(name), info.prefix)
    ]
    if not others:
        raise ConventionError(f"ID19 folder: no projection {info.prefix}NNNN")
    notes = [*found.notes, *reduced.notes]
    return (yield from plan_of_images(others, members, assignment, notes))


def plan_of_images(
    names: Iterable[str], members: Members, assignment: RoleAssignment, notes: Iterable[str] = ()
) -> Queries[CorrectionPlan]:
    """Each raw file, and each series as one stack; a file of another shape is left out.

    The files of a series have its shape: they are not opened one by one.
    """
    assignment.correction()  # ConventionError where something is missing
    raw = RawImages(members, assignment.reference, list(notes))
    yield from raw.look_at(sorted(names))
    return raw.plan(assignment)


@dataclass(slots=True)
class RawImages:
    """Series with their files, and single files, whose frames have the shape of `reference`."""

    members: Members
    reference: FrameStack
    notes: list[str]
    series: dict[str, tuple[FrameStack, list[str]]] = field(default_factory=dict)
    singles: dict[str, FrameStack] = field(default_factory=dict)
    _image_names: list[str] = field(default_factory=list)  # all of them, for their positions

    @property
    def files(self) -> list[str]:
        """Those of all series, in their order."""
        return [file for _, files in self.series.values() for file in files]

    def look_at(self, names: Iterable[str]) -> Queries[None]:
        names = list(names)
        self._image_names = [name for name in names if self.members[name].kind == "image"]
        for name in (name for name in names if self.members[name].kind == "series"):
            one = yield from describe(name, self.members[name])
            numbers = self.members[name].numbers[: one.frames if one else 0]
            if self._fits(one, name, len(numbers)):  # it ends at another shape
                files = [series_member(name, value) for value in numbers]
                self.series[name] = one, files
        done = set(self.files)
        for name in self._image_names:
            if name not in done:
                one = yield from describe(name, self.members[name])
                if self._fits(one, name, 0):
                    self.singles[name] = one

    def _fits(self, one: FrameStack | None, name: str, frames: int) -> TypeGuard[FrameStack]:
        wanted = self.reference
        if one is None:
            why = "it holds no image"
        elif one.colour:
            why = colour(one)
        elif one.frame == wanted.frame and frames in (0, one.frames):
            return True
        else:
            why = f"its shape is {one.shape}, frames of {wanted.path} are {wanted.frame}"
        self.notes.append(f"{name} is left out: {why}")
        return False

    def positions(self) -> dict[str, float]:
        """The abscissa of each file."""
        files = self.files
        return frame_positions([*files, *self.singles], sorted({*files, *self._image_names}))

    def ends(self) -> tuple[float, float]:
        """The abscissae of the first and the last frame."""
        positions = self.positions()
        at = [positions[name] for name in self.files]
        for name, one in self.singles.items():
            at += [positions[name]] if len(one.shape) == 2 else [0.0, one.frames - 1.0]
        return min(at, default=0.0), max(at, default=0.0)

    def plan(self, assignment: RoleAssignment) -> CorrectionPlan:
        """A result for each file, and one for each series."""
        correction, positions = assignment.correction(), self.positions()
        outputs: list[CorrectedDataset] = []
        for name, (one, files) in self.series.items():
            runs = [
                RawRun(FrameRange(file, 0, 1, is_image=True), positions[file]) for file in files
            ]
            outputs.append(CorrectedDataset(stem(name), one.shape, tuple(runs), correction))
            outputs += [
                CorrectedDataset(stem(run.part.path), one.frame, (run,), correction) for run in runs
            ]
        for name, one in self.singles.items():
            at = 0.0 if len(one.shape) == 3 else positions[name]
            outputs.append(
                CorrectedDataset(stem(name), one.shape, (RawRun(one.part, at),), correction)
            )
        if not outputs:
            raise ConventionError(
                f"{assignment.convention}: shapes do not agree: {'; '.join(self.notes)}"
            )
        images = [*self.files, *(name for name, one in self.singles.items() if len(one.shape) == 2)]
        told = shared_numbers("raw image", images, [positions[name] for name in images])
        return CorrectionPlan(assignment.convention, tuple(outputs), (), (*self.notes, *told))
