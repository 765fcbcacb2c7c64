"""Detect the format of a file by its first bytes; its name is only a hint.

Runs in the daemon, and therefore imports no format library.
"""

from typing import NamedTuple

from esrffs.formats.images.signatures import (
    HEADER_NBYTES,
    Pread,
    codec_of_file,
    is_single_frame,
)
from esrffs.model import Format

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_NAMES = (
    *(".h5", ".hdf5", ".hdf", ".he5", ".h5oina", ".nxs", ".nx", ".nexus", ".nx5", ".nc", ".nc4"),
    *(".mat", ".cxi", ".ims", ".jld", ".jld2", ".loom", ".hdr5"),
)
_NEVER = (  # never data files: they may contain other formats, or users want them as they are
    *(b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06", b"%PDF-", b"\x7fELF", b"#!", b"\xfd7zXZ\0"),
    *(b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"SQLite format 3\0"),
)
_TAR = slice(257, 262)
_LONG_HEADER = 1 << 16  # bytes


class Recognised(NamedTuple):
    """The detected format of a file.

    `single_frame`: False if an image file certainly contains more than one frame, so that it cannot
    be a member of a series.  `head`: the first bytes of an image file, at most 4096.
    """

    format: Format | None
    single_frame: bool = True
    head: bytes = b""


def recognise(pread: Pread, size: int, name: str) -> Recognised:
    """Detect the format of a file of `size` bytes called `name`; its first bytes are read once.

    `pread(offset, count)` returns bytes of the file; its exceptions are not caught.
    """
    head = pread(0, min(HEADER_NBYTES, size))
    found = detect_format(_remembering(head, pread), size, name)
    if found != "image":
        return Recognised(found)
    return Recognised(found, is_single_frame(head, size), head)


def detect_format(pread: Pread, size: int, name: str) -> Format | None:
    """The format of a file of `size` bytes called `name`; None: not a data file, or not known.

    For nearly every file one page is read.  Exceptions of `pread` are not caught.
    """
    head = pread(0, min(HEADER_NBYTES, size))
    if head.startswith(_HDF5):
        return "hdf5"
    if len(head) < 8 or head.startswith(_NEVER) or head[_TAR] == b"ustar":
        return None
    if codec_of_file(_remembering(head, pread), size, name):
        return "image"
    if _behind_user_block(head, pread, size, name):
        return "hdf5"
    return "spec" if _is_spec(head, pread, size, name) else None


def _remembering(head: bytes, pread: Pread) -> Pread:
    """`pread` that answers from `head` where the offset is 0."""
    return lambda offset, count: head[:count] if offset == 0 else pread(offset, count)


def _is_spec(head: bytes, pread: Pread, size: int, name: str) -> bool:
    """Whether it is a Spec file.  Only for files that start with "#" the Spec reader is imported.

    A header with many motors may be longer than the head; then more is read.
    """
    if not head.lstrip().startswith(b"#"):
        return False
    from esrffs.formats.spec.reader import is_spec, is_spec_header

    if is_spec(head, name):
        return True
    longer = len(head) < size and is_spec_header(head)
    return longer and is_spec(pread(0, min(_LONG_HEADER, size)), name)


def _behind_user_block(head: bytes, pread: Pread, size: int, name: str) -> bool:
    """Whether HDF5 begins behind a user block, at byte 512, 1024, 2048 …

    Beyond the first page this is only looked for if the name is one of an HDF5 file.
    """
    offset = 512
    while offset + len(_HDF5) <= size:
        if offset + len(_HDF5) <= len(head):
            found = head[offset : offset + len(_HDF5)]
        elif name.lower().endswith(_HDF5_NAMES):
            found = pread(offset, len(_HDF5))
        else:
            return False
        if found == _HDF5:
            return True
        offset *= 2
    return False
