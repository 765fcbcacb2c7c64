"""Paths of the source: where each leads, and how what is there is opened.

A confined mount opens nothing outside the source, whatever links say.  No mount looks into a mount
of esrffs: its own daemon would have to answer (see `linux/path_walk`).  Does not: list folders
(`root`).
"""

import os
import stat

from esrffs import model
from esrffs.errors import OWN_MOUNT, AccessDeniedError, OwnMountError, at_path
from esrffs.linux import path_walk
from esrffs.linux.mountinfo import OWN
from esrffs.linux.openat2 import open_beneath
from esrffs.linux.permissions import restrict_to_acl
from esrffs.model import FileStatus, Generation

PLACE = os.O_PATH | os.O_CLOEXEC  # for fstat, and for what is below
OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class Place:
    """A folder, held open: what is found by it was not replaced by a link meanwhile.

    It is closed when nobody refers to it any more, also by a thread that was left behind.
    """

    __slots__ = ("number",)

    def __init__(self, descriptor: int) -> None:
        self.number = descriptor

    def __repr__(self) -> str:
        return f"<Place {self.number}>"

    def __del__(self) -> None:
        os.close(self.number)


class SourcePaths:
    """The paths below the source folder of a mount, or the folder of its one file.

    `root` is the real path of that folder, `single_file` the name of the one file, if that is the
    source.  `confined`: nothing outside `root` is opened.
    """

    def __init__(self, source: str, *, confined: bool) -> None:
        try:
            source = path_walk.resolve(os.path.abspath(source))
        except OSError as error:
            raise at_path(source, error) from error
        self.single_file = None if os.path.isdir(source) else os.path.basename(source)
        self.root = os.path.dirname(source) if self.single_file else source
        self.confined = confined

    @property
    def boundary(self) -> str | None:
        """The folder that readers must not leave, if any."""
        return self.root if self.confined else None

    def refusal(self, link: model.LinkInfo) -> str:
        """Why a reader does not follow this link of a data file, where it may not."""
        if link.refusal is not None:
            return f"{link.refusal}, to which it leads; look there, or give both the same rights"
        return f"leads out of the source, or {OWN_MOUNT}" if self.confined else OWN_MOUNT

    def path_as_named(self, absolute: str) -> str | None:
        """The path within the source as it is spelled: no link in it is looked at."""
        inside = None if self.single_file else os.path.relpath(absolute, self.root)
        return None if inside is None or inside.split("/")[0] == ".." else inside

    def absolute(self, path: str) -> str:
        """The absolute path of this one, which is relative to the root of the source."""
        return os.path.join(self.root, path) if path else self.root

    def path_inside(self, absolute: str) -> str | None:
        """The path of this file or folder within the source, links resolved; None if outside.

        None as well where that cannot be known.
        """
        try:
            real = path_walk.resolve(absolute)
        except (OSError, OwnMountError):
            return None
        return self.inside(real)

    def inside(self, real: str) -> str | None:
        """The path within the source of this real absolute path; None if it is outside."""
        if self.single_file:
            return self.single_file if real == self.absolute(self.single_file) else None
        if real == self.root:
            return ""
        prefix = self.root.rstrip("/") + "/"
        return real.removeprefix(prefix) if real.startswith(prefix) else None

    def open(self, path: str) -> int:
        """A descriptor for reading this file; NotFoundError, AccessDeniedError."""
        try:
            descriptor = self.descriptor(path, OPEN_FLAGS)
        except OSError as error:
            raise at_path(path, error) from error
        return regular(descriptor, path)

    def look_up(self, path: str) -> FileStatus:
        """Status of this file or folder, links followed; NotFoundError, AccessDeniedError.

        May wait for a file server.
        """
        try:
            descriptor = self.descriptor(path, PLACE)
            try:
                status = os.fstat(descriptor)
                if not self.confined:
                    return FileStatus.of(status)
                return restrict_to_acl(status, f"/proc/self/fd/{descriptor}")
            finally:
                os.close(descriptor)
        except OSError as error:
            raise at_path(path, error) from error

    def descriptor(self, path: str, flags: int) -> int:
        """A descriptor of this file or folder, opened with these flags; OSError."""
        path = path.removeprefix(self.root.rstrip("/") + "/")
        if not self.confined:
            return path_walk.open_from(self.root, path, flags)
        if OWN.cover(self.root):
            raise OwnMountError(self.root)
        root = os.open(self.root, PLACE | os.O_DIRECTORY)
        try:
            return open_beneath(root, path or ".", flags)
        finally:
            os.close(root)

    def generation(self, path: str) -> Generation | None:
        """The state of this file; None where it cannot be had.  May wait for a file server."""
        try:
            place = path_walk.open_from(self.root, path, PLACE)
        except (OSError, OwnMountError):
            return None
        try:
            return Generation.of(os.fstat(place))
        finally:
            os.close(place)


def regular(descriptor: int, path: str) -> int:
    """The same descriptor; AccessDeniedError, and it is closed, if it is of no regular file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise AccessDeniedError(f"{path}: is not a regular file")
    return descriptor


def mounted_in(folder: int) -> frozenset[str]:
    """The names in an open folder that are mount points of esrffs.

    Even their status would be asked of a daemon of esrffs.
    """
    return OWN.within(os.readlink(f"/proc/self/fd/{folder}"))
