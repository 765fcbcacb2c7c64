"""One image as a PNG, to be looked at: 8 bits, between two percentiles of its own values.

The pixels are in stored (not compressed) deflate blocks, so the size of the file follows from the
shape alone; the content needs the whole image.

Specification: PNG (ISO/IEC 15948, https://www.w3.org/TR/png-3/), zlib (RFC 1950), deflate
(RFC 1951, section 3.2.4: stored blocks).
"""

import struct
from collections.abc import Iterator
from typing import Any
from zlib import adler32, crc32

import numpy as np

from esrffs.encoders.file_image import ArrayDescription

SUFFIX = b".png"
PERCENTILES = (0.5, 99.5)

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STORED_NBYTES = 65_535  # the most that one stored deflate block holds
_CHUNK_NBYTES = 1 << 30  # of pixels in one IDAT chunk; a chunk has less than 2^31 bytes
_BAND_PIXELS = 1 << 20  # that are scaled at a time
_MAX_SIDE = (1 << 31) - 1  # pixels
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by samples: grey, grey + alpha, RGB, RGBA
_NUMBER_WIDTH = 24  # characters of a float64 by repr, at most

Image = np.ndarray[Any, np.dtype[Any]]


def accepts(array: ArrayDescription, *, colour: bool = False) -> bool:
    """Real numbers, `(y, x)`; or of colour `(y, x, samples)` with up to four samples."""
    if array.dtype.kind not in "biuf" or array.size == 0:
        return False
    if len(array.shape) != 2 + colour or max(array.shape[:2]) > _MAX_SIDE:
        return False
    return not colour or array.shape[2] in _COLOUR_TYPES


def png_nbytes(shape: tuple[int, ...], dtype: np.dtype[Any], *, colour: bool = False) -> int:
    """The size of the file."""
    rows = shape[0]
    row = 1 + shape[1] * (shape[2] if colour else 1) * _depth(dtype, colour) // 8
    data = rows * row
    blocks = -(-data // _STORED_NBYTES)
    stream = 2 + 5 * blocks + data + 4
    chunks = -(-stream // _CHUNK_NBYTES)
    text = 0 if _is_kept(dtype, colour) else 12 + len(_text(0.0, 0.0))
    return len(_SIGNATURE) + 25 + text + stream + 12 * chunks + 12


def png(image: Image, *, colour: bool = False) -> bytes:
    """The PNG of an image `(y, x)`, or `(y, x, samples)` of colour.

    Colour of 8 or 16 unsigned bits is kept as it is.  Of all else black is the 0.5 percentile of
    the finite values and white the 99.5 percentile, which a `tEXt` chunk tells.  NaN is black.
    """
    depth = _depth(image.dtype, colour)
    samples = image.shape[2] if colour else 1
    size = image.shape[1], image.shape[0]
    header = struct.pack(">IIBBBBB", *size, depth, _COLOUR_TYPES[samples], 0, 0, 0)
    parts = [_SIGNATURE, _chunk(b"IHDR", header)]
    if _is_kept(image.dtype, colour):
        pixels = image.astype(f">u{depth // 8}", copy=False)
    else:
        low, high = limits(image)
        pixels = scaled(image, low, high)
        parts.append(_chunk(b"tEXt", _text(low, high)))
    rows = np.zeros((image.shape[0], 1 + pixels[0].nbytes), np.uint8)  # a filter of 0 before each
    rows[:, 1:] = np.ascontiguousarray(pixels).reshape(image.shape[0], -1).view(np.uint8)
    stream = b"".join(_zlib(rows.tobytes()))
    parts += (
        _chunk(b"IDAT", stream[start : start + _CHUNK_NBYTES])
        for start in range(0, len(stream), _CHUNK_NBYTES)
    )
    return b"".join([*parts, _chunk(b"IEND", b"")])


def limits(image: Image) -> tuple[float, float]:
    """The values that become black and white."""
    values = image.reshape(-1)
    if image.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 0.0
    if image.dtype.kind == "b":
        values = values.view(np.uint8)
    places = [(values.size - 1) * (percent / 100) for percent in PERCENTILES]
    last = values.size - 1
    needed = sorted({min(k, last) for place in places for k in (int(place), int(place) + 1)})
    ordered = np.partition(values, needed)  # in its own dtype: float64 may take eight times as much
    low, high = (_between(ordered, place) for place in places)
    return low, high


def _between(ordered: Image, place: float) -> float:
    """The value at this place, between two neighbours, as `numpy.percentile` has it."""
    first, part = int(place), place % 1
    a, b = (float(ordered[min(k, ordered.size - 1)]) for k in (first, first + 1))
    return a + (b - a) * part if part < 0.5 else b - (b - a) * (1 - part)


def scaled(image: Image, low: float, high: float) -> Image:
    """The image as uint8: 0 up to `low`, 255 from `high` on; 0 where it is not a number."""
    span = high - low if high > low else 1.0
    made = np.empty(image.shape, np.uint8)
    rows = max(1, _BAND_PIXELS // max(1, made[0].size))
    for start in range(0, len(image), rows):
        band = image[start : start + rows].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            grey = (band - low) * (255.0 / span)
        grey = np.clip(np.nan_to_num(grey, posinf=255.0, neginf=0.0), 0, 255)
        made[start : start + rows] = np.rint(grey)
    return made


def _is_kept(dtype: np.dtype[Any], colour: bool) -> bool:
    return colour and dtype.kind == "u" and dtype.itemsize <= 2


def _depth(dtype: np.dtype[Any], colour: bool) -> int:
    return 8 * dtype.itemsize if _is_kept(dtype, colour) else 8


def _text(low: float, high: float) -> bytes:
    """Of one length whatever the numbers are."""
    told = f"black {low!r:>{_NUMBER_WIDTH}}, white {high!r:>{_NUMBER_WIDTH}}"
    return b"Comment\0" + f"{told} (percentiles {PERCENTILES[0]} and {PERCENTILES[1]})".encode()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return b"".join(
        (
            struct.pack(">I", len(content)),
            kind,
            content,
            struct.pack(">I", crc32(content, crc32(kind))),
        )
    )


def _zlib(data: bytes) -> Iterator[bytes]:
    """The data as a zlib stream of stored blocks."""
    yield b"\x78\x01"
    for start in range(0, len(data), _STORED_NBYTES):
        block = memoryview(data)[start : start + _STORED_NBYTES]
        last = start + _STORED_NBYTES >= len(data)
        yield struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF)
        yield bytes(block)
    yield struct.pack(">I", adler32(data))
