"""EDF headers: which frames a file holds, where the data of each lie, and as what.

The rules are FabIO's, but for four: names of data types and byte orders count in any case of
letters; of two sizes (`EDF_BinarySize` and `Size`, of which one may be that of unpacked data) the
one counts that leads to the next header; a frame that cannot be described costs those after it,
not those before it; and nothing is made up for a key that is missing.
Does not: read data.
"""

import os
import re
from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import numpy as np
from fabio.edfimage import DATA_TYPES

from esrffs.errors import DamagedError, EsrffsError, UnsupportedError
from esrffs.formats.images.edf_header import (
    Window,
    add_defaults,
    integer,
    is_blank,
    is_followed,
    read_header,
)
from esrffs.formats.images.packed import BinaryFile

_DIMENSION = re.compile(r"DIM_(\d{1,6})\Z")
_MOST_AXES = 32
_LONGEST_AXIS = 1 << 40  # pixels
_TYPES = {name.lower(): np.dtype(kind) for name, kind in DATA_TYPES.items()}


_UNPACKED = ("gzip", "bzip2", "zlib")


class Place(NamedTuple):
    """Where the data of one frame lie, and how."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    outside: str | None  # the file that the header names for the data
    start: int  # bytes from the start of the (uncompressed) file
    room: int  # bytes that the header grants
    complete: bool  # the file reaches to the end of the data, or is another one
    packing: str  # "gzip", "bzip2", "zlib", the header's word in capitals; "" for none
    swapped: bool

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def needed(self) -> int:
        """Bytes of the file that are needed."""
        return self.room if self.packing else self.nbytes

    @property
    def fault(self) -> str:
        """Why the frame cannot be read; "" where it can, as far as its header tells."""
        if not self.complete:
            return "the file ends before its data do"
        if not self.packing and self.room < self.nbytes:
            return f"{self.room} bytes of data, where its shape needs {self.nbytes}"
        return ""


class Found(NamedTuple):
    """Headers and places of the frames; `rest`: why there is more behind them, or ""."""

    headers: list[dict[str, str]]
    places: list[Place]
    rest: str


def scan(file: BinaryFile, folder: str, limit: int | None = None) -> Found:
    """The frames of a file, of which `limit` bytes count.  At least one, or an EsrffsError.

    `folder` is where files that headers name for their data lie.
    """
    window = Window(file, limit)
    found = Found([], [], "")
    general: Mapping[str, str] = {}
    position = 0
    while True:
        count = len(found.places)
        try:
            read = read_header(window, position)
            if read is None:
                break
            header, start = read
            if "EDF_DataFormatVersion" in header:  # of the general block
                general = header
                position = start + max(_size(header, "EDF_BinarySize") or 0, 0)
                continue
            add_defaults(header, general)
            place, blob = _place(header, start, folder, window)
        except EsrffsError as error:
            if not count:
                raise type(error)(f"frame 0: {error}" if position else str(error)) from error
            return found._replace(rest=str(error))
        found.headers.append(header)
        found.places.append(place)
        position = start + blob
        if blob and not window.reaches(position - 1):
            if not (place.fault or place.packing or is_blank(window, start + place.nbytes)):
                text = f"{blob} bytes of data, which are more than the file has"
                return found._replace(rest=text)
            break
    if not found.places:
        text = "it holds only a general block, and no image" if position else "the file is empty"
        raise UnsupportedError(text) if position else DamagedError(text)
    return found


def _place(header: Mapping[str, str], start: int, folder: str, window: Window) -> tuple[Place, int]:
    """Of the frame whose data begin there, and how many bytes its header leaves for them."""
    keys = {key.upper(): value for key, value in header.items()}
    shape, dtype, packing = _shape(keys), _dtype(keys), _packing(keys)
    nbytes = prod(shape) * dtype.itemsize
    outside = header.get("EDF_BinaryFileName")
    blob = _blob(keys, start, nbytes, packing, window, outside=outside is not None)
    swapped = dtype.itemsize > 1 and not _is_little(keys)
    needed = blob if packing else nbytes
    complete = not needed or window.reaches(start + needed - 1)
    place = Place(shape, dtype, None, start, blob, complete, packing, swapped)
    if outside is None:
        return place, blob
    room = integer(header, "EDF_BinaryFileSize")
    return place._replace(
        outside=os.path.join(folder, os.path.basename(outside)),
        start=max(integer(header, "EDF_BinaryFilePosition") or 0, 0),
        room=nbytes if room is None else room,
        complete=True,
    ), blob


def _shape(keys: Mapping[str, str]) -> tuple[int, ...]:
    axes = [int(match[1]) for match in map(_DIMENSION.match, keys) if match]
    rank = max(axes, default=0)
    if not rank:
        raise DamagedError("its header has no Dim_1 and Dim_2")
    if rank > _MOST_AXES:
        raise DamagedError(f"its header has a Dim_{rank}, which no image has")
    lengths = [integer(keys, f"DIM_{axis}") for axis in range(rank, 0, -1)]
    shape = tuple(1 if length is None else length for length in lengths)  # FabIO's rule, …
    if "DIM_1" not in keys or min(shape) <= 0 or max(shape) > _LONGEST_AXIS:  # but for the first
        raise DamagedError(f"{shape} is not the shape of an image")
    return shape


def _dtype(keys: Mapping[str, str]) -> np.dtype[np.generic]:
    name = keys.get("DATATYPE")
    if name is None:
        return np.dtype(np.uint16)  # FabIO's
    found: np.dtype[np.generic] | None = _TYPES.get(name.lower())
    if found is None:
        raise UnsupportedError(f"its DataType {name!r} is none that FabIO knows")
    return found


def _packing(keys: Mapping[str, str]) -> str:
    """By FabIO's rules, which look for parts of words."""
    word = keys.get("COMPRESSION", "").upper()
    if not word or word.startswith("NO"):
        return ""
    if "OFFSET" in word:
        return word
    for part, kind in (("GZIP", "gzip"), ("BZ", "bzip2"), ("Z", "zlib")):
        if part in word:
            return kind
    return word


