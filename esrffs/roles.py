"""Which array is raw, which is flat, which is dark.

Decided here: whether a group or a folder has a `corrected/`, and what that holds.  It is decided
from names, shapes and small values, never from image data, and without I/O: `in_file` and
`in_folder` are generators that yield questions (see `esrffs.roles_words`).  Each convention has
its own place; the first that finds something to say is followed:

| `.esrffs.toml` | `roles_config` |
| ID19's folders of old, folders of images | `roles_folder`, `roles_info` |
| folders of a scan | `roles_scan` |
| NXtomo | `roles_nexus` |
| BLISS scans | `roles_bliss` |
| APS Data Exchange, `data`/`flat`/`dark`, siblings `flat_000` | `roles_group` |
"""

from collections.abc import Iterable, Mapping
from typing import Any

from esrffs.roles_bliss import bliss
from esrffs.roles_config import configured
from esrffs.roles_folder import id19, plain
from esrffs.roles_group import WANTED, data_exchange, named, siblings, unused
from esrffs.roles_names import is_flat
from esrffs.roles_nexus import nxtomo
from esrffs.roles_parts import listing
from esrffs.roles_scan import scan_folders
from esrffs.roles_words import (
    READ_LIMIT,
    Correction,
    Describe,
    Entry,
    Extra,
    Flat,
    Found,
    List,
    Options,
    Output,
    Part,
    Question,
    Read,
    ReadFile,
    Recipe,
    Reduced,
    Refusal,
    RefusalError,
    Steps,
    Stretch,
    answered,
)

__all__ = [
    "FORMULA",
    "READ_LIMIT",
    "Correction",
    "Describe",
    "Entry",
    "Extra",
    "Flat",
    "Found",
    "List",
    "Options",
    "Output",
    "Part",
    "Question",
    "Read",
    "ReadFile",
    "Recipe",
    "Reduced",
    "Refusal",
    "Steps",
    "Stretch",
    "answered",
    "in_file",
    "in_folder",
    "may_hold_roles",
    "provenance",
]

_WANTED = WANTED | {"instrument", "definition"}  # those of NXtomo and BLISS

FORMULA = "(raw - dark) / (flat - dark)"


def may_hold_roles(names: Iterable[str]) -> bool:
    """May a group with members of these names be one that is corrected?  Most are not."""
    known = list(names)
    return not _WANTED.isdisjoint(known) or any(map(is_flat, known))


def in_file(path: str, options: Options) -> Steps[Found]:
    """What `corrected/` holds in the group at this path of a data file."""
    members = yield from listing(path)
    if not may_hold_roles(members):
        return None
    conventions = (nxtomo, bliss, data_exchange, named, siblings, unused)
    found = yield from _first([follow(path, members, options) for follow in conventions])
    return found


def in_folder(options: Options) -> Steps[Found]:
    """What `corrected/` holds in a folder; paths are relative to it."""
    members = yield from listing("")
    found = yield from _first(
        [follow(members, options) for follow in (configured, id19, plain, scan_folders)]
    )
    return found


def _first(conventions: Iterable[Steps[Recipe | None]]) -> Steps[Found]:
    try:
        for convention in conventions:
            found = yield from convention
            if found is not None:
                return found
    except RefusalError as refusal:
        return Refusal(str(refusal))
    return None


def provenance(recipe: Recipe, stems: Iterable[str], version: str) -> Mapping[str, Any]:
    """What `corrected/attrs.json` tells, ready for JSON; `stems` name the outputs as shown."""
    corrections = {id(output.correction): output.correction for output in recipe.outputs}
    of_their_own = any(one.flat_dark is not None for one in corrections.values())
    told = [_correction(correction, of_their_own) for correction in corrections.values()]
    places = {key: place for place, key in enumerate(corrections)}
    results: dict[str, dict[str, Any]] = {}
    for stem, output in zip(stems, recipe.outputs, strict=True):
        results[stem] = {
            "raw": [str(stretch.part) for stretch in output.raw],
            "abscissae": [stretch.abscissa for stretch in output.raw],
        }
        if len(told) > 1:
            results[stem]["correction"] = places[id(output.correction)]
    normalised = any(output.currents for output in recipe.outputs)
    formula = FORMULA.replace("flat - dark", "flat - flat_dark") if of_their_own else FORMULA
    if normalised:
        formula += " * flat_current / raw_current"
    if any(one.scale != 1.0 for one in corrections.values()):
        formula += " * scale"
    return {
        "formula": formula,
        "dtype": "float32",
        "convention": recipe.convention,
        "version": version,
        **(told[0] if len(told) == 1 else {"corrections": told}),
        "norm": "current" if normalised else None,
        "results": results,
    }


def _correction(correction: Correction, of_their_own: bool) -> dict[str, Any]:
    """`of_their_own`: some flats have a dark of their own, so that each correction tells which."""
    return {
        "dark": _reduced(correction.dark),
        **(
            {"flat_dark": _reduced(correction.flat_dark or correction.dark)} if of_their_own else {}
        ),
        "flats": [
            {"abscissa": flat.abscissa, **_reduced(flat.frames)}
            | ({} if flat.current is None else {"current": flat.current})
            for flat in correction.flats
        ],
        "flat": correction.method,
        "nan": correction.nan,
    } | ({"scale": correction.scale} if correction.scale != 1.0 else {})


def _reduced(frames: Reduced) -> dict[str, Any]:
    if not frames.parts:
        return {"constant": frames.constant}
    several = sum(part.last - part.first for part in frames.parts) > 1
    return {
        "frames": [str(part) for part in frames.parts],
        "reduction": frames.reduction if several else None,
    } | ({"divided_by": frames.divisor} if frames.divisor != 1 else {})
