"""The functions that a worker process runs: open readers, ask them, send the answers.

Before and after each answer the file is compared with its generation, so that an answer belongs to
one state of the file.  Arrays are sent in shared memory.  A crash, an endless loop or a memory bomb
in a reader costs one process.
"""

import logging
import math
import os
import resource
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from esrffs import limits
from esrffs.damage import PARTIAL, DamagedArray, copied
from esrffs.encoders import xattrs
from esrffs.errors import DamagedError, EsrffsError, MemoryLimitError, TooLargeError
from esrffs.formats import budget, readers
from esrffs.formats.hdf5.image import DescribedGroup, Hdf5Image, ImageLimits
from esrffs.linux import sandbox
from esrffs.model import (
    Box,
    ChunkedLayout,
    ChunkIndex,
    DatasetInfo,
    GroupInfo,
    GroupListing,
    Reader,
    SeriesReader,
)
from esrffs.workers.listed_texts import with_texts
from esrffs.workers.protocol import ReaderSpec, SharedBuffer

MAX_OPEN_READERS = 4  # per worker: a few files are read side by side, rarely more


@dataclass(slots=True)
class _WorkerState:
    """What a worker process remembers, besides its readers."""

    folder: str | None = None
    seconds: float = math.inf
    shared_buffer: int | None = None
    should_retire: bool = False
    heads: Mapping[int, bytes] = field(default_factory=dict)  # of the series that is asked for


PREFETCH_SECONDS = (
    0.01  # seconds that are spent on what nobody asked for yet: some ten calls' worth
)
SMALL_ARRAYS_SECONDS = 1.0  # for all arrays of one call of `read_small`
PREFETCH_MEMBERS = 2000  # that are sent at once, about
RETIRE_RSS_NBYTES = 320 << 20  # bytes: one that was so large once does not give it all back
_state = _WorkerState()
_readers: OrderedDict[ReaderSpec, Reader] = OrderedDict()


def enter(memory: int, folder: str | None, sizes: limits.Limits, seconds: float = math.inf) -> None:
    """Prepare this new worker process; it may use `memory` bytes, a call may take `seconds`.

    Where `folder` is given, only files below it can be opened from here on.
    """
    from esrffs.formats.warm_up import warm_up  # not in the daemon

    limits.configure(sizes)
    warm_up()
    sandbox.enter(memory, folder)
    sandbox.die_with_parent()
    _state.folder = folder
    _state.seconds = seconds
    logging.disable()  # the libraries' remarks: what matters comes back as an error
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # silx and libhdf5 print
        os.dup2(nowhere, descriptor)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # for as long as it lives


def should_retire() -> bool:
    """Whether this process should end now: it was told to, or needs much memory."""
    return _state.shared_buffer is None and (_state.should_retire or _memory_high())


def _memory_high() -> bool:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10 > RETIRE_RSS_NBYTES


def ping() -> None:
    """Does nothing: that it returns shows that a process has started."""


def retire() -> None:
    """End this process after this call."""
    _drop_buffer()
    _state.should_retire = True


def call_reader(subject: ReaderSpec, method: str, *arguments: Any) -> Any:
    """The answer of a method of the reader of these files; only `EsrffsError` is raised."""
    budget.begin(_state.seconds)
    return _called(subject, method, *arguments)


def call_series(
    subject: ReaderSpec, heads: Mapping[int, bytes], method: str, *arguments: Any
) -> Any:
    """`call_reader` for a series of which the first bytes of some files are known, by number."""
    _state.heads = heads
    try:
        return call_reader(subject, method, *arguments)
    finally:
        _state.heads = {}


def _called(subject: ReaderSpec, method: str, *arguments: Any) -> Any:
    _drop_buffer()
    try:
        return _answer(subject, method, *arguments)
    except EsrffsError as error:
        _exit_if_source_unreachable()
        # What it was caused by stays here: a chain of tracebacks may be too deep to be sent.
        bare = copied(error)
    raise bare


