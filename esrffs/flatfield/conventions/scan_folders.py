"""Roles from the folders of a scan: `Tomo/ Flat_Before/ Flat_After/ Dark_Before/`.

The names are those that mantidimaging, Octopus and SkyScan users give.  Does not: look into more
folders than the names make likely.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from esrffs.flatfield.conventions.assignment import FrameStack, RoleAssignment, join_path, listing
from esrffs.flatfield.conventions.image_folder import RawImages, image_sources
from esrffs.flatfield.conventions.name_words import frame_numbers, is_dark, is_flat, listed
from esrffs.flatfield.conventions.queries import MemberSummary, Queries
from esrffs.flatfield.plan import ConventionError, CorrectionOptions, CorrectionPlan

_PROJECTIONS = re.compile(r"(proj|tomo|raw|sample)", re.IGNORECASE)
_BEFORE = re.compile(r"(?<![a-z])(before|pre|begin|start|first)(?![a-z])", re.IGNORECASE)
_AFTER = re.compile(r"(?<![a-z])(after|post|end|last)(?![a-z])", re.IGNORECASE)
_OTHERS = 16  # folders that are looked into because they might hold the projections

Members = Mapping[str, MemberSummary]


@dataclass(slots=True)
class ScanFolders:
    """Which child folders hold what, and the images in all of them, by path."""

    flats: list[str]
    darks: list[str]
    raw: list[str]
    images: dict[str, MemberSummary]

    def of(self, folders: list[str], *kinds: str) -> list[str]:
        """The paths of the images, and series, in these folders."""
        return [
            path
            for path, entry in self.images.items()
            if path.rpartition("/")[0] in folders and entry.kind in kinds
        ]


def scan_folders(members: Members, options: CorrectionOptions) -> Queries[CorrectionPlan | None]:
    """Child folders `flat*` and `dark*` by whole words, and one with the projections.

    Where no folder has projections, the images beside the folders are projections.
    """
    found = yield from _assigned(members)
    if found is None:
        return None
    assignment = RoleAssignment("folders of a scan", options)
    there = listed([*found.flats, *found.darks])
    if not found.of(found.raw, "image", "series"):
        raise ConventionError(
            f"{assignment.convention}: {there} were found, but no folder of projections"
        )
    darks = sorted(found.of(found.darks, "image"))
    assignment.dark = yield from image_sources(darks, found.images)
    flats: dict[str, list[FrameStack]] = {}
    for folder in found.flats:
        flats[folder] = yield from image_sources(sorted(found.of([folder], "image")), found.images)
    assignment.flats = [(0.0, one) for sources in flats.values() for one in sources]
    assignment.correction()  # ConventionError where something is missing
    raw = RawImages(found.images, assignment.reference, [])
    yield from raw.look_at(sorted(found.of(found.raw, "image", "series")))
    at = _flat_abscissae(list(flats), *raw.ends())
    assignment.flats = [(at[folder], one) for folder, sources in flats.items() for one in sources]
    return raw.plan(assignment)


def _assigned(members: Members) -> Queries[ScanFolders | None]:
    """Which folder is which; None where no flats and darks are in any."""
    folders = sorted(name for name, entry in members.items() if entry.kind == "folder")
    flats, darks = list(filter(is_flat, folders)), list(filter(is_dark, folders))
    images: dict[str, MemberSummary] = {}
    for name in (*flats, *darks):
        images |= yield from _images(name)
    if not images:
        return None
    others = [name for name in folders if name not in (*flats, *darks)]
    likely = [name for name in others if _PROJECTIONS.match(name)]
    if not likely and len(others) > _OTHERS:
        raise ConventionError(
            f"folders of a scan: too many folders might hold the projections: {listed(others)}; "
            "name one in .esrffs.toml"
        )
    candidates: dict[str, dict[str, MemberSummary]] = {}
    for name in likely or others:
        candidates[name] = yield from _images(name)
    raw = [name for name, inside in candidates.items() if inside]
    if not likely and len(raw) > 1:
        raise ConventionError(
            f"folders of a scan: {listed(raw)} might hold the projections; name one in .esrffs.toml"
        )
    for name in raw:
        images |= candidates[name]
    if not raw:
        own = {name: entry for name, entry in members.items() if entry.kind in ("image", "series")}
        images |= own
        raw = [""] if own else []
    return ScanFolders(flats, darks, raw, images)


def _images(folder: str) -> Queries[dict[str, MemberSummary]]:
    """The images and series in a child folder, by their paths."""
    members = yield from listing(folder)
    return {
        join_path(folder, name): entry
        for name, entry in members.items()
        if entry.kind in ("image", "series")
    }


def _flat_abscissae(folders: list[str], first: float, last: float) -> dict[str, float]:
    """`before` stands at the first projection, `after` at the last, others at their numbers."""
    numbers = frame_numbers(folders) if len(folders) > 1 else [None] * len(folders)
    found = {}
    for folder, number in zip(folders, numbers, strict=True):
        if _AFTER.search(folder):
            found[folder] = last
        elif number is None or _BEFORE.search(folder):
            found[folder] = first
        else:
            found[folder] = number
    return found
