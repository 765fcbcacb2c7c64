"""Who may read what is made of several files, where others than the mounting user may enter.

Decided here: the kernel checks owner and mode of the file that a program opens, but a daemon of
root reads whatever that file refers to, and a stranger can make a file that refers to somebody
else's.  So what is made of several files has the rights of the narrowest; and a file is followed to
another one of the source only where everybody who may read the first may read the other.

Pure but for stat(2).  ACLs are not looked at: the mode, which is never narrower, decides.
"""

import os
import stat
from collections.abc import Iterable

_READ = 0o444


def narrowest(statuses: Iterable[os.stat_result]) -> os.stat_result:
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
    return os.stat_result((mode, *shown[1:10]), _more(shown))


def _more(status: os.stat_result) -> dict[str, int | float]:
    """What a stat_result holds beyond its ten integers."""
    names = [name for name in dir(status) if name.startswith("st_")]
    return {name: getattr(status, name) for name in names}


def covers(holder: os.stat_result, other: os.stat_result) -> bool:
    """May everybody who may read the holder read the other file (search the other folder)?"""
    mode = other.st_mode & _READ
    if stat.S_ISDIR(other.st_mode):
        mode = (other.st_mode & 0o111) << 2
    if mode == _READ:
        return True
    same = (holder.st_uid, holder.st_gid) == (other.st_uid, other.st_gid)
    return same and not holder.st_mode & _READ & ~mode


def may_follow(holder: str, target: str, folder: str) -> bool:
    """`covers`, for these files beneath `folder`, and the folders that lead to the target only.

    OSError where one of them is not there.
    """
    real, beside = os.path.realpath(target), os.path.realpath(holder)
    status = os.stat(beside)
    way = real
    while way != folder and not (beside + "/").startswith(way + "/"):
        if not covers(status, os.stat(way)):
            return False
        way = os.path.dirname(way)
    return True
