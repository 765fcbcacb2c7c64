"""EDF: whose frames make up the stack, and their pixels.

Decided here: which frames of an EDF file are served.  Those before the first that is not whole,
or differs from the first frame in shape or dtype, make up the stack; FabIO would fill up what is
missing with zeros, and hand damaged gzip to a program that ignores the checksum.  Of `.gz` and
`.bz2` only what can be believed (`packed`) counts.  Only headers are read to tell.
"""

import io
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import overload

import numpy as np
from fabio.edfimage import EdfImage

from esrffs.damage import copied
from esrffs.errors import AccessDeniedError, DamagedError, EsrffsError, UnsupportedError, at_path
from esrffs.formats.images.begun_file import BegunFile
from esrffs.formats.images.edf_blocks import Found, Place, scan
from esrffs.formats.images.edf_regular import regular_spacing
from esrffs.formats.images.frames import (
    Array,
    Header,
    Missing,
    all_or_nothing,
    check_shape,
    open_binary,
    translate_errors,
)
from esrffs.formats.images.packed import CUT, BinaryFile, PackedFile
from esrffs.formats.images.signatures import is_single_frame
from esrffs.linux import path_walk
from esrffs.linux.permissions import may_reference
from esrffs.model import FramesLayout as FramesLayout
from esrffs.model import Layout, OpaqueLayout

_QUADRUPLE = np.dtype(np.longdouble)


class EdfFrames:
    """The frames of one EDF file, also of one inside `.gz` or `.bz2`.

    `begun`: the same file, of which the first bytes were read before.
    """

    is_edf = True
    colour = False
    reserved = tuple(EdfImage.RESERVED_HEADER_KEYS)

    def __init__(self, path: str, confine: str | None, begun: BegunFile | None = None) -> None:
        self._path = path
        self._confine = confine
        with translate_errors("the file", strict=False):
            self._file = begun or open_binary(path)
            try:
                found, fault = self._find()
                self.shape = check_shape("frame 0", found.places[0].shape)
            except BaseException:
                self._file.close()
                raise
        places = found.places
        self.dtype = places[0].dtype
        count, self.end_reason = _stack(places, fault)
        if not self.end_reason and (fault or found.rest):
            self.end_reason = f"after frame {count - 1}: {fault or found.rest}"
        self._places = places[:count]
        self.headers: Sequence[Header] = _LazyHeaders(
            found.headers[:count], count, self._all_headers
        )
        self.first_frame_error = places[0].fault and (fault or places[0].fault)
        self.layout: Layout = OpaqueLayout() if fault is not None else _layout(self._places)
        self._kept: tuple[int, Array | EsrffsError] | None = None  # the last one unpacked

    def __repr__(self) -> str:
        return f"<EdfFrames: {len(self._places)} of {self._path}>"

    def _find(self) -> tuple[Found, str | None]:
        """The frames; of a packed file those that can be believed, and why there are no more."""
        if isinstance(self._file, BegunFile):  # of which no more is read than is needed
            size = self._file.size
            single = is_single_frame(self._file.head, size)
            return (None if single else self._at_a_pace(size)) or self._scan(size), None
        if not isinstance(self._file, PackedFile):
            size = os.fstat(self._file.fileno()).st_size
            return self._at_a_pace(size) or self._scan(size), None
        try:
            found, error = self._scan(None), None
        except (DamagedError, UnsupportedError) as failure:
            error = failure
        self._file.run_out()
        trusted, fault = self._file.trusted, self._file.fault
        if error is not None:
            raise (DamagedError(fault) if fault else error) from error
        places = [place for place in found.places if place.start <= trusted]
        if not places:
            raise DamagedError(fault)
        places = [
            place._replace(
                complete=place.outside is not None or place.start + place.needed <= trusted
            )
            for place in places
        ]
        return found._replace(places=places, headers=found.headers[: len(places)]), fault

    def _scan(self, limit: int | None) -> Found:
        return scan(self._file, os.path.dirname(self._path), limit)

    def _at_a_pace(self, size: int) -> Found | None:
        """What `scan` would find, from the first header; None where the others differ from it."""
        steps = regular_spacing(self._file.fileno(), size)
        if steps is None:
            return None
        headers, places, _ = self._scan(steps.step)
        first = places[0]
        where = first.start, first.room
        if len(places) > 1 or where != (steps.header, steps.step - steps.header) or first.fault:
            return None
        starts = range(steps.header, size, steps.step)
        return Found(headers, [first._replace(start=start) for start in starts], "")

    def _all_headers(self) -> list[dict[str, str]]:
        with translate_errors("the headers", strict=False):
            return self._scan(os.stat(self._path).st_size).headers

    def rows(self, index: int, start: int, stop: int) -> Array:
        place, what = self._places[index], f"frame {index}"
        if place.fault:
            raise DamagedError(f"{what}: {place.fault}")
        if place.packing:
            return self._unpacked(index)[start:stop]
        row = prod(self.shape[1:]) * self.dtype.itemsize
        shape = (stop - start, *self.shape[1:])
        with translate_errors(what), self._data_file(place) as file:
            begin = place.start + start * row
            self._check_outside(file, place)
            return _checked(verbatim_rows(file, begin, shape, self.dtype, place.swapped))

    def sound_rows(self, index: int, start: int, stop: int, missing: Missing) -> Array:
        read = partial(self.rows, index, start, stop)
        return all_or_nothing(read, (stop - start, *self.shape[1:]), self.dtype, missing)

    def close(self) -> None:
        self._file.close()

    def _unpacked(self, index: int) -> Array:
        """Of a frame that is damaged, that is known from then on."""
        if self._kept is None or self._kept[0] != index:
            try:
                self._kept = index, self._unpack(index)
            except (DamagedError, UnsupportedError) as error:
                self._kept = index, copied(error)
        found = self._kept[1]
        if isinstance(found, EsrffsError):
            raise copied(found)
        return found

    def _unpack(self, index: int) -> Array:
        place, what = self._places[index], f"frame {index}"
        with translate_errors(what), self._data_file(place) as file:
            self._check_outside(file, place)
            file.seek(place.start)
            content = _unpack(file.read(place.room) or b"", place.packing, place.nbytes)
            array: Array = np.frombuffer(bytearray(content), self.dtype).reshape(self.shape)
            return _checked(array.byteswap() if place.swapped else array)

    def _check_outside(self, file: BinaryFile, place: Place) -> None:
        """DamagedError for data in another file that is too short, or cannot be believed."""
        if place.outside is None:
            return
        if isinstance(file, PackedFile):
            file.run_out()
            size, fault = file.trusted, file.fault
        else:
            size, fault = os.fstat(file.fileno()).st_size, ""
        if place.start + place.nbytes > size and not place.packing:
            short = place.start + place.nbytes - size
            raise DamagedError(fault or f"the file ends {short} bytes too early")

    @contextmanager
    def _data_file(self, place: Place) -> Iterator[BinaryFile]:
        if place.outside is None:
            yield self._file
            return
        with open_binary(self._permitted(place.outside)) as file:
            yield file

    def _permitted(self, named: str) -> str:
        """A frame may name another file: a plain one, or its `.gz`, that `confine` holds."""
        named = os.path.abspath(named)
        try:
            path = named if os.path.exists(path_walk.resolve(named)) else named + ".gz"
            status = path_walk.status(path)
            real = path_walk.resolve(path)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:  # where it leads is not known
            raise at_path(named, error) from error
        confine = real if self._confine is None else self._confine
        if os.path.commonpath((confine, real)) != confine:
            raise AccessDeniedError(f"its data lie outside the source, in {real}")
        if not stat.S_ISREG(status.st_mode):
            raise AccessDeniedError(f"{path} is not a regular file")
        if self._confine is not None and not may_reference(self._path, path, confine):
            raise AccessDeniedError(f"not everybody who may read it may read {real}")
        return path


