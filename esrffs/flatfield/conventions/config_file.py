"""Roles named by the user, in the `.esrffs.toml` of a folder (docs/corrected.md has examples).

What each table says is read by `config_settings`; which arrays its texts name is found by
`config_references`.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import replace

from esrffs.flatfield.conventions.assignment import read
from esrffs.flatfield.conventions.config_references import Named, References
from esrffs.flatfield.conventions.config_settings import LeftOut, Settings, Table
from esrffs.flatfield.conventions.image_keys import (
    DARK,
    FLAT,
    INVALID,
    PROJECTION,
    Keys,
    fitted_keys,
    runs,
)
from esrffs.flatfield.conventions.name_words import LONGEST_LIST, frame_numbers, shared_numbers
from esrffs.flatfield.conventions.queries import MemberSummary, Queries, ReadTextFile
from esrffs.flatfield.plan import (
    NO_DARK,
    ConventionError,
    CorrectedDataset,
    Correction,
    CorrectionOptions,
    CorrectionPlan,
    Flat,
    FrameRange,
    RawRun,
    ReducedFrame,
)

FILE = ".esrffs.toml"
_BYTES = 1 << 16
_DOTS = 100  # in one line

Members = Mapping[str, MemberSummary]


def from_config_file(
    members: Members, options: CorrectionOptions
) -> Queries[CorrectionPlan | None]:
    if FILE not in members:
        return None
    answer: bytes | None = yield ReadTextFile(FILE)
    if answer is None:
        raise ConventionError(f"{FILE}: cannot be read, or is not a small file")
    document = _document(answer)
    tables = document.pop("corrected", None)
    if document:
        raise ConventionError(
            f"{FILE}: unknown key `{next(iter(document))}`; expected [[corrected]]"
        )
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConventionError(f"{FILE}: expected one or more tables [[corrected]]")
    if options.norm_current:
        raise ConventionError(f"norm=current: no machine current is known ({FILE})")
    outputs: dict[str, CorrectedDataset] = {}
    notes: list[str] = []
    warnings: list[str] = []
    references = References(members)
    for count, table in enumerate(tables, 1):
        settings = Settings(f"{FILE}: [[corrected]] number {count}", table, references)
        for output in (yield from _outputs(settings, options)):
            if output.name in outputs:
                raise settings.wrong("name", f"there are two results {output.name!r}")
            outputs[output.name] = output
        notes += settings.notes
        warnings += settings.warnings
    return CorrectionPlan(FILE, tuple(outputs.values()), (), tuple(notes), tuple(warnings))


def _document(answer: bytes) -> Table:
    if len(answer) > _BYTES:
        raise ConventionError(f"{FILE}: longer than {_BYTES} bytes")
    if any(line.count(b".") > _DOTS for line in answer.split(b"\n")):  # tomllib takes their square
        raise ConventionError(f"{FILE}: a line with more than {_DOTS} dots")
    try:
        return tomllib.loads(_text(answer))
    except tomllib.TOMLDecodeError as error:
        raise ConventionError(f"{FILE}: not TOML: {error}") from None
    except RecursionError:
        raise ConventionError(f"{FILE}: not TOML: arrays or tables are nested too deep") from None
    except ValueError:
        raise ConventionError(f"{FILE}: not TOML: a date or number makes no sense") from None


def _text(answer: bytes) -> str:
    try:
        text = answer.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text, line = "", answer.count(b"\n", 0, error.start) + 1
        why = f"line {line} holds bytes that are no UTF-8"
    else:
        why = "it holds NULs, as UTF-16 does"
    if answer.startswith((b"\xff\xfe", b"\xfe\xff")):
        why = "it is UTF-16"
    elif ("\0" not in text and text) or not answer:
        return text
    raise ConventionError(f"{FILE}: {why}; save it as UTF-8")


def _outputs(settings: Settings, options: CorrectionOptions) -> Queries[list[CorrectedDataset]]:
    table, left_out = settings.table, LeftOut(settings)
    if "data" in table or "keys" in table:
        if not {"data", "keys"} <= table.keys() or "raw" in table:
            raise settings.wrong("data", "expected together with `keys`, and without `raw`")
        return (yield from _keyed(settings, options, left_out))
    dark = yield from settings.dark("dark", options)
    flats = yield from settings.flats()
    correction = yield from settings.correction(options, dark, flats)
    return (yield from _raw(settings, correction, left_out))


def _raw(
    settings: Settings, correction: Correction, left_out: LeftOut
) -> Queries[list[CorrectedDataset]]:
    """A result for each raw image or stack, without the frames that are left out."""
    sources = yield from settings.arrays("raw")
    name = settings.name(len(sources))
    numbers = frame_numbers([one.name for one in sources])
    positions = [float(at) if one is None else one for at, one in enumerate(numbers)]
    at = [_at(settings, *one) for one in zip(positions, numbers, sources, strict=True)]
    found = []
    for position, start, one in zip(positions, at, sources, strict=True):
        first, last = one.part.first, one.part.last
        if len(one.source.shape) == 2:
            kept = [] if left_out.has(position) else [(first, last)]
        else:
            kept = left_out.kept(first, last)
        frames = () if len(one.source.shape) == 2 else (sum(b - a for a, b in kept),)
        stretches = tuple(
            RawRun(replace(one.part, first=a, last=b), start + (a - first)) for a, b in kept
        )
        if stretches:
            shape = *frames, *one.source.frame
            found.append(CorrectedDataset(name or one.name, shape, stretches, correction))
    left_out.check(_frames_of(sources, positions))
    if not found:
        raise settings.wrong("leave_out", "every frame is left out")
    images = [k for k, one in enumerate(sources) if len(one.source.shape) == 2]
    if "at" not in settings.table:
        settings.notes += shared_numbers(
            "raw image", [sources[k].part.path for k in images], [at[k] for k in images]
        )
    return found


def _frames_of(sources: list[Named], positions: list[float]) -> str:
    """The frames that there are, for an error: images with their numbers, and stacks."""
    found = [
        f"{position:g} ({one.part})" if len(one.source.shape) == 2 else str(one.part)
        for position, one in sorted(zip(positions, sources, strict=True), key=lambda item: item[0])
    ]
    shown = ", ".join(found[:LONGEST_LIST])
    return f"{shown}, … ({len(found)} in all)" if len(found) > LONGEST_LIST else shown


def _at(settings: Settings, position: float, number: float | None, one: Named) -> float:
    """Abscissa of the first frame: `at`, else a stack's position, else the number in the name."""
    at = settings.table.get("at")
    if at is not None and at not in ("name", "position"):
        return settings.number("at", at, ', "name" or "position"')
    if len(one.source.shape) == 3:
        return float(one.part.first)
    if at == "name" and number is None:
        raise settings.wrong("at", f"{one.source.path!r} has no number in its name")
    return position


