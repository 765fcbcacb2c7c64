"""The folders of the source: what is in them, and which of their entries are data files.

Decided here: what becomes of symbolic links in a folder, and what a file is taken for.  Only file
names, status and the first bytes of files are looked at.  On a file server the entries of a folder
are looked at side by side, and for a moment the listing answers what is asked of its entries.
"""

import os
import stat
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import trio

from esrffs import limits, model
from esrffs.errors import EsrffsError, NotFoundError, OwnMountError, StaleError, at_path
from esrffs.formats import detect
from esrffs.formats.detect import Recognised
from esrffs.linux import path_walk
from esrffs.linux.openat2 import open_beneath
from esrffs.linux.permissions import restrict_to_acl
from esrffs.model import FileStatus, Generation
from esrffs.source.executor import SourceExecutor
from esrffs.source.index import Index
from esrffs.source.known_heads import KnownHeads
from esrffs.source.paths import OPEN_FLAGS, PLACE, Place, SourcePaths, mounted_in, regular
from esrffs.source.recent import RecentListings
from esrffs.source.side_by_side import side_by_side
from esrffs.source.verified_file import VerifiedFile

_REMEMBERED = 100_000  # files whose format need not be looked up again
_NO_DATA_FILE = Recognised(None)


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """One entry of a folder: `path` is relative to the root of the source.

    `status` is that of the file itself or, where a link was followed, of its target.  `link` is
    the text of a symlink that stays one; its `format` is that of the file to which it leads.
    `single_frame` is False where an image file certainly holds more than one frame.
    """

    name: str
    path: str
    status: FileStatus
    format: model.Format | None = None
    link: str | None = None
    single_frame: bool = True


