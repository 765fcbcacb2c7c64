"""Roles told by the names of image files in a folder: plain folders, and ID19's of old."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeGuard

from esrffs.roles_parts import Roles, Source, describe, trailing_number
from esrffs.roles_words import (
    Entry,
    Options,
    Output,
    Part,
    ReadFile,
    Recipe,
    RefusalError,
    Steps,
    Stretch,
)

Members = Mapping[str, Entry]

COMPRESSED = re.compile(r"\.(gz|bz2)$", re.IGNORECASE)
REDUCED_FLAT = re.compile(r"refHST_?(\d{1,15})", re.ASCII)
RAW_FLAT = re.compile(r"ref(?!HST).*?\d{3,4}_(\d{3,4})", re.ASCII)
RAW_DARK = re.compile(r"darkend\d{3,4}", re.ASCII)


def stem(name: str) -> str:
    """The name without its extension; `.edf.gz` is one."""
    return COMPRESSED.sub("", name).rpartition(".")[0] or name


def member(series: str, value: int) -> str:
    """The file of a series `NAME_####.edf` with this number."""
    return re.sub(r"#+(?=[^#]*$)", lambda digits: str(value).zfill(len(digits[0])), series, count=1)


def _files(members: Members, chosen: Callable[[str], object]) -> list[str]:
    """Single image files whose stem is chosen, by name."""
    rasters = (name for name, entry in members.items() if entry.kind == "raster")
    return sorted(name for name in rasters if chosen(stem(name)))


def _numbered(members: Members, pattern: re.Pattern[str]) -> dict[int, list[str]]:
    """Single image files whose stem fits, by the number that the pattern finds."""
    found: dict[int, list[str]] = {}
    for name in _files(members, pattern.fullmatch):
        if fits := pattern.fullmatch(stem(name)):
            found.setdefault(int(fits[1]), []).append(name)
    return found


def _sources(names: Iterable[str], members: Members) -> Steps[list[Source]]:
    found = []
    for name in names:
        one = yield from describe(name, members[name])
        if one is None:
            raise RefusalError(f"{name} holds no image that can be read")
        found.append(one)
    return found


def plain(members: Members, options: Options) -> Steps[Recipe | None]:
    """`dark*.edf`, `flat*.edf`, and all other images and series raw."""

    def starts(word: str) -> Callable[[str], bool]:
        return lambda name: name.lower().startswith(word)

    darks, flats = _files(members, starts("dark")), _files(members, starts("flat"))
    if not darks and not flats:
        return None
    roles = Roles("folder of images", options)
    others = [
        name
        for name, entry in members.items()
        if entry.kind in ("raster", "series") and not name.lower().startswith(("dark", "flat"))
    ]
    if not others:
        return None
    roles.dark = yield from _sources(darks, members)
    for position, flat in enumerate((yield from _sources(flats, members))):
        value = trailing_number(stem(flat.path))
        roles.flats.append((float(position if value is None else value), flat))
    return (yield from _recipe(others, members, roles))


def id19(members: Members, options: Options) -> Steps[Recipe | None]:
    """`darkend0000.edf`/`dark.edf`, `ref0000_1500.edf`, `refHST1500.edf`, `<prefix>.info`.

    What is reduced already (`dark.edf`, `refHST…`) serves before what it was made from.
    """
    raw_flats = _numbered(members, RAW_FLAT)
    reduced_flats = _numbered(members, REDUCED_FLAT)
    if not raw_flats and not reduced_flats:
        return None
    roles = Roles("ID19 folder", options)
    prefix, info = yield from _info(members)
    darks = _files(members, lambda name: name == "dark")
    notes = []
    if not darks:
        darks = _files(members, RAW_DARK.fullmatch)
        roles.dark_divisor = max(1, info.get("dark_n", 1))
        if darks and "dark_n" not in info:
            notes.append("no DARK_N in an .info file: darkend is taken as one exposure")
    roles.dark = yield from _sources(darks, members)
    for at, names in (raw_flats | reduced_flats).items():
        found = yield from _sources(names, members)
        roles.flats += [(float(at), one) for one in found]
    others = [
        name
        for name, entry in members.items()
        if entry.kind in ("raster", "series") and _is_projection(stem(name), prefix)
    ]
    if not others:
        raise RefusalError(f"ID19 folder: no projection {prefix}NNNN")
    return (yield from _recipe(others, members, roles, notes))


def _is_projection(name: str, prefix: str) -> bool:
    """`<prefix>NNNN`, and the series of them; not the reconstruction, `<prefix>_slice_NNNN`."""
    if "slice_" in name or name.startswith(("ref", "dark")):
        return False
    if prefix:
        return bool(re.fullmatch(re.escape(prefix) + r"_?(\d+|#+)", name, re.ASCII))
    return bool(re.search(r"(\d|#)$", name, re.ASCII))


def _info(members: Members) -> Steps[tuple[str, dict[str, int]]]:
    """Prefix and whole numbers of the `.info` file, keys in lower case; "" and {} without one."""
    names = sorted(name for name in members if name.endswith(".info"))
    for name in names:
        prefix = name.removesuffix(".info")
        if any(_is_projection(stem(other), prefix) for other in members) or len(names) == 1:
            answer: bytes | None = yield ReadFile(name)
            text = (answer or b"").decode("latin-1")
            pairs = re.findall(
                r"^\s*(\w+)\s*=\s*(\d{1,15})\s*(?:#.*)?$", text, re.ASCII | re.MULTILINE
            )
            return prefix, {key.lower(): int(value) for key, value in pairs}
    return "", {}


def _recipe(
    names: list[str], members: Members, roles: Roles, notes: Iterable[str] = ()
) -> Steps[Recipe]:
    """Each raw file, and each series as one stack; a file of another shape is left out.

    The files of a series have its shape: they are not opened one by one.
    """
    correction = roles.correction()
    outputs: list[Output] = []
    notes = list(notes)

    def fits(one: Source | None, name: str, frames: int) -> TypeGuard[Source]:
        wanted = roles.dark[0].frame
        if one is not None and one.frame == wanted and (not frames or one.frames == frames):
            return True
        shape = "it holds no image" if one is None else f"its shape is {one.shape}"
        notes.append(f"{name} is left out: {shape}, frames of the dark are {wanted}")
        return False

    done: set[str] = set()
    for name in sorted(name for name in names if members[name].kind == "series"):
        one = yield from describe(name, members[name])
        numbers = members[name].numbers[: one.frames if one else 0]  # it ends at another shape
        if fits(one, name, len(numbers)):
            files = {member(name, value): float(value) for value in numbers}
            done.update(files)
            stretches = tuple(Stretch(Part(file, 0, 1), at) for file, at in files.items())
            outputs.append(Output(stem(name), one.shape, stretches, correction))
            outputs += [
                Output(stem(stretch.part.path), one.frame, (stretch,), correction)
                for stretch in stretches
            ]
    singles = sorted(name for name in names if members[name].kind == "raster")
    for position, name in enumerate(singles):
        if name not in done:
            one = yield from describe(name, members[name])
            if fits(one, name, 0):
                value = trailing_number(stem(name))
                at = 0.0 if len(one.shape) == 3 else float(position if value is None else value)
                outputs.append(Output(stem(name), one.shape, (Stretch(one.part, at),), correction))
    if not outputs:
        raise RefusalError(f"{roles.convention}: shapes do not agree: {'; '.join(notes)}")
    return Recipe(roles.convention, tuple(outputs), (), tuple(notes))
