"""Counters, motors and header keys of an image file, for the headers of its EDF views.

Decided here: where they are found in the tree that silx makes of such a file, how they are spelled
(as FabIO and silx read them: `motor_mne`, `motor_pos`, `counter_mne`, `counter_pos`), and when
there are too many of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod

import numpy as np

from esrffs.encoders.edf import Header
from esrffs.errors import EsrffsError
from esrffs.model import DatasetInfo
from esrffs.source.path_resolver import PathResolver
from esrffs.tree.files import NpyFile
from esrffs.tree.handles import OpenArray

MAX_NBYTES = 16 << 20  # of all headers of an array: beyond, its views have none of them
_MOTORS = "scan_0/instrument/positioners"
_COUNTERS = "scan_0/measurement"
_OTHERS = "scan_0/instrument/detector_0/others"

Values = Mapping[str, Sequence[str]]  # by name, a text for each frame


async def frame_headers(array: object, frames: int) -> tuple[Header, ...]:
    """One header for each frame; () where there is nothing to tell, or too much."""
    if not isinstance(array, NpyFile) or array.source.subject.format != "raster":
        return ()

    async def make() -> tuple[Header, ...]:
        try:
            motors = await _values(array, _MOTORS, frames)
            counters = await _values(array, _COUNTERS, frames)
            others = await _values(array, _OTHERS, frames)
        except EsrffsError:
            return ()  # it is told where they are
        return tuple(
            (*_named("motor", motors, k), *_named("counter", counters, k), *_keys(others, k))
            for k in range(frames)
        )

    key = array.source.version, array.info.address, "edf headers"
    made = await array.context.cache.get_or_compute(key, make, _nbytes)
    return made if len(made) == frames and _nbytes(made) <= MAX_NBYTES else ()


async def _values(array: NpyFile, group: str, frames: int) -> Values:
    """What the arrays of this group say of each frame."""
    members = await PathResolver(array.context).members(array.source, group)
    told = {}
    for name, info in members.items():
        if isinstance(info, DatasetInfo) and _is_for_each_frame(info, frames):
            opened = await NpyFile((), array.source, info, array.context, array.state).open_array()
            told[name] = await _texts(opened, info, frames)
    return told


def _is_for_each_frame(info: DatasetInfo, frames: int) -> bool:
    small = prod(info.shape) * info.dtype.itemsize <= MAX_NBYTES
    each = len(info.shape) in (1, 2) and info.shape[0] == frames
    return small and info.dtype.kind in "biufSU" and (each or (frames == 1 and not info.shape))


async def _texts(opened: OpenArray, info: DatasetInfo, frames: int) -> list[str]:
    try:
        values = (await opened.elements(0, prod(info.shape))).reshape(frames, -1)
    finally:
        opened.close()
    return [" ".join(map(_text, row)) for row in values]


def _text(value: np.generic) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _named(kind: str, values: Values, frame: int) -> Iterator[tuple[str, str]]:
    """Names and values as two lists of words, where there are any."""
    words = {name: texts[frame] for name, texts in values.items() if name and not _blank(name)}
    words = {name: text for name, text in words.items() if text and not _blank(text)}
    if words:
        yield f"{kind}_mne", " ".join(words)
        yield f"{kind}_pos", " ".join(words.values())


def _blank(text: str) -> bool:
    return any(sign.isspace() for sign in text)


def _keys(values: Values, frame: int) -> Iterator[tuple[str, str]]:
    for name, texts in values.items():
        yield name, texts[frame]


def _nbytes(headers: tuple[Header, ...]) -> int:
    return sum(100 + len(key) + len(value) for header in headers for key, value in header)
