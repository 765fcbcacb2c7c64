"""Detect the image format of a file, and the FabIO codec for it, by its first bytes.

FabIO must not be tried on other files.  Therefore a magic number that other files share is not
enough: the header must make sense as well, or the name must be one of the format.  Formats that
FabIO detects but does not read, or misreads (text and colour PNM), are not images here; nor are
`.npy` files (which users want as they are) and plain binary files.  Imports no format library.
"""

import bz2
import re
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

Pread = Callable[[int, int], bytes]  # (offset, count) → bytes, fewer at the end of the file

TIFF_CODECS = ("tif", "pilatus")
HEADER_NBYTES = 4096  # bytes: one page, which contains enough of all headers
_STEP = 64  # bytes
_BZ2_BLOCK = 1 << 20  # bytes: bzip2 returns nothing before a whole block (≤ 900 kB) was read

_NAMES = {
    *("edf", "cor", "cbf", "tif", "tiff", "mccd", "img", "msk", "spr", "f2d", "pnm", "pgm", "jpg"),
    *("jpeg", "jp2", "jpx", "j2k", "jpf", "jpg2", "kcd", "sfrm", "mrc", "map", "fei", "spe"),
    *("mpa", "esperanto", "eseperanto", "esper", "xml", "xsd", "osc", "stl"),
}
_CODEC_BY_NAME = {  # extensions that are used for hardly anything else
    **dict.fromkeys(("edf",), "edf"),
    **dict.fromkeys(("tif", "tiff", "mccd"), "tif"),
    **dict.fromkeys(("cbf",), "cbf"),
    **dict.fromkeys(("jpg", "jpeg"), "jpeg"),
    **dict.fromkeys(("jp2", "jpx", "j2k", "jpf", "jpg2"), "jpeg2k"),
    **dict.fromkeys(("pgm", "pnm"), "pnm"),
    **dict.fromkeys(("mrc",), "mrc"),
}
_PACKED = re.compile(rb"\x1f\x8b\x08[\0-\x1f]|BZh[1-9]1AY&SY")  # gzip, bzip2
_CAMERAS = {"cr2", "nef", "nrw", "dng", "arw", "orf", "pef", "rw2", "srw", "3fr"}  # TIFF inside
_GE_NAME = re.compile(r"ge\d*")
_MAR_NAME = re.compile(r"mar(1200|1600|1800|2000|2300|2400|3000|3450)")

_GE_HEADER = 8192  # bytes
_GE_FRAME = 2048 * 2048 * 2  # bytes
_PIXI_FRAME = 24 + 476 * 512 * 2  # bytes
_MRC_ITEMSIZE = {0: 1, 1: 2, 2: 4, 3: 8, 4: 8, 6: 2}  # bytes, by mode
_SPE_ITEMSIZE = {0: 4, 1: 4, 2: 2, 3: 2}  # bytes, by data type

_EDF_PADDING = 512  # bytes that may follow the data; no second frame is smaller
_EDF_ENTRY = re.compile(rb"[\s\0]{0,4}\{[\s\0]*([\w .:/~#%()\[\]+-]{1,80}?)\s*=[^;{}]*[;}]")
_EDF_KEYS = re.compile(
    rb"[{;\s](EDF_DataBlockID|EDF_DataFormatVersion|HeaderID|ByteOrder|DataType|Dim_1)\s*=",
    re.IGNORECASE,
)
_PGM = re.compile(rb"P5[ \t\r]*\n\s*\d+\s+\d+\s+\d+\s")
_SPREADSHEET = re.compile(rb"(#[^\n]*\n)*\s*\d+\s+\d+\b[^\n]*\n")

_Test = Callable[[bytes, int | None, str], bool]  # head, size, suffix


def codec_of_header(head: bytes, size: int | None, name: str) -> str | None:
    """FabIO's codec, without "image", for a file that starts with `head`; None: no image.

    `size` is that of the whole file in bytes, None where it is not known (inside a `.gz`).
    """
    suffix = _suffix(name)
    for found, test in _CODECS:
        if test(head, size, suffix):
            return _tiff(head) if found == "tif" else found
    return None


