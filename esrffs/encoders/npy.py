"""The header of a `.npy` file: the bytes that `numpy.save` writes before the data.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import struct
from functools import lru_cache

import numpy as np

_ALIGNMENT = 64  # bytes: the data start at a multiple of it, so that they can be mapped
_GROWTH_DIGITS = 21  # NumPy leaves room for the first axis to be rewritten in place when it grows


@lru_cache(256)  # datasets of one file are alike, and each is asked for its size again and again
def header(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> bytes:
    """Everything before the data of `numpy.save(file, array)` for a C-ordered array.

    `dtype` must not hold Python objects: those `numpy.save` would pickle (ValueError).
    """
    if dtype.hasobject:
        raise ValueError(f"numpy can save {dtype} only by pickling")
    text = f"{{'descr': {np.lib.format.dtype_to_descr(dtype)!r}, "
    text += f"'fortran_order': False, 'shape': {shape!r}, }}"
    if shape:
        text += " " * (_GROWTH_DIGITS - len(repr(shape[0])))
    try:
        encoded = text.encode("latin1")
    except UnicodeEncodeError:
        return _framed(text.encode("utf8"), 3, "<I")
    try:
        return _framed(encoded, 1, "<H")
    except struct.error:
        return _framed(encoded, 2, "<I")


def _framed(text: bytes, version: int, length: str) -> bytes:
    start = len(np.lib.format.magic(version, 0)) + struct.calcsize(length)
    padding = _ALIGNMENT - (start + len(text) + 1) % _ALIGNMENT
    return b"".join(
        (
            np.lib.format.magic(version, 0),
            struct.pack(length, len(text) + padding + 1),
            text,
            b" " * padding,
            b"\n",
        )
    )


def has_text(dtype: np.dtype[np.generic]) -> bool:
    """Whether elements are, or hold, text of NumPy's own (`<U…`)."""
    base = dtype.base
    return base.kind == "U" or any(has_text(base[name]) for name in base.names or ())
