"""Every raster but EDF and TIFF: decoded by FabIO, a frame at a time.

Decided here: how FabIO's codecs are used so that a listing decodes the first frame at most and
only one decoded frame is kept, and how a CBF is kept from being read past its end for ever.
"""

import os
from typing import Any

import numpy as np
from fabio import fabioformats
from fabio.cbfimage import CbfImage

from esrffs.errors import DamagedError, UnsupportedError
from esrffs.formats.raster_frames import Array, Header, attentive, check_shape, open_binary
from esrffs.model import Asked, Layout

_BEFORE_FRAMES = {"mrc": 1024, "ge": 8192, "pixi": 0}  # bytes, at least; these hold many frames
_MOST_FRAMES = 1 << 20  # where the size of the file is not known: more is no number of frames
_CBF_HEADER = 1 << 20  # bytes that are searched for the beginning of the data
_CBF_KIND = (
    "X-Binary-Size-Fastest-Dimension",
    "X-Binary-Size-Second-Dimension",
    "X-Binary-Element-Type",
    "conversions",
)


class FabioFrames:
    """The frames of one file, read by this codec of FabIO (named without "image")."""

    edf = False

    def __init__(self, path: str, codec: str) -> None:
        self._path = path
        self._codec = codec
        self.end = self.damage = ""
        self.layout: Layout = Asked()
        with attentive("the file"):
            image = self._load(0)
            if getattr(image, "data", None) is None:
                raise UnsupportedError("FabIO finds no image in it")
            self._library = getattr(image, "lib", "")
            self._kept = 0, np.ascontiguousarray(image.data)
            self.reserved = tuple(image.RESERVED_HEADER_KEYS)
            header, told = image.header, int(image.nframes)
            image.close()
        self.shape = check_shape("frame 0", self._kept[1].shape)
        self.dtype = self._kept[1].dtype
        count = min(told, self._most_frames())
        if count < told:
            self.end = f"frame {count}: the file ends before its data do"
        self.headers: list[Header] = [header] * count

    def __repr__(self) -> str:
        return f"<{len(self.headers)} {self._codec} frames of {self._path}>"

    def rows(self, index: int, start: int, stop: int) -> Array:
        if self._kept[0] != index:
            what = f"frame {index}"
            with attentive(what):
                array = np.ascontiguousarray(self._decoded(index))
            if array.shape != self.shape or array.dtype != self.dtype:
                raise DamagedError(
                    f"{what}: is {array.dtype} {array.shape}, not {self.dtype} {self.shape}"
                )
            self._kept = index, array
        return self._kept[1][start:stop]

    def close(self) -> None:
        """Nothing is open between two frames."""

    def _load(self, index: int) -> Any:
        image = fabioformats.factory(self._codec + "image")
        if self._codec == "cbf":
            with _Ending(self._path) as file:
                check_cbf(self._path)
                return image.read(file)
        return image.read(self._path, index) if index else image.read(self._path)

    def _decoded(self, index: int) -> Array:
        """FabIO's `getframe` is no way: of a MRC it fails, of one frame it opens other files."""
        array: Array = self._load(index).data
        return array

    def _most_frames(self) -> int:
        before = _BEFORE_FRAMES.get(self._codec)
        if before is None or self._path.endswith((".gz", ".bz2")):
            return _MOST_FRAMES
        return max(1, (os.path.getsize(self._path) - before) // self._kept[1].nbytes)


class _Ending:
    """A file that FabIO cannot go on reading after its end."""

    def __init__(self, path: str) -> None:
        self.name = path
        self._file = open_binary(path)
        self._more = 64  # reads of nothing are enough

    def __enter__(self) -> "_Ending":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size) or b""
        self._more -= not content
        if not self._more:
            raise DamagedError("the file ends before the data of its image begin")
        return content

    def write(self, _content: bytes) -> int:
        """FabIO takes nothing for a file that lacks it."""
        raise DamagedError("a source is never written")

    def close(self) -> None:
        self._file.close()


def cbf_header(path: str) -> tuple[object, Header]:
    """The header of a CBF, and what of it decides shape and dtype.  DamagedError."""
    with attentive("the header", strict=False), _Ending(path) as file:
        check_cbf(path)
        image = CbfImage()
        image.readheader(file)
    return tuple(image.header.get(key) for key in _CBF_KIND), image.header


def check_cbf(path: str) -> None:
    """DamagedError for fewer bytes of data than the header says; plain files only."""
    if path.endswith((".gz", ".bz2")):
        return
    with open(path, "rb") as file:
        head = file.read(_CBF_HEADER)
        size = os.fstat(file.fileno()).st_size
    start = head.find(CbfImage.STARTER)
    told = head[: max(start, 0)].rpartition(b"X-Binary-Size:")[2].split(maxsplit=1)
    if told and told[0].isdigit() and start + len(CbfImage.STARTER) + int(told[0]) > size:
        raise DamagedError("the file ends before the data of its image do")
