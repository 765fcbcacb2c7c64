"""Images of all formats but EDF, TIFF, CBF and JPEG, decoded by FabIO, frame by frame.

A listing decodes at most the first frame, and only one decoded frame is kept.  Where the header and
the length of a file disagree, the number of frames is the number of complete ones.
"""

import os
import re
from functools import partial
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
from fabio import fabioformats

from esrffs.damage import copied
from esrffs.errors import DamagedError, EsrffsError, UnsupportedError
from esrffs.formats.images.cbf import read_cbf
from esrffs.formats.images.frames import (
    Array,
    Header,
    Missing,
    all_or_nothing,
    check_shape,
    open_binary,
    translate_errors,
)
from esrffs.formats.images.packed import is_packed, open_packed
from esrffs.formats.images.pictures import read_jpeg, read_jpeg2k
from esrffs.model import Layout, OpaqueLayout

_MANY = ("mrc", "ge", "pixi", "spe")  # whose frames follow each other up to the end of the file
_PICTURES = {"jpeg": read_jpeg, "jpeg2k": read_jpeg2k}
_MPA_DATA = re.compile(rb"^\[C?DAT", re.MULTILINE)
_PIXI_HEADER = 24  # bytes, before each frame


class FabioFrames:
    """The frames of one file, read by this codec of FabIO (its name without "image")."""

    is_edf = False

    def __init__(self, path: str, codec: str) -> None:
        self._path = path
        self._codec = codec
        self.end_reason = self.first_frame_error = ""
        self.layout: Layout = OpaqueLayout()
        with translate_errors("the file"):
            size, fault = self._trusted()
            image = self._load(0)
            if getattr(image, "data", None) is None:
                raise UnsupportedError("FabIO finds no image in it")
            first: Array = np.ascontiguousarray(image.data)
            self._kept: tuple[int, Array | EsrffsError] = 0, first
            self.reserved = tuple(image.RESERVED_HEADER_KEYS)
            header, count = image.header, int(image.nframes)
            image.close()
            self.shape = check_shape("frame 0", first.shape)
            self.colour = codec in _PICTURES and len(self.shape) > 2
            self.dtype = first.dtype
            if codec in _MANY:
                count = self._count(header, count, size)
        more = f"after frame {count - 1}: {fault}" if fault else getattr(image, "more", "")
        self.end_reason = self.end_reason or more
        self.headers: list[Header] = [header] * count

    def __repr__(self) -> str:
        return f"<FabioFrames: {len(self.headers)} {self._codec} frames of {self._path}>"

    def rows(self, index: int, start: int, stop: int) -> Array:
        if self._kept[0] != index:  # of one that is damaged, that is known from then on
            try:
                self._kept = index, self._decoded(index)
            except (DamagedError, UnsupportedError) as error:
                self._kept = index, copied(error)
        found = self._kept[1]
        if isinstance(found, EsrffsError):
            raise copied(found)
        return found[start:stop]

    def sound_rows(self, index: int, start: int, stop: int, missing: Missing) -> Array:
        read = partial(self.rows, index, start, stop)
        return all_or_nothing(read, (stop - start, *self.shape[1:]), self.dtype, missing)

    def close(self) -> None:
        """Nothing to close: no file is open between two frames."""

    def _load(self, index: int) -> Any:
        read = _read(self._path, self._codec, index)
        if read is not None:
            return read
        if self._codec == "mpa":
            _check_mpa(self._path)
        image = fabioformats.factory(self._codec + "image")
        return image.read(self._path, index) if index else image.read(self._path)

    def _decoded(self, index: int) -> Array:
        """This frame as FabIO decodes it.

        Not by FabIO's `getframe`, which fails for MRC and opens other files if there is one frame
        only.
        """
        with translate_errors(f"frame {index}"):
            array: Array = np.ascontiguousarray(self._load(index).data)
        if array.shape != self.shape or array.dtype != self.dtype:
            raise DamagedError(
                f"frame {index}: is {array.dtype} {array.shape}, not {self.dtype} {self.shape}"
            )
        return array

    def _trusted(self) -> tuple[int, str]:
        """The content of the file, as far as it can be trusted, and a text that says why it is not
        all.

        Raises DamagedError if the image needs all of it.
        """
        if not is_packed(self._path) or self._codec == "cbf":
            return os.path.getsize(self._path), ""
        with open_packed(self._path) as file:
            file.run_out()
            if file.fault and (not file.trusted or self._codec not in _MANY):
                raise DamagedError(file.fault)
            return file.trusted, file.fault

    def _count(self, header: Header, told: int, size: int) -> int:
        """The number of frames that are served; `end` is set if it is not what the file
        declares.
        """
        nbytes = prod(self.shape) * self.dtype.itemsize
        if self._codec == "spe":
            before, told = 4100, int(header["num_frames"])  # FabIO tells of one, and reads all
        elif self._codec == "mrc":
            before = 1024 + max(int(header["NSYMBT"]), 0)
        elif self._codec == "ge":
            keys = "StandardHeaderSizeInBytes", "UserHeaderSizeInBytes"
            before = sum(int(header.get(key, 0)) for key in keys)
        else:
            before, nbytes = 0, nbytes + _PIXI_HEADER
        there = max(1, (size - before) // nbytes)
        if told > there:
            self.end_reason = f"frame {there}: the file ends before its data do"
        elif told < there and self._codec != "spe":  # where XML may follow
            self.end_reason = f"after frame {told - 1}: more data than the header tells of"
        return max(1, min(told, there))


def _check_mpa(path: str) -> None:
    """DamagedError if the line before the data is missing: FabIO would look for it for ever."""
    with open_binary(path) as file:
        if not _MPA_DATA.search(file.read() or b""):
            raise DamagedError("the file ends before the data of its image begin")


def _read(path: str, codec: str, index: int) -> Any:
    """The values of this frame where FabIO misreads it; None: FabIO reads it correctly."""
    if codec == "cbf":
        content = read_cbf(path)
        stack = content.array if content.array.ndim == 3 else content.array[np.newaxis]
        data, header, more, count = stack[index], content.header, content.more, len(stack)
    elif codec in _PICTURES:
        header, data, more = _PICTURES[codec](path)
        count = 1
    else:
        return None
    reserved = fabioformats.factory(codec + "image").RESERVED_HEADER_KEYS
    return SimpleNamespace(
        data=data,
        header=header,
        more=more,
        nframes=count,
        RESERVED_HEADER_KEYS=reserved,
        close=lambda: None,
    )
