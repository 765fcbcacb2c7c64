"""HDF5 datasets that become JSON, block by block.

Only one block at a time is held as Python objects.  A dataset that is too large for JSON is refused
as soon as that is known.
"""

import math
from collections.abc import Callable

import numpy as np

from esrffs import limits
from esrffs.encoders.json_text import value_to_json
from esrffs.formats import budget
from esrffs.formats.hdf5.datatypes import Array, to_json_value
from esrffs.formats.hdf5.references import References
from esrffs.model import Box

_ELEMENT_NBYTES = 5  # of JSON that an element makes at least: an empty text, its indent and comma
_VALUE_NBYTES = 7  # … and a value in a sequence: it is indented twice
_REAL = frozenset(("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"))
_BLOCK_NBYTES = 4 << 20  # of JSON that is made at a time, at least
_FIRST_ROWS = 256  # that are read at first: nobody knows yet how long they are


def json_of_dataset(
    address: str,
    shape: tuple[int, ...],
    read: Callable[[Box], Array],
    references: References,
) -> bytes:
    """All elements as nested lists (UTF-8); `read` gives a box.  TooLargeError, TooSlowError."""
    limits.check_json(address, _ELEMENT_NBYTES * math.prod(shape))
    if not math.prod(shape) or not shape:
        return value_to_json(to_json_value(read(Box((0,) * len(shape), shape)), references))
    pieces: list[bytes] = []
    nbytes = first = 0
    rows = _FIRST_ROWS
    while first < shape[0]:
        budget.check(address)
        last = min(first + rows, shape[0])
        array = read(Box((first, *[0] * (len(shape) - 1)), (last, *shape[1:])))
        least = json_nbytes(array)
        limits.check_json(address, nbytes + least)
        piece = (
            _rows(array) or value_to_json(to_json_value(array, references))[2:-3]
        )  # less its brackets
        nbytes += len(piece) + 2
        limits.check_json(address, nbytes)
        pieces.append(piece)
        rows = max(1, min(4 * rows, (last - first) * _BLOCK_NBYTES // max(1, least)))
        first = last
    return b"[\n" + b",\n".join(pieces) + b"\n]\n"


def _rows(array: Array) -> bytes | None:
    """Sequences of real numbers, the commonest of all, as `value_to_json` writes their list."""
    rows = array.tolist() if array.ndim == 1 and array.dtype.kind == "O" else []
    kinds = {(type(row), getattr(row, "dtype", None)) for row in rows}
    if len(kinds) != 1 or not isinstance(rows[0], np.ndarray) or rows[0].dtype.str[1:] not in _REAL:
        return None
    values = np.concatenate(rows)
    if values.dtype.kind == "f":
        words = [*map(float.__repr__, values.tolist())]
        for index in np.flatnonzero(~np.isfinite(values)).tolist():
            words[index] = "null"
    else:
        words = [*map(int.__repr__, values.tolist())]
    ends = np.cumsum([len(row) for row in rows]).tolist()
    lines = (
        "  [\n    " + ",\n    ".join(words[start:end]) + "\n  ]" if end > start else "  []"
        for start, end in zip([0, *ends], ends, strict=False)
    )
    return ",\n".join(lines).encode()


def json_nbytes(array: Array) -> int:
    """How long the JSON of these elements is at least."""
    if array.dtype.names:
        return sum(json_nbytes(array[name]) for name in array.dtype.names)
    if not array.dtype.hasobject:
        return _ELEMENT_NBYTES * array.size
    nbytes = _ELEMENT_NBYTES * array.size
    for value in array.ravel().tolist():
        if isinstance(value, np.ndarray):
            flat = not value.dtype.hasobject and not value.dtype.names
            nbytes += _VALUE_NBYTES * value.size if flat else json_nbytes(value)
        elif isinstance(value, bytes | str):
            nbytes += len(value)
    return nbytes
