"""Darks and flats that another program has reduced: `wood_darks.hdf5`, `wood_flats.hdf5`.

tomoscan and nabu write these files beside the scan `wood.nx` (`wood.h5`, …): the groups
`<entry>/darks` and `<entry>/flats` hold an image for each run, whose name is the index of the first
frame of the run.  The layout is that of `REDUCED_DARKS_DATAURLS` and `REDUCED_FLATS_DATAURLS` of
tomoscan's `NXtomoScan` and `EDFTomoScan` (there the entry is `entry`).  What they hold is taken
rather than reduced again: somebody has looked at it, or made it of frames that are not in the scan.
"""

from collections.abc import Mapping
from typing import Literal

from esrffs.flatfield.conventions.assignment import (
    FrameStack,
    ReducedFrames,
    describe,
    join_path,
    listing,
)
from esrffs.flatfield.conventions.name_words import DIGITS_ONLY, listed
from esrffs.flatfield.conventions.queries import MemberSummary, OwnName, Queries, beside

Role = Literal["darks", "flats"]
ROLES: tuple[Role, Role] = ("darks", "flats")
EDF_ENTRY = "entry"
SUFFIXES = tuple(f"_{role}.hdf5" for role in ROLES)

Members = Mapping[str, MemberSummary]


def reduced_beside(entry: str) -> Queries[ReducedFrames]:
    """Those beside a data file, for the entry at this path."""
    found = ReducedFrames()
    name: str | None = yield OwnName()
    if name is None:
        return found
    prefix = name.rpartition(".")[0] or name
    for role in ROLES:
        group = beside(f"{prefix}_{role}.hdf5", join_path(entry, role))
        setattr(found, role, (yield from _images(group)))
    return found


def reduced_in_folder(members: Members) -> Queries[ReducedFrames]:
    """Those in a folder of images; of several files the one with the name of the folder."""
    found = ReducedFrames()
    if not any(name.endswith(SUFFIXES) for name in members):
        return found
    folder: str | None = yield OwnName()
    for role in ROLES:
        suffix = f"_{role}.hdf5"
        files = [one for one, e in members.items() if one.endswith(suffix) and e.kind == "data"]
        if len(files) > 1:
            named = [one for one in files if one == f"{folder}{suffix}"]
            if not named:
                found.notes.append(f"reduced {role} are left out: which of {listed(files)}?")
            files = named
        for file in files:
            setattr(found, role, (yield from _images(f"{file}::{EDF_ENTRY}/{role}")))
    return found


def _images(group: str) -> Queries[dict[int, FrameStack]]:
    """The images whose name is a number, by that number, in increasing order."""
    members = yield from listing(group)
    found = {}
    for name in sorted(filter(DIGITS_ONLY.fullmatch, members), key=int):
        one = yield from describe(f"{group}/{name}", members[name])
        if one is not None and len(one.shape) == 2:
            found[int(name)] = one
    return found
