"""Roles told by the keys of an NXtomo entry."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from esrffs.flatfield.conventions.assignment import (
    FrameStack,
    check_same_frame_shape,
    describe,
    join_path,
    listing,
    read,
    read_text,
)
from esrffs.flatfield.conventions.image_keys import DARK, FLAT, PROJECTION, fitted_keys, runs
from esrffs.flatfield.conventions.queries import MemberSummary, Queries
from esrffs.flatfield.plan import (
    NO_DARK,
    AuxiliaryDataset,
    ConventionError,
    CorrectedDataset,
    Correction,
    CorrectionOptions,
    CorrectionPlan,
    Flat,
    FrameRange,
    RawRun,
    ReducedFrame,
)

SCAN = re.compile(r"\d{1,15}\.\d{1,15}", re.ASCII)  # of BLISS, whose scans hold many groups
_GROUPS = 8  # of an instrument that are looked into

Members = Mapping[str, MemberSummary]
Numbers = npt.NDArray[Any]


def nxtomo(
    path: str, members: Members, options: CorrectionOptions
) -> Queries[CorrectionPlan | None]:
    """An entry whose detector has `image_key_control` or `image_key` beside its `data`."""
    detector, key, inside = yield from _keyed_detector(path, members)
    if not key:
        return None
    data = yield from _stack(detector, inside)
    values = yield from read(join_path(detector, key))
    if data is None or values is None:
        raise ConventionError(f"NXtomo: {detector} needs a stack `data` and a readable `{key}`")
    check_same_frame_shape([data])
    keys, warnings = fitted_keys(values, f"NXtomo: {key}", data)
    for value, role in ((DARK, "dark"), (FLAT, "flat"), (PROJECTION, "projection")):
        if not (keys == value).any() and not (value == DARK and options.no_dark):
            raise ConventionError(f"NXtomo: no {role} (no {value} in {key})")
    currents = yield from _currents(path, data.frames, len(np.atleast_1d(values)), options)
    projections = np.flatnonzero(keys == PROJECTION).astype(np.int64)
    output = CorrectedDataset(
        "data",
        (len(projections), *data.frame),
        tuple(RawRun(FrameRange(data.path, a, b), float(a)) for a, b in runs(keys == PROJECTION)),
        _correction(data.path, keys, currents, options),
        () if currents is None else tuple(map(float, currents[projections])),
    )
    extras = [AuxiliaryDataset("frame_index", projections)]
    notes = []
    angles = yield from read(join_path(path, "sample", "rotation_angle"))
    if angles is None and "rotation_angle" in inside:
        angles = yield from read(join_path(detector, "rotation_angle"))
    if angles is not None and angles.shape in ((data.frames,), np.atleast_1d(values).shape):
        extras.insert(0, AuxiliaryDataset("rotation_angle", angles[projections]))
    else:
        notes.append("no rotation_angle for each frame: no corrected/rotation_angle.npy")
    return CorrectionPlan("NXtomo", (output,), tuple(extras), tuple(notes), tuple(warnings))


def _keyed_detector(path: str, members: Members) -> Queries[tuple[str, str, Members]]:
    """The group that holds keys, their name, and what else is in it; a name "" if there is none.

    `instrument/detector`, another detector, or the NXdata group `data`.  Where `definition` does
    not say that it is an NXtomo, a few groups are looked into, and none of a BLISS scan.
    """
    instrument = join_path(path, "instrument")
    found = (yield from listing(instrument)) if "instrument" in members else {}
    groups = [name for name, entry in found.items() if entry.kind in ("group", "link")]
    names = [join_path(instrument, "detector")] if "detector" in found else []
    told = (
        "definition" in members
        and (yield from read_text(join_path(path, "definition"))) == "NXtomo"
    )
    scan = SCAN.fullmatch(path.rpartition("/")[2])
    if told or (len(groups) <= _GROUPS and not scan):
        names += [join_path(instrument, name) for name in groups]
    if "data" in members and members["data"].kind in ("group", "link") and not scan:
        names.append(join_path(path, "data"))
    for name in dict.fromkeys(names):
        inside = yield from listing(name)
        for key in ("image_key_control", "image_key"):
            if key in inside:
                return name, key, inside
    return "", "", {}


def _stack(group: str, inside: Members) -> Queries[FrameStack | None]:
    """`data`, else the only stack beside the keys."""
    if "data" in inside:
        return (yield from describe(join_path(group, "data"), inside["data"]))
    stacks = []
    for name, entry in inside.items():
        if entry.kind == "dataset":
            one = yield from describe(join_path(group, name), entry)
            stacks += [one] if one is not None and len(one.shape) > 2 else []
    return stacks[0] if len(stacks) == 1 else None


def _currents(
    path: str, frames: int, keys: int, options: CorrectionOptions
) -> Queries[Numbers | None]:
    """The current of each frame; a scan that was stopped may have those of all its keys."""
    if not options.norm_current:
        return None
    where = join_path(path, "control", "data")
    currents = yield from read(where)
    if (
        currents is None
        or currents.shape not in ((frames,), (keys,))
        or currents.dtype.kind not in "iuf"
    ):
        raise ConventionError(f"norm=current: {where} does not hold one number for each frame")
    return currents[:frames].astype(np.float64)


def _correction(
    path: str, keys: Numbers, currents: Numbers | None, options: CorrectionOptions
) -> Correction:
    """The first run of darks, and each run of flats at its first frame."""
    flats = tuple(
        Flat(
            float(a),
            ReducedFrame((FrameRange(path, a, b),), "median"),
            None if currents is None else float(np.median(currents[a:b])),
        )
        for a, b in runs(keys == FLAT)
    )
    darks = [ReducedFrame((FrameRange(path, a, b),), "mean") for a, b in runs(keys == DARK)]
    dark = darks[0] if darks else NO_DARK
    return Correction(dark, flats, options.method, options.nan)