def codec_of_file(pread: Pread, size: int, name: str) -> str | None:
    """The same for a file that is yet to be read, which may also be compressed.

    `.gz` and `.bz2` count where the file is so named and so made: FabIO goes by the name.
    One read of a page, a second one for `.bz2` of what is named like an image.

    Where packed data are damaged, or end, before a byte of them can be had, the name decides: the
    reader will say what is wrong.
    """
    head = pread(0, min(HEADER_NBYTES, size))
    inner, _, suffix = name.rpartition(".")
    if suffix == "gz" and head.startswith(b"\x1f\x8b"):
        content = _first_bytes(_gzip_stream, head)
    elif suffix == "bz2" and head.startswith(b"BZh") and _has_image_name(inner):
        content = _first_bytes(bz2.BZ2Decompressor, head)
        if content is None and len(head) < size:
            content = _first_bytes(bz2.BZ2Decompressor, head + pread(len(head), _BZ2_BLOCK))
    else:
        return codec_of_header(head, size, name)
    if content is not None:
        return codec_of_header(content, None, inner)
    return _CODEC_BY_NAME.get(_suffix(inner)) if _PACKED.match(head) else None


def _gzip_stream() -> Any:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _first_bytes(new_stream: Callable[[], Any], packed: bytes) -> bytes | None:
    """The first of the bytes that are packed; None where none can be had, though it does not end.

    With an error all is lost that came out with it, so it is tried again bit by bit.
    """
    content: bytes = b""
    for step in (len(packed), _STEP):
        stream, content = new_stream(), b""
        with suppress(zlib.error, OSError, EOFError):
            for start in range(0, len(packed), step):
                piece = packed[start : start + step]
                content += stream.decompress(piece, HEADER_NBYTES - len(content))
                if stream.eof or len(content) == HEADER_NBYTES:
                    return content
            break
    return content or None


def is_single_frame(head: bytes, size: int) -> bool:
    """False if an image of `size` bytes certainly has more than one frame.

    Only EDF is examined, and only if the first header ends within `head`.
    """
    end = re.search(rb"\}\r?\n", head)
    told = re.search(rb"[{;\s](?:EDF_BinarySize|Size)\s*=\s*(\d+)\s*;", head, re.IGNORECASE)
    if not (_EDF_ENTRY.match(head) and end and told and told.end() <= end.start()):
        return True
    return size <= end.end() + int(told[1]) + _EDF_PADDING


def _has_image_name(name: str) -> bool:
    """Whether the name, without `.gz` and the like, is that of an image."""
    suffix = _suffix(name)
    return bool(suffix in _NAMES or _GE_NAME.fullmatch(suffix) or _MAR_NAME.fullmatch(suffix))


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""


def _starts(*magics: bytes) -> _Test:
    return lambda head, _size, _suffix: head.startswith(magics)


def _holds(size: int | None, least: int) -> bool:
    return size is None or size >= least


def _is_dtrek(head: bytes, _size: int | None, _suffix: str) -> bool:
    return re.match(rb"\{\r?\n\s*HEADER_BYTES\s*=", head) is not None


def _is_ge(head: bytes, size: int | None, suffix: str) -> bool:
    """GE detectors: by their magic; with a blanked or EDF-like header, by name and size."""
    if head.startswith(b"ADEPT"):
        return True
    if not _GE_NAME.fullmatch(suffix) or not (head.startswith((b"\0" * 10, b"{", b"\n{", b"\r{"))):
        return False
    return size is None or size % _GE_FRAME == _GE_HEADER


def _is_edf(head: bytes, _size: int | None, suffix: str) -> bool:
    if not _EDF_ENTRY.match(head):
        return False
    return suffix in ("edf", "cor") or _EDF_KEYS.search(head) is not None


def _is_tiff(head: bytes, size: int | None, suffix: str) -> bool:
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or suffix in _CAMERAS or len(head) < 16:
        return False
    version, first = struct.unpack(order + "HI", head[2:8])
    if version == 43:
        _, first = struct.unpack(order + "IQ", head[4:16])
    return version in (42, 43) and first >= 8 and _holds(size, first + 2)


def _tiff(head: bytes) -> str:
    """The codec of a TIFF.  FabIO tells Pilatus files by the length of their header, too."""
    return "pilatus" if head.startswith(b"II*\0\x82\0") else "tif"


def _is_bruker(head: bytes, version: bytes) -> bool:
    return re.match(rb"FORMAT *: *" + version + rb"\s", head) is not None and b"HDRBLKS" in head


