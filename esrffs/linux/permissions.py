"""Permissions of what is made of several files, in a mount that several users may enter.

The kernel checks the owner and mode of the file that a program opens.  But a daemon of root can
read every file that it refers to, and any user can write a file that refers to somebody else's.
Therefore what is made of several files gets the permissions that all of them grant (`intersect`),
and a file may refer to another one of the source only if all readers of the first may read the
other (`covers`, `may_reference`).

A FUSE mount has no POSIX ACLs of its own here: the kernel checks the mode alone.  `restrict_to_acl`
removes from the mode what the ACL of the file denies to anybody.  System calls: stat(2) and
getxattr(2) only.
"""

import errno
import os
import stat
import struct
from collections.abc import Iterable

from esrffs.linux import path_walk
from esrffs.model import FileStatus

_READ = 0o444
_ACL = "system.posix_acl_access"
_NONE = {errno.ENODATA, errno.EOPNOTSUPP, errno.ENOENT, errno.ELOOP, errno.ENOTDIR}
_USER, _GROUP_OBJ, _GROUP, _MASK = 0x02, 0x04, 0x08, 0x10  # <linux/posix_acl.h>


def restrict_to_acl(status: os.stat_result, path: str) -> FileStatus:
    """The status, with a mode that grants nobody more than the ACL of the file at `path`.

    A mode cannot name single users and groups, so the least that any of them is granted is granted
    to all: the owning group gets what its own entry and all entries of named users grant, others
    get what in addition all entries of named groups grant.  If the ACL cannot be read, only the
    permissions of the owner remain.  Format: xattr `system.posix_acl_access`,
    <linux/posix_acl_xattr.h>.
    """
    plain = FileStatus.of(status)
    try:
        acl = os.getxattr(path, _ACL)
    except OSError as error:
        return plain if error.errno in _NONE else plain._replace(st_mode=plain.st_mode & ~0o077)
    entries = list(struct.iter_unpack("<HHI", acl[4:]))
    mask = min((granted for tag, granted, _ in entries if tag == _MASK), default=0o7)
    group = others = 0o7
    for tag, granted, _ in entries:
        group &= granted & mask if tag in (_USER, _GROUP_OBJ) else 0o7
        others &= granted & mask if tag in (_USER, _GROUP) else 0o7
    return plain._replace(st_mode=plain.st_mode & (~0o077 | group << 3 | others))


def intersect(statuses: Iterable[FileStatus]) -> FileStatus:
    """The status that was modified last, with the permissions that all of these grant.

    Where owners (groups) differ, the owner (group) gets only what the other file grants to all.
    """
    known = list(statuses)
    shown = max(known, key=lambda status: status.st_mtime_ns)
    mode = shown.st_mode
    for status in known:
        everybody = status.st_mode & 0o007
        owner = status.st_mode & 0o700 if status.st_uid == shown.st_uid else everybody << 6
        group = status.st_mode & 0o070 if status.st_gid == shown.st_gid else everybody << 3
        mode &= ~0o777 | owner | group | everybody
    return shown._replace(st_mode=mode)


def covers(holder: FileStatus, other: FileStatus) -> bool:
    """Whether all users who may read `holder` may read (a folder: search) `other`, by modes."""
    mode = other.st_mode & _READ
    if stat.S_ISDIR(other.st_mode):
        mode = (other.st_mode & 0o111) << 2
    if mode == _READ:
        return True
    same = (holder.st_uid, holder.st_gid) == (other.st_uid, other.st_gid)
    return same and not holder.st_mode & _READ & ~mode


def may_reference(holder: str, target: str, folder: str) -> bool:
    """Whether all users who may read `holder` may read `target`; both lie below `folder`.

    Folders that lead to the target, but not to the holder, must be searchable as well.  False if
    the target lies outside `folder`, for example because it was replaced by a symlink.  Raises
    OSError if one of them does not exist, and OwnMountError.
    """
    real, beside = path_walk.resolve(target), path_walk.resolve(holder)
    if not (real + "/").startswith(folder.rstrip("/") + "/"):
        return False
    status = restrict_to_acl(os.stat(beside), beside)
    way = real
    while way != folder and not (beside + "/").startswith(way + "/"):
        if not covers(status, restrict_to_acl(os.stat(way), way)):
            return False
        way = os.path.dirname(way)
    return True


def may_list(holder: str, folder: str) -> bool:
    """Whether all users who may list the folder `holder` may list `folder`, by their modes."""
    one, other = (restrict_to_acl(os.stat(path), path) for path in (holder, folder))
    same = (one.st_uid, one.st_gid) == (other.st_uid, other.st_gid)
    return not ~other.st_mode & _READ or (same and not one.st_mode & _READ & ~other.st_mode)
