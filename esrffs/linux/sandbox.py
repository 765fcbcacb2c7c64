"""The rights that a reader process gives up before it opens anything.

Decided here: what is left to a process that parses files which anybody may have made.  It may read
(in confined mounts: beneath the source, and the libraries), think, and fill its own memory.  It
writes, makes, removes and executes nothing, reaches no network, signals nobody outside, and of
root's capabilities it keeps the one to read.  `docs/security.md` says against whom this stands.

Plain system calls, because no maintained Python package offers them: Landlock (Linux 5.13 and
later; numbers from <linux/landlock.h>), capset(2), prctl(2), unshare(2).  Every step is taken as
far as the kernel has it; `missing_protection` tells what it lacks.
"""

import contextlib
import ctypes
import os
import resource
import signal
import site
import sys
import sysconfig
from collections.abc import Iterator
from multiprocessing import forkserver

_PR_SET_NO_NEW_PRIVS = 38  # <linux/prctl.h>
_PR_CAPBSET_DROP = 24
_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET = 0x40000000  # <sched.h>
_CAP_DAC_READ_SEARCH = 2  # <linux/capability.h>: root reads what its users own
_CAP_VERSION = 0x20080522
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # landlock_…: the same numbers on every architecture
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_CHANGE = (_EXECUTE | _WRITE_FILE) | 0x1FF0  # …, remove and make files of every kind
_CHANGE_BY_VERSION = {2: 1 << 13, 3: 1 << 14, 5: 1 << 15}  # refer, truncate, ioctl of a device
_READ = _READ_FILE | _READ_DIR
_ALL_TCP = 3  # bind, connect: since version 4
_SCOPED = 3  # abstract Unix sockets, signals: since version 6

_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo")
_FILES = ("/dev/null", "/dev/urandom", "/etc/localtime", "/etc/ld.so.cache")

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def landlock_version() -> int:
    """Of the running kernel; 0: it has no Landlock, or it was booted without."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)))


def missing_protection() -> str | None:
    """What the kernel does not refuse a reader process, in words; None: nothing."""
    version = landlock_version()
    if version == 0:
        return "the kernel has no Landlock: readers are held by file permissions and rlimits only"
    if version < 3:
        return f"Landlock version {version} of the kernel does not refuse truncation"
    if version < 4 and os.geteuid():
        return f"Landlock version {version} of the kernel does not refuse the network"
    return None


def enter(memory: int, folder: str | None) -> None:
    """Give up, for good, all rights but to read; in this process, which has one thread.

    `memory` bytes is what the process may have of its own.  Where `folder` is given, files are
    read beneath it only, but for Python and its libraries.
    """
    _prefer_oom_kill()
    _limit(memory)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _libc.unshare(_CLONE_NEWNET)  # root may: not even a loopback is left
    _landlock(folder)
    _drop_capabilities()


def die_with_parent() -> None:
    """The parent is the fork server, which ends with the daemon, and may have ended already.

    It ends when nobody holds the pipe to it any more.  Each of its processes is given an end, for
    it to start further ones: a reader that hangs would keep the fork server alive, and so itself.
    """
    own = forkserver._forkserver  # noqa: SLF001  # no public way; a test tells when it changes
    pipe = getattr(own, "_forkserver_alive_fd", None)
    if pipe is not None:
        os.close(pipe)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:
        os._exit(1)


def _prefer_oom_kill() -> None:
    """Where memory ends, the kernel ends a reader before the daemon or somebody's program."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _limit(memory: int) -> None:
    _lower(resource.RLIMIT_CORE, 0)
    # What the libraries map of themselves is counted by AS only; DATA is what can become resident.
    _lower(resource.RLIMIT_DATA, memory + _own_data())
    _lower(resource.RLIMIT_AS, 2 * memory + (1 << 30))


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _own_data() -> int:
    """Bytes that the libraries have reserved, hardly any of them resident."""
    with open("/proc/self/statm") as file:
        data, resident = (int(word) for word in file.read().split()[5:0:-4])
    return max(0, data - resident) * resource.getpagesize()


def _drop_capabilities() -> None:
    header, data = _CapHeader(_CAP_VERSION, 0), (_CapData * 2)()
    if _libc.capget(ctypes.byref(header), data) < 0:
        return
    for number in range(64):
        _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    kept = data[0].permitted & 1 << _CAP_DAC_READ_SEARCH
    data[0] = _CapData(kept, kept, 0)
    data[1] = _CapData(0, 0, 0)
    _libc.capset(ctypes.byref(header), data)


def _landlock(folder: str | None) -> None:
    version = landlock_version()
    if version == 0:
        return
    rights = _CHANGE
    for since, more in _CHANGE_BY_VERSION.items():
        rights |= more if version >= since else 0
    if folder is not None:
        rights |= _READ
    rules = _Ruleset(rights, _ALL_TCP if version >= 4 else 0, _SCOPED if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8  # what this kernel knows of it
    ruleset = _libc.syscall(_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return
    try:
        _allow(ruleset, "/dev/null", _WRITE_FILE)
        for path in _readable(folder) if folder is not None else ():
            _allow(ruleset, path, _READ)
        _libc.syscall(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _readable(folder: str) -> Iterator[str]:
    yield folder
    yield from _LIBRARIES
    yield from _FILES
    yield "/proc/self"
    paths = sysconfig.get_paths()
    yield from (paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    yield from (os.path.join(paths["platstdlib"], "lib-dynload"), site.getusersitepackages())
    # By PYTHONPATH, or by a .pth file, libraries of other environments are used as well.
    packages = {"site-packages", "dist-packages"}
    yield from (path for path in sys.path if os.path.basename(path.rstrip("/")) in packages)
    yield os.path.dirname(os.path.dirname(__file__))  # the package: readers import the rest of it


def _allow(ruleset: int, path: str, rights: int) -> None:
    """These rights at this path, and beneath it; a path that is not there needs none."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
                rights &= ~_READ_DIR
            beneath = _Beneath(rights, descriptor)
            _libc.syscall(_ADD, ruleset, _PATH_BENEATH, ctypes.byref(beneath), 0)
        finally:
            os.close(descriptor)
