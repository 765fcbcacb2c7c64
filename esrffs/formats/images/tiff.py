"""Read TIFF, MarCCD and Pilatus with tifffile: the pages of a file are one stack.

Pages whose pixels are stored verbatim are read directly.  Of other pages only the strips or tiles
that contain the wanted rows are decoded.
"""

import sys
from collections.abc import Sequence
from functools import partial
from typing import overload

import numpy as np

from esrffs.damage import copied
from esrffs.errors import DamagedError, EsrffsError
from esrffs.formats.images.begun_file import BegunTiff
from esrffs.formats.images.frames import (
    Array,
    Header,
    Missing,
    Where,
    all_or_nothing,
    translate_errors,
)
from esrffs.formats.images.tiff_directories import open_content
from esrffs.formats.images.tiff_header import PageHeaders
from esrffs.formats.images.tiff_pages import PageStack
from esrffs.formats.images.tiff_segments import Segments
from esrffs.model import FramesLayout as FramesLayout
from esrffs.model import Layout, OpaqueLayout

_NATIVE = "<" if sys.byteorder == "little" else ">"


class TiffFrames:
    """The frames of one TIFF file.  `begun`: the same file, if some bytes of it are known."""

    is_edf = False
    first_frame_error = ""

    def __init__(self, path: str, codec: str, begun: BegunTiff | None = None) -> None:
        self._path = path
        self._last: tuple[tuple[int, int], Segments] | None = None
        with translate_errors("the TIFF directories", strict=False):
            self._content = begun or open_content(path)
            try:
                self._look(codec)
            except BaseException:
                self._content.close()
                raise

    def _look(self, codec: str) -> None:
        self._stack = PageStack(self._content)
        headers = PageHeaders(self._stack.directories, codec)
        self.shape, self.dtype = self._stack.kind.shape, self._stack.kind.dtype
        self.colour = len(self.shape) > 2
        self.end_reason = self._stack.end
        self.layout = self._layout()
        self.reserved = headers.reserved
        self.headers: Sequence[Header] = _Headers(headers, self._stack.pages, len(self._stack.runs))

    def __repr__(self) -> str:
        return f"<TiffFrames: {len(self.headers)} of {self._path}>"

    def rows(self, index: int, start: int, stop: int) -> Array:
        with translate_errors(f"frame {index}", strict=False):
            run = int(self._stack.runs[index])
            if run >= 0:
                return self._verbatim(run, start, stop)
            return self._packed(index, start, stop)

    def sound_rows(self, index: int, start: int, stop: int, missing: Missing) -> Array:
        read = partial(self._sound_rows, index, start, stop, missing)
        return all_or_nothing(read, (stop - start, *self.shape[1:]), self.dtype, missing)

    def _sound_rows(self, index: int, start: int, stop: int, missing: Missing) -> Array:
        """These rows without damaged strips and tiles, and without what lies beyond the end of the
        file.
        """

        def named(where: Where, error: EsrffsError) -> None:
            missing(where[: len(self.shape)], copied(error, f"frame {index}: {error}"))

        run = int(self._stack.runs[index])
        if run < 0:
            with translate_errors(f"frame {index}", strict=False):
                return self._packed(index, start, stop, named)
        try:
            return self.rows(index, start, stop)
        except DamagedError as error:
            row = self._stack.kind.nbytes // self.shape[0]
            there = min((self._content.size - run) // row, stop)
            if there <= start:
                raise
            array = np.zeros((stop - start, *self.shape[1:]), self.dtype)
            array[: there - start] = self.rows(index, start, there)
            missing((slice(there - start, None),), error)
            return array

    def _packed(self, index: int, start: int, stop: int, missing: Missing | None = None) -> Array:
        page, depth, behind = self._stack.place(index)
        if self._last is None or self._last[0] != (page, behind):
            self._last = (page, behind), self._stack.segments(page, behind)
        rows = self._last[1].rows(depth, start, stop, missing)
        return rows.reshape(stop - start, *self.shape[1:])

    def close(self) -> None:
        self._last = None
        self._content.close()

    def _verbatim(self, offset: int, start: int, stop: int) -> Array:
        row = self._stack.kind.nbytes // self.shape[0]
        needed = (stop - start) * row
        data = self._content.pread(offset + start * row, needed)
        if len(data) < needed:
            raise DamagedError(f"the file ends {needed - len(data)} bytes too early")
        stored = self.dtype.newbyteorder(self._stack.directories.order)
        array = np.frombuffer(data, stored).reshape(stop - start, *self.shape[1:])
        return array.astype(self.dtype, copy=False)

    def _layout(self) -> Layout:
        runs = self._stack.runs
        swapped = self._stack.directories.order != _NATIVE and self.dtype.itemsize > 1
        verbatim = self._content.verbatim and not (swapped and self.dtype.kind == "c")
        last = self._content.size - self._stack.kind.nbytes
        if verbatim and ((runs >= 0) & (runs <= last)).all():
            return FramesLayout(runs, swapped)
        if (runs >= 0).all():
            return OpaqueLayout()
        deep, rows = self._stack.grain
        grain = (deep, rows, *self.shape[1:])
        return OpaqueLayout(grain if len(runs) > 1 else grain[1:])


class _Headers(Sequence[Header]):
    """The headers of the frames, made on demand; frames of one page share its header."""

    def __init__(self, headers: PageHeaders, pages: list[int], count: int) -> None:
        self._headers = headers
        self._pages = pages
        self._count = count
        self._made: dict[int, Header] = {}

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Header: ...

    @overload
    def __getitem__(self, index: slice) -> list[Header]: ...

    def __getitem__(self, index: int | slice) -> Header | list[Header]:
        wanted = range(self._count)[index]
        if isinstance(wanted, int):
            return self._header(wanted)
        return [self._header(frame) for frame in wanted]

    def _header(self, frame: int) -> Header:
        number = self._pages[frame * len(self._pages) // self._count]
        if number not in self._made:
            self._made[number] = self._headers.header(number)
        return self._made[number]
