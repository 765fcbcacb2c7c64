"""Roles told by the keys of an NXtomo entry."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from esrffs.roles_keys import DARK, FLAT, PROJECTION, fitted_keys, runs
from esrffs.roles_parts import agree, below, describe, listing, read, read_text
from esrffs.roles_words import (
    NO_DARK,
    Correction,
    Entry,
    Extra,
    Flat,
    Options,
    Output,
    Part,
    Recipe,
    Reduced,
    RefusalError,
    Steps,
    Stretch,
)

Members = Mapping[str, Entry]
Numbers = npt.NDArray[Any]


def nxtomo(path: str, members: Members, options: Options) -> Steps[Recipe | None]:
    """An entry whose detector has `image_key_control` or `image_key` beside its `data`."""
    if "instrument" not in members:
        return None
    detector, key = yield from _keyed_detector(path, members)
    if not key:
        return None
    data = yield from describe(below(detector, "data"))
    values = yield from read(below(detector, key))
    if data is None or values is None:
        raise RefusalError(f"NXtomo: {detector} needs a stack `data` and a readable `{key}`")
    agree([data])
    keys, warnings = fitted_keys(values, f"NXtomo: {key}", data)
    for value, role in ((DARK, "dark"), (FLAT, "flat"), (PROJECTION, "projection")):
        if not (keys == value).any() and not (value == DARK and options.no_dark):
            raise RefusalError(f"NXtomo: no {role} (no {value} in {key})")
    currents = yield from _currents(path, data.frames, len(np.atleast_1d(values)), options)
    projections = np.flatnonzero(keys == PROJECTION).astype(np.int64)
    output = Output(
        "data",
        (len(projections), *data.frame),
        tuple(Stretch(Part(data.path, a, b), float(a)) for a, b in runs(keys == PROJECTION)),
        _correction(data.path, keys, currents, options),
        () if currents is None else tuple(map(float, currents[projections])),
    )
    extras = [Extra("frame_index", projections)]
    notes = []
    angles = yield from read(below(path, "sample", "rotation_angle"))
    if angles is not None and angles.shape in ((data.frames,), np.atleast_1d(values).shape):
        extras.insert(0, Extra("rotation_angle", angles[projections]))
    else:
        notes.append("no rotation_angle for each frame: no corrected/rotation_angle.npy")
    return Recipe("NXtomo", (output,), tuple(extras), tuple(notes), tuple(warnings))


def _keyed_detector(path: str, members: Members) -> Steps[tuple[str, str]]:
    """Path of the detector and name of its keys; ("", "") where there is none."""
    instrument = below(path, "instrument")
    found = yield from listing(instrument)
    names = ["detector"] if "detector" in found else []
    if "definition" in members and (yield from read_text(below(path, "definition"))) == "NXtomo":
        names += [name for name, entry in found.items() if entry.kind in ("group", "link")]
    for name in dict.fromkeys(names):
        inside = yield from listing(below(instrument, name))
        for key in ("image_key_control", "image_key"):
            if key in inside and "data" in inside:
                return below(instrument, name), key
    return "", ""


def _currents(path: str, frames: int, keys: int, options: Options) -> Steps[Numbers | None]:
    """The current of each frame; a scan that was stopped may have those of all its keys."""
    if not options.norm_current:
        return None
    where = below(path, "control", "data")
    currents = yield from read(where)
    if (
        currents is None
        or currents.shape not in ((frames,), (keys,))
        or currents.dtype.kind not in "iuf"
    ):
        raise RefusalError(f"norm=current: {where} does not hold one number for each frame")
    return currents[:frames].astype(np.float64)


def _correction(path: str, keys: Numbers, currents: Numbers | None, options: Options) -> Correction:
    """The first run of darks, and each run of flats at its first frame."""
    flats = tuple(
        Flat(
            float(a),
            Reduced((Part(path, a, b),), "median"),
            None if currents is None else float(np.median(currents[a:b])),
        )
        for a, b in runs(keys == FLAT)
    )
    darks = [Reduced((Part(path, a, b),), "mean") for a, b in runs(keys == DARK)]
    dark = darks[0] if darks else NO_DARK
    return Correction(dark, flats, options.method, options.nan)
