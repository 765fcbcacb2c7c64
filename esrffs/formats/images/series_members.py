"""The members of a series: what the header of each file says, and whether it fits the first one.

Of EDF and CBF files the first bytes say it, of TIFF its first directory.  They are read side by
side (`begun_file`), or were read before by the daemon, and a file is opened again only where they
are not enough.  An EDF header
that is like that of the first file, byte for byte but for values that say nothing about the data,
needs no further look.  Does not: decide what becomes of a member that does not fit (`series`).
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from fabio.cbfimage import CbfImage

from esrffs.errors import DamagedError, UnsupportedError
from esrffs.formats.images.begun_file import (
    BegunFile,
    BegunTiff,
    read_heads,
    read_tiff_pieces,
)
from esrffs.formats.images.cbf import HEADER_NBYTES, CbfKind, cbf_header
from esrffs.formats.images.edf import EdfFrames
from esrffs.formats.images.edf_header import header_keys
from esrffs.formats.images.edf_regular import HeaderPattern
from esrffs.formats.images.frames import FrameSource, Header, translated
from esrffs.formats.images.packed import is_packed
from esrffs.formats.images.reader import check_codec, detect_codec, open_frames
from esrffs.formats.images.signatures import HEADER_NBYTES as RECOGNISED_NBYTES
from esrffs.formats.images.signatures import TIFF_CODECS, codec_of_header
from esrffs.formats.images.tiff import TiffFrames
from esrffs.model import FramesLayout as FramesLayout
from esrffs.model import Layout, OpaqueLayout

_HEADER_END = re.compile(rb"}\r?\n")
_EDF_NBYTES = 1 << 14  # bytes in which most EDF headers end
_TIFF_NBYTES = 1 << 14  # bytes, read at the beginning and about the first directory
_BATCH_NBYTES = 1 << 25  # bytes of files that are read together, at most


class SeriesFiles:
    """The files of a series, in order: paths, sizes in bytes, and first bytes where known.

    `opened` are the numbers of the files that were opened here.
    """

    def __init__(
        self, paths: Sequence[str], sizes: Sequence[int], heads: Mapping[int, bytes]
    ) -> None:
        self.paths = paths
        self.sizes = sizes
        self.opened: set[int] = set()
        self._heads: dict[int, bytes | OSError] = dict(heads)
        self._tiffs: dict[int, dict[int, bytes] | OSError] = {}
        self.codec = ""  # FabIO's, of the first file
        self.first_head = b""  # bytes with which the first file begins, if it is not packed

    def __repr__(self) -> str:
        return f"<SeriesFiles: {len(self.paths)} files, the first {self.paths[0]}>"

    def name(self, number: int) -> str:
        return os.path.basename(self.paths[number])

    def begun(self, number: int, nbytes: int) -> BegunFile:
        """The file with its first `nbytes` bytes, or as many as were known; EsrffsError."""
        if number not in self._heads:
            stop = number + _BATCH_NBYTES // nbytes if number else 1  # of what format is the first?
            self._read(range(number, min(stop, len(self.paths))), nbytes)
        head = self._heads.pop(number)
        if isinstance(head, OSError):
            raise translated("the file", head) from head
        return BegunFile(self.paths[number], self.sizes[number], head)

    def begun_tiff(self, number: int) -> BegunTiff:
        """The TIFF with its first bytes and its first directory; EsrffsError."""
        if number not in self._tiffs:
            stop = min(number + _BATCH_NBYTES // (2 * _TIFF_NBYTES), len(self.paths))
            self.opened.update(range(number, stop))
            found = read_tiff_pieces(self.paths[number:stop], _TIFF_NBYTES)
            self._tiffs = dict(enumerate(found, number))
        pieces = self._tiffs.pop(number)
        if isinstance(pieces, OSError):
            raise translated("the file", pieces) from pieces
        return BegunTiff(self.paths[number], self.sizes[number], pieces)

    def forget_heads(self) -> None:
        """The known bytes are fewer than a header takes: read more of each file."""
        self._heads.clear()

    def _read(self, wanted: range, nbytes: int) -> None:
        """The first bytes of those of these files of which they are not known."""
        numbers = [number for number in wanted if number not in self._heads]
        self.opened.update(numbers)
        found = read_heads([self.paths[number] for number in numbers], nbytes)
        self._heads.update(zip(numbers, found, strict=True))


def describe(
    files: SeriesFiles, first: "FrameSource | CbfDescription"
) -> Iterator[tuple[Header, Layout]]:
    """Header and layout of each member after the first one, which `open_first` gave.

    Raises an EsrffsError where a member does not fit the first one, which ends the series.
    """
    if files.first_head and files.codec == "edf":
        return _describe_edf(files, first)
    if files.first_head and isinstance(first, CbfDescription):
        return _describe_cbf(files, first)
    if files.first_head and files.codec in TIFF_CODECS:
        return _describe_tiff(files, first)
    return _describe_others(files, first)


def _describe_edf(
    files: SeriesFiles, first: "FrameSource | CbfDescription"
) -> Iterator[tuple[Header, Layout]]:
    alike = _pattern(files, first)
    for number in range(1, len(files.paths)):
        file = files.begun(number, _EDF_NBYTES)
        if alike is not None and file.size == files.sizes[0] and alike.matches(file.head):
            text = file.head[: alike.nbytes].rpartition(b"}")[0]
            yield header_keys(text.partition(b"{")[2]), first.layout
            continue
        member = EdfFrames(file.name, os.path.dirname(file.name), file)
        try:
            if file.is_open:
                files.opened.add(number)
            yield _fitting(member, first)
        finally:
            member.close()


def _pattern(files: SeriesFiles, first: "FrameSource | CbfDescription") -> HeaderPattern | None:
    """The header of the first file, where nothing but its one frame follows."""
    layout = first.layout
    if not isinstance(layout, FramesLayout):
        return None
    start = int(layout.offsets[0])
    nbytes = int(np.prod(first.shape, dtype=object)) * first.dtype.itemsize
    if len(files.first_head) < start or start + nbytes != files.sizes[0]:
        return None
    return HeaderPattern(files.first_head[:start])


def _describe_cbf(files: SeriesFiles, first: "CbfDescription") -> Iterator[tuple[Header, Layout]]:
    for number in range(1, len(files.paths)):
        file = files.begun(number, HEADER_NBYTES)
        if codec_of_header(file.head, file.size, files.name(number)) == "cbf":
            kind, header = cbf_header(file.name, file)
            if kind == first.kind:
                yield header, OpaqueLayout()
                continue
        files.opened.add(number)
        yield _described(open_member(file.name), first)


def _describe_tiff(
    files: SeriesFiles, first: "FrameSource | CbfDescription"
) -> Iterator[tuple[Header, Layout]]:
    for number in range(1, len(files.paths)):
        file = files.begun_tiff(number)
        found = codec_of_header(file.head[:RECOGNISED_NBYTES], file.size, files.name(number))
        if found in TIFF_CODECS:
            yield _described(TiffFrames(file.name, check_codec(found), file), first)
        else:
            yield _described(open_member(file.name), first)


def _describe_others(
    files: SeriesFiles, first: "FrameSource | CbfDescription"
) -> Iterator[tuple[Header, Layout]]:
    for number in range(1, len(files.paths)):
        path = files.paths[number]
        files.opened.add(number)
        if files.codec == "edf":
            yield _described(EdfFrames(path, os.path.dirname(path)), first)
        else:
            yield _described(open_member(path), first)


def _described(member: FrameSource, first: "FrameSource | CbfDescription") -> tuple[Header, Layout]:
    """Header and layout of a member, which is closed."""
    try:
        return _fitting(member, first)
    finally:
        member.close()


def _fitting(member: FrameSource, first: "FrameSource | CbfDescription") -> tuple[Header, Layout]:
    """Header and layout of a member; an error where it does not fit the first one."""
    if len(member.headers) > 1:
        raise UnsupportedError(f"holds {len(member.headers)} frames")
    if member.first_frame_error:
        raise DamagedError(member.first_frame_error)
    if member.shape != first.shape:
        raise UnsupportedError(f"has shape {member.shape}, not {first.shape}")
    if member.dtype != first.dtype:
        raise UnsupportedError(f"has dtype {member.dtype}, not {first.dtype}")
    return member.headers[0], member.layout


class CbfDescription:
    """A CBF as its header tells of it: an image that is damaged costs the others nothing."""

    is_edf = colour = False
    first_frame_error = ""
    reserved = tuple(CbfImage.RESERVED_HEADER_KEYS)

    def __init__(self, kind: CbfKind, header: Header) -> None:
        self.kind = kind
        self.shape = kind.shape
        self.dtype = np.dtype(kind.stored).newbyteorder("=")
        self.headers = [header]
        self.layout: Layout = OpaqueLayout()

    def close(self) -> None:
        """Nothing is open."""


def open_first(files: SeriesFiles) -> FrameSource | CbfDescription:
    """The member with which the others are compared."""
    path = files.paths[0]
    if is_packed(path):
        files.codec = detect_codec(path)
        return open_member(path)
    file = files.begun(0, _EDF_NBYTES)
    head = file.head[:RECOGNISED_NBYTES]
    files.codec = check_codec(codec_of_header(head, file.size, files.name(0)))
    if not _HEADER_END.search(file.head) and len(file.head) < min(file.size, _EDF_NBYTES):
        files.forget_heads()
        file = files.begun(0, _EDF_NBYTES)
    files.first_head = file.head
    if files.codec == "edf":
        return EdfFrames(path, os.path.dirname(path), file)
    if files.codec == "cbf":
        kind, header = cbf_header(path)
        if len(kind.shape) == 2:
            return CbfDescription(kind, header)
    return open_member(path)


def open_member(path: str) -> FrameSource:
    """A member; what it names in turn must lie in its own folder."""
    try:
        return open_frames(path, os.path.dirname(path))
    except OSError as error:
        raise translated("the file", error) from error
