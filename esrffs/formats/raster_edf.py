"""EDF: FabIO finds the frames, their bytes are read without it.

Decided here: which frames of an EDF file are served.  Those before the first that is not whole,
or differs from the first frame in shape or dtype, make up the stack; FabIO would fill up what is
missing with zeros, and hand damaged gzip to a program that ignores the checksum.  Only headers
are read to tell.
"""

import bz2
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple, overload

import numpy as np
from fabio.edfimage import EdfImage

from esrffs.errors import DamagedError, ForbiddenError, UnsupportedError
from esrffs.formats.raster_alike import pace
from esrffs.formats.raster_frames import Array, Binary, Header, attentive, check_shape, open_binary
from esrffs.model import Asked, Layout
from esrffs.model import Frames as FramesLayout
from esrffs.rights import may_follow


class _Place(NamedTuple):
    """Where the data of one frame lie, and how."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    outside: str | None  # the file that the header names for the data
    start: int  # bytes from the start of the (uncompressed) file
    room: int  # bytes that the header grants
    complete: bool  # the file reaches to the end of the data, or is another one
    packing: str  # the header's word, in capitals; "" for none
    swapped: bool

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def fault(self) -> str:
        """Why the frame cannot be read; "" where it can, as far as its header tells."""
        if not self.complete:
            return "the file ends before its data do"
        if not self.packing and self.room < self.nbytes:
            return f"{self.room} bytes of data, where its shape needs {self.nbytes}"
        return ""


class EdfFrames:
    """The frames of one EDF file, also of one inside `.gz` or `.bz2`."""

    edf = True
    reserved = tuple(EdfImage.RESERVED_HEADER_KEYS)

    def __init__(self, path: str, confine: str | None) -> None:
        self._path = path
        self._confine = confine
        packed = path.endswith((".gz", ".bz2"))
        with attentive("the file", strict=False):
            self._size = None if packed else os.stat(path).st_size
            headers, places, whole = self._at_a_pace() or _find(path, self._size)
            self.shape = check_shape("frame 0", places[0].shape)
            self._file = open_binary(path)
        self.dtype = places[0].dtype
        count, self.end = _stack(places)
        if not self.end and not whole:
            self.end = f"after frame {count - 1}: something that is no EDF header"
        self._places = places[:count]
        self.headers: Sequence[Header] = _Headers(headers[:count], count, self._all_headers)
        self.damage = places[0].fault
        self.layout: Layout = Asked() if packed else _layout(self._places)
        self._kept: tuple[int, Array] | None = None  # the last one that had to be unpacked

    def __repr__(self) -> str:
        return f"<{len(self._places)} EDF frames of {self._path}>"

    def _at_a_pace(self) -> "_Found | None":
        """What FabIO would find, from the first header; None where the others differ from it."""
        if self._size is None:
            return None
        with open_binary(self._path) as file:
            steps = pace(file.fileno(), self._size)
        if steps is None:
            return None
        with _Beginning(self._path, steps.step) as file:
            headers, places, _ = _find(file, steps.step)
        first = places[0]
        where = first.start, first.room
        if len(places) > 1 or where != (steps.header, steps.step - steps.header) or first.fault:
            return None
        starts = range(steps.header, self._size, steps.step)
        return headers, [first._replace(start=start) for start in starts], True

    def _all_headers(self) -> list[Header]:
        with attentive("the headers", strict=False):
            return _find(self._path, self._size)[0]

    def rows(self, index: int, start: int, stop: int) -> Array:
        place, what = self._places[index], f"frame {index}"
        if place.fault:
            raise DamagedError(f"{what}: {place.fault}")
        if place.packing:
            return self._unpacked(index)[start:stop]
        row = prod(self.shape[1:]) * self.dtype.itemsize
        shape = (stop - start, *self.shape[1:])
        with attentive(what), self._data_file(place) as file:
            return verbatim_rows(file, place.start + start * row, shape, self.dtype, place.swapped)

    def close(self) -> None:
        self._file.close()

    def _unpacked(self, index: int) -> Array:
        if self._kept is None or self._kept[0] != index:
            place, what = self._places[index], f"frame {index}"
            with attentive(what), self._data_file(place) as file:
                file.seek(place.start)
                content = _unpack(file.read(place.room), place.packing, place.nbytes)
            array: Array = np.frombuffer(content, self.dtype).reshape(self.shape)
            self._kept = index, array.byteswap() if place.swapped else array
        return self._kept[1]

    @contextmanager
    def _data_file(self, place: _Place) -> Iterator[Binary]:
        if place.outside is None:
            yield self._file
            return
        with open_binary(self._permitted(place.outside)) as file:
            yield file

    def _permitted(self, named: str) -> str:
        """A frame may name another file: a plain one, or its `.gz`, that `confine` holds."""
        path = named if os.path.exists(named) else named + ".gz"
        status = os.stat(path)
        real = os.path.realpath(path)
        confine = real if self._confine is None else os.path.realpath(self._confine)
        if os.path.commonpath((confine, real)) != confine:
            raise ForbiddenError(f"its data lie outside the source, in {real}")
        if not stat.S_ISREG(status.st_mode):
            raise ForbiddenError(f"{path} is not a regular file")
        if self._confine is not None and not may_follow(self._path, path, confine):
            raise ForbiddenError(f"not everybody who may read it may read {real}")
        return path


def verbatim_rows(
    file: Binary, offset: int, shape: tuple[int, ...], dtype: np.dtype[np.generic], swapped: bool
) -> Array:
    """An array that lies in a file as it is, or byte-swapped; DamagedError if that is short."""
    array = np.empty(shape, dtype)
    view = array.reshape(-1).view(np.uint8).data
    file.seek(offset)
    done = 0
    while done < len(view):
        count = file.readinto(view[done:])
        if not count:
            raise DamagedError(f"the file ends {len(view) - done} bytes too early")
        done += count
    return array.byteswap(inplace=True) if swapped else array


class _Beginning(io.FileIO):
    """A file of which FabIO sees so many bytes."""

    def __init__(self, path: str, nbytes: int) -> None:
        super().__init__(path)
        self._nbytes = nbytes

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._nbytes - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left)) or b""


class _Headers(Sequence[Header]):
    """Of `count` frames: those that are known and, once another one is wanted, all."""

    def __init__(
        self, known: list[Header], count: int, everything: Callable[[], list[Header]]
    ) -> None:
        self._known = known
        self._count = count
        self._everything = everything

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Header: ...

    @overload
    def __getitem__(self, index: slice) -> list[Header]: ...

    def __getitem__(self, index: int | slice) -> Header | list[Header]:
        wanted = range(self._count)[index]
        last = wanted if isinstance(wanted, int) else max(wanted, default=-1)
        if last >= len(self._known):
            self._known = self._everything()[: self._count]
        return self._known[index]


_Found = tuple[list[Header], list[_Place], bool]


def _find(source: str | _Beginning, size: int | None) -> _Found:
    """What FabIO finds in the headers; and whether it understood the file to its end."""
    image = EdfImage()
    image.read(source)
    try:
        frames = list(image.frames())
        places = [_place(frame, size) for frame in frames]
        return [frame.header for frame in frames], places, not image.incomplete_file
    finally:
        image.close()


def _place(frame: Any, size: int | None) -> _Place:
    """Of a frame as FabIO found it, in a file of `size` bytes (None: not known)."""
    keys = {key.upper(): value for key, value in frame.header.items()}
    order = keys.get("BYTEORDER", "")
    packing = keys.get("COMPRESSION", "").upper()
    shape, dtype = tuple(int(length) for length in frame.shape), np.dtype(frame.dtype)
    packing = "" if packing.startswith("NO") else packing
    outside = frame.bfname
    needed = frame.blobsize if packing else prod(shape) * dtype.itemsize
    complete = not frame.incomplete_data if size is None else frame.start + needed <= size
    return _Place(
        shape,
        dtype,
        outside,
        frame.start if outside is None else frame.bfstart,
        frame.blobsize if outside is None else frame.bfsize,
        complete or outside is not None,
        packing,
        "High" in order and "Low" not in order and dtype.itemsize > 1,
    )


def _stack(places: list[_Place]) -> tuple[int, str]:
    """How many frames make up the stack, and why the next one does not belong."""
    first = places[0]
    for index, place in enumerate(places[1:], 1):
        fault = place.fault
        if not fault and place.shape != first.shape:
            fault = f"has shape {place.shape}, not {first.shape}"
        if not fault and place.dtype != first.dtype:
            fault = f"has dtype {place.dtype}, not {first.dtype}"
        if fault:
            return index, f"frame {index}: {fault}"
    return len(places), ""


def _layout(places: list[_Place]) -> Layout:
    swapped = {place.swapped for place in places}
    if len(swapped) > 1 or any(
        place.packing or place.outside is not None or place.fault for place in places
    ):
        return Asked()
    return FramesLayout(np.array([place.start for place in places], np.int64), swapped.pop())


def _unpack(content: bytes, packing: str, nbytes: int) -> bytes:
    """What was packed, checksums verified, padding after it ignored; `packing` is FabIO's guess."""
    stream: Any = None
    if "OFFSET" not in packing and "GZIP" in packing:
        stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    elif "OFFSET" not in packing and "BZ" in packing:
        stream = bz2.BZ2Decompressor()
    elif "OFFSET" not in packing and "Z" in packing:
        stream = zlib.decompressobj()
    else:
        raise UnsupportedError(f"its compression {packing} is not known here")
    unpacked: bytes = stream.decompress(content, nbytes + 1)  # one more, to come to the checksum
    if len(unpacked) != nbytes or not stream.eof:
        raise DamagedError(f"its packed data do not end after {nbytes} bytes, as its shape needs")
    return unpacked
