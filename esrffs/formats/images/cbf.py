"""Read CBF files (Crystallographic Binary File, https://www.iucr.org/resources/cif/software/cbflib).

FabIO reads the header for the tree.  The keys that describe the pixels are parsed here, because
FabIO decodes only 32-bit byte offsets and fails at comments that it does not expect.
Does not: read more than the first image of a file.
"""

import base64
import hashlib
import io
import os
import re
from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import numpy as np
from fabio.cbfimage import CbfImage
from fabio.compression import decByteOffset

from esrffs.errors import DamagedError, EsrffsError, UnsupportedError
from esrffs.formats.images.begun_file import BegunFile
from esrffs.formats.images.frames import Array, Header, check_shape, open_binary, translate_errors
from esrffs.formats.images.packed import PackedFile

HEADER_NBYTES = 1 << 20  # the data must begin within this many bytes
_SECTION = b"--CIF-BINARY-FORMAT-SECTION--"
_NEXT = re.compile(rb"--CIF-BINARY-FORMAT-SECTION--(?!--)")
_LINE = re.compile(r"([\w-]+)\s*[:=]\s*(.*)", re.DOTALL)
_FOLD = re.compile(r"\r?\n[ \t]+")
_PACKED_AS = re.compile(r"conversions\s*=\s*\"?([^\";\s]+)", re.IGNORECASE)
_ELEMENT = re.compile(r"(un)?signed (\d+)-bit (integer|real IEEE|complex IEEE)\Z", re.IGNORECASE)
_STEP_OF_64_BITS = b"\x80\x00\x80\x00\x00\x00\x80"
_PADDING = 64  # bytes; one pixel has at most 15
_BYTE_OFFSET = "X-CBF_BYTE_OFFSET"


class CbfSection(NamedTuple):
    """The binary section of a CBF, as its MIME header describes it."""

    keys: Mapping[str, str]  # of the MIME header, in capitals
    start: int  # position of the data in the file, bytes
    nbytes: int  # bytes of the data as stored
    shape: tuple[int, ...]  # (y, x), or (n, y, x)
    dtype: np.dtype[np.generic]  # in the byte order of the file
    packing: str  # the compression, in capitals; "" for none


class CbfContent(NamedTuple):
    """The content of a CBF: `array` is (y, x) or (n, y, x).

    `more` is a text if the file contains further images, which are not read.
    """

    header: Header
    array: Array
    more: str


def read_cbf(path: str) -> CbfContent:
    """Read a whole CBF; DamagedError, UnsupportedError."""
    with open_binary(path) as file:
        content = file.read() or b""
        if isinstance(file, PackedFile):
            content = content[: file.trusted]
            if not content:
                raise DamagedError(file.fault)
    section = find_section(content, len(content))
    end = section.start + section.nbytes
    array = _pixels(content[section.start : end], section)
    more = "after frame 0: another image, which is not read" if _NEXT.search(content, end) else ""
    return CbfContent(_header(content, section), array, more)


class CbfKind(NamedTuple):
    """The properties of an image that all files of a series must share."""

    shape: tuple[int, ...]
    stored: str  # the dtype in the file
    packing: str


def cbf_header(path: str, begun: BegunFile | None = None) -> tuple[CbfKind, Header]:
    """The kind of the image, and the header; DamagedError, UnsupportedError.

    `begun`: the same file, if its first `HEADER_NBYTES` bytes were read before.
    """
    with translate_errors("the header", strict=False), begun or open_binary(path) as file:
        if isinstance(file, PackedFile):
            content = file.read() or b""
            size = file.trusted
        elif isinstance(file, BegunFile):
            content, size = file.head, file.size
        else:
            content, size = file.read(HEADER_NBYTES) or b"", os.fstat(file.fileno()).st_size
        section = find_section(content[:size], size)
        if _NEXT.search(content, section.start + section.nbytes):
            raise UnsupportedError("holds more than one image")
    kind = CbfKind(section.shape, section.dtype.str, section.packing)
    return kind, _header(content, section)


def find_section(content: bytes, size: int) -> CbfSection:
    """The first binary section of a file of `size` bytes; `content` are its first bytes."""
    begin = content.find(_SECTION)
    start = content.find(CbfImage.STARTER, max(begin, 0))
    if begin < 0 or start < 0:
        raise DamagedError("the file ends before the data of its image begin")
    keys = _keys(content[begin:start])
    start += len(CbfImage.STARTER)
    encoding = keys.get("CONTENT-TRANSFER-ENCODING", "BINARY").upper()
    if encoding != "BINARY":
        raise UnsupportedError(f"its data are written as {encoding}, not as BINARY")
    packed_as = _PACKED_AS.search(keys.get("CONTENT-TYPE", "")) or _PACKED_AS.search(
        f"conversions={keys.get('CONVERSIONS', '')}"
    )
    packing = packed_as[1].upper() if packed_as else ""
    packing = "" if packing == "X-CBF_NONE" else packing
    shape, dtype = _shape(keys), _dtype(keys)
    nbytes = _integer(keys, "X-BINARY-SIZE")
    if nbytes is None:
        nbytes = size - start if packing else prod(shape) * dtype.itemsize
    if start + nbytes > size:
        raise DamagedError("the file ends before the data of its image do")
    return CbfSection(keys, start, nbytes, shape, dtype, packing)


