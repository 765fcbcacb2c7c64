"""Roles from the keys of an NXtomo entry, or of any group with keys beside a stack.

The definition: https://manual.nexusformat.org/classes/applications/NXtomo.html (`image_key`);
`image_key_control`, with -1 for alignment frames, is ESRF's addition (nxtomo).  Reductions and
abscissae are those of nabu (`preproc/flatfield.py`) and tomoscan (`framereducer`).
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from esrffs.flatfield.conventions.assignment import ReducedFrames, join_path, listing, read
from esrffs.flatfield.conventions.image_keys import DARK, FLAT, PROJECTION, runs
from esrffs.flatfield.conventions.keyed_stack import KeyedStack, stack_of_entry, stack_of_group
from esrffs.flatfield.conventions.queries import MemberSummary, Queries
from esrffs.flatfield.conventions.reduced_frames import reduced_beside
from esrffs.flatfield.conventions.shared_references import (
    Run,
    borrowed,
    nearest_dark,
    nearest_flats,
)
from esrffs.flatfield.plan import (
    NO_DARK,
    REDUCED_BEFORE,
    AuxiliaryDataset,
    ConventionError,
    CorrectedDataset,
    Correction,
    CorrectionOptions,
    CorrectionPlan,
    Flat,
    FrameRange,
    Projections,
    RawRun,
    ReducedFrame,
)

_ENTRIES = 200  # of one file that are looked into for darks and flats
_ABOVE = 3  # groups above the keys in which angles are looked for

Members = Mapping[str, MemberSummary]
Numbers = npt.NDArray[Any]


def nxtomo(
    path: str, members: Members, options: CorrectionOptions
) -> Queries[CorrectionPlan | None]:
    """An entry, or a group, with `image_key_control` or `image_key` for the frames of a stack."""
    stack = yield from stack_of_entry(path, members)
    if stack is None:
        stack = yield from stack_of_group(path, members)
    if stack is None:
        return None
    if not (stack.keys == PROJECTION).any():
        raise ConventionError(f"NXtomo: no projection (no {PROJECTION} in {stack.key})")
    references = _References(stack, options)
    correction = yield from references.correction()
    currents = yield from _currents(stack, options)
    projections = np.flatnonzero(stack.keys == PROJECTION).astype(np.int64)
    data = stack.data
    output = CorrectedDataset(
        "data",
        (len(projections), *data.frame),
        tuple(
            RawRun(FrameRange(data.path, a, b), float(a)) for a, b in runs(stack.keys == PROJECTION)
        ),
        correction,
        () if currents is None else tuple(map(float, currents[projections])),
    )
    extras = [AuxiliaryDataset("frame_index", projections)]
    notes = [*references.notes]
    angles = yield from _angles(stack)
    if angles is not None:
        extras.insert(0, AuxiliaryDataset("rotation_angle", angles[projections]))
    else:
        notes.append("no rotation_angle for each frame: no corrected/rotation_angle.npy")
    return CorrectionPlan(
        "NXtomo",
        (output,),
        tuple(extras),
        tuple(notes),
        stack.warnings,
        stack.entry,
        Projections(stack.key_count, projections),
    )


def _angles(stack: KeyedStack) -> Queries[Numbers | None]:
    """`sample/rotation_angle` of the entry, or `rotation_angle` beside the keys or above them."""
    places = [join_path(stack.entry, "sample", "rotation_angle")]
    if "rotation_angle" in stack.beside:
        places.append(join_path(stack.group, "rotation_angle"))
    steps = stack.group.split("/")
    for depth in range(len(steps) - 1, max(-1, len(steps) - 1 - _ABOVE), -1):
        above = "/".join(steps[:depth])
        places += [join_path(above, "sample", "rotation_angle"), join_path(above, "rotation_angle")]
    for place in dict.fromkeys(places):
        angles = yield from read(place)
        if angles is not None and angles.shape in ((stack.data.frames,), (stack.key_count,)):
            return angles
    return None


def _currents(stack: KeyedStack, options: CorrectionOptions) -> Queries[Numbers | None]:
    """The current of each frame; a scan that was stopped may have those of all its keys."""
    if not options.norm_current:
        return None
    where = join_path(stack.entry, "control", "data")
    currents = yield from read(where)
    if (
        currents is None
        or currents.shape not in ((stack.data.frames,), (stack.key_count,))
        or currents.dtype.kind not in "iuf"
    ):
        raise ConventionError(f"norm=current: {where} does not hold one number for each frame")
    return currents[: stack.data.frames].astype(np.float64)


class _References:
    """Darks and flats for one stack: reduced before, else its own, else those of other entries."""

    def __init__(self, stack: KeyedStack, options: CorrectionOptions) -> None:
        self._stack, self._options = stack, options
        self._others: list[tuple[float, KeyedStack]] | None = None  # with their first abscissa
        self.notes: list[str] = []

    def correction(self) -> Queries[Correction]:
        reduced = yield from reduced_beside(self._stack.entry)
        reduced.keep_like(self._stack.data.frame)
        self.notes += reduced.notes
        flats = yield from self._flats(reduced)
        dark = yield from self._dark(reduced)
        return Correction(dark, flats, self._options.method, self._options.nan)

    def _dark(self, reduced: ReducedFrames) -> Queries[ReducedFrame]:
        """The first run of darks of this stack, or the nearest one of another entry."""
        for one in reduced.darks.values():
            return ReducedFrame((one.part,), "mean", note=REDUCED_BEFORE)
        own = runs(self._stack.keys == DARK)
        if own:
            return ReducedFrame((FrameRange(self._stack.data.path, *own[0]),), "mean")
        found = yield from self._runs_of_others(DARK)
        nearest = nearest_dark(found, 0.0, float(self._stack.data.frames))
        if nearest is not None:
            self.notes.append(borrowed("dark", [nearest]))
            return ReducedFrame(nearest.parts, "mean")
        if not self._options.no_dark:
            raise self._missing("dark", DARK)
        return NO_DARK

    def _flats(self, reduced: ReducedFrames) -> Queries[tuple[Flat, ...]]:
        """Each run of flats at its first frame."""
        own = yield from self._runs(self._stack, 0.0, FLAT)
        if reduced.flats:
            currents = {run.first: run.current for run in own}
            return tuple(
                Flat(
                    float(at),
                    ReducedFrame((one.part,), "median", note=REDUCED_BEFORE),
                    self._known_current(float(at), currents),
                )
                for at, one in reduced.flats.items()
            )
        found = own
        if not own:
            others = yield from self._runs_of_others(FLAT)
            found = nearest_flats(others, 0.0, float(self._stack.data.frames))
            self.notes += [borrowed("flat", found)] if found else []
        if not found:
            raise self._missing("flat", FLAT)
        return tuple(
            Flat(run.first, ReducedFrame(run.parts, "median"), run.current) for run in found
        )

    def _known_current(self, at: float, currents: Mapping[float, float | None]) -> float | None:
        if self._options.norm_current and currents.get(at) is None:
            raise ConventionError(
                f"norm=current: no current is known for the reduced flat {at:g}: "
                "no run of flats begins there"
            )
        return currents.get(at)

    def _missing(self, role: str, key: int) -> ConventionError:
        return ConventionError(
            f"NXtomo: no {role} (no {key} in {self._stack.key}, nor in another entry of the file)"
        )

    def _runs(self, stack: KeyedStack, start: float, key: int) -> Queries[list[Run]]:
        """The runs of this key in a stack whose first frame is at `start`."""
        currents = (yield from _currents(stack, self._options)) if key == FLAT else None
        return [
            Run(
                start + a,
                start + b,
                (stack.data,),
                stack.entry or "/",
                (a, b),
                None if currents is None else float(np.median(currents[a:b])),
            )
            for a, b in runs(stack.keys == key)
        ]

    def _runs_of_others(self, key: int) -> Queries[list[Run]]:
        if self._others is None:
            self._others = yield from self._other_entries()
        found = []
        for start, stack in self._others:
            found += yield from self._runs(stack, start, key)
        return found

    def _other_entries(self) -> Queries[list[tuple[float, KeyedStack]]]:
        """Stacks of the entries beside this one, their frames counted in the order of names."""
        parent, _, own = self._stack.entry.rpartition("/")
        if not own:
            return []
        members = yield from listing(parent)
        groups = [name for name, entry in members.items() if entry.kind == "group"]
        names = sorted(groups, key=_in_counting_order)
        at = names.index(own) if own in names else 0
        names = names[max(0, at - _ENTRIES // 2) : at + _ENTRIES // 2]
        start, stacks = 0.0, []
        for name in names:
            stack = self._stack if name == own else (yield from self._other(parent, name))
            if stack is not None:
                stacks.append((start, stack))
                start += stack.data.frames
        origin = next((start for start, stack in stacks if stack is self._stack), 0.0)
        return [(start - origin, stack) for start, stack in stacks if stack is not self._stack]

    def _other(self, parent: str, name: str) -> Queries[KeyedStack | None]:
        path = join_path(parent, name)
        try:
            stack = yield from stack_of_entry(path, (yield from listing(path)))
        except ConventionError:
            return None
        same = stack is not None and stack.data.frame == self._stack.data.frame
        return stack if same else None


def _in_counting_order(name: str) -> list[tuple[int, str]]:
    """`entry2` before `entry10`."""
    parts = re.findall(r"\d+|\D+", name, re.ASCII)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
