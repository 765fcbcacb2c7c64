"""Finds an object of a file by its path, group by group, in what a reader lists.

For the formats whose links stay in the file (Spec, images).  HDF5 files have their own way
(`formats/hdf5/links`), because there a link can lead to another file.
"""

from collections.abc import Callable

from esrffs.errors import DamagedError, LinkLoopError, NotFoundError
from esrffs.model import BrokenInfo, DatasetInfo, GroupInfo, GroupListing, JsonInfo, LinkInfo

MAX_LINKS = 16  # that are followed for one path: HDF5's own limit


def find_object(
    listing: Callable[[str], GroupListing], path: str
) -> GroupInfo | DatasetInfo | JsonInfo:
    """The object at this path of names joined by "/"; the path of a link begins at the root.

    `listing` gives the group at an address.  NotFoundError; DamagedError where the object cannot
    be described; LinkLoopError.
    """
    root = GroupInfo("", "")
    found: GroupInfo | DatasetInfo | JsonInfo = root
    names, links = _names(path), 0
    while names:
        if not isinstance(found, GroupInfo):
            raise NotFoundError(f"{path}: {found.name} is not a group")
        name = names.pop(0)
        members = listing(found.address).members
        match next((member for member in members if member.name == name), None):
            case None:
                raise NotFoundError(f"there is no {path}")
            case BrokenInfo() as broken:
                raise DamagedError(f"{path}: {broken.reason}")
            case LinkInfo() as link:
                links += 1
                if links > MAX_LINKS:
                    raise LinkLoopError(f"too many links on the way to {path}")
                names, found = [*_names(link.path), *names], root
            case member:
                found = member
    return found


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]