def list_groups(
    subject: ReaderSpec, address: str, following: Sequence[str], deep: bool
) -> dict[str, GroupListing]:
    """The listing of a group, and of the groups that a walk through the file comes to next.

    These are the groups below it (if the walk is `deep`), then `following`: as many as are listed
    in 10 ms.  A group that fails ends it; its error is told when that group itself is asked for.
    """
    found = {address: call_reader(subject, "listing", address)}
    waiting = [*reversed(following), *(_groups(found[address]) if deep else ())]
    seen = {found[address].object_id}
    until = time.monotonic() + PREFETCH_SECONDS
    room = PREFETCH_MEMBERS - len(found[address].members)
    while waiting and room > 0 and time.monotonic() < until:
        try:
            budget.begin(PREFETCH_SECONDS, prefetching=True)
            listing: GroupListing = _called(subject, "listing", waiting[-1])
        except EsrffsError:
            break
        found[waiting.pop()] = listing
        if deep and (listing.object_id is None or listing.object_id not in seen):
            # Hard links may go in circles.
            seen.add(listing.object_id)
            waiting += _groups(listing)
        room -= len(listing.members)
    return found


def find_array(subject: ReaderSpec, path: str) -> tuple[object, ChunkIndex | None]:
    """The object at this path, links followed, and where its chunks lie if it has an index."""
    found = call_reader(subject, "find", path)
    layout = found.layout if isinstance(found, DatasetInfo) else None
    if not isinstance(layout, ChunkedLayout) or not layout.indexed:
        return found, None
    try:
        return found, cast(ChunkIndex, _called(subject, "chunk_index", found.address))
    except EsrffsError:
        return found, None  # whoever needs it will be told


def read_xattrs(subject: ReaderSpec, address: str) -> xattrs.Xattrs:
    """The attributes of an object as extended attributes, which are small (the JSON may not be)."""
    try:
        return xattrs.from_json(call_reader(subject, "attributes", address))
    except MemoryError as error:
        raise TooLargeError("needs more memory than a reader may use (memory_limit)") from error


def image_of_description(root: DescribedGroup, limits: ImageLimits) -> Hdf5Image:
    """An HDF5 file of arrays that no reader has; only `EsrffsError` is raised."""
    from esrffs.formats.hdf5 import image_described  # not in the daemon

    budget.begin(_state.seconds)
    try:
        return image_described.image_of_description(root, limits)
    except MemoryError as error:
        raise MemoryLimitError("needs more memory than a reader may use (memory_limit)") from error


def _groups(listing: GroupListing) -> list[str]:
    """The addresses of the groups in it, the last first."""
    members = reversed(listing.members)
    return [member.address for member in members if isinstance(member, GroupInfo)]


def _answer(subject: ReaderSpec, method: str, *arguments: Any) -> Any:
    if not subject.series:  # the files of a series are checked afterwards: those that were read
        subject.check()
    try:
        reader = _reader(subject)
        answer: Any
        if method == "hdf5_image":
            answer = readers.hdf5_image(reader, *arguments)
        else:
            answer = getattr(reader, method)(*arguments)
        if method == "listing":
            answer = with_texts(reader, answer)
        _check_size(str(arguments[0]) or "/", answer)
    except EsrffsError:
        subject.check()  # a file caught in change is not damaged
        raise
    except MemoryError as error:
        raise MemoryLimitError("needs more memory than a reader may use (memory_limit)") from error
    except (Exception, RecursionError) as error:
        subject.check()
        where = str(arguments[0]) or "/"
        kind = type(error).__name__
        raise DamagedError(
            f"{where}: a reader met what it was not made for ({kind}: {error}); look whether the"
            " file is damaged, and if it is not, report this"
        ) from error
    subject.check(cast(SeriesReader, reader).take_opened() if subject.series else None)
    return answer


def _check_size(address: str, answer: object) -> None:
    """TooLargeError where the answer is more than the daemon is to be sent."""
    match answer:
        case bytes():
            limits.check_json(address, len(answer))
        case GroupListing():
            limits.check_children(address, len(answer.members))


