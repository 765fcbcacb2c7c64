"""Which array is raw, which is flat, which is dark: asks the conventions one after the other.

Works from names, shapes and small values, never from image data, and does no I/O: `detect_in_group`
and `detect_in_folder` are generators that yield queries (`queries`).  The first convention that
returns a plan, or says why it cannot be followed, ends the search:

| convention | module |
|---|---|
| `.esrffs.toml` | `config_file` |
| ID19's older folders, folders of images | `image_folder`, `info_file` |
| folders of a scan | `scan_folders` |
| NXtomo, keys beside a stack | `nxtomo`, `keyed_stack` |
| BLISS scans | `bliss` |
| APS Data Exchange, `data`/`flat`/`dark`, sibling groups `flat_000` | `named_groups` |
"""

from collections.abc import Iterable

from esrffs.flatfield.conventions.assignment import listing
from esrffs.flatfield.conventions.bliss import bliss
from esrffs.flatfield.conventions.config_file import from_config_file
from esrffs.flatfield.conventions.image_folder import id19, named_images
from esrffs.flatfield.conventions.keyed_stack import ENTRY_WORDS, KEYS
from esrffs.flatfield.conventions.name_words import is_flat
from esrffs.flatfield.conventions.named_groups import (
    WANTED,
    data_exchange,
    numbered_flat_groups,
    raw_flat_dark_groups,
    unused,
)
from esrffs.flatfield.conventions.nxtomo import nxtomo
from esrffs.flatfield.conventions.queries import (
    Queries,
)
from esrffs.flatfield.conventions.scan_folders import scan_folders
from esrffs.flatfield.plan import (
    ConventionError,
    CorrectionOptions,
    CorrectionPlan,
    Detection,
    Rejected,
)

_WANTED = WANTED | ENTRY_WORDS | frozenset(KEYS)  # those of NXtomo and BLISS


def group_may_match(names: Iterable[str]) -> bool:
    """May a group with members of these names be one that is corrected?  Most are not."""
    known = list(names)
    return not _WANTED.isdisjoint(known) or any(map(is_flat, known))


def detect_in_group(path: str, options: CorrectionOptions) -> Queries[Detection]:
    """What `corrected/` holds in the group at this path of a data file."""
    members = yield from listing(path)
    if not group_may_match(members):
        return None
    conventions = (nxtomo, bliss, data_exchange, raw_flat_dark_groups, numbered_flat_groups, unused)
    found = yield from _first([follow(path, members, options) for follow in conventions])
    return found


def detect_in_folder(options: CorrectionOptions) -> Queries[Detection]:
    """What `corrected/` holds in a folder; paths are relative to it."""
    members = yield from listing("")
    found = yield from _first(
        [
            follow(members, options)
            for follow in (from_config_file, id19, named_images, scan_folders)
        ]
    )
    return found


def _first(conventions: Iterable[Queries[CorrectionPlan | None]]) -> Queries[Detection]:
    try:
        for convention in conventions:
            found = yield from convention
            if found is not None:
                return found
    except ConventionError as refusal:
        return Rejected(str(refusal))
    return None
