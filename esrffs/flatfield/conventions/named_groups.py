"""Roles from the names of groups and datasets in a data file.

Three conventions: the training's `data`/`flatfield`/`dark`, sibling groups `flat_000`,
`flat_500`, and APS Data Exchange.
"""

import re
from collections.abc import Mapping

from esrffs.flatfield.conventions.assignment import (
    FrameStack,
    RoleAssignment,
    check_same_frame_shape,
    describe,
    join_path,
    listing,
    number,
)
from esrffs.flatfield.conventions.name_words import frame_numbers, is_flat
from esrffs.flatfield.conventions.queries import MemberSummary, Queries
from esrffs.flatfield.plan import (
    ConventionError,
    CorrectedDataset,
    CorrectionOptions,
    CorrectionPlan,
    RawRun,
)

RAW = ("data", "raw", "projections")
FLAT = ("flatfield", "flat", "flats")
DARK = ("dark", "darks", "background")
WHITE, BLACK = "data_white", "data_dark"  # of Data Exchange
WANTED = frozenset((*FLAT, *DARK, WHITE, BLACK))  # one of them by each of these conventions
DIGIT = re.compile(r"\d", re.ASCII)

Members = Mapping[str, MemberSummary]


def _first(names: tuple[str, ...], members: Members) -> str | None:
    return next((name for name in names if name in members), None)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def images(path: str, entry: MemberSummary) -> Queries[list[FrameStack]]:
    """The images and stacks that a child stands for: itself, its `data`, or all that it holds."""
    if entry.kind != "group":
        one = yield from describe(path, entry)
        if one is not None:
            return [one]
        if entry.kind == "dataset":
            return []
    members = yield from listing(path)
    if "data" in members and members["data"].kind != "group":
        one = yield from describe(join_path(path, "data"), members["data"])
        if one is not None:
            return [one]
    found = []
    for name, member in members.items():
        if member.kind != "group":
            one = yield from describe(join_path(path, name), member)
            if one is not None:
                found.append(one)
    return found


def _abscissae(sources: list[FrameStack]) -> list[tuple[float, FrameStack]]:
    """Each image at the number that is its name, else at its position."""
    numbers = [number(_name(one.path)) for one in sources]
    return [
        (float(position) if value is None else value, one)
        for position, (value, one) in enumerate(zip(numbers, sources, strict=True))
    ]


def outputs(
    names: list[str], sources: list[FrameStack], assignment: RoleAssignment
) -> tuple[CorrectedDataset, ...]:
    """Each raw image at its number or position; the frames of a stack at their positions."""
    correction = assignment.correction()
    check_same_frame_shape([assignment.reference, *sources])
    return tuple(
        CorrectedDataset(
            name,
            one.shape,
            (RawRun(one.part, abscissa if len(one.shape) == 2 else 0.0),),
            correction,
        )
        for name, (abscissa, one) in zip(names, _abscissae(sources), strict=True)
    )


def raw_flat_dark_groups(
    path: str, members: Members, options: CorrectionOptions
) -> Queries[CorrectionPlan | None]:
    """Children `data`, `flatfield`, `dark` (and their other names)."""
    raw, flat, dark = _first(RAW, members), _first(FLAT, members), _first(DARK, members)
    if raw is None or (flat is None and dark is None):
        return None
    assignment = RoleAssignment("group with data, flat and dark", options)
    raws = yield from images(join_path(path, raw), members[raw])
    if not raws and (flat is None or dark is None):
        return None
    if not raws:
        raise ConventionError(f"{assignment.convention}: no image in {join_path(path, raw)}")
    if dark is not None:
        assignment.dark = yield from images(join_path(path, dark), members[dark])
    if flat is not None:
        flats = yield from images(join_path(path, flat), members[flat])
        assignment.flats = _abscissae(flats)
    return CorrectionPlan(
        assignment.convention, outputs([_name(one.path) for one in raws], raws, assignment)
    )


def unused(
    path: str, members: Members, _options: CorrectionOptions
) -> Queries[CorrectionPlan | None]:
    """Comes last: ConventionError where there are darks or flats, but nothing to correct."""
    found: dict[str, list[FrameStack]] = {}
    for name in (name for name in members if name in WANTED):
        found[name] = yield from images(join_path(path, name), members[name])
    found = {name: sources for name, sources in found.items() if sources}
    if found:
        raise ConventionError(
            f"{' and '.join(found)} were found, but nothing to correct: no images in "
            f"{', '.join(RAW)}, nor in a group beside them"
        )
    return None


def numbered_flat_groups(
    path: str, members: Members, options: CorrectionOptions
) -> Queries[CorrectionPlan | None]:
    """Sibling groups `dark`, `flat_000`, `flat_500`, and one that holds a stack, or one image."""
    flats = [name for name in members if is_flat(name) and DIGIT.search(name)]
    dark = _first(DARK, members)
    if not flats or (dark is None and not options.no_dark):
        return None
    assignment = RoleAssignment("sibling groups dark and flat_<number>", options)
    if dark is not None:
        assignment.dark = yield from images(join_path(path, dark), members[dark])
    for name, at in zip(flats, frame_numbers(flats), strict=True):
        found = yield from images(join_path(path, name), members[name])
        assignment.flats += [(at or 0.0, flat) for flat in found]
    candidates = {}
    for name, member in members.items():
        if name not in (*flats, *DARK, "corrected"):
            candidates[name] = yield from images(join_path(path, name), member)
    chosen = {
        name: next((one for one in found if len(one.shape) > 2), None)
        for name, found in candidates.items()
    }
    if not any(chosen.values()):  # a single image is a run of one
        frame = next((one.frame for _, one in assignment.flats), None)
        chosen = {
            name: next((one for one in found if one.frame == frame), None)
            for name, found in candidates.items()
        }
    names = [name for name, one in chosen.items() if one is not None]
    stacks = [one for one in chosen.values() if one is not None]
    if not stacks:
        raise ConventionError(f"{assignment.convention}: no group beside them holds a stack")
    return CorrectionPlan(
        assignment.convention, outputs(names if len(stacks) > 1 else ["data"], stacks, assignment)
    )


def data_exchange(
    path: str, members: Members, options: CorrectionOptions
) -> Queries[CorrectionPlan | None]:
    """APS Data Exchange: `data`, `data_white`, `data_dark`."""
    if "data" not in members or not {WHITE, BLACK} & members.keys():
        return None
    assignment = RoleAssignment("APS Data Exchange", options)
    raw = yield from describe(join_path(path, "data"), members["data"])
    if raw is None:
        return None
    if BLACK in members:
        dark = yield from describe(join_path(path, BLACK), members[BLACK])
        assignment.dark = [dark] if dark else []
    if WHITE in members:
        white = yield from describe(join_path(path, WHITE), members[WHITE])
        assignment.flats = [(0.0, white)] if white else []
    return CorrectionPlan(assignment.convention, outputs(["data"], [raw], assignment))