def _exit_if_source_unreachable() -> None:
    """End this process if its sandbox shuts it out of the source, which was mounted anew.

    The sandbox knows the source by its inode.  The call is made again in a new process.
    """
    if _state.folder is None:
        return
    try:
        os.close(os.open(_state.folder, os.O_RDONLY | os.O_DIRECTORY))
    except PermissionError:
        os._exit(1)  # the question is asked again, in a new worker
    except OSError:
        return


def read_small(subject: ReaderSpec, arrays: Sequence[tuple[str, Box]]) -> list[bytes | None]:
    """The elements of several small boxes (address, box), each in C order, by one call.

    None where one cannot be read, or where it takes too long until its turn comes: the caller then
    asks for it alone, and is told why.
    """
    found: list[bytes | None] = []
    until = time.monotonic() + SMALL_ARRAYS_SECONDS
    for address, box in arrays:
        if time.monotonic() > until:
            break
        try:
            found.append(bytes(raw_bytes(call_reader(subject, "read", address, box))))
        except EsrffsError:
            found.append(None)
    return found + [None] * (len(arrays) - len(found))


def read_box(
    subject: ReaderSpec,
    address: str,
    box: Box,
    nbytes: int,
    dtype: np.dtype[np.generic] | None = None,
) -> SharedBuffer:
    """The elements of this box, exactly `nbytes`; those that can be had, where some cannot.

    `dtype`: where a listing told it.
    """
    if dtype is not None:  # of an HDF5 file
        call_reader(subject, "learn", address, dtype)
    try:
        answer = call_reader(subject, "read", address, box)
    except PARTIAL as error:
        alone = isinstance(error, MemoryLimitError) or not hasattr(_readers.get(subject), "sound")
        if alone:
            raise
        answer = _called(subject, "sound", address, box)  # within the same time
    array, told = (answer.array, answer) if isinstance(answer, DamagedArray) else (answer, None)
    if array.nbytes != nbytes:
        raise DamagedError(f"gave {array.nbytes} bytes instead of {nbytes}")
    descriptor = os.memfd_create("esrffs", os.MFD_CLOEXEC)
    _state.shared_buffer = descriptor
    _write(descriptor, raw_bytes(array), 0)
    if told is not None:
        _write(descriptor, told.codes.reshape(-1).data, nbytes)
    return SharedBuffer(
        os.getpid(),
        descriptor,
        os.fstat(descriptor).st_ino,
        _memory_high(),
        told.errors if told else (),
        told.codes.size if told else 0,
    )


def raw_bytes(array: np.ndarray[Any, np.dtype[Any]]) -> memoryview:
    """In C order, the padding of its elements too: a copy of records may leave that as it was."""
    raw = array.view(np.dtype((np.void, array.dtype.itemsize)))
    return np.ascontiguousarray(raw).reshape(-1).view(np.uint8).data


def _write(descriptor: int, view: memoryview, offset: int) -> None:
    written = 0
    while written < len(view):
        written += os.pwrite(descriptor, view[written:], offset + written)


def _drop_buffer() -> None:
    if _state.shared_buffer is not None:
        os.close(_state.shared_buffer)
        _state.shared_buffer = None


def _reader(subject: ReaderSpec) -> Reader:
    reader = _readers.get(subject)
    if reader is None:
        # HDF5 shares what it knows of a file between handles of one inode, and refuses to open in
        # another way what is open (the source of a virtual dataset, say): one HDF5 file at a time.
        for old in [other for other in _readers if _conflict(other, subject)]:
            _readers.pop(old).close()
        while len(_readers) >= MAX_OPEN_READERS:
            _readers.popitem(last=False)[1].close()
        reader = _open(subject)
        _readers[subject] = reader
    _readers.move_to_end(subject)
    return reader


def _conflict(one: ReaderSpec, other: ReaderSpec) -> bool:
    both_hdf5 = one.format == other.format == "hdf5"
    return both_hdf5 or bool(set(one.paths) & set(other.paths))


def _open(subject: ReaderSpec) -> Reader:
    if subject.series:
        return readers.open_series(subject.paths, subject.generations, _state.heads)
    return readers.open_reader(subject.format, subject.paths[0], subject.boundary)
