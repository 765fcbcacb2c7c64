"""The folders of the source: what is in them, which entries are data files, how one is opened.

Decided here: what of the source a mount may reach, what becomes of symbolic links in it, and what
a file is taken for.  Only file names, status and the first bytes of files are looked at.  Nothing
that lies in a mount of esrffs is: our own would have to answer (see `linux/path_walk`).
"""

import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from esrffs import limits, model
from esrffs.errors import (
    OWN_MOUNT,
    AccessDeniedError,
    EsrffsError,
    NotFoundError,
    OwnMountError,
    at_path,
)
from esrffs.formats import detect
from esrffs.formats.images.signatures import HEADER_NBYTES, is_single_frame
from esrffs.linux import path_walk
from esrffs.linux.mountinfo import OWN
from esrffs.linux.openat2 import open_beneath
from esrffs.linux.permissions import restrict_to_acl
from esrffs.model import FileStatus, Generation
from esrffs.source.executor import SourceExecutor

_Known = tuple[Generation, model.Format | None]
_REMEMBERED = 100_000  # files whose format need not be looked up again
_PLACE = os.O_PATH | os.O_CLOEXEC  # for fstat, and for what is below
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """One entry of a folder: `path` is relative to the root of the source.

    `status` is that of the file itself or, where a link was followed, of its target.  `link` is
    the text of a symlink that stays one; its `format` is that of the file to which it leads.
    """

    name: str
    path: str
    status: FileStatus
    format: model.Format | None = None
    link: str | None = None


