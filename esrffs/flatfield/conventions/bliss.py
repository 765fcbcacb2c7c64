"""Roles told by the types or titles of BLISS scans (`2.1`, `3.1`, …) of one file."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from esrffs.flatfield.conventions.assignment import (
    FrameStack,
    RoleAssignment,
    check_same_frame_shape,
    describe,
    join_path,
    listing,
    read,
    read_text,
)
from esrffs.flatfield.conventions.image_keys import ALIGNMENT, DARK, FLAT, PROJECTION
from esrffs.flatfield.conventions.queries import MemberSummary, Queries
from esrffs.flatfield.plan import (
    ConventionError,
    CorrectedDataset,
    CorrectionOptions,
    CorrectionPlan,
    RawRun,
)

SCAN = re.compile(r"(\d{1,15})\.(\d{1,15})", re.ASCII)
START_TITLES = (
    "tomo:",
    "sequence_of_scans",
    "holotomo_distance",
    "pcotomo",
    "multitomo",
    "multiturn",
    "backandforth",
    "back_and_forth",
)
PROMISED = re.compile(r"projections\s+(\d{1,9})\s*-\s*(\d{1,9})\b", re.ASCII)
TITLES = {
    DARK: ("dark",),
    FLAT: ("flat", "ref"),
    PROJECTION: ("projections",),
    ALIGNMENT: ("static images",),
}

Members = Mapping[str, MemberSummary]
ScanType = int | Literal["start"] | None


class ScanFrames(NamedTuple):
    """What one scan adds to the acquisition: `first` counts frames over all of its scans."""

    scan: str
    type: int
    source: FrameStack
    first: int


def bliss(
    path: str, members: Members, options: CorrectionOptions
) -> Queries[CorrectionPlan | None]:
    """A scan of projections; its darks and flats are other scans of the same acquisition."""
    parent, _, name = path.rpartition("/")
    if not SCAN.fullmatch(name) or "instrument" not in members:
        return None
    kind = yield from _type(path, members)
    if kind in (FLAT, DARK):
        yield from _check_use(parent, name)
    if kind != PROJECTION:
        return None
    detectors = yield from _detectors(path)
    if not detectors:
        return None
    scans = yield from _acquisition(parent, name)
    outputs: list[CorrectedDataset] = []
    failed: dict[str, str] = {}
    for detector in detectors:
        blocks = yield from _blocks(parent, scans, detector)
        name = "data" if len(detectors) == 1 else detector
        try:
            outputs.append(_corrected_scan(path, name, blocks, options))
        except ConventionError as refusal:
            failed[detector] = str(refusal)
    if not outputs:
        raise ConventionError(next(iter(failed.values())))
    notes = tuple(f"{detector} is left out: {reason}" for detector, reason in failed.items())
    warnings = yield from _unfinished(path, members, next(iter(detectors.values())))
    return CorrectionPlan("BLISS scans", tuple(outputs), (), notes, warnings)


def _check_use(parent: str, name: str) -> Queries[None]:
    """RefusalError where the acquisition of a scan of darks or flats has no projections."""
    if (yield from _detectors(join_path(parent, name))):
        scans = yield from _acquisition(parent, name)
        if all(kind != PROJECTION for _, kind in scans):
            raise ConventionError(
                "BLISS scans: darks or flats were found, but nothing to correct: no scan of "
                "projections in this acquisition"
            )


def _unfinished(path: str, members: Members, data: FrameStack) -> Queries[tuple[str, ...]]:
    """A warning where the title promises more projections than there are."""
    title = (yield from read_text(join_path(path, "title"))) if "title" in members else ""
    promised = PROMISED.match(title)
    count = int(promised[2]) - int(promised[1]) if promised else 0
    if data.frames >= count:
        return ()
    return (f"{title!r} has {data.frames} frames: if it was stopped, those that exist are there",)


def _type(path: str, members: Members) -> Queries[ScanType]:
    """By `technique/image_key`, else `technique/scan_category` (a start), else by title."""
    if "technique" in members:
        technique = yield from listing(join_path(path, "technique"))
        if "image_key" in technique:
            key = yield from read(join_path(path, "technique", "image_key"))
            if key is not None and key.size == 1 and key.dtype.kind in "iu":
                return int(key.reshape(-1)[0])
        if "scan_category" in technique:
            return "start"
    if "title" not in members:
        return None
    title = yield from read_text(join_path(path, "title"))
    if title.startswith(START_TITLES):
        return "start"
    return next((kind for kind, starts in TITLES.items() if title.startswith(starts)), None)


def _detectors(path: str) -> Queries[dict[str, FrameStack]]:
    """The stacks `instrument/<detector>/data` of a scan; where there is none, single images.

    Beside a stack, (points, channels) is a spectrum for each point rather than an image.
    """
    instrument = join_path(path, "instrument")
    members = yield from listing(instrument)
    found = {}
    for name, entry in members.items():
        if entry.kind == "group":
            inside = yield from listing(join_path(instrument, name))
            where = join_path(instrument, name, "data")
            if "data" in inside and inside["data"].kind != "group":
                data = yield from describe(where, inside["data"])
                if data is not None:
                    found[name] = data
    stacks = {name: data for name, data in found.items() if len(data.shape) > 2}
    return stacks or found


def _acquisition(parent: str, name: str) -> Queries[list[tuple[str, int]]]:
    """Names and types of the scans between the start before this one and the start after it."""
    members = yield from listing(parent)
    names = sorted(
        (one for one in members if SCAN.fullmatch(one)), key=lambda one: [*map(int, one.split("."))]
    )
    at = names.index(name)
    before = yield from _until_start(parent, names[at - 1 :: -1] if at else [])
    after = yield from _until_start(parent, names[at + 1 :])
    kind = yield from _type(join_path(parent, name), (yield from listing(join_path(parent, name))))
    own = kind if isinstance(kind, int) else PROJECTION
    return [*reversed(before), (name, own), *after]


def _until_start(parent: str, names: Sequence[str]) -> Queries[list[tuple[str, int]]]:
    found = []
    for name in names:
        path = join_path(parent, name)
        kind = yield from _type(path, (yield from listing(path)))
        if kind == "start":
            break
        if kind is not None:
            found.append((name, int(kind)))
    return found


def _blocks(parent: str, scans: list[tuple[str, int]], detector: str) -> Queries[list[ScanFrames]]:
    blocks, first = [], 0
    for name, kind in scans:
        path = join_path(parent, name)
        data = yield from describe(join_path(path, "instrument", detector, "data"))
        if data is not None:
            blocks.append(ScanFrames(path, kind, data, first))
            first += data.frames
    return blocks


def _corrected_scan(
    path: str, name: str, blocks: list[ScanFrames], options: CorrectionOptions
) -> CorrectedDataset:
    """As if the blocks were the frames of one NXtomo: neighbouring scans of flats are one run."""
    assignment = RoleAssignment("BLISS scans", options)
    previous, start = None, 0.0
    for block in blocks:
        if block.type != previous:
            start = float(block.first)
            darks_done = bool(assignment.dark)
        if block.type == FLAT:
            assignment.flats.append((start, block.source))
        elif block.type == DARK and not darks_done:
            assignment.dark = [*assignment.dark, block.source]
        previous = block.type
    correction = assignment.correction()
    raw = next(block for block in blocks if block.scan == path)
    check_same_frame_shape([assignment.reference, raw.source])
    stretch = RawRun(raw.source.part, float(raw.first))
    return CorrectedDataset(name, raw.source.shape, (stretch,), correction)