def _is_hipic(head: bytes, size: int | None, _suffix: str) -> bool:
    if not head.startswith(b"IM") or len(head) < 64:
        return False
    comment, width, height = struct.unpack("<HHH", head[2:8])
    return width * height > 0 and _holds(size, 64 + comment + 2 * width * height)


def _is_mar345(head: bytes, _size: int | None, suffix: str) -> bool:
    if not head.startswith((b"\xd2\x04\0\0", b"\0\0\x04\xd2")):
        return False
    return b"mar research" in head[:512] or _MAR_NAME.fullmatch(suffix) is not None


def _is_kcd(head: bytes, _size: int | None, _suffix: str) -> bool:
    return head.startswith(b"No") and b"X dimension" in head and b"Y dimension" in head


def _is_oxford(head: bytes, _size: int | None, _suffix: str) -> bool:
    return head.startswith(b"OD ") and b"COMPRESSION=" in head[:256]


def _is_pixi(head: bytes, size: int | None, _suffix: str) -> bool:
    return head.startswith(b"\n\xb8\x03\0") and _holds(size, _PIXI_FRAME)


def _is_mrc(head: bytes, size: int | None, suffix: str) -> bool:
    if len(head) < 1024 or not (head[208:212] == b"MAP " or suffix in ("mrc", "fei")):
        return False
    columns, rows, sections, mode = struct.unpack("<4i", head[:16])
    if min(columns, rows, sections) <= 0 or mode not in _MRC_ITEMSIZE:
        return False
    return _holds(size, 1024 + columns * rows * _MRC_ITEMSIZE[mode])


def _is_spe(head: bytes, size: int | None, suffix: str) -> bool:
    if suffix != "spe" or len(head) < 1450:
        return False
    (kind,) = struct.unpack("<h", head[108:110])
    (columns,) = struct.unpack("<h", head[42:44])
    (rows,) = struct.unpack("<h", head[656:658])
    (frames,) = struct.unpack("<i", head[1446:1450])
    if min(columns, rows, frames) <= 0 or kind not in _SPE_ITEMSIZE:
        return False
    return _holds(size, 4100 + columns * rows * _SPE_ITEMSIZE[kind])


def _is_xsd(head: bytes, _size: int | None, _suffix: str) -> bool:
    return head.startswith(b"<") and re.search(rb"<XSDataImage\b", head) is not None


def _is_mpa(head: bytes, _size: int | None, suffix: str) -> bool:
    return suffix == "mpa" and b"mpafmt=" in head and b"range=" in head


def _is_spreadsheet(head: bytes, _size: int | None, suffix: str) -> bool:
    return suffix == "spr" and _SPREADSHEET.match(head) is not None


def _is_pgm(head: bytes, _size: int | None, _suffix: str) -> bool:
    return _PGM.match(head) is not None


_CODECS: tuple[tuple[str, _Test], ...] = (
    ("dtrek", _is_dtrek),  # before EDF: it looks like it
    ("ge", _is_ge),
    ("edf", _is_edf),
    ("tif", _is_tiff),
    ("cbf", _starts(b"###CBF: VERSION")),
    ("jpeg", lambda head, _size, _suffix: re.match(rb"\xff\xd8\xff[\xc0-\xfe]", head) is not None),
    ("jpeg2k", _starts(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    ("bruker100", lambda head, _size, _suffix: _is_bruker(head, b"100")),
    ("bruker", lambda head, _size, _suffix: _is_bruker(head, b"86")),
    ("fit2dmask", _starts(b"M\0\0\0A\0\0\0S\0\0\0K\0\0\0")),
    ("fit2d", _starts(b"\\$FFF_START")),
    ("raxis", _starts(b"R-AXIS")),
    ("esperanto", _starts(b"ESPERANTO FORMAT")),
    ("oxd", _is_oxford),
    ("hipic", _is_hipic),
    ("mar345", _is_mar345),
    ("kcd", _is_kcd),
    ("pixi", _is_pixi),
    ("pnm", _is_pgm),
    ("xsd", _is_xsd),
    ("mrc", _is_mrc),
    ("spe", _is_spe),
    ("mpa", _is_mpa),
    ("fit2dspreadsheet", _is_spreadsheet),
)
