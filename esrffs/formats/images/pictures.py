"""Read JPEG and JPEG 2000 with the sample values of the file.

FabIO converts colour to grey.  Pillow, which it uses, loses the sign of JPEG 2000 samples and
scales samples of 12 bits to 16.  Therefore JPEG is read by Pillow directly, and JPEG 2000 (in a JP2
box or as a codestream) by imagecodecs.
"""

import struct
from typing import Any, NamedTuple

import numpy as np
from imagecodecs import jpeg2k_decode
from PIL import Image

from esrffs.errors import DamagedError, UnsupportedError
from esrffs.formats.images.frames import Array, Header, open_binary

_CODESTREAM = b"\xff\x4f\xff\x51"  # the markers SOC and SIZ (ISO/IEC 15444-1, annex A)
_MOST_BITS = 16  # the libraries return wrong values for wider samples


class Picture(NamedTuple):
    """A decoded picture: `samples` is (y, x) or (y, x, samples), in native byte order.

    `more` is a text if the file contains further pictures, which are not read.
    """

    header: Header
    samples: Array
    more: str


def read_jpeg(path: str) -> Picture:
    file: Any = open_binary(path)
    with file, Image.open(file, formats=("JPEG", "MPO")) as image:
        others = getattr(image, "n_frames", 1) - 1
        more = f"after frame 0: {others} more, which are not read" if others > 0 else ""
        return Picture(_info(image), np.asarray(image), more)


def read_jpeg2k(path: str) -> Picture:
    with open_binary(path) as file:
        content = file.read() or b""
    begin = content.find(_CODESTREAM)
    if begin < 0:
        raise DamagedError("the file ends before the data of its image begin")
    _check_sizes(content[begin + 4 : begin + 4 + 36 + 2 + 3 * 64])
    samples: Array = jpeg2k_decode(content)
    return Picture(_jpeg2k_header(path), np.ascontiguousarray(samples), "")


def _check_sizes(segment: bytes) -> None:
    """UnsupportedError if the samples have too many bits; `segment` follows the marker SIZ."""
    try:
        _, _, right, bottom, left, top = struct.unpack_from(">HHIIII", segment)
        (components,) = struct.unpack_from(">H", segment, 36)
    except struct.error:
        raise DamagedError("the file ends before the data of its image begin") from None
    if right <= left or bottom <= top or not components:
        raise DamagedError("its header tells of no image")
    for depth, *_ in struct.iter_unpack("3B", segment[38 : 38 + 3 * min(components, 64)]):
        if (depth & 127) + 1 > _MOST_BITS:
            raise UnsupportedError(f"its samples of {(depth & 127) + 1} bits are not read here")


def _jpeg2k_header(path: str) -> Header:
    """The header as FabIO has it; empty if Pillow cannot read the file."""
    file: Any = open_binary(path)
    try:
        with file, Image.open(file, formats=("JPEG2000",)) as image:
            return _info(image)
    except (OSError, SyntaxError, ValueError):
        return {}


def _info(image: Image.Image) -> Header:
    return {str(key): value for key, value in image.info.items()}