class SourceRoot:
    """The source folder of a mount, or the folder of the one file that is the source.

    With `confined` nothing outside `root` is opened, whatever links say.  `hidden` is the mount
    point itself, which is not shown; nor is any other place in the source where esrffs is mounted.
    """

    def __init__(
        self,
        source: str,
        *,
        confined: bool = False,
        hidden: str | None = None,
        executor: SourceExecutor | None = None,
    ) -> None:
        try:
            source = path_walk.resolve(os.path.abspath(source))
        except OSError as error:
            raise at_path(source, error) from error
        self.single_file = None if os.path.isdir(source) else os.path.basename(source)
        self.root = os.path.dirname(source) if self.single_file else source
        self.confined = confined
        self.executor = executor or SourceExecutor()
        self._hidden = hidden
        self._formats: OrderedDict[str, _Known] = OrderedDict()  # by path

    def __repr__(self) -> str:
        return f"<SourceRoot of {self.root}{', confined' if self.confined else ''}>"

    @property
    def boundary(self) -> str | None:
        """The folder that readers must not leave, if any."""
        return self.root if self.confined else None

    def refusal(self, link: model.LinkInfo) -> str:
        """Why a reader follows this link of a data file not, where it may not."""
        if link.refusal is not None:
            return f"{link.refusal}, to which it leads; look there, or give both the same rights"
        return f"leads out of the source, or {OWN_MOUNT}" if self.confined else OWN_MOUNT

    def path_as_named(self, absolute: str) -> str | None:
        """The path within the source as it is spelled: no link in it is looked at."""
        inside = None if self.single_file else os.path.relpath(absolute, self.root)
        return None if inside is None or inside.split("/")[0] == ".." else inside

    def absolute(self, path: str) -> str:
        return os.path.join(self.root, path) if path else self.root

    def path_inside(self, absolute: str) -> str | None:
        """The path of this file or folder within the source, links resolved; None if outside.

        None as well where that cannot be known.
        """
        try:
            real = path_walk.resolve(absolute)
        except (OSError, OwnMountError):
            return None
        return self._inside(real)

    def _inside(self, real: str) -> str | None:
        if self.single_file:
            return self.single_file if real == self.absolute(self.single_file) else None
        if real == self.root:
            return ""
        prefix = self.root.rstrip("/") + "/"
        return real.removeprefix(prefix) if real.startswith(prefix) else None

    def open(self, path: str) -> int:
        """A descriptor for reading this file; NotFoundError, AccessDeniedError."""
        try:
            descriptor = self._descriptor(path, _OPEN_FLAGS)
        except OSError as error:
            raise at_path(path, error) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise AccessDeniedError(f"{path}: is not a regular file")
        return descriptor

    async def status(self, path: str) -> FileStatus:
        """Status of this file or folder, links followed; NotFoundError, AccessDeniedError."""
        return await self.executor.run(partial(self._status, path))

    def _status(self, path: str) -> FileStatus:
        try:
            descriptor = self._descriptor(path, _PLACE)
            try:
                status = os.fstat(descriptor)
                if not self.confined:
                    return FileStatus.of(status)
                return restrict_to_acl(status, f"/proc/self/fd/{descriptor}")
            finally:
                os.close(descriptor)
        except OSError as error:
            raise at_path(path, error) from error

    def _descriptor(self, path: str, flags: int) -> int:
        path = path.removeprefix(self.root.rstrip("/") + "/")
        if not self.confined:
            return path_walk.open_from(self.root, path, flags)
        if OWN.cover(self.root):
            raise OwnMountError(self.root)
        root = os.open(self.root, _PLACE | os.O_DIRECTORY)
        try:
            return open_beneath(root, path or ".", flags)
        finally:
            os.close(root)

    @contextmanager
    def _folder(self, folder: str, flags: int = _PLACE) -> Iterator[int]:
        """A descriptor of this folder: what is found by it was not swapped for a link meanwhile."""
        descriptor = self._descriptor(folder, flags | os.O_DIRECTORY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def generation(self, path: str) -> Generation | None:
        """The state of this file; None where it cannot be had."""
        try:
            place = path_walk.open_from(self.root, path, _PLACE)
        except (OSError, OwnMountError):
            return None
        try:
            return Generation.of(os.fstat(place))
        finally:
            os.close(place)

    async def entry(self, folder: str, name: str) -> FolderEntry:
        """One entry of a folder; NotFoundError, AccessDeniedError."""
        entry = await self.executor.run(partial(self._one, folder, name))
        if entry.link is None:
            return entry
        return await self.executor.run_in_thread(partial(self._followed, entry))

    def _one(self, folder: str, name: str) -> FolderEntry:
        path = os.path.join(folder, name)
        try:
            with self._folder(folder) as place:
                if name in _mounted_in(place):
                    raise NotFoundError(f"{path}: a mount of esrffs, which is not shown")
                status = os.stat(name, dir_fd=place, follow_symlinks=False)
                entry = self._entry(path, name, status, place)
        except OSError as error:
            raise at_path(path, error) from error
        if entry is None:
            raise NotFoundError(f"{path}: is no file, folder or link")
        return entry

    async def scan(self, folder: str) -> list[FolderEntry]:
        """All entries of a folder, sorted by name."""
        return await self.executor.run_in_thread(partial(self._scan, folder))

    async def may_be_single_frame(self, path: str) -> bool:
        """Does this raster file hold one frame, as far as its first bytes tell?"""

        def look() -> bool:
            descriptor = self.open(path)
            try:
                head = os.pread(descriptor, HEADER_NBYTES, 0)
                return is_single_frame(head, os.fstat(descriptor).st_size)
            finally:
                os.close(descriptor)

        try:
            return await self.executor.run_in_thread(look)
        except (EsrffsError, OSError):
            return True  # the series will tell what is wrong

    def _scan(self, folder: str) -> list[FolderEntry]:
        entries = []
        try:
            with self._folder(folder, _OPEN_FLAGS) as place, os.scandir(place) as found:
                items = sorted(found, key=lambda item: item.name)
                limits.check_children(folder or ".", len(items))
                mounted = _mounted_in(place)
                for item in items:
                    if item.name in mounted:
                        continue
                    path = os.path.join(folder, item.name)
                    try:
                        entry = self._entry(path, item.name, item, place)
                    except FileNotFoundError:
                        continue  # gone since
                    if entry is not None:
                        entries.append(self._followed(entry) if entry.link is not None else entry)
        except OSError as error:
            raise at_path(folder, error) from error
        return entries

    def _entry(
        self, path: str, name: str, found: os.DirEntry[str] | os.stat_result, place: int
    ) -> FolderEntry | None:
        if self._hidden is not None and self.absolute(path) == self._hidden:
            return None
        if isinstance(found, os.DirEntry):
            found = found.stat(follow_symlinks=False)
        status = FileStatus.of(found)
        if stat.S_ISLNK(status.st_mode):
            return FolderEntry(name, path, status, link=os.readlink(name, dir_fd=place))
        if self.confined:  # who renames a file meanwhile changes its ctime, and so its generation
            status = restrict_to_acl(found, f"/proc/self/fd/{place}/{name}")
        if stat.S_ISREG(status.st_mode):
            return FolderEntry(name, path, status, self._format(path, name, status))
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
        inside = self._inside(real)
        if inside is not None and text.startswith("/"):
            text = os.path.relpath(self.absolute(inside), folder)
        target = self._outside(real) if inside is None and not self.confined else None
        if target is not None and stat.S_ISREG(target.st_mode):
            format_ = self._format(link.path, link.name, target)
            return replace(link, status=target, format=format_, link=None)
        if target is not None and stat.S_ISDIR(target.st_mode):
            return replace(link, status=target, link=None)
        format_ = None if inside is None else self._format_of_target(link)
        return replace(link, link=text, format=format_)

    def _format_of_target(self, link: FolderEntry) -> model.Format | None:
        """What a link within the source is taken for in a series."""
        with suppress(EsrffsError):  # it dangles
            status = self._status(link.path)
            return (
                self._format(link.path, link.name, status) if stat.S_ISREG(status.st_mode) else None
            )
        return None

    def _outside(self, real: str) -> FileStatus | None:
        self.executor.check_paths_in_thread([real])
        try:
            return FileStatus.of(path_walk.status(real))
        except (OSError, OwnMountError):
            return None

    def _format(self, path: str, name: str, status: FileStatus) -> model.Format | None:
        generation = Generation.of(status)
        known = self._formats.get(path)  # whatever comes there, it takes one place
        if known is not None and known[0] == generation:
            return known[1]
        try:
            descriptor = self.open(path)
        except EsrffsError:
            return None  # whoever may not read it sees a file that he may not read
        try:
            found = detect.detect_format(
                lambda offset, count: os.pread(descriptor, count, offset), status.st_size, name
            )
        except OSError:
            return None
        finally:
            os.close(descriptor)
        self._formats[path] = generation, found
        self._formats.move_to_end(path)
        while len(self._formats) > _REMEMBERED:
            self._formats.popitem(last=False)
        return found


def _mounted_in(folder: int) -> frozenset[str]:
    """The names in it that are mount points of ours: even their status would be asked of us."""
    return OWN.within(os.readlink(f"/proc/self/fd/{folder}"))
