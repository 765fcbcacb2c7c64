"""Which pages of a TIFF are one stack, and where their pixels are stored.

The stack ends before the first page of another size or type.  One page may stand for several images
(ImageJ, MetaMorph and tifffile may describe only the first).  tifffile interprets the pages; pages
with the same structural tags are interpreted once.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tifffile import TiffFile, TiffPage
from tifffile.tifffile import imagej_description_metadata, shaped_description_metadata

from esrffs.errors import DamagedError, EsrffsError, UnsupportedError
from esrffs.formats.images.begun_file import BegunTiff
from esrffs.formats.images.frames import Array, check_shape
from esrffs.formats.images.tiff_directories import (
    MOST_PAGES,
    Directories,
    Directory,
    PlainFile,
    UnpackedFile,
)
from esrffs.formats.images.tiff_segments import Segments

# The tags that determine how the data of a page are read; pages with the same ones are alike.
_STRUCTURE = (
    *(254, 256, 257, 258, 259, 262, 266, 277, 278, 284, 292, 293, 317, 322, 323, 338, 339, 347),
    *(530, 32997, 32998, 42113),
)
_MOST_STRUCTURE = 1 << 16  # bytes of one such value
_KEYFRAMES = 16  # interpreted pages that are kept
_WHOLE_BYTES = (8, 16, 32, 64, 128)  # bits per sample
_REDUCED = 1  # flag of NewSubfileType: a preview of another page
_PLANES = 33629  # MetaMorph's UIC2Tag: as many values as planes

Places = npt.NDArray[np.int64]


class Kind(NamedTuple):
    """The properties that determine shape and dtype of the frames of a page."""

    shape: tuple[int, ...]
    depth: int
    dtype: np.dtype[np.generic]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


class PageStack:
    """The pages of one file that have the same kind of frames.

    `pages` are their numbers in the chain of directories, `kind` is their kind, `end` says why
    there are no more (or is ""), `runs` are the positions of frames that are stored verbatim (-1:
    not so).
    """

    def __init__(self, content: BegunTiff | PlainFile | UnpackedFile) -> None:
        self._content = content
        self.directories = Directories(content)
        self._tiff = self._open()
        self._keyframes: OrderedDict[bytes, Any] = OrderedDict()
        self._faults: dict[int, str] = {}  # why a page cannot be read, by its number
        self._step = 0  # bytes from frame to frame, if only the first has a directory
        self.kind = self._kind_of(0)
        self.end = self.directories.end
        self.pages = self._like_the_first()
        self.runs = self._find_runs()

    def __repr__(self) -> str:
        return f"<PageStack: {len(self.pages)} of {self.directories!r}>"

    def _open(self) -> Any:
        """tifffile's view of the file: it sees the first page, and what is asked of it later."""
        with _sentence("the first TIFF directory is damaged"):
            content: Any = self._content
            return TiffFile(content, name="image.tif", size=self._content.size)

    def _page(self, directory: Directory) -> Any:
        """A page as tifffile sees it, or one with the same structure."""
        key = self._structure(directory)
        if key not in self._keyframes:
            with _sentence("its TIFF directory is damaged"):
                self._keyframes[key] = self._as_tifffile_sees_it(directory)
            while len(self._keyframes) > _KEYFRAMES:
                self._keyframes.popitem(last=False)
        self._keyframes.move_to_end(key)
        return self._keyframes[key]

    def _as_tifffile_sees_it(self, directory: Directory) -> Any:
        if directory.offset == self._tiff.pages.first.offset:
            return self._tiff.pages.first
        self._tiff.filehandle.seek(directory.offset)
        return TiffPage(self._tiff, 1)

    def _structure(self, directory: Directory) -> bytes:
        parts = []
        tags = self.directories.tags(directory)
        for tag in _STRUCTURE:
            entry = tags.get(tag)
            if entry is not None:
                content = self.directories.content_of(entry, _MOST_STRUCTURE)
                parts.append(b"%d %d %d " % (tag, *entry[:2]))
                parts.append(entry[2] if content is None else content)
        return b"".join(parts)

    def _kind_of(self, number: int) -> Kind:
        page = self._page(self.directories.chain[number])
        if 256 not in page.tags or 257 not in page.tags:
            raise DamagedError("the TIFF directory does not tell the size of an image")
        planes, depth, length, width, samples = page.shaped
        samples = max(planes, samples)
        size = (length, width) if samples == 1 else (length, width, samples)
        shape = check_shape("the image", (depth, *size))[1:]
        if depth > MOST_PAGES:
            raise UnsupportedError(f"an image of {depth} planes is not shown")
        if page.dtype is None:
            raise UnsupportedError(
                f"no number here is like its samples "
                f"(format {page.sampleformat}, {page.bitspersample} bits)"
            )
        return Kind(shape, int(depth), np.dtype(page.dtype))

    def _like_the_first(self) -> list[int]:
        """The numbers of the pages of the stack; sets `end` if there are further pages."""
        pages, previews = [0], 0
        kinds: dict[bytes, Kind] = {}
        for number, directory in enumerate(self.directories.chain[1:], 1):
            try:
                key = self._structure(directory)
                if key not in kinds:
                    kinds[key] = self._kind_of(number)
                kind = kinds[key]
            except EsrffsError as error:
                if not self._same_size(directory):
                    self.end = f"page {number}: {error}"
                    break
                self._faults[number] = str(error)
                kind = self.kind
            if kind == self.kind:
                pages.append(number)
            elif self._is_preview(directory):
                previews += 1
            else:
                self.end = f"page {number}: {_difference(kind, self.kind)}"
                break
        most = max(MOST_PAGES // self.kind.depth, 1)
        if len(pages) > most:
            self.end = f"page {pages[most]}: more than {MOST_PAGES} frames are not shown"
        if previews and not self.end:
            self.end = f"pages that are flagged as previews of others are left out: {previews}"
        return pages[:most]

    def _same_size(self, directory: Directory) -> bool:
        """Whether a page, as far as it can be read, has the size of the first one."""
        first, other = (self.directories.tags(d) for d in (self.directories.chain[0], directory))
        return 256 in other and all(first.get(tag) == other.get(tag) for tag in (256, 257))

    def _is_preview(self, directory: Directory) -> bool:
        first = self._tiff.pages.first
        return bool(self._page(directory).subfiletype & _REDUCED and not first.is_reduced)

    def _find_runs(self) -> Places:
        """The position of each frame that is stored verbatim; -1: it is not."""
        offsets = [self._run(number) for number in self.pages]
        claimed = _claimed(self._tiff.pages.first, self.kind)
        if len(offsets) == self.kind.depth == 1 < claimed:
            there = self._described(claimed)
            if there < claimed and not self.end:
                self.end = f"frame {there}: the file does not hold all {claimed} that it tells of"
            self._step = self.kind.nbytes
            steps = np.arange(there, dtype=np.int64) * self._step
            return steps + offsets[0] if offsets[0] >= 0 else np.full(there, -1, np.int64)
        runs = np.repeat(np.array(offsets, np.int64), self.kind.depth)
        steps = np.tile(np.arange(self.kind.depth) * self.kind.nbytes, len(offsets))
        return np.where(runs < 0, runs, runs + steps)

    def _described(self, claimed: int) -> int:
        """The number of frames that follow each other, of which only the first has a directory."""
        chain, first = self.directories.chain, self._tiff.pages.first
        if not first.is_final or first.dataoffsets[0] <= 0:
            return 1
        start, last = first.dataoffsets[0], self._content.size
        if len(chain) > 1 and chain[1].offset > start:
            last = chain[1].offset
        there = int(last - start) // self.kind.nbytes
        return max(1, min(claimed, there, MOST_PAGES))

    def _run(self, number: int) -> int:
        """The position of the data of a page if they are stored verbatim in one piece; else -1."""
        directory = self.directories.chain[number]
        if number in self._faults:
            return -1
        page = self._page(directory)
        if not _is_plain(page):
            return -1
        with suppress(EsrffsError):
            offsets, counts = self._places(directory, page)
            length, width = page.imagelength, page.imagewidth
            rows = page.tilelength if page.is_tiled else page.rowsperstrip
            nbytes = rows * width * self.kind.nbytes // (length * width)
            if len(offsets) == 0 or offsets[0] <= 0:
                return -1
            if len(offsets) == 1 or page.is_stk:
                return int(offsets[0])
            if rows > 0 and self.kind.depth > 1 and length % rows:
                return -1
            starts = offsets[0] + np.arange(len(offsets)) * nbytes
            if np.array_equal(offsets, starts) and (np.asarray(counts)[:-1] == nbytes).all():
                return int(offsets[0])
        return -1

    def _places(self, directory: Directory, page: Any) -> tuple[Array, Array]:
        """The positions and the stored sizes of the strips or tiles of a page."""
        tags = self.directories.tags(directory)
        names = (324, 325) if page.is_tiled else (273, 279)
        found = [self.directories.values(tags[tag]) for tag in names if tag in tags]
        plain = len(found) == 2 and all(one.dtype.kind in "iu" for one in found)
        if plain and len(found[0]) == len(found[1]) and page.jpegheader is None:
            return found[0].astype(np.int64), found[1].astype(np.int64)
        with _sentence("its TIFF directory is damaged"):  # tifffile knows how some writers err
            own = self._as_tifffile_sees_it(directory)
            return np.array(own.dataoffsets, np.int64), np.array(own.databytecounts, np.int64)

    @property
    def grain(self) -> tuple[int, int]:
        """The number of planes and rows of a strip or tile of the first page."""
        page = self._tiff.pages.first
        deep, rows = (page.tiledepth, page.tilelength) if page.is_tiled else (1, page.rowsperstrip)
        return min(max(int(deep), 1), self.kind.depth), min(max(int(rows), 1), self.kind.shape[0])

    def place(self, frame: int) -> tuple[int, int, int]:
        """Where a frame is: its page in the chain, its depth in the page, its distance behind the
        data.
        """
        number, depth = divmod(frame, self.kind.depth)
        return (0, 0, frame * self._step) if self._step else (self.pages[number], depth, 0)

    def segments(self, number: int, behind: int) -> Segments:
        """The strips or tiles of this page of the chain, or of a frame that follows it."""
        if number in self._faults:
            raise DamagedError(self._faults[number])
        directory = self.directories.chain[number]
        page = self._page(directory)
        offsets, counts = self._places(directory, page)
        return Segments(self._content, page, offsets + behind, counts)


@contextmanager
def _sentence(text: str) -> Iterator[None]:
    """Raise DamagedError with this text for any exception of tifffile."""
    try:
        yield
    except (EsrffsError, MemoryError):
        raise
    except Exception as error:
        raise DamagedError(text) from error


def _is_plain(page: Any) -> bool:
    """Whether the pixels of each strip or tile are stored uncompressed, in rows of the page."""
    bits = page.bitspersample
    stored = page.compression == page.predictor == page.fillorder == 1
    if not stored or bits not in _WHOLE_BYTES or bits != 8 * page.dtype.itemsize:
        return False
    rows = not page.is_tiled or (page.tilewidth == page.imagewidth and page.tiledepth == 1)
    return bool(rows and page.shaped[0] == 1 and not page.is_subsampled and page.sampleformat != 5)


def _claimed(page: Any, kind: Kind) -> int:
    """The number of images that the first page declares for the file; 0: it does not."""
    with suppress(Exception):  # what anybody may have written there
        if page.is_stk:
            return int(page.tags[_PLANES].count)
        if page.imagej_description:
            told = imagej_description_metadata(page.imagej_description)
            axes = [int(told.get(name, 1)) for name in ("frames", "slices", "channels")]
            if axes[2] in kind.shape[2:]:  # samples called channels
                axes[2] = 1
            return prod(axes) if prod(axes) > 1 else int(told.get("images", 1))
        if page.shaped_description:
            shape = shaped_description_metadata(page.shaped_description)["shape"]
            return int(prod(shape) // prod(kind.shape))
    return 0


def _difference(kind: Kind, first: Kind) -> str:
    if kind.shape != first.shape:
        return f"has shape {kind.shape}, not {first.shape}"
    if kind.dtype != first.dtype:
        return f"has dtype {kind.dtype}, not {first.dtype}"
    return f"has {kind.depth} planes, not {first.depth}"
