"""A data file in one state of its life: what is asked of its reader, and what is remembered.

Decided here: when and where a reader runs, which generation an answer belongs to, that a file
which killed or stalled a reader is not asked again before it changes, and what an error text
says of the file.
"""

import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, TypeVar, cast

import numpy as np
import trio

from esrffs import model
from esrffs.damage import Block, DamagedBlock
from esrffs.encoders import edf, npy
from esrffs.encoders.xattrs import Xattrs
from esrffs.errors import (
    EsrffsError,
    ReaderDiedError,
    ReaderTimeoutError,
    StaleError,
    UnavailableError,
)
from esrffs.formats.hdf5.image import DescribedGroup, Hdf5Image, ImageLimits
from esrffs.linux.permissions import intersect
from esrffs.model import (
    Box,
    ChunkIndex,
    DatasetInfo,
    FileStatus,
    Generation,
    GroupInfo,
    GroupListing,
    JsonInfo,
)
from esrffs.source.error_registry import ErrorRegistry
from esrffs.source.group_walks import Following, GroupWalks
from esrffs.source.index import Index
from esrffs.source.root import SourceRoot
from esrffs.workers.pool import WorkerPool
from esrffs.workers.protocol import ReaderSpec
from esrffs.workers.server import (
    call_reader,
    call_series,
    find_array,
    image_of_description,
    list_groups,
    read_small,
    read_xattrs,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_DATA_FILES = 4096  # sources whose failures are known
MAX_CRASHES = 2  # times that a file is asked which crashes its reader
MAX_KILLS = 5  # … or whose reader is killed
SERIES_RECHECK_SECONDS = 0.5  # seconds
STATUS_SECONDS = 0.005  # for which a status serves the directories of a file
_DTYPES = 10_000  # of datasets of texts, remembered for one file


class DataFile:
    """One data file, or one series of them, in one generation."""

    def __init__(
        self,
        subject: ReaderSpec,
        path: str,
        status: FileStatus,
        workers: WorkerPool,
        forget: Callable[[str], object] = id,
        errors: ErrorRegistry | None = None,
        index: Index | None = None,
    ) -> None:
        self.subject = subject
        self.path = path  # for people: relative to the source folder
        self.status = status
        self.members: tuple[str, ...] = ()  # of a series, and …
        self.checked_at = 0.0  # … when they were looked at
        self.walks = GroupWalks()
        self.ahead: dict[str, tuple[str, Following]] = {}  # by the group that was listed: the next
        self._dtypes: dict[str, np.dtype[np.generic]] = {}  # of texts, by address
        self.version = blake2b(repr(subject).encode(), digest_size=16).digest()
        self._workers = workers
        self._forget = forget
        self._errors = errors or ErrorRegistry()
        self._index = index  # None: it is read from a local disk
        self._limiter = trio.CapacityLimiter(workers.count)
        self._failure: EsrffsError | None = None
        self._end_is_told = False
        self._take_heads: Callable[[], Mapping[int, bytes]] | None = None

    def __repr__(self) -> str:
        return f"<DataFile {self.path} ({self.subject.format})>"

    def offer_heads(self, take: Callable[[], Mapping[int, bytes]]) -> None:
        """Give the reader that is asked first what `take` gives.

        These are the first bytes of some members of a series, by number.
        """
        self._take_heads = take

    def forget_status(self) -> None:
        """What is known of the status of the file is out of date: the next question looks anew."""
        self.checked_at = 0.0
        for path in self.members or (self.path,):
            self._forget(path)

    async def listing(self, address: str) -> GroupListing:
        """What is in the group at this address."""
        known = await self._indexed([address])
        if address in known:
            return known[address]
        found = self._noted(cast(GroupListing, await self._ask("listing", address)))
        self._keep({address: found})
        return found

    async def _indexed(self, addresses: Sequence[str]) -> dict[str, GroupListing]:
        """What an earlier mount learnt of these groups, while the file was what it is."""
        if self._index is None:
            return {}
        known = await self._index.listings(self.version, addresses)
        return {address: self._noted(listing) for address, listing in known.items()}

    def _keep(self, found: Mapping[str, GroupListing]) -> None:
        """Remember these groups for later mounts."""
        if self._index is not None:
            for address, listing in found.items():
                generations = self.subject.generations
                self._index.remember_listing(self.version, generations, address, listing)

    def _noted(self, listing: GroupListing) -> GroupListing:
        """The same listing, after what it tells of the file is kept.

        That more is in the file than is shown stands in the log, once.  The widths of texts were
        found out by reading them all: no reader has to do so again.
        """
        if listing.end and not self._end_is_told:
            self._end_is_told = True
            log.warning("%s: not all of it is shown: %s", self.path, listing.end)
        if self.subject.format == "hdf5":
            for member in listing.members:
                if isinstance(member, DatasetInfo) and npy.has_text(member.dtype):
                    self._dtypes[member.address] = member.dtype
            while len(self._dtypes) > _DTYPES:
                del self._dtypes[next(iter(self._dtypes))]
        return listing

    def record_error(self, address: str, text: str) -> None:
        """Keep what is wrong with the object at this address, unless something is known already."""
        self._errors.record(self.version, text, address, replace=False)

    def error_text(self, address: str) -> str | None:
        """What went wrong with the object at this address itself."""
        return self._errors.text(self.version, address)

    def error_text_within(self, group: str) -> str | None:
        """What went wrong with this group and with the objects in it; "": with any of the file."""
        return self._errors.text_within(self.version, group)

    async def listings(
        self, address: str, following: Sequence[str], *, deep: bool
    ) -> dict[str, GroupListing]:
        """The listing of a group, and of some of the `following`; `deep`: of groups below, too.

        What nobody asked for yet is no reason to fail: then the group is asked for alone.
        """
        known = await self._indexed([address, *following])
        if address in known:
            return known
        if self._failure is None:
            with contextlib.suppress(EsrffsError):
                async with self._workers.slot(self._limiter):
                    found = await self._workers.run(
                        list_groups, self.subject, address, following, deep
                    )
                self._keep(found)
                return {other: self._noted(listing) for other, listing in found.items()}
        return {address: await self.listing(address)}

    async def find(self, path: str) -> GroupInfo | DatasetInfo | JsonInfo:
        return cast("GroupInfo | DatasetInfo | JsonInfo", await self._ask("find", path))

    async def find_array(
        self, path: str
    ) -> tuple[GroupInfo | DatasetInfo | JsonInfo, ChunkIndex | None]:
        """`find`, and where the chunks of the dataset lie, if a reader can tell."""
        run = partial(self._workers.run, find_array, self.subject, path)
        return cast(
            "tuple[GroupInfo | DatasetInfo | JsonInfo, ChunkIndex | None]",
            await self._record_failures(path, run),
        )

    async def attributes(self, address: str) -> bytes:
        return cast(bytes, await self._ask("attributes", address))

    async def xattrs(self, address: str) -> Xattrs:
        run = partial(self._workers.run, read_xattrs, self.subject, address)
        return await self._record_failures(address, run)

    async def text(self, address: str) -> bytes:
        return cast(bytes, await self._ask("text", address))

    async def image(self, address: str, folder: str | None, limits: ImageLimits) -> Hdf5Image:
        """The group as an HDF5 file, its arrays as places."""
        call = partial(self._workers.run, call_reader, self.subject, "hdf5_image")
        return cast(
            Hdf5Image,
            await self._record_failures(address, partial(call, address, folder, limits)),
        )

    async def frame_headers(self, address: str) -> tuple[edf.Header, ...]:
        """The EDF headers of the frames of the array at this address (not of HDF5 files)."""
        return cast("tuple[edf.Header, ...]", await self._ask("frame_headers", address))

    async def chunk_index(self, address: str) -> ChunkIndex:
        return cast(ChunkIndex, await self._ask("chunk_index", address))

    async def read(self, address: str, box: Box, nbytes: int) -> Block:
        """The elements of this box as C-ordered bytes."""
        dtype = self._dtypes.get(address)
        read = partial(self._workers.read, self.subject, address, box, nbytes, dtype)
        block = await self._record_failures(address, read)
        return block.named(self.path) if isinstance(block, DamagedBlock) else block

    async def read_small(self, arrays: Sequence[tuple[str, Box]]) -> list[bytes | None]:
        """The elements of several small boxes (address, box), each in C order, by one call.

        None for one that cannot be read: asked for alone, it tells why.
        """
        if self._failure is not None:
            return [None] * len(arrays)
        async with self._workers.slot(self._limiter):
            return await self._workers.run(read_small, self.subject, arrays)

    async def _ask(self, method: str, address: str) -> Any:
        take, self._take_heads = self._take_heads, None
        heads = take() if take is not None else {}
        run = partial(self._workers.run, call_reader, self.subject, method, address)
        if heads:
            run = partial(self._workers.run, call_series, self.subject, heads, method, address)
        return await self._record_failures(address, run)

    async def _record_failures(self, address: str, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer; what goes wrong is named, and remembered, as of this file and object.

        One death of a reader may have been the fault of what it read before, and SIGKILL comes
        from outside: it is asked again.
        However many ask, one file does not keep more readers busy than there are to be.
        """
        try:
            async with self._workers.slot(self._limiter):
                return await self._ask_with_retries(ask)
        except EsrffsError as error:
            if error is self._failure:
                raise
            raise self._failed(address, error) from error

    async def _ask_with_retries(self, ask: Callable[[], Awaitable[T]]) -> T:
        if self._failure is not None:
            raise self._failure
        for attempt in range(1, MAX_KILLS + 1):
            try:
                return await ask()
            except ReaderDiedError as error:
                if attempt == (MAX_KILLS if error.externally_killed else MAX_CRASHES):
                    raise
                log.info("%s: %s; asking again", self.path, error)
        raise AssertionError("unreachable")

    def _failed(self, address: str, error: EsrffsError) -> EsrffsError:
        if isinstance(error, StaleError):
            self.forget_status()
        named = type(error)(f"{self.path}: {error}")
        named.errno = error.errno
        if isinstance(error, ReaderTimeoutError) or (
            isinstance(error, ReaderDiedError) and not error.never_started
        ):
            self._failure = named
        if not isinstance(error, StaleError | UnavailableError):
            self._errors.record(self.version, str(named), address)
        return named


def version_of(states: Sequence[Generation | None]) -> bytes:
    """A digest of the states of some files, in this order; b"" of no file."""
    if not states:
        return b""
    return blake2b(repr(list(states)).encode(), digest_size=16).digest()


class DataFiles:
    """The data files of one mount, each in the generation that was seen last."""

    def __init__(self, folders: SourceRoot, workers: WorkerPool) -> None:
        self.folders = folders
        self.errors = ErrorRegistry()
        self._workers = workers
        self._current: OrderedDict[str, DataFile] = OrderedDict()

    def __repr__(self) -> str:
        return f"<DataFiles in {self.folders.root}: {len(self._current)} known>"

    async def image_of_description(self, root: DescribedGroup, limits: ImageLimits) -> Hdf5Image:
        """An HDF5 file of what no data file holds as it is: of `corrected/`."""
        return await self._workers.run(image_of_description, root, limits)

    def last_seen(self, path: str) -> DataFile | None:
        """The data file at this path as it was seen last."""
        return self._current.get(path)

    def dependency_version_sync(self, paths: Sequence[str]) -> bytes:
        """The state of these files, which a dataset depends on; another one once any changes."""
        return version_of([self.folders.generation(path) for path in paths])

    async def dependency_version(self, paths: Sequence[str]) -> bytes:
        """`dependency_version_sync`, without stopping the mount."""
        if not paths:
            return b""
        await self.folders.executor.check_paths(paths)
        return version_of(await self.folders.generations(paths))

    async def current(self, path: str, format_: model.Format) -> DataFile:
        """The data file at this path as it is now; NotFoundError, AccessDeniedError."""
        return self.from_status(path, format_, await self.folders.status(path))

    def from_status(self, path: str, format_: model.Format, status: FileStatus) -> DataFile:
        """The data file at this path, whose status was just looked up."""
        subject = ReaderSpec(
            (self.folders.absolute(path),),
            (Generation.of(status),),
            format_,
            series=False,
            boundary=self.folders.boundary,
        )
        source = self._remember(path, subject, status)
        source.checked_at = time.monotonic()
        return source

    def checked_just_now(self, path: str) -> DataFile | None:
        """The data file at this path, if it was looked at in the last 5 ms.

        Only for what the kernel believes for longer, as the times of a directory.
        """
        known = self._current.get(path)
        fresh = known is not None and time.monotonic() - known.checked_at < STATUS_SECONDS
        return known if fresh else None

    async def series(self, path: str, members: tuple[str, ...]) -> DataFile:
        """The series of these files, shown as `path`.

        Thousands of files are not looked at for every question within a moment; a handle checks
        each file that it reads all the same.
        """
        now = time.monotonic()
        known = self._current.get(path)
        if (
            known is not None
            and known.members == members
            and now - known.checked_at < SERIES_RECHECK_SECONDS
        ):
            return known
        stats = await self.folders.statuses(members)
        subject = ReaderSpec(
            tuple(self.folders.absolute(member) for member in members),
            tuple(Generation.of(status) for status in stats),
            "image",
            series=True,
            boundary=self.folders.boundary,
        )
        source = self._remember(path, subject, intersect(stats))
        if source is not known and self.folders.executor.remote:
            source.offer_heads(partial(self.folders.heads.take, members, subject.generations))
        source.checked_at, source.members = now, members
        return source

    def _remember(self, path: str, subject: ReaderSpec, status: FileStatus) -> DataFile:
        known = self._current.get(path)
        if known is None or known.subject != subject:
            known = self._current[path] = DataFile(
                subject,
                path,
                status,
                self._workers,
                self.folders.forget,
                self.errors,
                self.folders.index if self.folders.executor.remote else None,
            )
        self._current.move_to_end(path)
        while len(self._current) > MAX_DATA_FILES:
            self._current.popitem(last=False)
        return known
