"""Extended attributes: what an object tells of itself besides its contents.

A value is text; what does not fit into an extended attribute is left out.

| name | value |
|---|---|
| `user.esrffs.path` | where the object is in its data file |
| `user.esrffs.source` | the data file, relative to the source of the mount |
| `user.esrffs.dtype` | as in the header of the `.npy`: `<u2`, or the list of a compound's fields |
| `user.esrffs.shape`, `user.esrffs.chunks` | JSON: `[60, 96, 128]` |
| `user.esrffs.filters` | JSON, as written: `[{"id": 1, "name": "deflate", "values": [4]}]` |
| `user.esrffs.value` | of one number or short text: the text itself, or the number as in JSON |
| `user.esrffs.views` | the formats in which the array or group answers too: `csv:tif:tifs:edf` |
| `user.esrffs.error` | what went wrong with the object |
| `user.NAME` | the attribute NAME of the object: text, or a number as in JSON |

Arrays and compounds are not told: they are in the JSON file of the attributes.
"""

import json
import math
from collections.abc import Iterable, Mapping

import numpy as np

from esrffs.encoders.json_text import value_to_json
from esrffs.model import ChunkedLayout, DatasetInfo, Layout

PREFIX = b"user."
NAMESPACE = PREFIX + b"esrffs."
ERROR = NAMESPACE + b"error"
VALUE = NAMESPACE + b"value"
VIEWS = NAMESPACE + b"views"
STATUS = NAMESPACE + b"status"  # of the root; not listed

NAME_MAX = 255  # bytes, prefix included; these three are of <linux/limits.h>
VALUE_MAX = 65_536
LIST_MAX = 65_536  # bytes of all names, each with a NUL at its end

Xattrs = Mapping[bytes, bytes]


def fit(text: str) -> bytes:
    """A text as a value, cut where it is too long."""
    return text.encode("utf-8", "replace")[:VALUE_MAX]


# HDF5's own filters, and the common ones of those that are registered with The HDF Group.
_FILTERS = {
    1: "deflate",
    2: "shuffle",
    3: "fletcher32",
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    307: "bzip2",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32017: "sz",
    32018: "fcidecomp",
    32026: "blosc2",
    32028: "sperr",
}


def origin(path: str, source: str) -> dict[bytes, bytes]:
    """Where an object comes from."""
    told = {b"esrffs.path": _bytes("/" + path.lstrip("/")), b"esrffs.source": _bytes(source)}
    return within_limits(told.items())


def array_description(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], layout: Layout | None = None
) -> dict[bytes, bytes]:
    """What the array of a `.npy` is, and how it is stored."""
    descr = np.lib.format.dtype_to_descr(dtype)
    told = {
        b"esrffs.dtype": _bytes(descr if isinstance(descr, str) else repr(descr)),
        b"esrffs.shape": _json(shape),
    }
    if isinstance(layout, ChunkedLayout):
        told[b"esrffs.chunks"] = _json(layout.shape)
        told[b"esrffs.filters"] = _json(
            [
                {"id": code, "name": _FILTERS.get(code), "values": from_json}
                for code, from_json in layout.filters
            ]
        )
    return within_limits(told.items())


def view_formats(names: Iterable[str]) -> dict[bytes, bytes]:
    """The formats of an array or group; nothing where there are none."""
    told = ":".join(names).encode()
    return {VIEWS: told} if told else {}


def dataset_description(info: DatasetInfo, path: str, source: str) -> dict[bytes, bytes]:
    """What a dataset at this path of this data file is."""
    return origin(path, source) | array_description(info.shape, info.dtype, info.layout)


def has_value(info: DatasetInfo) -> bool:
    """Is this one number (bool and complex too) or one text, short enough for an attribute?"""
    short = info.dtype.itemsize <= 4 * VALUE_MAX  # text of four bytes a character
    return math.prod(info.shape) == 1 and short and info.dtype.kind in "biufcSU"


def value(element: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> dict[bytes, bytes]:
    """The value of an array of one element, if the kernel takes it."""
    found = json.loads(value_to_json(element.reshape(())))
    return within_limits(
        [(b"esrffs.value", _bytes(found) if isinstance(found, str) else _json(found))]
    )


def from_json(attributes: bytes) -> Xattrs:
    """The scalars and texts of an object's attributes, given as the JSON of `attrs.json`.

    Numbers stay as they are spelled there; null is what JSON has no word for (NaN), or nothing.
    A name that begins with `esrffs.` would be taken for one of ours.
    """
    told = json.loads(attributes, parse_float=str, parse_int=str)
    return within_limits(
        (_bytes(name), _bytes(value if isinstance(value, str) else json.dumps(value)))
        for name, value in told.items()
        if not isinstance(value, list | dict) and not name.startswith("esrffs.")
    )


def within_limits(found: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Under their full names those that the kernel takes."""
    return {
        PREFIX + name: value
        for name, value in found
        if name and len(PREFIX) + len(name) <= NAME_MAX and len(value) <= VALUE_MAX
    }


def truncate_names(found: Iterable[bytes]) -> list[bytes]:
    """As many of these names, from the first, as the kernel takes in one answer."""
    names: list[bytes] = []
    room = LIST_MAX
    for name in found:
        room -= len(name) + 1
        if room < 0:
            break
        names.append(name)
    return names


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _bytes(text: str) -> bytes:
    """Names of files and objects may hold bytes that are not UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
