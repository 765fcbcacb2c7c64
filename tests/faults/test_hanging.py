"""A source whose file server stops answering: its files are errors in time, the mount lives on.

Where they are not, a process that asks sleeps and cannot be killed.  So everybody who asks while
the server is silent is a process of its own, which is waited for for so long and then left alone,
and the server speaks again before anything is unmounted.
"""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.marks import needs_fuse
from tests.support.mounts import Mounted
from tests.support.programs import wait_for
from tests.support.slow_server import SlowServer
from tests.support.stopwatch import Stopwatch

pytestmark = needs_fuse

LIMIT = 4.0  # seconds


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[SlowServer]:
    real, path = tmp_path / "real", tmp_path / "remote"
    real.mkdir()
    frames = np.arange(4 * 256 * 256, dtype=np.int32).reshape(4, 256, 256)
    for name in ("one", "two"):
        with h5py.File(real / f"{name}.h5", "w") as file:
            file["contiguous"] = frames
            file.create_dataset("gzip", data=frames, chunks=(1, 256, 256), compression="gzip")
            file["group/x"] = 1
    (real / "notes.txt").write_text("notes\n" * 1000)
    served = SlowServer(real, path, cached=False)
    yield served
    served.end()


_TRY = "import os, sys\ntry:\n    {}\nexcept OSError as error:\n    sys.exit(error.errno)\n"
LIST, READ, STAT, STATUS = (
    _TRY.format(work)
    for work in (
        "os.listdir(sys.argv[1])",
        "open(sys.argv[1], 'rb', buffering=0).read()",
        "os.stat(sys.argv[1])",
        "os.getxattr(sys.argv[1], 'user.esrffs.status')",
    )
)
WORKS = {
    "": LIST,
    "one.h5": LIST,
    "notes.txt": READ,
    "one.h5/contiguous.npy": READ,
    "one.h5/gzip.npy": READ,
    "two.h5/group/x.npy": STAT,
}


def errnos(folder: Path, works: dict[str, str] = WORKS) -> dict[str, int | str]:
    """What each of these works, each done by a process of its own at the same time, ends with."""
    running = {
        name: subprocess.Popen([sys.executable, "-c", work, folder / name])
        for name, work in works.items()
    }
    end = time.monotonic() + 8 * LIMIT
    return {name: code(process, end - time.monotonic()) for name, process in running.items()}


def code(process: subprocess.Popen[bytes], seconds: float) -> int | str:
    try:
        return process.wait(max(seconds, 0))
    except subprocess.TimeoutExpired:
        process.kill()
        process.returncode = -9  # not waited for: it may sleep until the server speaks
        return "did not end"


def answers(work: str, path: Path) -> None:
    """It is answered while the server is still silent, long before anything is given up."""
    asking, watch = subprocess.Popen([sys.executable, "-c", work, path]), Stopwatch()
    while asking.poll() is None and watch.seconds < LIMIT / 2:
        time.sleep(0.01)
    assert code(asking, 0) == 0, f"after {watch.seconds:.2f} s of its own"


def test_a_silent_server_costs_an_errno_in_time_and_nothing_else(
    remote: SlowServer, mount: Callable[..., Mounted]
) -> None:
    mounted = mount(remote.path, "-o", f"time_limit={LIMIT}")
    mounted.expect("gave no answer within")
    start, watch = time.monotonic(), Stopwatch()
    with remote.silent(), ThreadPoolExecutor() as pool:
        waiting = pool.submit(errnos, mounted.path)
        time.sleep(LIMIT / 4)
        answers(STATUS, mounted.path)  # needs no source
        assert waiting.result() == dict.fromkeys(WORKS, errno.ETIMEDOUT)
    assert time.monotonic() - start > LIMIT / 2
    assert watch.seconds < 6 * LIMIT
    wait_for(lambda: not any(errnos(mounted.path).values()))


