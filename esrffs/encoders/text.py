"""Texts and single numbers as lines of UTF-8: what `cat` is for."""

from typing import Any

import numpy as np

from esrffs.encoders.file_image import ArrayDescription
from esrffs.encoders.json_text import to_bytes, to_text

SUFFIX = b".txt"

Elements = np.ndarray[Any, np.dtype[Any]]


def accepts(array: ArrayDescription) -> bool:
    """Texts, or one number (no axes)."""
    return array.dtype.kind in "SU" or (array.dtype.kind in "biufc" and not array.shape)


def lines(elements: Elements) -> bytes:
    """Each element on a line of its own; bytes that are not UTF-8 are taken for Latin-1."""
    flat = elements.reshape(-1)
    if flat.dtype.kind not in "SU":  # numbers: the shortest spelling that reads back as the same
        return b"".join(str(number).strip("()").encode() + b"\n" for number in flat)
    return b"".join(line(element) for element in flat.tolist())


def line(element: bytes | str) -> bytes:
    """One text, as UTF-8 with a newline at the end."""
    content = element if isinstance(element, bytes) else to_bytes(element)
    return to_bytes(to_text(content)) + b"\n"
