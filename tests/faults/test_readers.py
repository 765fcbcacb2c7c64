"""A reader that crashes, hangs or swells costs one process, and one file, for a moment."""

import errno
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from esrffs.source import data_file
from tests.faults.conftest import sound
from tests.support.errnos import errno_of
from tests.support.mounts import Mounted
from tests.support.processes import family, parents, workers
from tests.support.programs import wait_for
from tests.support.stopwatch import Stopwatch

Factory = Callable[..., Mounted]
LIMIT = 5.0  # seconds: a busy machine must have made the mount and read a sound file in them


@contextmanager
def served(mounted: Mounted, source: Path) -> Iterator[list[float]]:
    """Meanwhile another thread reads fresh sound files; the list tells how long each took."""
    times: list[float] = []
    failures: list[BaseException] = []
    end = threading.Event()

    def read() -> None:
        number = 0
        try:
            while not end.is_set():
                number += 1
                sound(source / f"fresh{number}.h5", number)
                watch = Stopwatch()
                words = np.load(mounted / f"fresh{number}.h5" / "words.npy")
                times.append(watch.seconds)
                assert words.tolist() == ["a", "bc", str(number)]
        except BaseException as error:  # for the thread that asks
            failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield times
    finally:
        end.set()
        thread.join()
        assert not failures, failures
        assert times
        assert max(times) < 1, f"a sound file took {max(times):.2f} s"


def objects(mounted: Mounted, name: str) -> dict[str, Callable[[], object]]:
    """Each method of a reader with a request that needs it."""
    return {
        "listing": lambda: os.listdir(mounted / name),
        "read": lambda: (mounted / name / "words.npy").read_bytes(),
        "chunk_index": lambda: (mounted / name / "x.npy").read_bytes(),
    }


@pytest.mark.parametrize("method", ["listing", "read", "chunk_index"])
@pytest.mark.parametrize(
    ("fault", "word"),
    [("segv", "SIGSEGV"), ("abrt", "SIGABRT"), ("bus", "SIGBUS"), ("exit", "ended")],
)
def test_a_crash_costs_one_file(
    faulty: Factory, source: Path, method: str, fault: str, word: str
) -> None:
    name = f"{method}-{fault}.h5"
    sound(source / name)
    mounted = faulty(source)
    mounted.expect(name)
    request = objects(mounted, name)[method]
    with served(mounted, source):
        watch = Stopwatch()
        assert errno_of(request) == errno.EIO
        assert watch.seconds < 1
        lost = mounted.status["workers"]["lost"]
        for _ in range(5):
            assert errno_of(request) == errno.EIO
        assert mounted.status["workers"]["lost"] == lost, "it was asked again"
        time.sleep(0.2)
    told = [line for line in mounted.warnings if name in line]
    assert len(told) == 1, "one log line"
    assert word in told[0]
    assert word in os.getxattr(mounted / name, "user.esrffs.error").decode()
    wait_for(lambda: len(workers(mounted)) >= 2, 2)
    sound(source / name.replace(fault, "sound"))
    os.replace(source / name.replace(fault, "sound"), source / name)
    assert errno_of(request) == errno.EIO, "it is asked again when it has changed"
    assert mounted.status["workers"]["lost"] > lost


def test_a_hanging_reader_ends_at_the_deadline(faulty: Factory, source: Path) -> None:
    names = [f"{method}-hang-{i}.h5" for i in range(2) for method in ("listing", "read")]
    for name in names:
        sound(source / name)
    mounted = faulty(source, "-o", f"time_limit={LIMIT}")
    mounted.expect("-hang-")
    results: dict[int, tuple[int, float]] = {}

    def ask(number: int) -> None:
        name = names[number % len(names)]
        watch = Stopwatch()
        code = errno_of(objects(mounted, name)[name.partition("-")[0]])
        results[number] = code, watch.seconds

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    with served(mounted, source):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {code for code, _ in results.values()} == {errno.ETIMEDOUT}
    assert max(seconds for _, seconds in results.values()) < LIMIT + 1
    for name in names:
        watch = Stopwatch()
        assert errno_of(objects(mounted, name)[name.partition("-")[0]]) == errno.ETIMEDOUT
        assert watch.seconds < 0.5, "remembered"
        assert sum(name in line for line in mounted.warnings) == 1
    wait_for(lambda: len(workers(mounted)) <= 3, 5)


