"""All at once on one mount: readers, listers, a writer, a corrupter, killers, a remounter.

    python -m tests.faults.soak --minutes 30 [--seed 1] [--readers 6] [--processes 64]
                                [--program esrffs]

Every byte that is read is compared with what some state of its file holds: an array or a text is
that of one of the file's states, never a mixture and never made up.  At the end a table tells what
was done and what was found; the exit status is 1 if a byte was wrong, a mount was lost or anything
leaked.  Nothing here knows how esrffs works: it starts the program and reads files.

Beside the threads, `--processes` read files that do not change, and must meet no error at all but
while the daemon is killed and mounted anew, which is done in the first fifth of the time.  From
half of it on the memory of the daemon is watched: its slope is the median of those between any two
minima of half a minute.  The cache is small, so that by then it was filled anew many times, and
memory is as fragmented as it gets: what still grows is a leak.
"""

import argparse
import contextlib
import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.faults.soak_files import FILES, Oracle, content, read_still, write
from tests.support.npy import npy_bytes

SLOPE = 1.0  # MiB per hour that the daemon may grow, where it was watched for long enough, …
LONG = 600.0  # … which is so many seconds
WINDOW = 30.0  # seconds, of which the least memory counts
ROOT = Path(__file__).parents[2]
REFUSALS = {errno.EIO, errno.ENOENT, errno.ESTALE, errno.ENOTCONN, errno.ECONNABORTED}
REFUSALS |= {errno.EACCES, errno.ETIMEDOUT, errno.ENOTDIR, errno.EFBIG, errno.ELOOP, errno.EBADF}
LEAK = {"descriptors": 8, "inodes": 60, "threads": 12, "processes": 2}  # more than that is one


