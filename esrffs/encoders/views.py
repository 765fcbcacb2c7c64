"""In which other formats an array can be shown, by its shape and dtype.  Pure.

Also tells of which arrays a table is made, and which tables have a size that is arithmetic.
Does not: name views (`encoders/view_names`), or encode them (`encoders/tiff`, `edf`, `csv`, `png`,
`text`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from esrffs.encoders import csv, edf, png, text, tiff
from esrffs.encoders.file_image import ArrayDescription, FileImage
from esrffs.encoders.view_names import FORMATS, FRAME_FORMATS

_MAX_NBYTES = 1 << 57  # of an array: a table takes up to 25 times as many, a file less than 2^63
_MAX_TIFF_SIDE = (1 << 32) - 1  # pixels


def formats(array: ArrayDescription, *, colour: bool) -> tuple[str, ...]:
    """The formats of this array.  `colour`: its last axis are the samples of a pixel."""
    return tuple(name for name in FORMATS if has_format(array, name, colour=colour))


def has_format(array: ArrayDescription, name: str, *, colour: bool) -> bool:
    if array.size * max(array.dtype.itemsize, 1) > _MAX_NBYTES:
        return False
    match name:
        case "txt":
            return text.accepts(array)
        case "csv":
            return has_table(array)
        case "tif":
            return tiff.accepts(array) and max(array.shape[-3:]) <= _MAX_TIFF_SIDE
        case "edf":
            return edf.accepts(array)
        case "png":
            return frame_count(array, colour=colour) == 1 and png.accepts(
                frame(array, colour=colour), colour=colour
            )
    single = FRAME_FORMATS.get(name)
    return (
        single is not None
        and not (colour and name == "edfs")  # EDF knows no colour
        and frame_count(array, colour=colour) > 1
        and has_format(frame(array, colour=colour), single, colour=colour)
    )


def frame_count(array: ArrayDescription, *, colour: bool) -> int:
    """How many images `(y, x)`, in colour `(y, x, samples)`, the array holds; 0: it holds none."""
    axes = 3 if colour else 2
    return prod(array.shape[:-axes]) if len(array.shape) >= axes and array.size else 0


def frame(array: ArrayDescription, *, colour: bool) -> ArrayDescription:
    """The shape and dtype of one frame of the array: its last two axes, in colour three."""
    return replace(array, shape=array.shape[-3 if colour else -2 :])


def may_be_colour(array: ArrayDescription) -> bool:
    """Whether the last axis may be the samples of a pixel; the attributes tell (`tells_colour`)."""
    unsigned = array.dtype.kind == "u" and array.dtype.itemsize <= 2
    return unsigned and len(array.shape) >= 3 and array.shape[-1] in (3, 4)


def tells_colour(attributes: Mapping[bytes, bytes]) -> bool:
    """Whether the attributes, given as extended ones, say that an image is in colour.

    `interpretation` of NeXus' NXdata, or `IMAGE_SUBCLASS` of the HDF5 Image and Palette
    Specification 1.2 (https://docs.hdfgroup.org/documentation/hdf5/latest/_i_m_g.html).
    """
    return (
        attributes.get(b"user.interpretation") in (b"rgb-image", b"rgba-image")
        or attributes.get(b"user.IMAGE_SUBCLASS") == b"IMAGE_TRUECOLOR"
    )


def is_counted(array: ArrayDescription, name: str) -> bool:
    """Whether the size of this view (not of `txt`) is arithmetic; others are made to know it."""
    return name != "csv" or not _has_texts(array.dtype)


# Tables


def has_table(array: ArrayDescription) -> bool:
    """Whether the array has a `.csv`: numbers or texts on one or two axes, compounds on one."""
    if array.dtype.names is not None:
        fields = (array.dtype[name] for name in array.dtype.names)
        return len(array.shape) == 1 and all(map(_is_cell, fields))
    return len(array.shape) in (1, 2) and _is_cell(array.dtype)


def _is_cell(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "SU" or csv.number_width(dtype) is not None


def _has_texts(dtype: np.dtype[Any]) -> bool:
    if dtype.names is None:
        return dtype.kind in "SU"
    return any(_has_texts(dtype[name]) for name in dtype.names)


def table_image(arrays: Sequence[ArrayDescription]) -> FileImage | None:
    """The table of one array, or of several of one axis side by side; None: it must be made."""
    if any(_has_texts(array.dtype) for array in arrays):
        return None
    first = arrays[0]
    if len(first.shape) == 2:
        return csv.matrix_image(first.dtype, (first.shape[0], first.shape[1]))
    if first.dtype.names is not None:
        return csv.compound_image(first.dtype, first.shape[0])
    names, dtypes = [one.name for one in arrays], [one.dtype for one in arrays]
    return csv.numbers_image(names, dtypes, first.shape[0])


def column_names(arrays: Sequence[ArrayDescription]) -> Sequence[str]:
    """What the header line of such a table holds; of a matrix nothing."""
    first = arrays[0]
    if len(first.shape) == 2:
        return ()
    return first.dtype.names or [one.name for one in arrays]


def table_lines(arrays: Sequence[ArrayDescription], values: Sequence[csv.Array]) -> bytes:
    """Rows of such a table without its header, of these elements."""
    first = arrays[0]
    if len(first.shape) == 2:
        rows = values[0].reshape(-1, first.shape[1])
        return csv.table_text((), [rows[:, k] for k in range(first.shape[1])])
    if first.dtype.names is not None:
        return csv.table_text((), [values[0][name] for name in first.dtype.names])
    return csv.table_text((), values)


def columns(arrays: Sequence[ArrayDescription]) -> list[int]:
    """Which of the arrays of a group are the columns of its table.

    Those of one axis, of the commonest length; of several such lengths the one met first.
    """
    lengths: dict[int, list[int]] = {}
    for number, array in enumerate(arrays):
        if len(array.shape) == 1 and array.dtype.names is None and _is_cell(array.dtype):
            lengths.setdefault(array.shape[0], []).append(number)
    return max(lengths.values(), key=len, default=[])