def test_a_hanging_reader_does_not_outlive_the_daemon(faulty: Factory, source: Path) -> None:
    """It keeps nothing alive that would keep it alive."""
    sound(source / "read-hang-0.h5")
    mounted = faulty(source)
    asking = threading.Thread(target=errno_of, args=(objects(mounted, "read-hang-0.h5")["read"],))
    asking.start()
    below = family(mounted.process.pid) - {mounted.process.pid}
    assert len(below) >= 3
    time.sleep(2)  # it hangs by now
    mounted.kill()
    asking.join()
    wait_for(lambda: not below & set(parents()), LIMIT)


def test_slow_readers_leave_no_process_behind(faulty: Factory, source: Path) -> None:
    for number in range(6):
        sound(source / f"read-sleep-{number}.h5")
    mounted = faulty(source)

    def ask(number: int) -> None:
        words = np.load(mounted / f"read-sleep-{number}.h5/words.npy")
        assert words.tolist() == ["a", "bc", "0"]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    with served(mounted, source):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (mounted.status["workers"]["lost"], mounted.warnings) == (0, [])
    wait_for(lambda: len(workers(mounted)) <= 3, 5)


def test_a_swelling_reader_is_stopped_by_its_limit(faulty: Factory, source: Path) -> None:
    sound(source / "read-swell.h5")
    mounted = faulty(source, "-o", "memory_limit=200")
    mounted.expect("read-swell")
    largest = 0
    end = threading.Event()

    def watch() -> None:
        nonlocal largest
        while not end.is_set():
            for pid in workers(mounted):
                try:
                    text = Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue
                lines = dict(line.split(":", 1) for line in text.splitlines())
                largest = max(largest, int(lines.get("VmRSS", "0").split()[0]))
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        with served(mounted, source):
            code = errno_of(lambda: (mounted / "read-swell.h5/words.npy").read_bytes())
    finally:
        end.set()
        thread.join()
    assert code == errno.EFBIG, os.getxattr(mounted / "read-swell.h5", "user.esrffs.error")
    assert "memory_limit" in os.getxattr(mounted / "read-swell.h5", "user.esrffs.error").decode()
    assert 100 << 10 < largest < 300 << 10  # KiB; it had begun to swell


def test_a_recursion_without_end_is_an_error(faulty: Factory, source: Path) -> None:
    sound(source / "read-recursion.h5")
    mounted = faulty(source)
    mounted.expect("read-recursion")
    assert errno_of(lambda: (mounted / "read-recursion.h5/words.npy").read_bytes()) == errno.EIO
    assert mounted.status["workers"]["lost"] == 0


def test_kill_minus_nine_at_any_time_goes_unnoticed(faulty: Factory, source: Path) -> None:
    mounted = faulty(source)
    end = threading.Event()
    number = killed = 0

    def kill() -> None:
        """One file is not to blame for all of it: more than this is what ends its reading."""
        nonlocal killed
        met: list[int] = []
        while not end.wait(0.3):
            for pid in list(workers(mounted))[:1] if met[-3:].count(number) < 3 else ():
                met.append(number)
                os.kill(pid, signal.SIGKILL)
                killed += 1

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        watch = Stopwatch()
        while watch.seconds < 6:
            number += 1
            sound(source / f"k{number}.h5", number)
            words = np.load(mounted / f"k{number}.h5/words.npy")
            assert words.tolist() == ["a", "bc", str(number)]
    finally:
        end.set()
        thread.join()
    assert killed > 5
    assert mounted.warnings == []


def test_one_reader_more_than_needed_is_kept_ready(faulty: Factory, source: Path) -> None:
    """So that who asks when one has died need not wait until another has started."""
    mounted = faulty(source)
    wait_for(lambda: len(workers(mounted)) == 3, LIMIT)


def test_a_reader_that_is_always_killed_is_an_error(faulty: Factory, source: Path) -> None:
    sound(source / "listing-kill.h5")
    mounted = faulty(source)
    mounted.expect("listing-kill")
    watch = Stopwatch()
    assert errno_of(lambda: os.listdir(mounted / "listing-kill.h5")) == errno.EIO
    assert watch.seconds < 3
    assert "SIGKILL" in os.getxattr(mounted / "listing-kill.h5", "user.esrffs.error").decode()
    asked_again = re.findall(
        r" INFO .*listing-kill.h5: the reader process died \(SIGKILL\); asking again$",
        mounted.log.read_text(),
        re.MULTILINE,
    )
    assert len(asked_again) == data_file.MAX_KILLS - 1
