"""Decode the strips or tiles of a compressed TIFF page one by one, as rows are wanted.

Only strips and tiles with wanted rows are read and decoded (by tifffile); decoded ones are kept for
the next rows.  A strip that is cut short, or decodes to another number of pixels than it should, is
damaged.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from math import ceil, prod
from typing import Any

import numpy as np
from imagecodecs import bitorder_decode
from tifffile import COMPRESSION, PREDICTOR, TIFF

from esrffs import limits
from esrffs.damage import PARTIAL, copied
from esrffs.errors import DamagedError, EsrffsError, UnsupportedError
from esrffs.formats.images.frames import Array, Missing
from esrffs.formats.images.tiff_directories import Content

_KEPT = 64 << 20  # bytes of decoded strips or tiles that are kept
_ERROR_NBYTES = 1 << 10  # about
_JPEG = {6, 7, 34892, 33007}
_NODATA = 42113  # GDAL's tag


class Segments:
    """The strips or tiles of one page.

    `keyframe` is this page, or one with the same structure, as tifffile sees it.  `offsets` and
    `counts` are their positions and stored sizes; both 0: never written, its pixels have a fill
    value.
    """

    def __init__(self, content: Content, keyframe: Any, offsets: Array, counts: Array) -> None:
        self._content = content
        self._keyframe = keyframe
        self._offsets, self._counts = offsets, counts
        self._name = "tile" if keyframe.is_tiled else "strip"
        self._planes, self._depth, self._length, self._width, self._samples = keyframe.shaped
        if keyframe.is_tiled:
            self._grain = keyframe.tiledepth, keyframe.tilelength, keyframe.tilewidth
        else:
            self._grain = 1, keyframe.rowsperstrip, self._width
        if min(self._grain) <= 0:
            raise DamagedError(f"its {self._name}s have no size")
        self._sparse = keyframe.is_tiled or _NODATA in keyframe.tags
        self._kept: OrderedDict[int, Array | EsrffsError | None] = OrderedDict()
        self._kept_nbytes = 0
        self._decode: Callable[..., Any] = (
            self._triples if _has_triples(keyframe) else _decoder(keyframe)
        )

    def rows(self, depth: int, start: int, stop: int, missing: Missing | None = None) -> Array:
        """These rows at this depth: shape (rows, columns, samples).

        Damaged parts are reported to `missing`; if it is None, the first error is raised.
        """
        deep, long, wide = self._grain
        across, down = ceil(self._width / wide), ceil(self._length / long)
        volume = ceil(self._depth / deep) * down * across
        untold = volume * self._planes - len(self._offsets)
        if untold > 0 or len(self._counts) < len(self._offsets):
            raise DamagedError(f"the places of its {self._name}s are not all told")
        samples = self._samples if self._planes == 1 else self._planes
        shape = stop - start, self._width, samples
        array = np.zeros(shape, self._keyframe.dtype)
        for plane in range(self._planes):
            inner = slice(0, samples) if self._planes == 1 else slice(plane, plane + 1)
            for band in range(start // long, ceil(stop / long)):
                first = (plane * volume) + (depth // deep * down + band) * across
                top = max(start, band * long)
                bottom = min(stop, band * long + long)
                for column in range(across):
                    left, right = column * wide, min(column * wide + wide, self._width)
                    where = slice(top - start, bottom - start), slice(left, right), inner
                    inside = slice(top - band * long, bottom - band * long), slice(right - left)
                    try:
                        piece = self._segment(first + column)
                    except PARTIAL as error:
                        if missing is None:
                            raise
                        missing(where, error)
                        continue
                    array[where] = (
                        self._keyframe.nodata if piece is None else piece[depth % deep, *inside]
                    )
        return array

    def _segment(self, number: int) -> Array | None:
        """One decoded strip or tile; the error of a damaged one is kept."""
        if number in self._kept:
            self._kept.move_to_end(number)
        else:
            try:
                self._kept[number] = self._unpacked(number)
            except DamagedError as error:
                self._kept[number] = copied(error)
            self._kept_nbytes += _nbytes(self._kept[number])
            while self._kept_nbytes > _KEPT and len(self._kept) > 1:
                self._kept_nbytes -= _nbytes(self._kept.popitem(last=False)[1])
        piece = self._kept[number]
        if isinstance(piece, EsrffsError):
            raise copied(piece)
        return piece

    def _unpacked(self, number: int) -> Array | None:
        offset, count = (int(places[number]) for places in (self._offsets, self._counts))
        what = f"its {self._name} {number}"
        if offset == count == 0 and self._sparse:
            return None
        if offset <= 0 or count <= 0:
            raise DamagedError(f"{what} was never written")
        size = prod(self._grain) * self._samples * self._keyframe.dtype.itemsize
        for nbytes in (count, size):
            limits.check_chunk(what, nbytes)
        data = self._content.pread(offset, count)
        if len(data) < count:
            raise DamagedError(f"{what}: the file ends before its data do")
        if _jpeg_is_cut(data, self._keyframe):  # libjpeg would paint the rest grey
            raise DamagedError(f"{what} is damaged: its JPEG data do not end")
        tables = {"jpegtables": self._keyframe.jpegtables, "jpegheader": self._keyframe.jpegheader}
        jpeg = tables if self._keyframe.compression in _JPEG else {}
        try:
            piece: Array = self._decode(data, number, **jpeg)[0]
        except MemoryError:
            raise
        except (NotImplementedError, ImportError) as error:
            raise UnsupportedError(_unsupported(self._keyframe)) from error
        except Exception as error:
            raise DamagedError(f"{what} is damaged: it cannot be unpacked") from error
        return piece

    def _triples(self, data: bytes, number: int, **_: object) -> tuple[Array]:
        """Integers of 24 bits, each 3 bytes in the byte order of the file, as in libtiff.

        tifffile writes the high byte first in any file: files written by it are read so.
        """
        page = self._keyframe
        if page.predictor != 1:
            raise NotImplementedError
        deep, long, wide = self._grain
        if not page.is_tiled:
            long = min(long, self._length - number % ceil(self._length / long) * long)
        samples = self._samples if self._planes == 1 else 1
        count = deep * long * wide * samples
        if page.fillorder == 2:
            data = bytes(bitorder_decode(data))
        if page.compression != 1:
            data = TIFF.DECOMPRESSORS[page.compression](data, out=4 * count)
        content = np.frombuffer(data, np.uint8, 3 * count).reshape(count, 3)
        if page.parent.byteorder == ">" or page.is_shaped or page.software.startswith("tifffile"):
            content = content[:, ::-1]
        whole = np.zeros((count, 4), np.uint8)
        whole[:, :3] = content
        piece = whole.view("<u4").astype(np.uint32, copy=False)
        return (piece.reshape(deep, long, wide, samples),)


def _has_triples(keyframe: Any) -> bool:
    """Whether the samples are integers of 24 bits, stored in 3 bytes each."""
    return (
        keyframe.bitspersample == 24
        and keyframe.dtype == np.uint32
        and keyframe.compression not in TIFF.IMAGE_COMPRESSIONS
        and keyframe.compression not in _JPEG
    )


def _nbytes(piece: Array | EsrffsError | None) -> int:
    """Bytes that an entry occupies in memory, about."""
    return piece.nbytes if isinstance(piece, np.ndarray) else _ERROR_NBYTES


def _jpeg_is_cut(data: bytes, keyframe: Any) -> bool:
    """Whether the marker EOI at the end of JPEG data is missing."""
    whole = keyframe.compression in _JPEG and keyframe.jpegheader is None
    return whole and b"\xff\xd9" not in data


def load_codecs() -> None:
    """Load all decoders of tifffile now; otherwise each is loaded when it is needed."""
    for compression in COMPRESSION:
        with suppress(KeyError):
            TIFF.DECOMPRESSORS[compression]
    for predictor in PREDICTOR:
        with suppress(KeyError):
            TIFF.UNPREDICTORS[predictor]


def _decoder(keyframe: Any) -> Callable[..., Any]:
    """The decoder of tifffile for these pages; UnsupportedError."""
    try:
        decode: Callable[..., Any] = keyframe.decode
    except (ValueError, NotImplementedError, ImportError) as error:
        raise UnsupportedError(_unsupported(keyframe)) from error
    if decode.__name__.startswith("decode_raise"):  # it only says so when it is called
        raise UnsupportedError(_unsupported(keyframe))
    return decode


def _unsupported(keyframe: Any) -> str:
    compression = getattr(keyframe.compression, "name", keyframe.compression)
    return (
        f"nothing here unpacks TIFF data of compression {compression} with "
        f"predictor {int(keyframe.predictor)} and {keyframe.bitspersample} bits per sample"
    )