class Soak:
    def __init__(self, folder: Path, program: list[str], seed: int) -> None:
        self.source = folder / "source"
        self.mountpoint = folder / "mnt"
        self.log = folder / "log"
        self.program = program
        self.done: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.requests = 0
        self._changing = threading.Lock()  # what is cut while it is written holds who knows what
        self.memory: list[tuple[float, float]] = []  # seconds since the start, MiB
        self.lost = 0
        self.end = threading.Event()
        self.remounting = threading.Event()
        self._seed = seed
        self._oracle = Oracle()
        self._process: subprocess.Popen[bytes] | None = None
        self.source.mkdir()
        self.mountpoint.mkdir()
        for number in range(FILES):
            for kind in ("live", "still"):
                self._oracle.learn(f"{kind}{number}.h5", number, 0)
                write(self.source / f"{kind}{number}.h5", number, 0)
        self.states = Counter(range(FILES))

    # The mount

    def mount(self) -> None:
        command = [*self.program, str(self.source), str(self.mountpoint), "-f"]
        options = "attr_timeout=0.2,entry_timeout=0.2,cache_size=4"
        command += ["--log-file", str(self.log), "-o", options]
        self._process = subprocess.Popen(command)
        stop = time.monotonic() + 30
        while not os.path.ismount(self.mountpoint):
            if self._process.poll() is not None or time.monotonic() > stop:
                raise RuntimeError("does not mount")
            time.sleep(0.05)

    def unmount(self) -> None:
        assert self._process is not None
        if os.path.ismount(self.mountpoint):
            subprocess.run(["fusermount3", "-uz", str(self.mountpoint)], check=True)
        self._process.wait(30)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pids(self) -> set[int]:
        """The daemon and all processes below it."""
        assert self._process is not None
        parents = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(name)] = int(words[1])
        found = {self._process.pid}
        while more := {child for child, parent in parents.items() if parent in found} - found:
            found |= more
        return found

    def measure(self) -> dict[str, int]:
        """What could leak, once nothing is going on."""
        assert self._process is not None
        Path("/proc/sys/vm/drop_caches").write_text("2") if os.geteuid() == 0 else None
        own = Path("/proc", str(self._process.pid))
        status = dict(line.split(":", 1) for line in (own / "status").read_text().splitlines())
        told = json.loads(os.getxattr(self.mountpoint, "user.esrffs.status"))
        return {
            "descriptors": len(os.listdir(own / "fd")),
            "inodes": told["inodes"],
            "threads": int(status["Threads"]),
            "processes": len(self.pids()),
            "resident KiB": int(status["VmRSS"].split()[0]),
        }

    # Who does what

    def reader(self, chance: random.Random) -> None:
        number, kind = chance.randrange(FILES), chance.choice(("live", "still"))
        name, array = f"{kind}{number}.h5", chance.choice(("plain", "packed", "words"))
        with open(self.mountpoint / name / f"{array}.npy", "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            pieces, at = [], 0
            while piece := os.pread(file.fileno(), chance.choice((1000, 65536, 1 << 20)), at):
                pieces.append(piece)
                at += len(piece)
        self.requests += len(pieces) + 3  # open, fstat, close
        read = b"".join(pieces)
        if len(read) != size or not self._oracle.knows(name, array, read):
            self.wrong.append(f"{name}/{array}: {len(read)} bytes, {size} promised")

    def lister(self, chance: random.Random) -> None:
        for name in os.listdir(self.mountpoint):
            if chance.random() < 0.3:
                path = self.mountpoint / name
                self.requests += 2
                for entry in os.scandir(path) if path.is_dir() else ():
                    entry.stat()
                    self.requests += 1

    def writer(self, chance: random.Random) -> None:
        """Another state, put in the place of the old one or written over it."""
        number = chance.randrange(FILES)
        name = f"live{number}.h5"
        self.states[number] += 100
        self._oracle.learn(name, number, self.states[number])
        with self._changing:
            self._write(chance, number, name)
        time.sleep(0.05)

    def _write(self, chance: random.Random, number: int, name: str) -> None:
        if chance.random() < 0.7:
            write(self.source.with_name("new.h5"), number, self.states[number])
            os.replace(self.source.with_name("new.h5"), self.source / name)
            self.faults["replaced"] += 1
        else:
            write(self.source / name, number, self.states[number])
            self.faults["rewritten"] += 1

    def corrupter(self, chance: random.Random) -> None:
        """Files cut short, of rubbish, renamed, gone."""
        number = chance.randrange(FILES)
        path = self.source / f"live{number}.h5"
        if not path.exists():
            return
        match chance.randrange(3):
            case 0:
                with self._changing:
                    os.truncate(path, chance.randrange(max(path.stat().st_size, 1)))
                self.faults["truncated"] += 1
            case 1:
                with self._changing:
                    path.unlink()
                self.faults["removed"] += 1
            case 2:
                bad = self.source / f"bad{chance.randrange(20)}.h5"
                data = bytearray((self.source / "still0.h5").read_bytes())
                for _ in range(8):
                    data[chance.randrange(len(data))] = chance.randrange(256)
                bad.write_bytes(data)
                self.faults["rubbish"] += 1
                for folder, _, files in os.walk(self.mountpoint / bad.name):
                    for file in files:
                        try:
                            Path(folder, file).read_bytes()
                        except OSError as error:
                            self.refused[errno.errorcode.get(error.errno or 0, "?")] += 1
        time.sleep(0.2)

    def killer(self, chance: random.Random) -> None:
        assert self._process is not None
        below = sorted(self.pids() - {self._process.pid})[2:]  # but the fork server and its like
        if below:
            try:
                os.kill(chance.choice(below), signal.SIGKILL)
                self.faults["workers killed"] += 1
            except ProcessLookupError:
                pass
        time.sleep(1)

    def remounter(self, chance: random.Random) -> None:
        """SIGKILL for the daemon, and a new mount over the dead one."""
        assert self._process is not None
        if self.end.wait(min(20 + chance.random() * 20, self._seconds / 10)):
            return
        if time.monotonic() > self._started + self._seconds / 5:
            self.end.wait()
            return
        self.remounting.set()
        try:
            self._process.kill()
            self._process.wait()
            self.mount()
            self.faults["remounted"] += 1
            self.end.wait(1)  # for those who met the dead one
        finally:
            self.remounting.clear()

    def repeat(self, doing: Callable[[random.Random], None], number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        while not self.end.is_set():
            try:
                doing(chance)
                self.done[doing.__name__] += 1
            except OSError as error:
                code = error.errno or 0
                self.refused[errno.errorcode.get(code, "?")] += 1
                if code not in REFUSALS:
                    self.wrong.append(f"{doing.__name__}: {error}")
                gone = code in {errno.ENOTCONN, errno.ECONNABORTED}
                if gone and not self.remounting.is_set() and self._ended():
                    self.lost += 1
                    self.end.set()
                time.sleep(0.01)
            except Exception as error:  # must not end the soak unseen
                self.wrong.append(f"{doing.__name__}: {error!r}")
                self.end.set()

    def _ended(self) -> bool:
        time.sleep(1)
        return not self.remounting.is_set() and (
            self._process is None or self._process.poll() is not None
        )

    def _watch(self) -> None:
        """Until the end: what memory the daemon has, from half of the time on."""
        while not self.end.wait(1.0):
            now = time.monotonic() - self._started
            if now > self._seconds:
                return
            if now > self._seconds / 2 and self._process is not None:
                with contextlib.suppress(OSError, ValueError, KeyError):
                    status = Path(f"/proc/{self._process.pid}/status").read_text()
                    fields = dict(line.split(":", 1) for line in status.splitlines())
                    self.memory.append((now, int(fields["VmRSS"].split()[0]) / 1024))

    def slope(self) -> float:
        """MiB per hour, after Theil and Sen; 0 where there is too little to tell."""
        least = self._least()
        if len(least) < 4:
            return 0.0
        points = [(window * WINDOW / 3600, resident) for window, resident in least.items()]
        pairs = itertools.combinations(points, 2)
        return float(np.median([(b - a) / (until - since) for (since, a), (until, b) in pairs]))

    def _least(self) -> dict[int, float]:
        """By window of time."""
        least: dict[int, float] = {}
        for at, resident in self.memory:
            window = int(at // WINDOW)
            least[window] = round(min(resident, least.get(window, resident)), 2)
        return least

    def _other(self, number: int) -> subprocess.Popen[str]:
        """A process that reads what does not change."""
        words = [sys.executable, "-m", "tests.faults.soak", "--reading", str(self.mountpoint)]
        words += ["--seed", str(number)]
        return subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def _hear(self, other: subprocess.Popen[str]) -> None:
        told = json.loads(other.communicate("end", timeout=120)[0])
        self.done["reader processes"] += told["read"]
        self.requests += told["requests"]
        self.wrong += told["wrong"]

    def run(self, seconds: float, readers: int, processes: int = 0) -> bool:
        """Soak; True if all was well."""
        self._seconds = seconds
        self.mount()
        for _ in range(30):
            self._quietly(self.reader)
        time.sleep(3)
        before = self.measure()
        doers = [self.reader] * readers + [self.lister] * 2
        doers += [self.writer, self.corrupter, self.killer, self.remounter]
        self._started = time.monotonic()
        threads = [
            threading.Thread(target=self.repeat, args=(doing, number))
            for number, doing in enumerate(doers)
        ]
        for thread in threads:
            thread.start()
        others = [self._other(number) for number in range(processes)]
        self._watch()
        self.end.set()
        for thread in threads:
            thread.join()
        for other in others:
            self._hear(other)
        leaks = self.leaks(before)
        for number in range(FILES):  # the sound ones are sound to the end
            for array, values in content(number, 0).items():
                shown = self.mountpoint / f"still{number}.h5" / f"{array}.npy"
                if shown.read_bytes() != npy_bytes(values):
                    self.wrong.append(f"still{number}/{array} at the end")
        self.unmount()
        self.tell(before, leaks)
        grew = self.slope() > SLOPE and seconds / 2 >= LONG
        return not (self.wrong or self.lost or any(leaks.values()) or grew)

    def _quietly(self, doing: Callable[[random.Random], None]) -> None:
        with contextlib.suppress(OSError):
            doing(random.Random())

    def leaks(self, before: dict[str, int]) -> dict[str, int]:
        """What there is more than before, after idling, beyond what is allowed."""
        stop = time.monotonic() + 30
        while True:
            now = self.measure()
            more = {k: max(0, now[k] - before[k]) for k in LEAK}
            found = {k: n if n > LEAK[k] else 0 for k, n in more.items()}
            if not any(found.values()) or time.monotonic() > stop:
                self.after = now
                return found
            time.sleep(1)

    def tell(self, before: dict[str, int], leaks: dict[str, int]) -> None:
        rows = [(f"operations: {name}", n) for name, n in sorted(self.done.items())]
        rows += [(f"faults: {name}", n) for name, n in sorted(self.faults.items())]
        rows += [(f"refused: {name}", n) for name, n in sorted(self.refused.items())]
        rows += [("wrong bytes", len(self.wrong)), ("lost mounts", self.lost)]
        rows += [(f"leaked: {name}", n) for name, n in leaks.items()]
        rows += [("operations in all", sum(self.done.values())), ("requests", self.requests)]
        rows += [("MiB per hour, after warming up", round(self.slope(), 2))]
        for name, number in rows:
            print(f"{name:36} {number:10}")
        for name in before:
            print(f"{name:36} {before[name]:10} → {self.after[name]}")
        print("MiB, from half of the time on:", *self._least().values())
        for line in self.wrong[:20]:
            print(line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--readers", type=int, default=6)
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--reading", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--program", default=str(Path(sys.executable).with_name("esrffs")))
    given = parser.parse_args()
    if given.reading:
        print(json.dumps(read_still(given.reading, given.seed)))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="esrffs-soak-"))
    soak = Soak(folder, [given.program], given.seed)
    try:
        well = soak.run(given.minutes * 60, given.readers, given.processes)
    finally:
        subprocess.run(
            ["fusermount3", "-uz", str(soak.mountpoint)], check=False, stderr=subprocess.DEVNULL
        )
        soak.kill()
    if well:
        shutil.rmtree(folder)
    else:
        print(f"the log: {soak.log}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
