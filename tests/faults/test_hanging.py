"""A source whose file server stops answering: its files are errors in time, the mount lives on."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import FUSE, Mounted, is_mounted, wait_for

pytestmark = pytest.mark.skipif(not FUSE, reason="no /dev/fuse")

LIMIT = 4.0  # seconds


@dataclass
class Remote:
    """A folder behind a server, and the switch that makes it silent."""

    path: Path
    switch: Path

    def hangs(self, hangs: bool) -> None:
        if hangs:
            self.switch.touch()
        else:
            self.switch.unlink(missing_ok=True)


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    real, path = tmp_path / "real", tmp_path / "remote"
    real.mkdir()
    path.mkdir()
    frames = np.arange(4 * 256 * 256, dtype=np.int32).reshape(4, 256, 256)
    for name in ("one", "two"):
        with h5py.File(real / f"{name}.h5", "w") as file:
            file["contiguous"] = frames
            file.create_dataset("gzip", data=frames, chunks=(1, 256, 256), compression="gzip")
            file["group/x"] = 1
    (real / "notes.txt").write_text("notes\n" * 1000)
    served = Remote(path, tmp_path / "hang")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.hanging", real, path, served.switch],
        cwd=Path(__file__).parents[2],
    )
    try:
        wait_for(lambda: is_mounted(path))
        yield served
    finally:
        served.hangs(False)
        subprocess.run(["fusermount3", "-u", "-z", path], check=False)
        process.wait(10)


_TRY = "import os, sys\ntry:\n    {}\nexcept OSError as error:\n    sys.exit(error.errno)\n"
LIST, READ, STAT = (
    _TRY.format(work)
    for work in (
        "os.listdir(sys.argv[1])",
        "open(sys.argv[1], 'rb', buffering=0).read()",
        "os.stat(sys.argv[1])",
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


def errnos(folder: Path) -> dict[str, int]:
    """What each of these works, each done by a process of its own at the same time, ends with."""
    running = {
        name: subprocess.Popen([sys.executable, "-c", work, folder / name])
        for name, work in WORKS.items()
    }
    return {name: process.wait(60) for name, process in running.items()}


def test_a_silent_server_costs_an_errno_in_time_and_nothing_else(
    remote: Remote, mount: Callable[..., Mounted]
) -> None:
    mounted = mount(remote.path, "-o", f"time_limit={LIMIT}")
    mounted.expect("gave no answer within")
    remote.hangs(True)
    start = time.monotonic()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(errnos, mounted.path)
        time.sleep(LIMIT / 2)
        asked = time.monotonic()  # what needs no source is answered at once
        assert os.getxattr(mounted.path, "user.esrffs.status")
        assert time.monotonic() - asked < 1
        assert waiting.result() == dict.fromkeys(WORKS, errno.ETIMEDOUT)
    assert LIMIT / 2 < time.monotonic() - start < 6 * LIMIT
    remote.hangs(False)
    wait_for(lambda: not any(errnos(mounted.path).values()))


def test_handles_that_are_open_hear_of_it_too_and_go_on_afterwards(
    remote: Remote, mount: Callable[..., Mounted]
) -> None:
    mounted = mount(remote.path, "-o", f"time_limit={LIMIT},cache_size=1")
    mounted.expect("gave no answer within")
    names = [name for name, work in WORKS.items() if work is READ]
    with ExitStack() as stack:
        files = [stack.enter_context(open(mounted.path / n, "rb", buffering=0)) for n in names]
        wholes = [file.read() for file in files]
        for file in files:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        remote.hangs(True)
        with ThreadPoolExecutor() as pool:
            first = [pool.submit(os.pread, file.fileno(), 4096, 0) for file in files]
            assert [error_of(one) for one in first] == [errno.ETIMEDOUT] * len(files)
        remote.hangs(False)
        for file, whole in zip(files, wholes, strict=True):
            wait_for(lambda file=file, whole=whole: _reads(file.fileno(), whole))


def error_of(future: Future[bytes]) -> int | None:
    error = future.exception()
    return error.errno if isinstance(error, OSError) else None


def _reads(descriptor: int, whole: bytes) -> bool:
    try:
        return os.pread(descriptor, len(whole), 0) == whole
    except OSError:
        return False


def test_what_is_local_is_called_at_once_what_is_not_in_a_thread(remote: Remote) -> None:
    from esrffs.patience import is_remote

    assert is_remote(str(remote.path))
    assert is_remote(str(remote.path / "one.h5"))
    assert not is_remote(str(remote.path.parent))