def _is_little(keys: Mapping[str, str]) -> bool:
    order = keys.get("BYTEORDER")
    if order is None:
        raise DamagedError("its header has no ByteOrder")
    order = order.lower()
    little, big = "low" in order or "little" in order, "high" in order or "big" in order
    if little == big:
        raise UnsupportedError(f"its ByteOrder {order!r} is neither LowByteFirst nor HighByteFirst")
    return little


def _blob(
    keys: Mapping[str, str],
    start: int,
    nbytes: int,
    packing: str,
    window: Window,
    *,
    outside: bool,
) -> int:
    """How many bytes stand between this header and the next."""
    told = [_size(keys, key) for key in ("EDF_BINARYSIZE", "SIZE")]
    sizes = [size for size in dict.fromkeys(told) if size is not None and size >= 0]
    if outside:
        sizes.append(0)
    elif not packing:
        sizes = [size for size in sizes if size >= nbytes] or sizes or [nbytes]
        inside = [size for size in sizes if not window.is_behind_end(start + size - 1)]
        if not inside and is_followed(window, start + nbytes):
            inside = [nbytes]
        sizes = inside or sizes
    doubtful = bool(packing) and {*sizes} <= {nbytes}  # that of unpacked data, it seems
    if len(sizes) == 1 and (
        outside or not (doubtful or window.is_behind_end(start + sizes[0] - 1))
    ):
        return sizes[0]
    for size in sizes:
        if is_followed(window, start + size):
            return size
    measured = window.packed(start, packing) if packing in _UNPACKED and not outside else None
    if measured is not None:
        return measured
    return sizes[0] if sizes else nbytes


def _size(keys: Mapping[str, str], key: str) -> int | None:
    """A size that is no number is none: mostly it can be told without."""
    try:
        return integer(keys, key)
    except DamagedError:
        return None