class SourceRoot(SourcePaths):
    """The folders below the source of a mount.

    `hidden` is the mount point itself, which is not shown; nor is any other place in the source
    where esrffs is mounted.  On a file server `parallel` entries are looked at side by side, and
    what was listed is believed for `believed` seconds, longer where listing takes longer
    (`recent`).  `index` knows what earlier mounts learnt of files on a server.
    """

    def __init__(
        self,
        source: str,
        *,
        confined: bool = False,
        hidden: str | None = None,
        executor: SourceExecutor | None = None,
        parallel: int = 32,
        believed: float = 1.0,
        index: Index | None = None,
    ) -> None:
        super().__init__(source, confined=confined)
        self.executor = executor or SourceExecutor()
        self.parallel = parallel
        self.index = index or Index(enabled=False)
        self._hidden = hidden
        self.heads = KnownHeads()  # of EDF files on a file server
        self._known: OrderedDict[str, tuple[Generation, Recognised]] = OrderedDict()  # by path
        self._recent: RecentListings[FolderEntry] = RecentListings(believed)
        self._listing: dict[str, trio.Event] = {}  # folders that are being listed

    def __repr__(self) -> str:
        return f"<SourceRoot of {self.root}{', confined' if self.confined else ''}>"

    def forget(self, path: str) -> None:
        """This file or folder changed since it was listed: the next question is asked of it."""
        self._recent.forget(path)

    async def status(self, path: str, *, now: bool = False) -> FileStatus:
        """Status of this file or folder, links followed; NotFoundError, AccessDeniedError.

        `now`: as it is at this moment, not as it was listed a moment ago.
        """
        if not self.executor.remote:
            return self.look_up(path)
        known = None if now else self._recent.status(path, time.monotonic())
        if known is None:
            known = await self.executor.run_in_thread(partial(self.look_up, path))
            self._recent.put_status(path, known, time.monotonic())
        return known

    async def statuses(self, paths: Sequence[str]) -> list[FileStatus]:
        """`status` of each of these, side by side."""
        if not self.executor.remote:
            return [self.look_up(path) for path in paths]
        now = time.monotonic()
        known = {path: self._recent.status(path, now) for path in paths}
        missing = [path for path, status in known.items() if status is None]
        found = await side_by_side(self.executor, self.look_up, missing, self.parallel)
        looked_up = dict(zip(missing, found, strict=True))
        for path, status in looked_up.items():
            self._recent.put_status(path, status, now)
        return [known[path] or looked_up[path] for path in paths]

    async def generations(self, paths: Iterable[str]) -> list[Generation | None]:
        """The state of each of these files at this moment; None where it cannot be had."""
        wanted = list(paths)
        if not self.executor.remote:
            return [self.generation(path) for path in wanted]
        return await side_by_side(self.executor, self.generation, wanted, self.parallel)

    async def find_inside(self, absolute: str) -> str | None:
        """The path within the source of a path that may lie anywhere; None if it is outside."""
        await self.executor.check_paths([absolute])
        return await self.executor.run(partial(self.path_inside, absolute))

    def reads(self) -> dict[str, object]:
        """How calls on the source went so far, for `esrffs --status`."""
        return self.executor.status()

    async def statvfs(self) -> os.statvfs_result:
        """The figures of the file system of the source."""
        return await self.executor.run(lambda: os.statvfs(self.root))

    async def open_verified(
        self, path: str, generation: Generation, sample_offsets: Sequence[int] = ()
    ) -> VerifiedFile:
        """A file of the source in this generation; StaleError, NotFoundError.

        The bytes at `sample_offsets` tell later whether the file only grew.
        """

        def opened() -> VerifiedFile:
            return VerifiedFile(self.open(path), generation, path, self.executor)

        try:
            file = await self.executor.run(opened, VerifiedFile.close)
            try:
                await file.sample(sample_offsets)
            except BaseException:
                file.close()
                raise
        except (StaleError, NotFoundError):
            self.forget(path)  # the next open looks at the file as it is now
            raise
        return file

    async def entry(self, folder: str, name: str) -> FolderEntry:
        """One entry of a folder; NotFoundError, AccessDeniedError."""
        if self.executor.remote:
            known = self._recent.entry(folder, name, time.monotonic())
            if known is not None:
                return known
        entry = await self.executor.run(partial(self._one, folder, name))
        if entry.link is None:
            return entry
        return await self.executor.run_in_thread(partial(self._followed, entry))

    def _one(self, folder: str, name: str) -> FolderEntry:
        path = os.path.join(folder, name)
        try:
            place = self._place(folder, PLACE)
            if name in mounted_in(place.number):
                raise NotFoundError(f"{path}: a mount of esrffs, which is not shown")
            status = self._status_in(place, name)
        except OSError as error:
            raise at_path(path, error) from error
        entry = self._entry(place, folder, name, status)
        if entry is None:
            raise NotFoundError(f"{path}: is no file, folder or link")
        return entry

    async def scan(self, folder: str) -> list[FolderEntry]:
        """All entries of a folder, sorted by name."""
        if not self.executor.remote:
            return await self.executor.run_in_thread(partial(self._scan, folder))
        while (known := self._recent.entries(folder, time.monotonic())) is None:
            if (event := self._listing.get(folder)) is not None:
                await event.wait()
                continue
            self._listing[folder] = event = trio.Event()
            try:
                return await self._scan_side_by_side(folder)
            finally:
                del self._listing[folder]
                event.set()
        return known

    def _scan(self, folder: str) -> list[FolderEntry]:
        try:
            place, names = self._names(folder)
            return [
                self._followed(entry) if entry.link is not None else entry
                for name in names
                if (status := self._status_if_there(place, name)) is not None
                and (entry := self._entry(place, folder, name, status)) is not None
            ]
        except OSError as error:
            raise at_path(folder, error) from error

    async def _scan_side_by_side(self, folder: str) -> list[FolderEntry]:
        """`_scan` of a folder on a file server."""
        started = time.monotonic()
        run = partial(side_by_side, self.executor, parallel=self.parallel)

        def look_up(name: str) -> FileStatus | None:
            return self._status_if_there(place, name)

        def describe(found: tuple[str, FileStatus]) -> FolderEntry | None:
            entry = self._entry(place, folder, *found)
            return entry if entry is None or entry.link is None else self._followed(entry)

        try:
            listed = await self.executor.run_in_thread(partial(self._names, folder))
            place, names = listed
            statuses = zip(names, await run(look_up, names), strict=True)
            found = [(name, status) for name, status in statuses if status is not None]
            new = await self._look_into_index(folder, found)
            entries = [entry for entry in await run(describe, found) if entry is not None]
            own = await self.executor.run_in_thread(partial(self._own_status, place))
        except OSError as error:
            raise at_path(folder, error) from error
        self._recent.put(folder, own, entries, started, time.monotonic())
        for path, generation in new:
            if (known := self._known.get(path)) is not None and known[0] == generation:
                self.index.remember_recognised(os.path.basename(path), *known)
        return entries

    async def _look_into_index(
        self, folder: str, found: Iterable[tuple[str, FileStatus]]
    ) -> list[tuple[str, Generation]]:
        """Learn from the index what files are taken for; the files that it does not know."""
        files = [(name, Generation.of(one)) for name, one in found if stat.S_ISREG(one.st_mode)]
        unknown = []
        for name, generation in files:
            known = self._known.get(os.path.join(folder, name))
            if known is None or known[0] != generation:
                unknown.append((name, generation))
        told = await self.index.recognised(unknown)
        for file, recognised in told.items():
            self._keep(os.path.join(folder, file[0]), file[1], recognised)
        return [(os.path.join(folder, file[0]), file[1]) for file in unknown if file not in told]

    def _keep(self, path: str, generation: Generation, found: Recognised) -> None:
        """Remember what a file is taken for."""
        self._known[path] = generation, found._replace(head=b"")
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _place(self, folder: str, flags: int) -> Place:
        return Place(self.descriptor(folder, flags | os.O_DIRECTORY))

    def _names(self, folder: str) -> tuple[Place, list[str]]:
        """The folder, held open, and the names in it that are shown, sorted."""
        try:
            place = self._place(folder, OPEN_FLAGS)
            names = os.listdir(place.number)
        except OSError as error:
            raise at_path(folder, error) from error
        limits.check_children(folder or ".", len(names))
        mounted = mounted_in(place.number)
        return place, sorted(name for name in names if name not in mounted)

    def _status_in(self, place: Place, name: str) -> FileStatus:
        """The status of an entry, a link not followed; OSError."""
        found = os.stat(name, dir_fd=place.number, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            return FileStatus.of(found)
        # A file that is renamed meanwhile changes its ctime, and with it its generation.
        return self._restricted(found, f"/proc/self/fd/{place.number}/{name}")

    def _status_if_there(self, place: Place, name: str) -> FileStatus | None:
        try:
            return self._status_in(place, name)
        except FileNotFoundError:
            return None  # gone since it was listed

    def _own_status(self, place: Place) -> FileStatus:
        return self._restricted(os.fstat(place.number), f"/proc/self/fd/{place.number}")

    def _restricted(self, status: os.stat_result, path: str) -> FileStatus:
        return restrict_to_acl(status, path) if self.confined else FileStatus.of(status)

    def _entry(
        self, place: Place, folder: str, name: str, status: FileStatus
    ) -> FolderEntry | None:
        path = os.path.join(folder, name)
        if self._hidden is not None and self.absolute(path) == self._hidden:
            return None
        if stat.S_ISLNK(status.st_mode):
            try:
                return FolderEntry(name, path, status, link=os.readlink(name, dir_fd=place.number))
            except OSError:
                return None  # gone since, or replaced
        if stat.S_ISREG(status.st_mode):
            found = self._recognised(path, name, status, place)
            return FolderEntry(name, path, status, found.format, None, found.single_frame)
        return FolderEntry(name, path, status) if stat.S_ISDIR(status.st_mode) else None

    def _followed(self, link: FolderEntry) -> FolderEntry:
        """A link stays one where it leads inside or nowhere; private mounts follow it outside.

        To be called in a thread: it may lead to a file server.
        """
        absolute, text = self.absolute(link.path), link.link or ""
        try:
            real = path_walk.resolve(absolute)
            folder = path_walk.resolve(os.path.dirname(absolute))
        except (OSError, OwnMountError):
            return link
        inside = self.inside(real)
        if inside is not None and text.startswith("/"):
            text = os.path.relpath(self.absolute(inside), folder)
        target = self._outside(real) if inside is None and not self.confined else None
        if target is not None and stat.S_ISREG(target.st_mode):
            found = self._recognised(link.path, link.name, target)
            return replace(
                link,
                status=target,
                format=found.format,
                link=None,
                single_frame=found.single_frame,
            )
        if target is not None and stat.S_ISDIR(target.st_mode):
            return replace(link, status=target, link=None)
        found = _NO_DATA_FILE if inside is None else self._recognised_target(link)
        return replace(link, link=text, format=found.format, single_frame=found.single_frame)

    def _recognised_target(self, link: FolderEntry) -> Recognised:
        """What a link within the source is taken for in a series."""
        with suppress(EsrffsError):  # it dangles
            status = self.look_up(link.path)
            if stat.S_ISREG(status.st_mode):
                return self._recognised(link.path, link.name, status)
        return _NO_DATA_FILE

    def _outside(self, real: str) -> FileStatus | None:
        self.executor.check_paths_in_thread([real])
        try:
            return FileStatus.of(path_walk.status(real))
        except (OSError, OwnMountError):
            return None

    def _recognised(
        self, path: str, name: str, status: FileStatus, place: Place | None = None
    ) -> Recognised:
        """What this regular file is taken for.  `place`: the folder in which it was found."""
        generation = Generation.of(status)
        known = self._known.get(path)  # whatever comes there, it takes one place
        if known is not None and known[0] == generation:
            return known[1]
        try:
            descriptor = self.open(path) if place is None else _open_in(place, path, name)
        except (EsrffsError, OSError):
            return _NO_DATA_FILE  # a user who may not read it sees a file that he may not read
        try:
            found = detect.recognise(
                lambda offset, count: os.pread(descriptor, count, offset), status.st_size, name
            )
            keep = self.executor.remote and found.head.lstrip().startswith(b"{")
            if keep and Generation.of(os.fstat(descriptor)) == generation:
                self.heads.put(path, generation, found.head)
        except OSError:
            return _NO_DATA_FILE
        finally:
            os.close(descriptor)
        self._keep(path, generation, found)
        return found


def _open_in(place: Place, path: str, name: str) -> int:
    """A descriptor for reading this regular file of an open folder; OSError, AccessDeniedError."""
    return regular(open_beneath(place.number, name, OPEN_FLAGS), path)