def _keys(text: bytes) -> dict[str, str]:
    """The keys of a MIME header, in capitals, with their values; folded lines are joined."""
    unfolded = _FOLD.sub(" ", text.decode("latin-1"))
    found = {}
    for line in unfolded.splitlines()[1:]:
        match = _LINE.match(line.strip())
        if match:
            found[match[1].upper()] = match[2].strip(' "\t')
    return found


def _shape(keys: Mapping[str, str]) -> tuple[int, ...]:
    names = [f"X-BINARY-SIZE-{axis}-DIMENSION" for axis in ("THIRD", "SECOND", "FASTEST")]
    third, second, fastest = (_integer(keys, name) for name in names)
    if second is None or fastest is None:
        raise DamagedError("its header does not tell the size of the image")
    return check_shape(
        "its image", (second, fastest) if third in (None, 0, 1) else (third, second, fastest)
    )


def _dtype(keys: Mapping[str, str]) -> np.dtype[np.generic]:
    text = keys.get("X-BINARY-ELEMENT-TYPE")
    if text is None:
        return np.dtype("<i4")  # the default of FabIO
    match = _ELEMENT.match(" ".join(text.split()))
    bits = int(match[2]) if match else 0
    if match is None or bits not in ((8, 16, 32, 64) if match[3] == "integer" else (32, 64)):
        raise UnsupportedError(f"its element type {text!r} is not known here")
    kind = {"i": "u" if match[1] else "i", "r": "f", "c": "c"}[match[3][0].lower()]
    width = bits // 8 * (2 if kind == "c" else 1)
    big = keys.get("X-BINARY-ELEMENT-BYTE-ORDER", "").upper().startswith("BIG")
    return np.dtype(f"{'>' if big else '<'}{kind}{width}")


def _integer(keys: Mapping[str, str], key: str) -> int | None:
    text = keys.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise DamagedError(f"its {key.title()} {text[:80]!r} is not a number")
    return int(text)


def _pixels(data: bytes, section: CbfSection) -> Array:
    """The pixels, in native byte order; DamagedError, UnsupportedError."""
    told = section.keys.get("CONTENT-MD5")
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    if told and told != base64.b64encode(md5).decode():
        raise DamagedError("Checksum of its data is another than its header tells")
    shape, dtype = section.shape, section.dtype
    count = prod(shape)
    if section.packing == "":
        if len(data) < count * dtype.itemsize:
            needed = count * dtype.itemsize
            raise DamagedError(f"{len(data)} bytes of data, where its shape needs {needed}")
        array: Array = np.frombuffer(data, dtype, count)
    elif section.packing == _BYTE_OFFSET and dtype.kind in "iu":
        if len(data) < count:  # each pixel has at least one byte
            raise DamagedError(f"{len(data)} bytes of data are too few for {count} pixels")
        array = _unpacked(data, count, dtype.itemsize)
    else:
        raise UnsupportedError(f"its data are packed as {section.packing}, which is not read here")
    return array.astype(dtype.newbyteorder("=")).reshape(shape)


def _unpacked(data: bytes, count: int, itemsize: int) -> Array:
    """Decode `count` pixels of byte offsets with the routines of FabIO.

    They read beyond the end of data that end within a pixel.  Therefore zeros are appended, each
    of which is one more pixel; if there are fewer pixels than expected, the data are too short.
    The routine for 32 bits is ten times as fast, but misreads steps of 64 bits.
    """
    wide = itemsize > 4 or _STEP_OF_64_BITS in data
    padded = data + bytes(_PADDING)
    kind = "int64" if wide else "int32"
    array: Array = np.asarray(decByteOffset(padded, size=len(padded), dtype=kind))
    if len(array) - _PADDING < count:
        raise DamagedError(f"its data are those of fewer pixels than {count}")
    return array[:count]


class _Cbf(CbfImage):  # type: ignore[misc]  # FabIO has no types
    """The CBF reader of FabIO, which ignores what it cannot parse in the CIF part."""

    def _read_cif_header(self, stream: object) -> None:
        try:
            super()._read_cif_header(stream)
        except (IndexError, ValueError, TypeError):
            if self.cbs is None:
                raise


class _EofGuard(io.BytesIO):
    """A file in memory that raises DamagedError after many reads at its end.

    FabIO would read there for ever.
    """

    name = "the file"
    _more = 64  # reads at the end that are allowed

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self._more -= not content
        if not self._more:
            raise DamagedError("the file ends before the data of its image begin")
        return content


def _header(content: bytes, section: CbfSection) -> Header:
    """The header as FabIO reads it; if that fails, the keys of the binary section."""
    image = _Cbf()
    try:
        with translate_errors("the header", strict=False):
            image.readheader(_EofGuard(content[: section.start]))
    except EsrffsError:
        return dict(section.keys)
    header: Header = image.header
    return header
