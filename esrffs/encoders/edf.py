"""An array as an EDF: a header of text and a block of pixels for each frame.

All headers of a file have one size, so that the place of a frame is arithmetic.

Format: ESRF Data Format as FabIO reads it (https://www.silx.org/doc/fabio/latest/edf.html): `{`,
lines `key = value ;`, blanks, `}` and a newline, in a multiple of 512 bytes; keys HeaderID,
ByteOrder, DataType, Dim_1 (columns), Dim_2 (rows), Size.
"""

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from esrffs.encoders.file_image import ArrayDescription, FileImage, Interleaved

SUFFIX = b".edf"

_BLOCK_NBYTES = 512
_DATA_TYPES = {
    "u1": "UnsignedByte",
    "i1": "SignedByte",
    "u2": "UnsignedShort",
    "i2": "SignedShort",
    "u4": "UnsignedInteger",
    "i4": "SignedInteger",
    "u8": "Unsigned64",
    "i8": "Signed64",
    "f4": "FloatValue",
    "f8": "DoubleValue",
}
MAX_HEADER_NBYTES = 200_000  # of the further keys of a frame: FabIO reads headers of up to 256 KiB
MAX_HEADERS_NBYTES = 16 << 20  # of the further keys of all frames of a file

_OURS = {
    *("headerid", "image", "byteorder", "datatype", "size", "compression", "edf_binarysize"),
    *("edf_headersize", "edf_datablockid", "edf_dataformatversion", "dim_1", "dim_2", "dim_3"),
}

Header = Sequence[tuple[str, str]]  # keys and values, in their order


def within_limits(headers: Sequence[Header]) -> bool:
    """Are these headers small enough to be written, one by one and together?"""
    sizes = [sum(len(key) + len(value) + 6 for key, value in header) for header in headers]
    return max(sizes, default=0) <= MAX_HEADER_NBYTES and sum(sizes) <= MAX_HEADERS_NBYTES


def sample_dtype(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The dtype of the pixels: the array's, or the next wider one that EDF has; None where none."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f" and dtype.itemsize == 2:
        return np.dtype(np.float32).newbyteorder(dtype.byteorder)
    return dtype if dtype.kind in "iuf" and dtype.str[1:] in _DATA_TYPES else None


def accepts(array: ArrayDescription) -> bool:
    """Real numbers on one to three axes, none of them of length 0."""
    return array.size > 0 and 1 <= len(array.shape) <= 3 and sample_dtype(array.dtype) is not None


def edf_image(array: ArrayDescription, headers: Sequence[Header] = ()) -> FileImage:
    """The EDF of an array `(x)`, `(y, x)` or `(n, y, x)`; one axis becomes a single row.

    `headers`: further keys of each frame, or once those of all.  Keys that describe the block
    itself (`Dim_1`, `Size` …) are left out; they are what the pixels here are.
    """
    dtype = sample_dtype(array.dtype)
    if dtype is None:
        raise ValueError(f"no EDF of {array.dtype}")
    frame_shape = array.shape[-2:] if len(array.shape) > 1 else (1, *array.shape)
    frames = array.size // prod(frame_shape)
    texts = [_keys(header) for header in headers] or [""]
    longest = max(map(len, texts))
    room = len(_header(frames, frame_shape, dtype, "")) + longest + 4
    header_nbytes = -(-room // _BLOCK_NBYTES) * _BLOCK_NBYTES
    make = partial(_padded, header_nbytes, frame_shape, dtype, tuple(texts))
    return FileImage((Interleaved(frames, header_nbytes, make, 0, prod(frame_shape), dtype),))


def _keys(header: Header) -> str:
    return "".join(
        f"{_clean(key)} = {_clean(value)} ;\n"
        for key, value in header
        if key.strip().lower() not in _OURS and key.strip()
    )


def _clean(text: str) -> str:
    """The text with blanks for what would end a value or a header.

    Headers are ASCII: FabIO leaves out keys with anything else.  So `µ` becomes `\\xb5`, as Python
    escapes it.
    """
    blanked = "".join(" " if sign in ";{}=" or ord(sign) < 32 else sign for sign in text)
    return blanked.strip().encode("ascii", "backslashreplace").decode()


def _padded(
    nbytes: int,
    frame_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    texts: tuple[str, ...],
    frame: int,
) -> bytes:
    text = texts[frame] if len(texts) > 1 else texts[0]
    return _header(frame + 1, frame_shape, dtype, text).ljust(nbytes - 2) + b"}\n"


def _header(number: int, frame_shape: tuple[int, ...], dtype: np.dtype[Any], further: str) -> bytes:
    rows, columns = frame_shape
    order = "HighByteFirst" if dtype.str[0] == ">" else "LowByteFirst"
    keys = (
        ("HeaderID", f"EH:{number:06d}:000000:000000"),
        ("Image", str(number)),
        ("ByteOrder", order),
        ("DataType", _DATA_TYPES[dtype.str[1:]]),
        ("Dim_1", str(columns)),
        ("Dim_2", str(rows)),
        ("Size", str(rows * columns * dtype.itemsize)),
    )
    return ("{\n" + "".join(f"{key} = {value} ;\n" for key, value in keys) + further).encode()