def _keyed(
    settings: Settings, options: CorrectionOptions, left_out: LeftOut
) -> Queries[list[CorrectedDataset]]:
    """A stack of projections, flats and darks in a row, with a key for each frame."""
    one, *more = yield from settings.arrays("data")
    if more or one.part != one.source.part:
        raise settings.wrong("data", "expected one stack, without [first:last]")
    keys = yield from _keys(settings, one)
    kept = left_out.kept(0, len(keys))
    left_out.check(f"0 to {len(keys) - 1}")
    invalid = [True] * len(keys)
    for first, last in kept:
        invalid[first:last] = [False] * (last - first)
    keys[invalid] = INVALID
    path = one.part.path
    frames = {
        key: [FrameRange(path, a, b) for a, b in runs(keys == key)]
        for key in (PROJECTION, FLAT, DARK)
    }
    if not frames[PROJECTION]:
        raise settings.wrong("keys", f"no projection: no frame has {PROJECTION}")
    dark = yield from _keyed_dark(settings, options, frames[DARK])
    flats = yield from _keyed_flats(settings, frames[FLAT])
    correction = yield from settings.correction(options, dark, flats)
    stretches = tuple(RawRun(part, float(part.first)) for part in frames[PROJECTION])
    count = sum(part.last - part.first for part in frames[PROJECTION])
    shape = count, *one.source.frame
    return [CorrectedDataset(settings.name(1) or one.name, shape, stretches, correction)]


def _keys(settings: Settings, data: Named) -> Queries[Keys]:
    text = settings.table["keys"]
    try:
        path = settings.references.path(text)
        values = yield from read(path)
        there = "" if values is not None else (yield from settings.references.around(path))
        keys, warnings = fitted_keys(values, str(text), data.source, there)
    except ConventionError as error:
        raise settings.wrong("keys", str(error)) from None
    settings.warnings += warnings
    return keys


def _keyed_dark(
    settings: Settings, options: CorrectionOptions, frames: list[FrameRange]
) -> Queries[ReducedFrame]:
    """As named, else the first run of darks."""
    if "dark" in settings.table:
        return (yield from settings.dark("dark", options))
    if not frames and not options.no_dark:
        raise settings.wrong("keys", f"no dark: no frame has {DARK}; name one as `dark`")
    return settings.reduced_dark(frames[:1]) if frames else NO_DARK


def _keyed_flats(settings: Settings, frames: list[FrameRange]) -> Queries[tuple[Flat, ...]]:
    """As named, else each run of flats at its first frame."""
    if "flat" in settings.table:
        return (yield from settings.flats())
    if not frames:
        raise settings.wrong("keys", f"no flat: no frame has {FLAT}; name one as `flat`")
    return tuple(settings.flat(float(part.first), [part]) for part in frames)
