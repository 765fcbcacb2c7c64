"""TIFF, MarCCD and Pilatus: pages by FabIO's TiffIO, what that cannot read by Pillow.

Decided here: which pages make up the stack (those before the first of another size or type), and
what is looked at before FabIO gets to see a file: directories that go round in a circle make it
loop for ever, and of strips that are cut short it makes up the rest.
"""

import os
import struct
from collections.abc import Sequence
from typing import Any

from fabio import fabioformats
from fabio.TiffIO import TiffIO
from fabio.utils import pilutils

from esrffs.errors import DamagedError
from esrffs.formats.raster_fabio import FabioFrames
from esrffs.formats.raster_frames import Array, Header, attentive

_KIND = ("nRows", "nColumns", "sampleFormat", "compression_type", "photometricInterpretation")


class TiffFrames(FabioFrames):
    """The pages of one file; of a compressed file, the first."""

    def __init__(self, path: str, codec: str) -> None:
        pages = [] if _packed(path) else _sound_pages(path)
        super().__init__(path, codec)
        self._tiff: Any = None
        self.headers = self.headers[:1]
        if len(pages) < 2:
            return
        kinds = [_kind(page) for page in pages]
        same = next((n for n, kind in enumerate(kinds) if kind != kinds[0]), len(pages))
        if same > 1:
            self.headers = [*pages[:same]]
        if same < len(pages):
            self.end = f"page {same}: is of another size or type than page 0"

    def close(self) -> None:
        if self._tiff is not None:
            self._tiff.close()
        self._tiff = None

    def _decoded(self, index: int) -> Array:
        page: Array
        if self._library != "PIL":
            if self._tiff is None:  # which looks for all directories as it opens
                self._tiff = TiffIO(self._path, cache_length=0)
            page = self._tiff.getData(index)
            return page
        from PIL import Image

        with Image.open(self._path) as image:
            image.seek(index)
            page = pilutils.get_numpy_array(image)
            return page


def tiff_header(path: str, codec: str) -> tuple[object, Header] | None:
    """The header of a file of one page, and what of it decides shape and dtype.

    None for files of several pages, and those that Pillow must read.  DamagedError.
    """
    pages = [] if _packed(path) else _sound_pages(path)
    if len(pages) != 1 or pages[0]["compression_type"] != 1:
        return None
    if codec == "pilatus":
        image = fabioformats.factory("pilatusimage")
        return _kind(pages[0]), image._create_frame(None, pages[0]).header  # noqa: SLF001  # no public way
    return _kind(pages[0]), pages[0]


def _packed(path: str) -> bool:
    return path.endswith((".gz", ".bz2"))


def _kind(page: Header) -> tuple[object, ...]:
    """What decides shape and dtype of a page."""
    return (*(page[key] for key in _KIND), str(page["nBits"]), page["colormap"] is None)


def _sound_pages(path: str) -> list[Header]:
    """What FabIO says of each page; none where it says nothing (BigTIFF, tiles).

    DamagedError for directories or data that are not all there.
    """
    size = os.path.getsize(path)
    if not _directories_end(path):
        return []
    pages: list[Header] = []
    with attentive("the TIFF directories", strict=False), TiffIO(path, cache_length=0) as tiff:
        for number in range(tiff.getNumberOfImages()):
            try:
                page = tiff.getInfo(number)
            except (ValueError, IndexError, KeyError):
                return pages  # no strips
            _check_strips(page, number, size)
            pages.append(page)
    return pages


def _directories_end(path: str) -> bool:
    """False where FabIO does not follow them; DamagedError where they lead nowhere."""
    with open(path, "rb") as file:
        order = "<" if file.read(2) == b"II" else ">"
        version, offset = struct.unpack(order + "HI", file.read(6))
        seen: set[int] = set()
        while offset and version == 42:
            if offset in seen:
                raise DamagedError("the TIFF directories go round in a circle")
            seen.add(offset)
            try:
                file.seek(offset)
                (entries,) = struct.unpack(order + "H", file.read(2))
                file.seek(offset + 2 + 12 * entries)
                (offset,) = struct.unpack(order + "I", file.read(4))
            except struct.error:
                raise DamagedError("the file ends within a TIFF directory") from None
    return bool(version == 42)


def _check_strips(page: Header, number: int, size: int) -> None:
    offsets, counts = _numbers(page["stripOffsets"]), _numbers(page["stripByteCounts"])
    verbatim = page["compression_type"] == 1
    needed = page["nRows"] * page["nColumns"] * sum(_numbers(page["nBits"])) // 8
    if verbatim and len(offsets) == 1:
        counts = [needed]  # as FabIO does, which distrusts the count
    if len(offsets) != len(counts):
        raise DamagedError(f"page {number}: {len(offsets)} strips, {len(counts)} sizes of them")
    if any(start + count > size for start, count in zip(offsets, counts, strict=True)):
        raise DamagedError(f"page {number}: the file ends before its data do")
    if verbatim and sum(counts) < needed:
        raise DamagedError(f"page {number}: {sum(counts)} bytes of data instead of {needed}")


def _numbers(value: Any) -> list[int]:
    return [int(number) for number in value] if isinstance(value, Sequence) else [int(value)]
