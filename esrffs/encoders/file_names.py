"""The file names of objects: how a name of a data file is spelled in a directory.  Pure.

A name that a file system cannot hold is escaped, a long one is cut, and where two entries of a
directory would have one name, later ones get a number.  A file gives its names anew each time, and
always the same.  The rules are those of `docs/layout.md`.
"""

from collections.abc import Iterable
from hashlib import blake2b
from itertools import takewhile

NAME_MAX = 255  # bytes, on every usual filesystem, so that `cp -r` works
_SPECIAL = {b"": b"%", b".": b"%2E", b"..": b"%2E%2E"}


def escape(name: str) -> bytes:
    """The name as one path component; bytes that are not UTF-8 come as surrogate escapes."""
    raw = name.encode("utf-8", "surrogateescape").replace(b"/", b"%").replace(b"\0", b"%00")
    return _SPECIAL.get(raw, raw)


def shorten(stem: bytes, suffix: bytes) -> bytes:
    """`stem + suffix`, the stem cut where that is too long and marked with its hash."""
    if len(stem) + len(suffix) <= NAME_MAX:
        return stem + suffix
    mark = b"~" + blake2b(stem, digest_size=4).hexdigest().encode()
    kept = stem[: NAME_MAX - len(suffix) - len(mark)]
    while kept and stem[len(kept)] & 0xC0 == 0x80:  # never half of a UTF-8 character
        kept = kept[:-1]
    return kept + mark + suffix


def unique_names(wanted: Iterable[tuple[bytes, bytes]], taken: Iterable[bytes] = ()) -> list[bytes]:
    """A different file name for each `(stem, suffix)`; the first to want a name keeps it.

    Later ones get `~1`, `~2`, … before the suffix.
    """
    used = set(taken)
    names = []
    tried: dict[tuple[bytes, bytes], int] = {}
    for stem, suffix in wanted:
        name = shorten(stem, suffix)
        if name in used:
            number = tried.get((stem, suffix), 1)
            while (name := shorten(stem, b"~%d" % number + suffix)) in used:
                number += 1
            tried[stem, suffix] = number + 1
        used.add(name)
        names.append(name)
    return names


def relative_link(target: tuple[bytes, ...], directory: tuple[bytes, ...]) -> bytes:
    """The relative symlink that leads from a directory to a target, both from one root."""
    pairs = zip(target, directory, strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    up = (b"..",) * (len(directory) - common)
    return b"/".join(up + target[common:]) or b"."


def follow_link(directory: tuple[bytes, ...], target: bytes) -> tuple[bytes, ...]:
    """Where a relative symlink in a directory leads, from one root."""
    path = list(directory)
    for step in target.split(b"/"):
        if step == b"..":
            del path[-1:]
        elif step not in (b"", b"."):
            path.append(step)
    return tuple(path)
