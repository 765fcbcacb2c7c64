"""Roles from the types or titles of the BLISS scans (`2.1`, `3.1`, …) of one file.

Types and titles are those that nxtomomill 2.1 knows (`settings.py` and its scan type finder).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
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
from esrffs.flatfield.conventions.name_words import BLISS_SCAN
from esrffs.flatfield.conventions.queries import MemberSummary, Queries
from esrffs.flatfield.conventions.shared_references import (
    Run,
    borrowed,
    nearest_dark,
    nearest_flats,
)
from esrffs.flatfield.plan import (
    ConventionError,
    CorrectedDataset,
    CorrectionOptions,
    CorrectionPlan,
    RawRun,
)

_SCANS = 200  # before and after an acquisition, that are looked into for darks and flats
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
    """A scan of projections; its darks and flats are other scans, of its acquisition if it can be.

    ConventionError where a scan of projections has no images, or no darks or flats are found.
    """
    parent, _, name = path.rpartition("/")
    if not BLISS_SCAN.fullmatch(name) or "instrument" not in members:
        return None
    kind = yield from _type(path, members)
    if kind in (FLAT, DARK):
        yield from _check_use(parent, name)
    if kind != PROJECTION:
        return None
    detectors = yield from _detectors(path)
    if not detectors:
        raise ConventionError(
            f"BLISS scans: {path} is a scan of projections, but no instrument/<detector>/data "
            "holds images that can be read"
        )
    acquisition = yield from _acquisition(parent, name)
    outputs: list[CorrectedDataset] = []
    failed: dict[str, str] = {}
    notes: list[str] = []
    for detector in detectors:
        scans = yield from _frames_of_scans(parent, acquisition, detector)
        name = "data" if len(detectors) == 1 else detector
        try:
            output = yield from _corrected_scan(path, name, scans, detector, options, notes)
            outputs.append(output)
        except ConventionError as refusal:
            failed[detector] = str(refusal)
    if not outputs:
        raise ConventionError(next(iter(failed.values())))
    notes += [f"{detector} is left out: {reason}" for detector, reason in failed.items()]
    warnings = yield from _unfinished(path, members, next(iter(detectors.values())))
    return CorrectionPlan("BLISS scans", tuple(outputs), (), tuple(notes), warnings)


def _check_use(parent: str, name: str) -> Queries[None]:
    """ConventionError where no scan of projections could use a scan of darks or flats."""
    if (yield from _detectors(join_path(parent, name))):
        scans = yield from _acquisition(parent, name)
        if all(kind != PROJECTION for _, kind in scans) and not (
            yield from _has_projections(parent)
        ):
            raise ConventionError(
                "BLISS scans: darks or flats were found, but nothing to correct: no scan of "
                "projections in this acquisition, nor in another one of the file"
            )


def _has_projections(parent: str) -> Queries[bool]:
    """Is a scan of the file, which may borrow darks and flats, one of projections?"""
    names = yield from _scan_names(parent)
    for name in names[-_SCANS:]:
        path = join_path(parent, name)
        if (yield from _type(path, (yield from listing(path)))) == PROJECTION:
            return True
    return False


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


def _scan_names(parent: str) -> Queries[list[str]]:
    """The scans of a file in the order of their numbers."""
    members = yield from listing(parent)
    names = (name for name in members if BLISS_SCAN.fullmatch(name))
    return sorted(names, key=lambda name: [*map(int, name.split("."))])


def _acquisition(parent: str, name: str) -> Queries[list[tuple[str, int]]]:
    """Names and types of the scans between the start before this one and the start after it."""
    names = yield from _scan_names(parent)
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


def _frames_of_scans(
    parent: str,
    scans: list[tuple[str, int]],
    detector: str,
    frame: tuple[int, ...] | None = None,
) -> Queries[list[ScanFrames]]:
    """What each scan adds to the frames; with `frame` only scans whose frames have this shape."""
    found, first = [], 0
    for name, kind in scans:
        path = join_path(parent, name)
        data = yield from describe(join_path(path, "instrument", detector, "data"))
        if data is not None and frame in (None, data.frame):
            found.append(ScanFrames(path, kind, data, first))
            first += data.frames
    return found


def _corrected_scan(
    path: str,
    name: str,
    scans: list[ScanFrames],
    detector: str,
    options: CorrectionOptions,
    notes: list[str],
) -> Queries[CorrectedDataset]:
    """As if the scans were the frames of one NXtomo: neighbouring scans of flats are one run."""
    assignment = RoleAssignment("BLISS scans", options)
    raw = next(scan for scan in scans if scan.scan == path)
    darks, flats = (_runs(scans, kind) for kind in (DARK, FLAT))
    if not darks or not flats:
        notes += yield from _borrow(path, scans, detector, darks, flats)
    assignment.dark = darks[0].sources if darks else ()
    assignment.flats = [(run.first, source) for run in flats for source in run.sources]
    correction = assignment.correction()
    check_same_frame_shape([assignment.reference, raw.source])
    run = RawRun(raw.source.part, float(raw.first))
    return CorrectedDataset(name, raw.source.shape, (run,), correction)


def _runs(scans: Iterable[ScanFrames], kind: int) -> list[Run]:
    """Scans of this type that follow each other are one run."""
    found: list[Run] = []
    previous: ScanFrames | None = None
    for scan in scans:
        first, last = float(scan.first), float(scan.first + scan.source.frames)
        if scan.type == kind and previous is not None and previous.type == kind:
            run = found[-1]
            found[-1] = run._replace(last=last, sources=(*run.sources, scan.source))
        elif scan.type == kind:
            found.append(Run(first, last, (scan.source,), scan.scan))
        previous = scan
    return found


def _borrow(
    path: str, own: list[ScanFrames], detector: str, darks: list[Run], flats: list[Run]
) -> Queries[list[str]]:
    """Put into empty lists the nearest runs of other acquisitions of the file; notes for the log.

    Their frames are counted on from those of this acquisition, in the order of the scans.
    """
    parent = path.rpartition("/")[0]
    names = yield from _scan_names(parent)
    frame = next(scan.source.frame for scan in own if scan.scan == path)
    numbers = sorted(names.index(scan.scan.rpartition("/")[2]) for scan in own)
    start, stop = 0.0, float(own[-1].first + own[-1].source.frames)
    before = names[max(0, numbers[0] - _SCANS) : numbers[0]]
    after = names[numbers[-1] + 1 : numbers[-1] + 1 + _SCANS]
    earlier = yield from _others(parent, before, detector, frame)
    later = yield from _others(parent, after, detector, frame)
    length = sum(scan.source.frames for scan in earlier)
    earlier = [scan._replace(first=scan.first - length) for scan in earlier]
    later = [scan._replace(first=scan.first + int(stop)) for scan in later]
    notes = []
    if not darks:
        nearest = nearest_dark([*_runs(earlier, DARK), *_runs(later, DARK)], start, stop)
        darks += [nearest] if nearest is not None else []
        notes += [borrowed("dark", darks)] if darks else []
    if not flats:
        runs = [*_runs(earlier, FLAT), *_runs(later, FLAT)]
        flats += nearest_flats(runs, start, stop)
        notes += [borrowed("flat", flats)] if flats else []
    return notes


def _others(
    parent: str, names: Sequence[str], detector: str, frame: tuple[int, ...]
) -> Queries[list[ScanFrames]]:
    """The scans of these names that have a type, and frames of this shape."""
    typed = []
    for name in names:
        path = join_path(parent, name)
        kind = yield from _type(path, (yield from listing(path)))
        if isinstance(kind, int):
            typed.append((name, kind))
    return (yield from _frames_of_scans(parent, typed, detector, frame))
