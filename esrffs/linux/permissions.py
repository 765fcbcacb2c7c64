"""Who may read what is made of several files, where others than the mounting user may enter.

Decided here: the kernel checks owner and mode of the file that a program opens, but a daemon of
root reads whatever that file refers to, and a stranger can make a file that refers to somebody
else's.  So what is made of several files has the rights of the narrowest; and a file is followed to
another one of the source only where everybody who may read the first may read the other.

A POSIX ACL cannot be shown to the kernel, which then checks the mode alone; `restrict_to_acl` takes
from the mode what the ACL refuses to anybody.  Pure but for stat(2) and getxattr(2).
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
    """The status with a mode that grants nobody more than the ACL of the file at `path` does.

    Who is looked at by several rules gets the narrowest: the owning group what its entry and those
    of all named users grant; others in addition what those of all named groups grant.  An ACL
    that cannot be read leaves the owner's rights.
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
    """The status that was modified last, with the mode that lets nobody read who may not read all.

    A file of another owner (group) grants the owner (group) only what it grants to everybody.
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
    """May everybody who may read the holder read the other file (search the other folder)?"""
    mode = other.st_mode & _READ
    if stat.S_ISDIR(other.st_mode):
        mode = (other.st_mode & 0o111) << 2
    if mode == _READ:
        return True
    same = (holder.st_uid, holder.st_gid) == (other.st_uid, other.st_gid)
    return same and not holder.st_mode & _READ & ~mode


def may_reference(holder: str, target: str, folder: str) -> bool:
    """`covers`, for these files beneath `folder`, and the folders that lead to the target only.

    False where the target lies elsewhere, as it does once it was swapped for a link.  OSError where
    one of them is not there, OwnMountError.
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
    """May everybody who may list the one folder list the other, by modes and owners alone?"""
    one, other = (restrict_to_acl(os.stat(path), path) for path in (holder, folder))
    same = (one.st_uid, one.st_gid) == (other.st_uid, other.st_gid)
    return not ~other.st_mode & _READ or (same and not one.st_mode & _READ & ~other.st_mode)
