"""Find the stack of frames that has a key for each frame, in an entry of a data file.

NXtomo has `data` and `image_key` in `instrument/detector`; programs put them elsewhere, and
leave `definition` out.  A group that is no entry, but has keys beside a stack, is found by that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from esrffs.flatfield.conventions.assignment import (
    FrameStack,
    check_same_frame_shape,
    describe,
    join_path,
    listing,
    read,
    read_text,
)
from esrffs.flatfield.conventions.image_keys import Keys, fitted_keys
from esrffs.flatfield.conventions.name_words import BLISS_SCAN
from esrffs.flatfield.conventions.queries import MemberSummary, Queries
from esrffs.flatfield.plan import ConventionError

KEYS = ("image_key_control", "image_key")
ENTRY_WORDS = frozenset(("instrument", "definition", "sample"))  # one of them is in an entry
_GROUPS = 8  # of an instrument that are looked into where no `definition` says NXtomo
_DEEP_GROUPS = 60  # of an NXtomo entry that are looked into where no detector has keys
_DEPTH = 4  # of these groups below their entry

Members = Mapping[str, MemberSummary]


@dataclass(frozen=True, slots=True)
class KeyedStack:
    """`keys`: one for each frame that exists; `key_count`: how many there are in the file.

    `group` is where both are found, `beside` what else is there; `entry` is the group that has
    `sample`, `control` and the rest.
    """

    entry: str
    group: str
    key: str
    data: FrameStack
    keys: Keys
    key_count: int
    beside: Members
    warnings: tuple[str, ...]


def stack_of_entry(path: str, members: Members) -> Queries[KeyedStack | None]:
    """The stack with keys of the entry at this path; None where it has none.

    ConventionError where it calls itself NXtomo, or has keys, but cannot be followed.
    """
    told = yield from _says_nxtomo(path, members)
    group, key, beside = yield from _group_with_keys(path, members, told)
    if key:
        return (yield from _fitted(path, group, key, beside))
    if told:
        raise ConventionError(
            f"NXtomo: no {' or '.join(reversed(KEYS))} was found in {path or '/'}: "
            "which frames are flats and darks is not known"
        )
    return None


def stack_of_group(path: str, members: Members) -> Queries[KeyedStack | None]:
    """Keys and a stack that lie side by side in a group which belongs to no entry."""
    key = next((key for key in KEYS if key in members), None)
    if key is None or members[key].kind == "group":
        return None
    values = yield from read(join_path(path, key))
    if values is None or values.ndim != 1 or len(values) < 2:  # the key of a whole BLISS scan
        return None
    if (yield from _belongs_to_entry(path)):
        return None
    if (yield from _stack(path, members)) is None:
        return None
    return (yield from _fitted(path, path, key, members))


def _belongs_to_entry(path: str) -> Queries[bool]:
    """Is this the group that a group above it finds its keys in?"""
    steps = path.split("/")
    for depth in range(max(0, len(steps) - _DEPTH), len(steps)):
        entry = "/".join(steps[:depth])
        members = yield from listing(entry)
        if not ENTRY_WORDS.isdisjoint(members):
            told = yield from _says_nxtomo(entry, members)
            group, _, _ = yield from _group_with_keys(entry, members, told)
            if group == path:
                return True
    return False


def _fitted(entry: str, group: str, key: str, beside: Members) -> Queries[KeyedStack]:
    data = yield from _stack(group, beside)
    values = yield from read(join_path(group, key))
    if data is None or values is None:
        raise ConventionError(f"NXtomo: {group or '/'} needs a stack `data` and a readable `{key}`")
    check_same_frame_shape([data])
    keys, warnings = fitted_keys(values, f"NXtomo: {key}", data)
    count = 1 if values.ndim == 0 else len(values)
    return KeyedStack(entry, group, key, data, keys, count, beside, tuple(warnings))


def _says_nxtomo(path: str, members: Members) -> Queries[bool]:
    if "definition" not in members:
        return False
    return (yield from read_text(join_path(path, "definition"))) == "NXtomo"


def _group_with_keys(path: str, members: Members, told: bool) -> Queries[tuple[str, str, Members]]:
    """The group that holds keys, their name, and what else is in it; a name "" if there is none.

    `instrument/detector`, another detector, or the NXdata group `data`.  Of an entry that calls
    itself NXtomo (`told`) all groups are looked into, of others a few, and of a BLISS scan none.
    """
    instrument = join_path(path, "instrument")
    found = (yield from listing(instrument)) if "instrument" in members else {}
    groups = _groups(found)
    names = [join_path(instrument, "detector")] if "detector" in found else []
    scan = BLISS_SCAN.fullmatch(path.rpartition("/")[2])
    if told or (len(groups) <= _GROUPS and not scan):
        names += [join_path(instrument, name) for name in groups]
    if "data" in members and members["data"].kind in ("group", "link") and not scan:
        names.append(join_path(path, "data"))
    result = yield from _first_with_keys(dict.fromkeys(names))
    if not result[1] and told:
        result = yield from _searched(path, members)
    return result


def _first_with_keys(groups: Iterable[str]) -> Queries[tuple[str, str, Members]]:
    for name in groups:
        inside = yield from listing(name)
        for key in KEYS:
            if key in inside:
                return name, key, inside
    return "", "", {}


def _searched(path: str, members: Members) -> Queries[tuple[str, str, Members]]:
    """The first group with keys in or below this one, breadth first."""
    todo: list[tuple[str, int, Members | None]] = [(path, 0, members)]
    for _ in range(_DEEP_GROUPS):
        if not todo:
            break
        name, depth, known = todo.pop(0)
        inside = known if known is not None else (yield from listing(name))
        for key in KEYS:
            if key in inside:
                return name, key, inside
        if depth < _DEPTH:
            todo += [(join_path(name, one), depth + 1, None) for one in _groups(inside)]
    return "", "", {}


def _groups(members: Members) -> list[str]:
    return [name for name, entry in members.items() if entry.kind in ("group", "link")]


def _stack(group: str, inside: Members) -> Queries[FrameStack | None]:
    """`data`, else the only stack beside the keys."""
    if "data" in inside and inside["data"].kind != "group":
        return (yield from describe(join_path(group, "data"), inside["data"]))
    stacks = []
    for name, entry in inside.items():
        if entry.kind in ("dataset", "link"):
            one = yield from describe(join_path(group, name), entry)
            stacks += [one] if one is not None and len(one.shape) > 2 else []
    return stacks[0] if len(stacks) == 1 else None
