"""The sandbox of worker processes, which parse files that anybody may have written.

Before it opens a file, a worker gives up all rights but to read files (in a confined mount: below
the source, and the libraries), to compute, and to use a limited amount of memory.  It cannot write,
create, remove or execute files, has no network, cannot signal other processes, and keeps only one
capability of root: CAP_DAC_READ_SEARCH.  `docs/security.md` describes the threats.

The system calls are made directly, because no maintained Python package offers them: Landlock
(Linux 5.13 and later; numbers from <linux/landlock.h>), capset(2), prctl(2), unshare(2).  What the
kernel does not support is left out; `missing_protection` names it.
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
    """The Landlock ABI version of the running kernel; 0: it has none, or it is switched off."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)))


def missing_protection() -> str | None:
    """What the kernel cannot forbid to a worker, as a sentence; None: it can forbid everything."""
    version = landlock_version()
    if version == 0:
        return "the kernel has no Landlock: readers are held by file permissions and rlimits only"
    if version < 3:
        return f"Landlock version {version} of the kernel does not refuse truncation"
    if version < 4 and os.geteuid():
        return f"Landlock version {version} of the kernel does not refuse the network"
    return None


def enter(memory: int, folder: str | None) -> None:
    """Give up all rights of this process but to read files.  It must have one thread only.

    `memory`: how many bytes of private memory it may use.  `folder`: if given, files are readable
    below this folder only, besides Python and its libraries.
    """
    _prefer_oom_kill()
    _limit(memory)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _libc.unshare(_CLONE_NEWNET)  # works for root only: a network without any interface
    _landlock(folder)
    _drop_capabilities()


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent, the fork server, ends.

    The fork server ends when all write ends of its pipe are closed.  Each worker inherits one: it
    is closed here, otherwise a worker that hangs would keep the fork server, and itself, alive.
    """
    own = forkserver._forkserver  # noqa: SLF001  # no public way; a test tells when it changes
    pipe = getattr(own, "_forkserver_alive_fd", None)
    if pipe is not None:
        os.close(pipe)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:
        os._exit(1)


def _prefer_oom_kill() -> None:
    """If memory runs out, the kernel kills a worker before any other process."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _limit(memory: int) -> None:
    _lower(resource.RLIMIT_CORE, 0)
    # Mapped files of the libraries count for AS only; DATA is private memory that can be written.
    _lower(resource.RLIMIT_DATA, memory + _own_data())
    _lower(resource.RLIMIT_AS, 2 * memory + (1 << 30))


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _own_data() -> int:
    """Bytes that are reserved but not resident: the libraries reserve them at their start."""
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
    # PYTHONPATH and .pth files may add libraries of other environments.
    packages = {"site-packages", "dist-packages"}
    yield from (path for path in sys.path if os.path.basename(path.rstrip("/")) in packages)
    yield os.path.dirname(
        os.path.dirname(__file__)
    )  # the package esrffs: modules are imported later


def _allow(ruleset: int, path: str, rights: int) -> None:
    """Grant these rights at this path and below it; a path that does not exist is ignored."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
                rights &= ~_READ_DIR
            beneath = _Beneath(rights, descriptor)
            _libc.syscall(_ADD, ruleset, _PATH_BENEATH, ctypes.byref(beneath), 0)
        finally:
            os.close(descriptor)
