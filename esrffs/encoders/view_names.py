"""The names of views.  Pure, and imports no numpy: the command line needs them too.

The name of a view is the name of the array without `.npy`, or that of the group, and the suffix of
the format.  The frames of a stack are numbered from 0 (`0000.tif`).
"""

from collections.abc import Iterator

from esrffs.encoders import file_names

ARRAY_SUFFIX = b".npy"
FORMATS = ("txt", "csv", "tif", "tifs", "edf", "edfs", "png", "pngs")  # of arrays
GROUP_FORMATS = ("csv", "h5")
FRAME_FORMATS = {"tifs": "tif", "edfs": "edf", "pngs": "png"}  # directories: a file a frame

_LEAST_DIGITS = 4


def view_name(stem: bytes, format_: str) -> bytes:
    """The name of a view of what is called `stem` (an array: without its `.npy`)."""
    return file_names.shorten(stem, b"." + format_.encode())


def stem(array_name: bytes) -> bytes:
    return array_name.removesuffix(ARRAY_SUFFIX)


def split(name: bytes) -> tuple[bytes, str] | None:
    """Of what this name may be a view, and in which format."""
    before, dot, after = name.rpartition(b".")
    format_ = after.decode("ascii", "replace")
    if not before or not dot or format_ not in {*FORMATS, *GROUP_FORMATS}:
        return None
    return before, format_


def frame_names(count: int, format_: str) -> Iterator[bytes]:
    """`0000.tif`, …: as many digits as the last has, at least four."""
    digits = max(_LEAST_DIGITS, len(str(count - 1)))
    suffix = FRAME_FORMATS[format_]
    return (f"{number:0{digits}}.{suffix}".encode() for number in range(count))


def frame_number(name: bytes, count: int, format_: str) -> int | None:
    """Which frame has this name; None where there is none."""
    digits, dot, suffix = name.partition(b".")
    if dot + suffix != b"." + FRAME_FORMATS[format_].encode() or not digits.isdigit():
        return None
    number = int(digits) if len(digits) < 20 else count
    right = max(_LEAST_DIGITS, len(str(count - 1)))
    return number if number < count and len(digits) == right else None
