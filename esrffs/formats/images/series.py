"""A numbered run of single-frame images as one stack.

Decided here: which members of a series are served.  They end at the first that is damaged, holds
more than one frame, or differs from the first in shape or dtype.  Each file's header is read
once (`series_members`); where it can be read without the image (EDF, CBF, plain TIFF), no image but
the first is decoded, and of CBF not even that.  At most one member stays open.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from math import prod

import numpy as np

from esrffs.damage import copied
from esrffs.errors import DamagedError, EsrffsError, UnsupportedError
from esrffs.formats.images.edf import verbatim_rows
from esrffs.formats.images.frames import (
    Array,
    FrameSource,
    Header,
    Missing,
    Where,
    all_or_nothing,
    translate_errors,
)
from esrffs.formats.images.reader import ImageStackReader, shown_time
from esrffs.formats.images.series_members import (
    CbfDescription,
    SeriesFiles,
    describe,
    open_first,
    open_member,
)
from esrffs.formats.images.tree import root_attributes
from esrffs.model import FramesLayout as FramesLayout
from esrffs.model import Generation, Layout, OpaqueLayout

_DIGITS = frozenset("0123456789")
_MOST = 4096  # numbers: of more gaps than that only the count is told in full


class ImageSeriesReader(ImageStackReader):
    """Files that make up one stack, in this order.

    `generations` are the states of the files, `heads` the first bytes of some of them in that
    state, by number.  What is not given is looked up.

    The root's attributes tell the members that are in the stack (`files`), the numbers that the
    run leaves out (`missing`, the first 4096 of them; `missing_count`), and why the stack ends
    before the run does (`end`).
    """

    def __init__(
        self,
        paths: Sequence[str],
        generations: Sequence[Generation] | None = None,
        heads: Mapping[int, bytes] | None = None,
    ) -> None:
        if generations is None:
            generations = [_generation(path) for path in paths]
        sizes = [generation.size for generation in generations]
        self._series = frames = SeriesFrames(SeriesFiles(paths, sizes, heads or {}))
        names = [os.path.basename(path) for path in frames.paths]
        count, missing = missing_numbers(numbers(names), _MOST)
        newest = max(one.mtime_ns for one in generations[: len(names)])
        root = root_attributes(shown_time(newest), None) | {"files": names}
        if missing:
            root |= {"missing": missing, "missing_count": count}
        super().__init__(frames, root, stacked=True)

    def take_opened(self) -> set[int]:
        """The numbers of the files that were opened since the last call."""
        opened, self._series.opened = self._series.opened, set()
        return opened


class SeriesFrames:
    """One frame of each file.  `opened` are the numbers of the files that were opened."""

    first_frame_error = ""

    def __init__(self, files: SeriesFiles) -> None:
        paths = files.paths
        try:
            first = open_first(files)
        except EsrffsError as error:
            raise copied(error, f"{os.path.basename(paths[0])}: {error}") from error
        try:
            if len(first.headers) > 1:
                raise UnsupportedError(
                    f"{os.path.basename(paths[0])} holds {len(first.headers)} frames: "
                    "only files of one frame make up a series"
                )
            if first.first_frame_error:
                raise DamagedError(f"{os.path.basename(paths[0])}: {first.first_frame_error}")
            self.is_edf, self.reserved = first.is_edf, first.reserved
            self.colour = first.colour
            self.shape, self.dtype = first.shape, first.dtype
            self.headers: list[Header] = [first.headers[0]]
            self._layouts: list[Layout] = [first.layout]
            self.end_reason = ""
            self._describe(files, first)
        finally:
            first.close()
        self.opened = {0, *files.opened}
        self.paths = tuple(paths[: len(self.headers)])
        self.layout = self._layout()
        self._open: tuple[int, FrameSource | EsrffsError] | None = None

    def __repr__(self) -> str:
        return f"<SeriesFrames: {len(self.paths)} files, the first {self.paths[0]}>"

    def rows(self, index: int, start: int, stop: int) -> Array:
        with self._of_member(index):
            layout = self._layouts[index]
            if isinstance(layout, FramesLayout):
                return self._verbatim(index, layout, start, stop)
            return self._member(index).rows(0, start, stop)

    def sound_rows(self, index: int, start: int, stop: int, missing: Missing) -> Array:
        def named(where: Where, error: EsrffsError) -> None:
            missing(where, self._named(index, error))

        def read() -> Array:
            if isinstance(self._layouts[index], FramesLayout):
                return self.rows(index, start, stop)
            with self._of_member(index):
                return self._member(index).sound_rows(0, start, stop, named)

        return all_or_nothing(read, (stop - start, *self.shape[1:]), self.dtype, missing)

    def _verbatim(self, index: int, layout: FramesLayout, start: int, stop: int) -> Array:
        row = prod(self.shape[1:]) * self.dtype.itemsize
        shape = (stop - start, *self.shape[1:])
        offset = int(layout.offsets[0]) + start * row
        self.opened.add(index)
        with translate_errors("frame 0"), open(self.paths[index], "rb", buffering=0) as file:
            return verbatim_rows(file, offset, shape, self.dtype, layout.swapped)

    def _member(self, index: int) -> FrameSource:
        """The frame of one file; of a file that cannot be opened, that is known from then on."""
        if self._open is None or self._open[0] != index:
            self.close()
            try:
                self.opened.add(index)
                self._open = index, open_member(self.paths[index])
            except (DamagedError, UnsupportedError) as error:
                self._open = index, copied(error)
        member = self._open[1]
        if isinstance(member, EsrffsError):
            raise copied(member)
        if (member.shape, member.dtype) != (self.shape, self.dtype):
            raise DamagedError("its image is not what its header says")
        return member

    @contextmanager
    def _of_member(self, index: int) -> Iterator[None]:
        """Every failure inside the block is one of this file."""
        try:
            yield
        except EsrffsError as error:
            raise self._named(index, error) from error

    def _named(self, index: int, error: EsrffsError) -> EsrffsError:
        """The member by its name, and by its place in the stack; in the file it is the first."""
        name = os.path.basename(self.paths[index])
        text = str(error).removeprefix("frame 0: ")
        return copied(error, f"{name} (frame {index}): {text}")

    def close(self) -> None:
        if self._open is not None and not isinstance(self._open[1], EsrffsError):
            self._open[1].close()
        self._open = None

    def _describe(self, files: SeriesFiles, first: FrameSource | CbfDescription) -> None:
        """Look at the members after the first until one does not fit."""
        members = describe(files, first)
        for number in range(1, len(files.paths)):
            try:
                header, layout = next(members)
            except EsrffsError as error:
                self.end_reason = f"{files.name(number)}: {error}"
                return
            self.headers.append(header)
            self._layouts.append(layout)

    def _layout(self) -> Layout:
        """Verbatim only where all members are, in one byte order, and there are at least two."""
        if len(self.paths) < 2:
            return OpaqueLayout()
        offsets, swapped = [], set()
        for layout in self._layouts:
            if not isinstance(layout, FramesLayout):
                return OpaqueLayout()
            offsets.append(int(layout.offsets[0]))
            swapped.add(layout.swapped)
        if len(swapped) > 1:
            return OpaqueLayout()
        return FramesLayout(np.array(offsets, np.int64), swapped.pop(), self.paths)


def _generation(path: str) -> Generation:
    """The state of a file; of one that is not there any more, that of an empty file."""
    try:
        return Generation.of(os.stat(path))
    except OSError:
        return Generation(0, 0, 0, 0, 0)


def numbers(names: Sequence[str]) -> list[int]:
    """Those of the members of a run: names of one length that differ in one group of digits."""
    columns = [n for n, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1]
    if not columns:
        return []
    start, stop = columns[0], columns[-1] + 1
    while start > 0 and names[0][start - 1] in _DIGITS:
        start -= 1
    while stop < len(names[0]) and names[0][stop] in _DIGITS:
        stop += 1
    found = [name[start:stop] for name in names]
    plain = all(digits and set(digits) <= _DIGITS for digits in found)
    return [int(digits) for digits in found] if plain else []


def missing_numbers(run: Sequence[int], most: int) -> tuple[int, list[int]]:
    """How many numbers an ascending run leaves out, and the first of them."""
    count = 0
    missing: list[int] = []
    for last, following in pairwise(run):
        count += following - last - 1
        missing += range(last + 1, min(following, last + 1 + most - len(missing)))
    return count, missing
