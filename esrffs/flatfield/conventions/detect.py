"""Which array is raw, which is flat, which is dark.

Decided here: whether a group or a folder has a `corrected/`, and what that holds.  It is decided
from names, shapes and small values, never from image data, and without I/O: `in_file` and
`in_folder` are generators that yield questions (see `flatfield/plan`).  Each convention has
its own place; the first that finds something to say is followed:

| `.esrffs.toml` | `roles_config` |
| ID19's folders of old, folders of images | `roles_folder`, `roles_info` |
| folders of a scan | `roles_scan` |
| NXtomo | `roles_nexus` |
| BLISS scans | `roles_bliss` |
| APS Data Exchange, `data`/`flat`/`dark`, siblings `flat_000` | `roles_group` |
"""

from collections.abc import Iterable

from esrffs.flatfield.conventions.assignment import listing
from esrffs.flatfield.conventions.bliss import bliss
from esrffs.flatfield.conventions.config_file import configured
from esrffs.flatfield.conventions.image_folder import id19, plain
from esrffs.flatfield.conventions.name_words import is_flat
from esrffs.flatfield.conventions.named_groups import WANTED, data_exchange, named, siblings, unused
from esrffs.flatfield.conventions.nxtomo import nxtomo
from esrffs.flatfield.conventions.queries import (
    Steps,
)
from esrffs.flatfield.conventions.scan_folders import scan_folders
from esrffs.flatfield.plan import (
    Found,
    Options,
    Recipe,
    Refusal,
    RefusalError,
)

_WANTED = WANTED | {"instrument", "definition"}  # those of NXtomo and BLISS


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