AWAY = {  # the kernel looks up one name after the other in a folder: each has its own
    "a/away": LIST,
    "b/away/one.h5/gzip.npy": READ,
    "c/link.h5/group/x.npy": STAT,
    "d/notes.txt": READ,
    "e/refers.h5/elsewhere/x.npy": STAT,
    "f/refers.h5/virtual.npy": READ,
}


@pytest.mark.parametrize("known", [False, True])
def test_links_from_a_local_disk_to_a_silent_server(
    remote: SlowServer, mount: Callable[..., Mounted], tmp_path: Path, known: bool
) -> None:
    """What is on the server is an errno in time, what is beside the link goes on being served."""
    local = tmp_path / "local"
    for name in (*AWAY, "beside/here"):
        (local / name.partition("/")[0]).mkdir(parents=True, exist_ok=True)
    (local / "a/away").symlink_to(remote.path)
    (local / "b/away").symlink_to(remote.path)
    (local / "c/link.h5").symlink_to(remote.path / "one.h5")
    (local / "d/notes.txt").symlink_to(remote.path / "notes.txt")
    with h5py.File(local / "e/refers.h5", "w") as file:
        file["elsewhere"] = h5py.ExternalLink(str(remote.path / "one.h5"), "group")
    with h5py.File(local / "f/refers.h5", "w") as file:
        layout = h5py.VirtualLayout((256, 256), "i4")
        layout[:] = h5py.VirtualSource(str(remote.path / "two.h5"), "gzip", (4, 256, 256))[1]
        file.create_virtual_dataset("virtual", layout)
    with h5py.File(local / "beside/here.h5", "w") as file:
        file["x"] = np.arange(10)
    mounted = mount(local, "-o", f"time_limit={LIMIT}")
    mounted.expect("gave no answer within", "no answer within")
    if known:
        assert errnos(mounted.path, AWAY) == dict.fromkeys(AWAY, 0)
        time.sleep(1.5)  # the kernel does not know it any more
    with remote.silent(), ThreadPoolExecutor() as pool:
        waiting = pool.submit(errnos, mounted.path, AWAY)
        time.sleep(LIMIT / 2)
        answers(READ, mounted / "beside/here.h5/x.npy")  # is not on the server
        assert waiting.result() == dict.fromkeys(AWAY, errno.ETIMEDOUT)
    wait_for(lambda: not any(errnos(mounted.path, AWAY).values()))


def test_handles_that_are_open_hear_of_it_too_and_go_on_afterwards(
    remote: SlowServer, mount: Callable[..., Mounted]
) -> None:
    mounted = mount(remote.path, "-o", f"time_limit={LIMIT},cache_size=1")
    mounted.expect("gave no answer within")
    names = [name for name, work in WORKS.items() if work is READ]
    with ExitStack() as stack:
        files = [stack.enter_context(open(mounted.path / n, "rb", buffering=0)) for n in names]
        wholes = [file.read() for file in files]
        for file in files:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with remote.silent():
            asking = [_asking(file.fileno()) for file in files]
            end = time.monotonic() + 8 * LIMIT
            got = [code(one, end - time.monotonic()) for one in asking]
        assert got == [errno.ETIMEDOUT] * len(files)
        for file, whole in zip(files, wholes, strict=True):
            wait_for(lambda file=file, whole=whole: _reads(file.fileno(), whole))


def _asking(descriptor: int) -> subprocess.Popen[bytes]:
    work = _TRY.format(f"os.pread({descriptor}, 4096, 0)")
    return subprocess.Popen([sys.executable, "-c", work], pass_fds=[descriptor])


def _reads(descriptor: int, whole: bytes) -> bool:
    try:
        return os.pread(descriptor, len(whole), 0) == whole
    except OSError:
        return False


def test_what_is_local_is_called_at_once_what_is_not_in_a_thread(remote: SlowServer) -> None:
    from esrffs.source.executor import is_remote

    assert is_remote(str(remote.path))
    assert is_remote(str(remote.path / "one.h5"))
    assert is_remote(str(remote.path.parent)), "for what is below it"
    assert not is_remote(str(remote.path.parent / "real"))
