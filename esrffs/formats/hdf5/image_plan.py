"""Which objects, links and names the image of a group of an HDF5 file has.

A soft link whose path is absolute is written anew, because the group is the root of the image.  An
external link into the source leads to the view of the other file, because the mount shows the file
itself as a directory; what it leads to elsewhere is included in its place.  An object with several
names is one object.

Objects are counted before any is described.
"""

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from esrffs.errors import EsrffsError, NotFoundError, UnsupportedError
from esrffs.formats import budget
from esrffs.formats.hdf5.image import SUFFIX, BrokenPart, ImageLimits
from esrffs.formats.hdf5.image_copying import Key, broken, spoils_all
from esrffs.formats.hdf5.image_library import GROUP, CallError, libhdf5
from esrffs.formats.hdf5.library import H5PY_EXCEPTIONS, h5, h5g, h5l, h5o, h5p
from esrffs.formats.hdf5.links import FileSet, ResolvedObject, expected_path, find_file
from esrffs.formats.hdf5.references import decoded
from esrffs.linux import path_walk


@dataclass(frozen=True, slots=True)
class PlannedObject:
    """A name of an object; `included`: one behind a link of the source."""

    name: bytes
    key: Key
    included: bool = False


@dataclass(frozen=True, slots=True)
class PlannedLink:
    """A link; `file`: of an external one."""

    name: bytes
    path: bytes
    file: bytes | None = None


@dataclass(slots=True)
class PlannedGroup:
    """A group, where it is in the source and in the image, and its members in file order."""

    key: Key
    address: str
    path: bytes
    members: list[PlannedObject | PlannedLink] = field(default_factory=list)


def key_of(found: ResolvedObject) -> Key:
    """Which object it is, among those of all open files."""
    return found.file.id_prefix, int(h5o.get_info(found.object).addr)