def verbatim_rows(
    file: BinaryFile,
    offset: int,
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    swapped: bool,
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


class _LazyHeaders(Sequence[Header]):
    """Of `count` frames: those that are known and, once another one is wanted, all."""

    def __init__(
        self, known: Sequence[Header], count: int, everything: Callable[[], Sequence[Header]]
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
        found = self._known[index]
        return found if isinstance(found, Mapping) else list(found)


def _stack(places: list[Place], packed: str | None) -> tuple[int, str]:
    """How many frames make up the stack, and why the next one does not belong."""
    first = places[0]
    for index, place in enumerate(places[1:], 1):
        fault = place.fault and (packed or place.fault)
        if not fault and place.shape != first.shape:
            fault = f"has shape {place.shape}, not {first.shape}"
        if not fault and place.dtype != first.dtype:
            fault = f"has dtype {place.dtype}, not {first.dtype}"
        if fault:
            return index, f"frame {index}: {fault}"
    return len(places), ""


def _layout(places: list[Place]) -> Layout:
    swapped = {place.swapped for place in places}
    if (
        len(swapped) > 1
        or places[0].dtype == _QUADRUPLE
        or any(place.packing or place.outside is not None or place.fault for place in places)
    ):
        return OpaqueLayout()
    return FramesLayout(np.array([place.start for place in places], np.int64), swapped.pop())


def _unpack(content: bytes, packing: str, nbytes: int) -> bytes:
    """What was packed, checksums verified, whatever follows it."""
    if packing not in ("gzip", "bzip2", "zlib"):
        raise UnsupportedError(f"its compression {packing} is not known here")
    stream = PackedFile(io.BytesIO(content), packing)
    unpacked: bytes = stream.read(nbytes + 1) or b""  # one more, to come to the checksum
    sound = len(unpacked) == nbytes == stream.trusted and stream.fault != CUT
    if not sound and stream.fault not in ("", CUT):
        raise DamagedError(stream.fault)
    if not sound:
        raise DamagedError(f"its packed data do not end after {nbytes} bytes, as its shape needs")
    return unpacked


def _checked(array: Array) -> Array:
    """Long doubles as this machine has them, with nothing between them.

    Files do not tell them from the quadruples of IEEE: of the former, the first bit of the
    mantissa is set unless the number is zero or next to it, and zero has no other bits.
    """
    if array.dtype != _QUADRUPLE or np.finfo(_QUADRUPLE).nmant != 63:
        return array
    halves = np.ascontiguousarray(array).view("<u8").reshape(*array.shape, 2)
    mantissa, rest = halves[..., 0], halves[..., 1]
    exponent = rest & 0x7FFF
    sound = (mantissa >> 63 != 0) == (exponent != 0)
    sound &= (mantissa != 0) | (rest & 0xFFFFFFFFFFFF7FFF == 0)
    if not sound.all():
        raise UnsupportedError("its floating point numbers of 128 bits are none of this machine's")
    rest &= 0xFFFF
    return array
