"""What a file is taken for, by its first bytes; the name is a hint.

Runs in the daemon, so it loads no format library.
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
_NEVER = (  # what other formats could be found inside of, or what is already as users want it
    *(b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06", b"%PDF-", b"\x7fELF", b"#!", b"\xfd7zXZ\0"),
    *(b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"SQLite format 3\0"),
)
_TAR = slice(257, 262)
_LONG_HEADER = 1 << 16  # bytes


class Recognised(NamedTuple):
    """What a file is taken for.

    `single_frame`: False where it is certain that an image file holds more frames than one, so that
    it is no member of a series.  `head`: the first bytes of an image file, at most 4096.
    """

    format: Format | None
    single_frame: bool = True
    head: bytes = b""


def recognise(pread: Pread, size: int, name: str) -> Recognised:
    """What a file of `size` bytes called `name` is; its first bytes are read once.

    Raises what `pread` raises.
    """
    head = pread(0, min(HEADER_NBYTES, size))
    found = detect_format(_remembering(head, pread), size, name)
    if found != "raster":
        return Recognised(found)
    return Recognised(found, is_single_frame(head, size), head)


def detect_format(pread: Pread, size: int, name: str) -> Format | None:
    """The format of a file of `size` bytes called `name`; None: not a data file, or not known.

    One read of a page for nearly every file.  Raises what `pread` raises.
    """
    head = pread(0, min(HEADER_NBYTES, size))
    if head.startswith(_HDF5):
        return "hdf5"
    if len(head) < 8 or head.startswith(_NEVER) or head[_TAR] == b"ustar":
        return None
    if codec_of_file(_remembering(head, pread), size, name):
        return "raster"
    if _behind_user_block(head, pread, size, name):
        return "hdf5"
    return "spec" if _is_spec(head, pread, size, name) else None


def _remembering(head: bytes, pread: Pread) -> Pread:
    """Gives the head again without reading it again."""
    return lambda offset, count: head[:count] if offset == 0 else pread(offset, count)


def _is_spec(head: bytes, pread: Pread, size: int, name: str) -> bool:
    """Every Spec file starts with a `#` line: the rest need not load what looks further.

    A file header of many motors may be longer than the head.
    """
    if not head.lstrip().startswith(b"#"):
        return False
    from esrffs.formats.spec.reader import is_spec, is_spec_header

    if is_spec(head, name):
        return True
    longer = len(head) < size and is_spec_header(head)
    return longer and is_spec(pread(0, min(_LONG_HEADER, size)), name)


def _behind_user_block(head: bytes, pread: Pread, size: int, name: str) -> bool:
    """HDF5 may start at 512, 1024, 2048 … too: past the first page, the name must promise it."""
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