class Plan:
    """The plan for the group `root`.

    `folder` is the real path of the mounted folder, to whose files external links may lead; None
    where a single file is mounted.
    """

    def __init__(
        self, files: FileSet, root: ResolvedObject, folder: str | None, limits: ImageLimits
    ) -> None:
        self._files, self._root, self._folder, self._limits = files, root, folder, limits
        self._steps = _steps(root.address.encode("utf-8", "surrogateescape"))
        self._texts: dict[tuple[int, bytes], bytes | None] = {}
        self.paths: dict[Key, bytes] = {}
        self.groups: dict[Key, PlannedGroup] = {}
        self.broken: list[BrokenPart] = []
        self.absent: set[str] = set()  # files that would be included if they were there
        self._count = 0
        self.root = PlannedGroup(key_of(root), root.address, b"/")
        self._todo: deque[PlannedGroup] = deque()
        self._walk()

    def _walk(self) -> None:
        self.paths[self.root.key] = b"/"
        self.groups[self.root.key] = self.root
        self._todo.append(self.root)
        while self._todo:
            group = self._todo.popleft()
            try:
                self._group(group)
            except (EsrffsError, *H5PY_EXCEPTIONS) as error:
                if spoils_all(error):
                    raise
                self.broken.append(broken(group.address, error))

    def _group(self, group: PlannedGroup) -> None:
        budget.check("its groups")
        found = self._files.find(group.address) if group is not self.root else self._root
        if not isinstance(found.object, h5g.GroupID):
            raise NotFoundError(f"{group.address or '/'} is not a group")
        self._count += found.object.get_num_objs()
        self._limits.check_objects(self._root.address, self._count)
        for name, kind, address in _links(found.object):
            try:
                self._member(group, found, name, kind, address)
            except (EsrffsError, *H5PY_EXCEPTIONS) as error:
                if spoils_all(error):
                    raise
                self.broken.append(broken(f"{group.address}/{decoded(name)}", error))

    def _member(
        self, group: PlannedGroup, found: ResolvedObject, name: bytes, kind: int, address: int
    ) -> None:
        if name == b"." or b"/" in name:
            raise UnsupportedError("HDF5 cannot open an object of this name")
        if kind == h5l.TYPE_HARD:
            group.members.append(PlannedObject(name, (found.file.id_prefix, address)))
            self._meet(group, found, name, (found.file.id_prefix, address), f"/{decoded(name)}")
            return
        value = found.object.links.get_val(name)
        group.members.append(self._link(group, found, name, value))

    def _meet(
        self, group: PlannedGroup, found: ResolvedObject, name: bytes, key: Key, step: str
    ) -> None:
        """Take note of an object, and of a group for what is in it."""
        if key in self.paths:
            return
        self.paths[key] = group.path.rstrip(b"/") + b"/" + name
        hdf5 = libhdf5()
        try:
            opened = hdf5.o_open(found.object.id, name, 0)
        except CallError:
            return  # it will say why when it is described
        try:
            is_group = hdf5.i_type(opened) == GROUP
        finally:
            hdf5.o_close(opened)
        if is_group:
            self._descend(key, group.address + step)

    def _descend(self, key: Key, address: str) -> None:
        below = PlannedGroup(key, address, self.paths[key])
        self.groups[key] = below
        self._todo.append(below)

    def _link(
        self, group: PlannedGroup, found: ResolvedObject, name: bytes, value: object
    ) -> PlannedObject | PlannedLink:
        match value:
            case bytes():
                if found.file is self._root.file or not value.startswith(b"/"):
                    return PlannedLink(name, value)  # `resolve` writes it anew
                return self._included(group, found, name)
            case (bytes() as file, bytes() as path):
                return self._external(group, found, name, file, path)
        raise UnsupportedError("a user-defined link")

    def _external(
        self, group: PlannedGroup, found: ResolvedObject, name: bytes, file: bytes, path: bytes
    ) -> PlannedObject | PlannedLink:
        try:
            place = find_file(file, found.file.path, self._files.confine)
        except NotFoundError:
            place = expected_path(file, found.file.path)
            view = self._view_of(place)
            if view is None:
                self.absent.add(place)
            return PlannedLink(name, path, view or file)
        if os.path.samefile(place, self._root.file.path):
            return PlannedLink(name, b"/" + path.lstrip(b"/"))
        view = self._view_of(place)
        if view is not None:
            return PlannedLink(name, path, view)
        try:
            return self._included(group, found, name)
        except NotFoundError:
            return PlannedLink(name, path, file)

    def _view_of(self, place: str) -> bytes | None:
        """The view of another file, from the folder in which that of the group is."""
        if self._folder is None:
            return None
        real = path_walk.resolve(place)
        if not real.startswith(self._folder.rstrip("/") + "/"):
            return None
        own = os.path.dirname(path_walk.resolve(self._files.main.path))
        up = "../" * len(self._steps)
        return os.fsencode(up + os.path.relpath(real, own) + SUFFIX)

    def _included(self, group: PlannedGroup, found: ResolvedObject, name: bytes) -> PlannedObject:
        """What a link leads to, in its place."""
        target = self._files.walk(found, name)
        key = key_of(target)
        if key not in self.paths:
            self.paths[key] = group.path.rstrip(b"/") + b"/" + name
            if isinstance(target.object, h5g.GroupID):
                self._descend(key, f"{group.address}/{decoded(name)}")
        return PlannedObject(name, key, included=True)

    def resolve(self, link: PlannedLink, where: str) -> PlannedLink:
        """The link as it stands in the image, once all objects have been met."""
        if link.file is not None or not link.path.startswith(b"/"):
            return link
        if not self._steps and self._root.file is self._files.main:
            return link
        steps = _steps(link.path)
        if self._root.file is self._files.main and steps[: len(self._steps)] == self._steps:
            return PlannedLink(link.name, b"/" + b"/".join(steps[len(self._steps) :]))
        key = self._root.file.id_prefix, link.path
        if key not in self._texts:
            self._texts[key] = self._by_identity(steps)
        path = self._texts[key]
        if path is not None:
            return PlannedLink(link.name, path)
        first = steps[:1]
        if any(member.name in first for member in self.root.members):
            raise UnsupportedError(
                f"{where}: leads out of the group, to {decoded(link.path)}, which in this view"
                " would be something else; take the view of a group that holds both"
            )
        return link

    def _by_identity(self, steps: list[bytes]) -> bytes | None:
        """The path in the image of what these steps from the root of the file lead to."""
        start = ResolvedObject(self._root.file.root, self._root.file, "")
        for number in range(len(steps), -1, -1):
            try:
                found = self._files.walk(start, b"/".join(steps[:number]))
                path = self.paths.get(key_of(found))
            except (EsrffsError, *H5PY_EXCEPTIONS):
                continue
            if path is not None:
                return path.rstrip(b"/") + b"".join(b"/" + step for step in steps[number:]) or b"/"
        return None


def _steps(path: bytes) -> list[bytes]:
    return [step for step in path.split(b"/") if step not in (b"", b".")]


def _links(group: h5g.GroupID) -> Iterator[tuple[bytes, int, int]]:
    """Name, kind and (of hard links) address, in the order in which the mount lists them."""
    links: list[tuple[bytes, int, int]] = []
    tracked = group.get_create_plist().get_link_creation_order() & h5p.CRT_ORDER_TRACKED
    index = h5.INDEX_CRT_ORDER if tracked else h5.INDEX_NAME
    group.links.iterate(
        lambda name, link: links.append((name, link.type, link.u)), info=True, idx_type=index
    )
    return iter(links)
