"""An array as an uncompressed TIFF: all directories, then the pixels of all frames as one run.

The pixels keep the array's byte order (`II` or `MM`), so none of them is touched: a frame of the
TIFF is a run of bytes of the array.  Directories have one size and are made by arithmetic, so a
stack of a million frames needs no table in memory.

Specification: TIFF 6.0 (Adobe, 1992, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf),
BigTIFF (http://bigtiff.org), and the `ImageDescription` by which ImageJ knows a stack
(https://imagej.net/ij/developer/source/ij/io/TiffDecoder.java.html).
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from esrffs.encoders.file_image import ArrayDescription, ArrayRun, FileImage, Literal, Records

SUFFIX = b".tif"
PAGE_NBYTES = 4096  # the pixels begin at a multiple of it, so that they can be mapped

_CLASSIC_LIMIT = 1 << 32  # bytes: offsets of a classic TIFF have 32 bits
_SHORT, _LONG, _ASCII, _LONG8 = 3, 4, 2, 16  # types of fields
_SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}
_GREY, _RGB = 1, 2  # PhotometricInterpretation: black is zero; RGB
_IMAGEJ_DTYPES = {"u1", "u2", "f4"}  # that ImageJ reads as they are


def sample_dtype(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The dtype of the pixels: the array's, or the next wider one that TIFF has.

    float16 becomes float32, bool uint8; complex numbers, long doubles and all that is no number
    have no TIFF (None).
    """
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f" and dtype.itemsize == 2:
        return np.dtype(np.float32).newbyteorder(dtype.byteorder)
    known = dtype.kind in _SAMPLE_FORMATS and dtype.itemsize in (1, 2, 4, 8)
    return dtype if known else None


def accepts(array: ArrayDescription) -> bool:
    """Numbers on two or more axes, none of them of length 0."""
    return array.size > 0 and len(array.shape) >= 2 and sample_dtype(array.dtype) is not None


def tiff_image(array: ArrayDescription, *, colour: bool = False) -> FileImage:
    """The TIFF of an array `(…, y, x)`, a directory for each frame, leading axes in C order.

    `colour`: the array is `(…, y, x, samples)`, its last axis of 3 or 4 samples of one pixel.
    """
    dtype = sample_dtype(array.dtype)
    if dtype is None:
        raise ValueError(f"no TIFF of {array.dtype}")
    shape = array.shape if colour else (*array.shape, 1)
    frames = prod(shape[:-3])
    layout = _Layout(
        shape[-3:], frames, dtype, _description(array, frames, dtype, colour), big=False
    )
    if layout.nbytes >= _CLASSIC_LIMIT:
        layout = _Layout(layout.frame_shape, frames, dtype, layout.description, big=True)
    start = layout.pixels_start
    pad = start - layout.further_start - (frames - 1) * layout.further_nbytes
    return FileImage(
        (
            Literal(layout.beginning()),
            Records(frames - 1, layout.further_nbytes, layout.render),
            Literal(bytes(pad)),
            ArrayRun(0, 0, array.size, dtype),
        )
    )


