"""The header of a TIFF page: its tags, with the names and values that FabIO and silx give them.

Tiles, which the reader of FabIO does not know, are shown as strips are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from fabio import fabioformats

from esrffs.errors import DamagedError
from esrffs.formats.images.frames import Header
from esrffs.formats.images.tiff_directories import Directories, Directory

_UNKNOWN_FORMAT = 4  # what FabIO takes for SampleFormat where a file does not tell it
_NO_SOFTWARE = "Unknown Software"


class PageHeaders:
    """Makes the headers of the pages of one file."""

    def __init__(self, directories: Directories, codec: str) -> None:
        self._directories = directories
        self._image: Any = fabioformats.factory(codec + "image")
        self._pilatus = codec == "pilatus"
        self.reserved = tuple(self._image.RESERVED_HEADER_KEYS)

    def header(self, number: int) -> Header:
        """The header of this page of the chain.  Tags that cannot be read are left out."""
        chain = self._directories.chain
        told = _Tags(self._directories, chain[number])
        header = _header(told, f"{number + 1}/{len(chain)}")
        if self._pilatus:
            frame: Header = self._image._create_frame(None, header).header  # noqa: SLF001  # no public way
            return frame
        return header


class _Tags:
    def __init__(self, directories: Directories, directory: Directory) -> None:
        self._directories = directories
        self._tags = directories.tags(directory)

    def __contains__(self, tag: int) -> bool:
        return tag in self._tags

    def values(self, tag: int) -> npt.NDArray[Any] | None:
        entry = self._tags.get(tag)
        try:
            return None if entry is None else self._directories.values(entry)
        except DamagedError:
            return None

    def number(self, tag: int, default: int) -> int:
        values = self.values(tag)
        if values is None or values.dtype.kind not in "iuf" or not values.size:
            return default
        return int(values.ravel()[0])

    def numbers(self, tag: int) -> Sequence[int]:
        """A tuple but of a single number, as FabIO has them."""
        values = self.values(tag)
        if values is None or values.dtype.kind not in "iu":
            return ()
        found: list[int] = values.ravel().tolist()
        return found if len(found) == 1 else tuple(found)

    def text(self, tag: int) -> str | None:
        values = self.values(tag)
        if values is None or values.dtype.kind != "S":
            return None
        raw = values.tobytes().split(b"\0", 1)[0]
        return raw.decode("utf-8", "replace").replace("\ufffd", "?")


def _header(told: _Tags, place: str) -> dict[str, Any]:
    bits = told.numbers(258) or (1,)
    compression = told.number(259, 1)
    description = told.text(270)
    description = place if description is None else description
    software = told.text(305)
    if software is None:
        imagej = description.upper().startswith("IMAGEJ")
        software = description.split("=")[0] if imagej else _NO_SOFTWARE
    date = told.text(306)
    rows = told.number(257, 0)
    header: dict[str, Any] = {
        "nRows": rows,
        "nColumns": told.number(256, 0),
        "nBits": bits[0] if len(bits) == 1 else bits,
        "compression": compression != 1,
        "compression_type": compression,
        "imageDescription": description,
    }
    if 322 in told:
        header |= {
            "tileWidth": told.number(322, 0),
            "tileLength": told.number(323, 0),
            "tileOffsets": told.numbers(324),
            "tileByteCounts": told.numbers(325),
        }
    else:
        header |= {
            "stripOffsets": told.numbers(273),
            "rowsPerStrip": told.number(278, rows),
            "stripByteCounts": told.numbers(279),
        }
    header |= {
        "software": software,
        "date": "Unknown Date" if date is None else date,
        "colormap": _colormap(told),
        "sampleFormat": told.number(339, _UNKNOWN_FORMAT),
        "photometricInterpretation": told.number(262, 1),
    }
    if (model := told.text(272)) is not None:
        header["model"] = (model,)
    header["info"] = _pymca(description) if software.startswith("PyMca") else {}
    return header


def _colormap(told: _Tags) -> npt.NDArray[np.uint8] | None:
    """Red, green and blue of each index, scaled to 8 bits as FabIO does."""
    values = told.values(320)
    if values is None or values.dtype.kind != "u" or not values.size or values.size % 3:
        return None
    if values.max() > 255:
        values = values // 256
    return np.ascontiguousarray(values.reshape(3, -1).T.astype(np.uint8))


def _pymca(description: str) -> dict[str, str]:
    items = description.split("=")
    return {items[n]: items[n + 1][:-1] for n in range(0, len(items) - 1, 2)}
