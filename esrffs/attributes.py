"""Attributes, and values that numpy could hold only by pickling, as strict JSON text.

Decided here: how every value looks in JSON (contract §5), and nothing about where it came from.

| value | JSON |
|---|---|
| NaN, ±Infinity, NaT, an empty attribute (None) | `null` |
| complex | `[re, im]` |
| array | nested lists |
| compound | an object, field by field |
| bytes, opaque bytes, text | text: UTF-8, where it is not that Latin-1 |
| long double | the nearest float; beyond its range `null` |
| date, interval | ISO 8601, as numpy writes it |
"""

import json
import math
from collections.abc import Mapping

import numpy as np


def to_json(attributes: Mapping[str, object]) -> bytes:
    """The attributes of one object, in their order, as UTF-8 with a newline at the end."""
    return value_to_json(dict(attributes))


def value_to_json(value: object) -> bytes:
    """Any value (arrays, compounds, lists of them …) as UTF-8 with a newline at the end."""
    try:  # nearly always nothing needs replacing, and looking is what would take long
        return (_STRICT.encode(value) + "\n").encode()
    except ValueError:  # NaN or an infinity; UnicodeEncodeError: bytes that were not UTF-8
        return (_STRICT.encode(_replaced(value)) + "\n").encode()


def _nearer(value: object) -> object:
    """A value that JSON has no word for, one level nearer to what it has."""
    match value:
        case np.ndarray():
            return _lists(value)
        case bytes():
            return _decoded(value)
        case np.void():
            names = value.dtype.names
            return {name: value[name] for name in names} if names else _decoded(value.tobytes())
        case np.datetime64() | np.timedelta64():
            return None if np.isnat(value) else str(value)
        case np.complexfloating() | complex():
            return [float(value.real), float(value.imag)]
        case np.floating():
            return float(value)
        case np.generic():
            return value.item()
        case _:
            return str(value)


def _lists(array: np.ndarray) -> object:
    if array.ndim == 0:
        return array[()]
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a long double beyond float64
            return array.astype(np.float64).tolist()
    return array.tolist() if array.dtype.kind in "biuSUO" else list(array)


def _replaced(value: object) -> object:
    """The same value with null for what is not finite and Latin-1 for what was not UTF-8."""
    match value:
        case str():
            return value if value.isascii() else _decoded(_bytes(value))
        case float():
            return value if math.isfinite(value) else None
        case None | bool() | int():
            return value
        case dict():
            return {_replaced(key): _replaced(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_replaced(inner) for inner in value]
        case _:
            return _replaced(_nearer(value))


def _bytes(text: str) -> bytes:
    """What the text was read from: surrogates stand for bytes that were not UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return text.encode("utf-8", "surrogatepass")


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


_STRICT = json.JSONEncoder(indent=2, ensure_ascii=False, allow_nan=False, default=_nearer)
