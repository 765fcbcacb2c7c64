"""Follows a path inside an HDF5 file to an object, through soft and external links.

libhdf5 follows hard links only; soft and external links are followed here, so that a file outside
the folder `confine` is never opened, by a link, a virtual dataset or external raw storage.

Another file is looked for where libhdf5 would look: an absolute path as it is; else, or if that
is no file, its last component (a relative path: all of it) in the folder of the file that names
it, then in the folder where that one really lies.  libhdf5's further places, the environment and
the working directory, belong to neither the file nor its reader and are not used.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from esrffs.errors import (
    AccessDeniedError,
    EsrffsError,
    LessReadableError,
    LinkLoopError,
    NotFoundError,
    OwnMountError,
    UnsupportedError,
)
from esrffs.formats.hdf5.library import (
    close_file,
    h5d,
    h5f,
    h5g,
    h5l,
    h5o,
    h5t,
    open_file,
    translate_errors,
)
from esrffs.formats.hdf5.metadata_prefetch import MetadataPrefetch
from esrffs.formats.hdf5.object_header import Heaps
from esrffs.formats.hdf5.references import References, decoded
from esrffs.formats.hdf5.weighted_dict import WeightedDict
from esrffs.linux import path_walk
from esrffs.linux.permissions import may_reference
from esrffs.model import Generation

_HOPS = 16  # links that lead to links: libhdf5's own limit
_MAPPINGS = 20_000  # of virtual datasets, and datasets without any, that are remembered of a file
_GROUPS = 256  # that stay open: members of one are asked for one after the other
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
HdfObject: TypeAlias = h5g.GroupID | h5d.DatasetID | h5t.TypeID


@dataclass(frozen=True, slots=True, eq=False)
class OpenFile:
    """One HDF5 file, open for reading.  `brand` tells its objects from those of other files."""

    path: str
    id: h5f.FileID
    root: h5g.GroupID
    references: References
    size_when_opened: int  # its size when it was opened
    prefetch: MetadataPrefetch
    id_prefix: int = 0
    mappings: WeightedDict[Any] = field(default_factory=partial(WeightedDict, _MAPPINGS))
    heaps: Heaps = field(default_factory=dict)

    def truncated(self) -> bool:
        """Whether HDF5 believes in more bytes than there are: what is missing it reads as zeros.

        It refuses to open such a file; but one can be cut short once it is open.
        """
        return bool(self.id.get_filesize() > self.size())

    def contains(self, end: int) -> bool:
        """Whether the file has so many bytes, or has grown to have them."""
        return end <= self.size_when_opened or end <= self.size()

    def size(self) -> int:
        """Bytes that there are, whatever HDF5 believes."""
        return os.stat(self.path).st_size


def _open(path: str, brand: int = 0) -> OpenFile:
    file = open_file(path)
    with translate_errors("the root group"):
        base = file.get_create_plist().get_userblock()
        prefetch = MetadataPrefetch(file.get_vfd_handle(), base)
        root, size = h5g.open(file, b"/"), os.stat(path).st_size
        return OpenFile(path, file, root, References(file), size, prefetch, brand)


def find_file(name: bytes, holder: str, confine: str | None, *, by_library: bool = False) -> str:
    """Where the file lies that `holder` calls `name`; NotFoundError, AccessDeniedError.

    `by_library`: libhdf5 itself will open it, so one in the working directory must be allowed too.
    """
    found = ""
    for path in _places(name, holder, by_library):
        try:
            status = path_walk.status(path)
        except OSError:
            continue
        if not allowed(path, confine):
            raise AccessDeniedError(f"{path} lies outside of what this mount may read")
        if confine is not None and not may_reference(holder, path, confine):
            raise LessReadableError(f"not everybody who may read {holder} may read {path}")
        if stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
            return path
        found = found or f"{path} is {_KINDS.get(stat.S_IFMT(status.st_mode), 'a device')}"
    if found:
        raise NotFoundError(f"{found}, where a file is looked for")
    raise NotFoundError(f"no file {os.fsdecode(name)!r} where {holder} looks for it")


def expected_path(name: bytes, holder: str) -> str:
    """The path of a file that `find_file` did not find, where one would expect it."""
    return next(_places(name, holder, by_library=False))


def _places(name: bytes, holder: str, by_library: bool) -> Iterator[str]:
    """Where libhdf5 looks for it, as absolute paths, in its order."""
    wanted = os.fsdecode(name)
    if os.path.isabs(wanted):
        yield wanted
        wanted = os.path.basename(wanted)
    holder = os.path.abspath(holder)
    folders = [os.path.dirname(place) for place in (holder, _real(holder)) if place is not None]
    if by_library:
        folders.insert(1, os.getcwd())
    for folder in dict.fromkeys(folders):
        yield _normalized(os.path.join(folder, wanted))


def _normalized(path: str) -> str:
    """Without `..`, unless that would lead elsewhere because of a symlink before it."""
    neat, real = os.path.normpath(path), _real(path)
    return neat if real is not None and _real(neat) == real else path


def _real(path: str) -> str | None:
    """None where it cannot be known: in a mount of ours, or the way there cannot be walked."""
    try:
        return path_walk.resolve(path)
    except (OSError, OwnMountError):
        return None


def allowed(path: str, confine: str | None) -> bool:
    """Whether the file that `path` really names lies in the folder `confine`."""
    if confine is None:
        return True
    real = _real(path)
    return real is not None and real.startswith(confine.rstrip("/") + "/")


@dataclass(frozen=True, slots=True)
class ResolvedObject:
    """An object, the file it lies in, and an address that leads to it."""

    object: HdfObject
    file: OpenFile
    address: str


class FileSet:
    """The file of a reader, and the others that its links lead to while a call lasts."""

    def __init__(self, path: str, confine: str | None) -> None:
        self.confine = confine
        self.main = _open(path)
        self._others: dict[tuple[int, int], OpenFile] = {_key(path): self.main}
        self.generations: dict[str, Generation] = {}  # of the other files, before they were opened
        # By the path and the word of the file that names it: where another file lies, and whether
        # it may not be read; while a call lasts.
        self.located: dict[tuple[str, bytes], tuple[str, bool]] = {}
        self._groups: dict[tuple[bytes, ...], ResolvedObject] = {}  # by their names from the root

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.main.path!r}, confine={self.confine!r})"

    @contextmanager
    def call(self, address: str) -> Iterator[ResolvedObject]:
        """One call of a reader, about one object: its failures are ours, and name the object."""
        shown = address or "/"
        try:
            with translate_errors(shown):
                yield self.find(address)
        except EsrffsError as error:
            if str(error).startswith(shown):
                raise
            raise type(error)(f"{shown}: {error}") from error
        finally:
            self.release()

    def find(self, address: str) -> ResolvedObject:
        """The object at this address or path, links followed."""
        root = ResolvedObject(self.main.root, self.main, "")
        return self.walk(root, address.encode("utf-8", "surrogateescape"))

    def walk(self, start: ResolvedObject, path: bytes, hops: int = _HOPS) -> ResolvedObject:
        """Follow a path from a group (an absolute one: from the root of its file)."""
        if hops < 0:
            raise LinkLoopError(f"too many links on the way to {path!r}")
        here = start
        if path.startswith(b"/") and start.address:
            here = ResolvedObject(start.file.root, start.file, "")
        names = tuple(name for name in path.split(b"/") if name not in (b"", b"."))
        from_root = here.file is self.main and not here.address
        done = 0
        if from_root:
            here, done = self._met(names)
        for number, name in enumerate(names[done:], done + 1):
            here = self._step(here, name, hops)
            if from_root and here.file is self.main and isinstance(here.object, h5g.GroupID):
                self._groups[names[:number]] = here
        while len(self._groups) > _GROUPS:
            del self._groups[next(iter(self._groups))]
        return here

    def _met(self, names: tuple[bytes, ...]) -> tuple[ResolvedObject, int]:
        """The last group on this way from the root that is open, and how far it is."""
        for number in range(len(names), 0, -1):
            if names[:number] in self._groups:
                return self._groups[names[:number]], number
        return ResolvedObject(self.main.root, self.main, ""), 0

    def _step(self, here: ResolvedObject, name: bytes, hops: int) -> ResolvedObject:
        address = f"{here.address}/{decoded(name)}"
        if not isinstance(here.object, h5g.GroupID):
            raise NotFoundError(f"{address}: {here.address} is not a group")
        links = here.object.links
        try:
            link = links.get_info(name)
        except (KeyError, RuntimeError) as error:
            raise NotFoundError(f"{address}: {error}") from error
        with translate_errors(address):
            if link.type == h5l.TYPE_HARD:
                here.file.prefetch.look_at(link.u)
                return ResolvedObject(h5o.open(here.object, name), here.file, address)
            value = links.get_val(name)
        found = self.target(here, link.type, value, hops - 1)
        if found.file is self.main:
            return found
        return ResolvedObject(found.object, found.file, address)

    def target(
        self, here: ResolvedObject, link: int, value: object, hops: int = _HOPS
    ) -> ResolvedObject:
        """What a soft or external link in the group `here`, with this value, leads to."""
        match link, value:
            case h5l.TYPE_SOFT, bytes():
                return self.walk(here, value, hops)
            case h5l.TYPE_EXTERNAL, (bytes() as name, bytes() as path):
                other = self.other(find_file(name, here.file.path, self.confine))
                return self.walk(ResolvedObject(other.root, other, ""), path, hops)
        raise UnsupportedError(f"a user-defined link (type {link})")

    def other(self, path: str) -> OpenFile:
        """Another file, open until `release`."""
        status = os.stat(path)
        device, inode = key = status.st_dev, status.st_ino
        if key != _key(self.main.path):
            self.generations.setdefault(path, Generation.of(status))
        if key not in self._others:
            self._others[key] = _open(path, (device << 64 | inode) << 64)
        return self._others[key]

    @property
    def count(self) -> int:
        """How many files are open."""
        return len(self._others)

    def release(self) -> None:
        """Close the other files: a later call must see them as they are then."""
        while len(self._others) > 1:
            close_file(self._others.popitem()[1].id)
        self.generations.clear()
        self.located.clear()

    def close(self) -> None:
        self.release()
        with translate_errors("close"):
            close_file(self.main.id)


def _key(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