def _description(array: ArrayDescription, frames: int, dtype: np.dtype[Any], colour: bool) -> bytes:
    """What ImageJ needs to know a stack by; for what it cannot read, tifffile's shape."""
    if dtype.str[1:] in _IMAGEJ_DTYPES and (not colour or dtype.itemsize == 1):
        lines = ["ImageJ=1.53t", f"images={frames}"]
        if frames > 1:
            leading = array.shape[: -3 if colour else -2]
            slices, times = leading[-1], prod(leading[:-1])
            lines += [f"slices={slices}"] if times == 1 else []
            lines += [f"slices={slices}", f"frames={times}", "hyperstack=true"] * (times > 1)
        lines.append("loop=false")
        return "".join(f"{line}\n" for line in lines).encode() + b"\0"
    return json.dumps({"shape": array.shape}).encode() + b"\0"


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where everything lies; `frame_shape` is (y, x, samples)."""

    frame_shape: tuple[int, ...]
    frames: int
    dtype: np.dtype[Any]
    description: bytes
    big: bool

    @property
    def order(self) -> str:
        """Of header and directories: as that of the pixels, for a TIFF has one."""
        return ">" if self.dtype.str[0] == ">" else "<"

    @property
    def header_nbytes(self) -> int:
        return 16 if self.big else 8

    @property
    def frame_nbytes(self) -> int:
        return prod(self.frame_shape) * self.dtype.itemsize

    @property
    def further_start(self) -> int:
        """Where the directory of the second frame begins."""
        first = self.header_nbytes + self._directory_nbytes(described=True)
        return first + len(self.description) + len(self.description) % 2

    @property
    def further_nbytes(self) -> int:
        return self._directory_nbytes(described=False)

    @property
    def pixels_start(self) -> int:
        end = self.further_start + (self.frames - 1) * self.further_nbytes
        return -(-end // PAGE_NBYTES) * PAGE_NBYTES

    @property
    def nbytes(self) -> int:
        return self.pixels_start + self.frames * self.frame_nbytes

    def beginning(self) -> bytes:
        """The header, and the directory of the first frame with its description."""
        mark = b"MM" if self.order == ">" else b"II"
        if self.big:
            header = mark + struct.pack(self.order + "HHHQ", 43, 8, 0, self.header_nbytes)
        else:
            header = mark + struct.pack(self.order + "HI", 42, self.header_nbytes)
        directory = self._directory(0, self.header_nbytes, described=True)
        return header + directory + self.description + bytes(len(self.description) % 2)

    def render(self, first: int, stop: int, _: Sequence[Any]) -> bytes:
        """The directories of frames `first + 1` to before `stop + 1`."""
        return b"".join(
            self._directory(k + 1, self.further_start + k * self.further_nbytes, described=False)
            for k in range(first, stop)
        )

    def _tags(self, frame: int, described: bool) -> list[tuple[int, int, tuple[int, ...]]]:
        """Tag, type and values, in the order of the tags, as TIFF wants them."""
        rows, columns, samples = self.frame_shape
        bits = (8 * self.dtype.itemsize,) * samples
        offset = _LONG8 if self.big else _LONG
        tags: list[tuple[int, int, tuple[int, ...]]] = [
            (256, _LONG, (columns,)),
            (257, _LONG, (rows,)),
            (258, _SHORT, bits),
            (259, _SHORT, (1,)),  # Compression: none
            (262, _SHORT, (_RGB if samples > 1 else _GREY,)),
            (273, offset, (self.pixels_start + frame * self.frame_nbytes,)),  # StripOffsets
            (277, _SHORT, (samples,)),
            (278, _LONG, (rows,)),  # RowsPerStrip: one strip
            (279, offset, (self.frame_nbytes,)),  # StripByteCounts
        ]
        if samples > 3:
            tags.append((338, _SHORT, (2,) * (samples - 3)))  # ExtraSamples: unassociated alpha
        tags.append((339, _SHORT, (_SAMPLE_FORMATS[self.dtype.kind],) * samples))
        if described:
            tags.insert(5, (270, _ASCII, (len(self.description),)))  # its place, see _directory
        return tags

    def _directory_nbytes(self, *, described: bool) -> int:
        entries = self.entries(described)
        entry, head, tail = (20, 8, 8) if self.big else (12, 2, 4)
        return head + entries * entry + tail + sum(self._outside(described))

    def entries(self, described: bool) -> int:
        return 10 + described + (self.frame_shape[2] > 3)

    def _outside(self, described: bool) -> list[int]:
        """Bytes of the values of each tag that do not fit into its entry, after the directory."""
        del described  # the text of the first directory follows that
        inside = 8 if self.big else 4
        nbytes = 2 * self.frame_shape[2]  # BitsPerSample, SampleFormat
        return [nbytes, nbytes] if nbytes > inside else []

    def _directory(self, frame: int, start: int, *, described: bool) -> bytes:
        order, big = self.order, self.big
        tags = self._tags(frame, described)
        inside, entry, head = (8, ">HHQ", ">Q") if big else (4, ">HHI", ">H")
        entry, head = entry.replace(">", order), head.replace(">", order)
        written = struct.pack(head, len(tags))
        outside = b""
        place = start + len(written) + len(tags) * (20 if big else 12) + (8 if big else 4)
        end = start + self._directory_nbytes(described=described)
        for tag, kind, values in tags:
            if kind == _ASCII:
                written += struct.pack(entry, tag, kind, values[0])
                content = self.description if values[0] <= inside else self._offset(end)
                written += content.ljust(inside, b"\0")
                continue
            letter = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}[kind]
            packed = struct.pack(f"{order}{len(values)}{letter}", *values)
            written += struct.pack(entry, tag, kind, len(values))
            if len(packed) <= inside:
                written += packed.ljust(inside, b"\0")
            else:
                written += self._offset(place + len(outside))
                outside += packed
        following = end
        if described:
            following += len(self.description) + len(self.description) % 2
        last = frame + 1 == self.frames
        return written + self._offset(0 if last else following) + outside

    def _offset(self, place: int) -> bytes:
        return struct.pack(self.order + ("Q" if self.big else "I"), place)
