"""Attributes, and values that numpy could hold only by pickling, as strict JSON text.

Values look like this in JSON:

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

from collections.abc import Mapping
from json.encoder import encode_basestring as _quoted
from math import isfinite

import numpy as np


def to_json(attributes: Mapping[str, object]) -> bytes:
    """The attributes of one object, in their order, as UTF-8 with a newline at the end."""
    return value_to_json(dict(attributes))


def value_to_json(value: object) -> bytes:
    """Any value (arrays, compounds, lists of them …) as UTF-8 with a newline at the end."""
    return (_encode(value, "\n") + "\n").encode()


def _encode(value: object, line: str) -> str:
    """The text of a value; `line` is a newline and the indent of the line on which it begins.

    The json module writes indented text by generators, value by value, which takes five times
    as long; a listing does this for every object.
    """
    match value:
        case str():
            return _quoted(value if value.isascii() else to_text(to_bytes(value)))
        case bytes():
            return _quoted(to_text(value))
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return int.__repr__(value)
        case float():
            return float.__repr__(value) if isfinite(value) else "null"
        case dict():
            inner = line + "  "
            told = {_encode(key, inner): _encode(v, inner) for key, v in value.items()}
            fields = map(": ".join, told.items())
            return f"{{{inner}{f',{inner}'.join(fields)}{line}}}" if told else "{}"
        case list() | tuple():
            inner = line + "  "
            if {*map(type, value)} == {float} and all(map(isfinite, value)):
                texts = [*map(float.__repr__, value)]
            else:
                texts = [_encode(v, inner) for v in value]
            return f"[{inner}{f',{inner}'.join(texts)}{line}]" if texts else "[]"
        case _:
            return _encode(_simplify(value), line)


def _simplify(value: object) -> object:
    """A value that JSON has no word for, one level nearer to what it has."""
    match value:
        case np.ndarray():
            return _lists(value)
        case np.void():
            names = value.dtype.names
            return {name: value[name] for name in names} if names else to_text(value.tobytes())
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


def to_bytes(text: str) -> bytes:
    """What the text was read from: surrogates stand for bytes that were not UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return text.encode("utf-8", "surrogatepass")


def to_text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")
