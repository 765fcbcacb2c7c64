"""Find the arrays that a text of `.esrffs.toml` names: `../Dark/c_*.edf`, `scan.h5::/a/b[0:20]`.

It may be a stranger's text, and the mount waits while it is looked at: so it is bounded how many
names are compared, files named and folders looked into.  What names nothing ends in a refusal that
tells the names that are there.
"""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import NamedTuple

from esrffs.flatfield.conventions.assignment import FrameStack, describe, listing
from esrffs.flatfield.conventions.name_words import listed, stem
from esrffs.flatfield.conventions.queries import MemberSummary, Queries
from esrffs.flatfield.plan import ConventionError, FrameRange

_PATTERN = 255  # bytes: as long as a name may be
_FRAMES = re.compile(r"(.*)\[(\d{0,15}):(\d{0,15})\]", re.ASCII | re.DOTALL)
_WILD = re.compile(r"[*?]")

Members = Mapping[str, MemberSummary]


class Named(NamedTuple):
    """An array, and which of its frames are meant."""

    part: FrameRange
    source: FrameStack

    @property
    def name(self) -> str:
        """The last name of `file::a/b`, or the stem of a file."""
        file, colons, inner = self.source.path.partition("::")
        return inner.rpartition("/")[2] if colons else stem(file)


@dataclass(slots=True)
class References:
    """What the texts of one `.esrffs.toml` name, and how much they may still ask for."""

    members: Members
    comparisons: int = 1_000_000  # of a name with a pattern: a second
    files: int = 200_000  # that are named, again and again perhaps
    folders: int = 100
    _known: dict[str, Members] = field(default_factory=dict)

    def path(self, text: object) -> str:
        """The path that a text names, whatever is there."""
        if not isinstance(text, str) or not text:
            raise ConventionError(f'expected a text such as "scan.h5::/entry/keys", not {text!r}')
        file, colons, inner = text.partition("::")
        return _normal(file, text) + (colons and "::" + inner.strip("/"))

    def arrays(self, value: object, more: str = "") -> Queries[list[Named]]:
        """The arrays that a text or a list of texts names; at least one."""
        texts = value if isinstance(value, list) else [value]
        expected = f'expected a text such as "file.edf", or several{more}'
        if value is None:
            raise ConventionError(f"{expected}; it is missing")
        if not texts or not all(isinstance(text, str) and text for text in texts):
            raise ConventionError(f"{expected}, not {value!r}")
        found: list[Named] = []
        for text in texts:
            for reference in (yield from self._expanded(str(text))):
                one = yield from self._one(reference)
                found.append(one)
        return found

    def _expanded(self, text: str) -> Queries[list[str]]:
        """The text, or one for each file that fits its pattern."""
        file, colons, inner = text.partition("::")
        if not _WILD.search(file):
            self._spend(0, 1)
            return [text]
        place, slash, name = file.rpartition("/")
        if len(name) > _PATTERN:
            raise ConventionError(f"no file is called {name[:_PATTERN]!r}…")
        if _WILD.search(place):
            raise ConventionError(f"{text!r}: `*` and `?` may stand in the last name only")
        members = yield from self._contents(_normal(place, text) if slash else "")
        self._spend(len(members), 0)
        pattern = re.sub(r"\[", "[[]", name)
        files = {one: entry for one, entry in members.items() if entry.kind in ("image", "data")}
        names = [one for one in files if not one.startswith(".") and fnmatchcase(one, pattern)]
        if not names:
            there = _there(place, files) if members else (yield from self.around(file))
            raise ConventionError(f"no file is called {file!r}; {there}")
        self._spend(0, len(names))
        return [place + slash + one + colons + inner for one in sorted(names)]

    def _spend(self, comparisons: int, files: int) -> None:
        self.comparisons -= comparisons
        self.files -= files
        if self.comparisons < 0 or self.files < 0:
            raise ConventionError("too many files, or patterns for too many files")

    def _contents(self, place: str) -> Queries[Members]:
        """What is in a folder, or in the group `file::path`; nothing where it cannot be told."""
        if not place:
            return self.members
        if place not in self._known:
            self.folders -= 1
            if self.folders < 0:
                raise ConventionError("too many folders, or groups that are not there")
            self._known[place] = yield from listing(place)
        return self._known[place]

    def _one(self, text: str) -> Queries[Named]:
        """`file`, `file::path`, with `[first:last]` for some frames of a stack."""
        frames = _FRAMES.fullmatch(text)
        path = self.path(frames[1] if frames else text)
        one = yield from describe(path)
        if one is None:
            there = yield from self.around(path)
            raise ConventionError(f"no image or stack of numbers at {path!r}; {there}")
        first = int(frames[2] or 0) if frames else 0
        last = int(frames[3] or one.frames) if frames else one.frames
        if not 0 <= first < last <= one.frames:
            raise ConventionError(f"{text!r}: expected frames within [0:{one.frames}]")
        found = replace(one, path=path)
        return Named(replace(found.part, first=first, last=last), found)

    def around(self, path: str) -> Queries[str]:
        """The names that are there, where this path leads to no array."""
        file, colons, inner = path.partition("::")
        place, _, name = file.rpartition("/")
        found = yield from self._deepest(place)
        if found is None:
            return f"nothing can be found in {place!r}: it leads out of the source, or nowhere"
        members = yield from self._contents(found)
        if found != place:
            return f"nothing can be found in {place!r}; {_there(found, members)}"
        if name not in members:
            return _there(found, members)
        if members[name].kind == "folder":
            inside = yield from self._contents(file)
            return f"it is a folder; {_there(file, inside)}"
        if members[name].kind == "data":
            groups = yield from self._around_object(file, inner)
            return (
                groups
                if inner
                else f"a path in the file is needed, as in {file + '::/'!r}…; {groups}"
            )
        return "it cannot be read" if not colons else _there(found, members)

    def _deepest(self, place: str) -> Queries[str | None]:
        """The last folder on this way in which something can be found; None where there is none."""
        steps = place.split("/") if place else []
        while steps:
            folder = "/".join(steps)
            if (yield from self._contents(folder)):
                return folder
            if steps.pop() == "..":
                return None
        return ""

    def _around_object(self, file: str, inner: str) -> Queries[str]:
        """The names in the last group on the way to an object of a file."""
        group, steps = "", [step for step in inner.split("/") if step]
        known = yield from self._contents(f"{file}::")
        while steps and steps[0] in known and known[steps[0]].kind != "dataset":
            below = f"{group}/{steps[0]}"
            inside = yield from self._contents(f"{file}::{below.strip('/')}")
            if len(steps) == 1 and not inside:
                break
            group, known = below, inside
            steps.pop(0)
        what = "it is a group; " if inner and not steps else ""
        return what + _there(f"{file}::{group or '/'}", known)


def _normal(file: str, text: str) -> str:
    """The path without `.`, and with `..` at its beginning only; whether it is there is asked."""
    if file.startswith("/"):
        raise ConventionError(
            f"{text!r} leads out of the folder: expected a path from this folder on"
        )
    return posixpath.normpath(file) if "/" in file else file


def _there(place: str, members: Members) -> str:
    names = [
        name
        for name, entry in members.items()
        if entry.kind != "other" and not name.startswith(".")
    ]
    if not names:
        return f"nothing can be found in {place or 'this folder'!r}"
    return f"{place or 'this folder'!r} has {listed(names)}"
