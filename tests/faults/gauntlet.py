"""Thousands of bad files in one folder with a few sound ones, and all of it is read.

    python -m tests.faults.gauntlet [--malformed 140] [--damaged 400] [--mutants 5000] [--good 50]
                                    [--published FOLDER] [--program esrffs]

`find -type f -exec cat {} +` goes over the whole mount.  Meanwhile a prober touches sound files,
opens them anew, times that and compares each byte with what was written there; a watcher looks at
the memory of the daemon and its readers, and for clients that sleep without being interruptible.
At the end every errno that `cat` and `find` met must stand in the log, exactly once.  FOLDER holds
more files (malformed ones that were published, say).  Exit status 1 where anything was not as it
should be.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.malformed import fill
from tests.support.stopwatch import Stopwatch

CACHE = 128  # MiB
DAEMON = 256 + CACHE  # MiB that the daemon may have
WORKER = 512  # MiB resident that a reader may have
SOON = 1.0  # seconds to open and read a sound file
SLEEP = 35.0  # seconds in state D: the deadline, and some for the machine
_REFUSED = re.compile(r"^(cat|find): '?(?P<path>.+?)'?: (?P<why>[A-Z][A-Za-z/ ()]+)$")


class Gauntlet:
    """One run: `wrong` is what was not as it should be."""

    def __init__(self, folder: Path, program: str, counts: tuple[int, int, int, int]) -> None:
        self.source, self.mnt, self.log = folder / "source", folder / "mnt", folder / "log"
        self.wrong: list[str] = []
        self.times: list[float] = []
        self.met: Counter[str] = Counter()
        self.daemon = self.worker = 0  # KiB, the most that was seen
        self.asleep = self.hiccup = 0.0
        self.lost = self.nbytes = 0
        self.end = threading.Event()
        self._program = program
        self.source.mkdir()
        self.mnt.mkdir()
        known = dict(fill(self.source, folder, counts))
        self.names = list(known)
        self.good = {path: data for expected in known.values() for path, data in expected.items()}

    def add(self, published: Path) -> None:
        for path in sorted(published.iterdir()):
            shutil.copy(path, self.source / f"published-{path.name}")
            self.names.append(f"published-{path.name}")

    def run(self, seconds: float) -> bool:
        options = f"cache_size={CACHE}"
        command = [self._program, self.source, self.mnt, "-f", "--log-file", self.log]
        self.process = subprocess.Popen([*command, "-o", options], stderr=subprocess.DEVNULL)
        try:
            self._wait_for_mount()
            threads = [threading.Thread(target=run) for run in (self._probe, self._watch)]
            for thread in threads:
                thread.start()
            try:
                errors = self._read_all(seconds)
            finally:
                self.end.set()
                for thread in threads:
                    thread.join()
            self._look_back(errors)
        finally:
            subprocess.run(["fusermount3", "-uz", self.mnt], check=False, capture_output=True)
            self.process.wait(30)
        return not self.wrong

    def _wait_for_mount(self) -> None:
        stop = time.monotonic() + 30
        while not os.path.ismount(self.mnt):
            if self.process.poll() is not None or time.monotonic() > stop:
                raise RuntimeError("does not mount")
            time.sleep(0.02)

    def _read_all(self, seconds: float) -> list[str]:
        """What `find` and `cat` say on their stderr."""
        shell = 'find "$0" -type f -exec cat {} + | wc -c'
        environment = {**os.environ, "LC_ALL": "C"}
        with tempfile.TemporaryFile("w+", errors="surrogateescape") as told:
            self.find = subprocess.Popen(
                ["sh", "-c", shell, self.mnt], stdout=subprocess.PIPE, stderr=told, env=environment
            )
            try:
                out, _ = self.find.communicate(timeout=seconds)
                self.nbytes = int(out)
            except subprocess.TimeoutExpired:
                self.wrong.append(f"`find` did not end within {seconds:g} s: {self._reading()}")
                for pid in self._clients():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, 9)
                self.find.wait()
            told.seek(0)
            return told.read().splitlines()

    def _clients(self) -> set[int]:
        """The processes of `find`."""
        return _family(self.find.pid) if hasattr(self, "find") else set()

    def _reading(self) -> list[str]:
        links = (Path(f"/proc/{pid}/fd/3") for pid in self._clients())
        return [os.readlink(link) for link in links if link.exists()]

    def _probe(self) -> None:
        """Sound files, touched before every other time so that a reader must be asked anew."""
        chance = random.Random(1)
        while not self.end.is_set():
            path = chance.choice(sorted(self.good))
            if chance.random() < 0.5:
                os.utime(self.source / path.partition("/")[0])
            watch = Stopwatch()
            try:
                data = (self.mnt / path).read_bytes()
            except OSError as error:
                self.wrong.append(f"{path}: {error.strerror}")
            else:
                if data != self.good[path]:
                    self.wrong.append(f"{path}: other bytes")
            self.times.append(watch.seconds)
            if self.times[-1] > SOON:
                at = time.strftime("%H:%M:%S")
                took = f"{path}: took {self.times[-1]:.2f} s until {at}"
                self.wrong.append(f"{took}, with {self._reading()}")
            before = time.monotonic()
            self.end.wait(0.02)
            self.hiccup = max(self.hiccup, time.monotonic() - before - 0.02)

    def _watch(self) -> None:
        since: dict[int, float] = {}
        while not self.end.wait(0.05):
            everyone = _family(self.process.pid)
            self.daemon = max(self.daemon, _resident(self.process.pid))
            readers = everyone - {self.process.pid}
            self.worker = max([self.worker, *map(_resident, readers)])
            now = time.monotonic()
            asleep = {pid for pid in self._clients() if _state(pid) == "D"}
            since = {pid: since.get(pid, now) for pid in asleep}
            self.asleep = max([self.asleep, *(now - start for start in since.values())])

    def _look_back(self, errors: list[str]) -> None:
        status = json.loads(os.getxattr(self.mnt, "user.esrffs.status"))
        self.lost = status["workers"]["lost"]
        if status["pid"] != self.process.pid or self.process.poll() is not None:
            self.wrong.append("the daemon is another process")
        if self.daemon > DAEMON << 10:
            self.wrong.append(f"the daemon had {self.daemon >> 10} MiB")
        if self.worker > WORKER << 10:
            self.wrong.append(f"a reader had {self.worker >> 10} MiB")
        if self.asleep > SLEEP:
            self.wrong.append(f"a client slept for {self.asleep:.0f} s")
        for path, data in self.good.items():
            if (self.mnt / path).read_bytes() != data:
                self.wrong.append(f"{path}: other bytes at the end")
        self._compare_with_log(errors)

    def _compare_with_log(self, errors: list[str]) -> None:
        """Each text is logged once, and each file that `cat` could not read is in the log."""
        told = [line.split(" ", 3) for line in self.log.read_text().splitlines()]
        texts = Counter(words[3] for words in told if words[2] in {"WARNING", "ERROR", "CRITICAL"})
        self.wrong += [f"logged {n} times: {text}" for text, n in texts.items() if n > 1]
        self.wrong += [f"logged: {text}" for text in texts if "internal error" in text]
        named = {name for name in self.names if any(map(_begins(name), texts))}
        for line in errors:
            found = _REFUSED.match(line)
            if found is None:
                self.met["told otherwise"] += 1
                continue
            self.met[found["why"]] += 1
            name = found["path"].removeprefix(f"{self.mnt}/").partition("/")[0]
            if name in self.names and name not in named and found["why"] == "Input/output error":
                self.wrong.append(f"not in the log: {line}")

    def tell(self) -> None:
        times = sorted(self.times)
        rows = [("files", len(self.names)), ("read by cat, bytes", self.nbytes)]
        rows += [("probes", len(times)), ("median, ms", round(times[len(times) // 2] * 1e3))]
        rows += [
            ("slowest, ms", round(times[-1] * 1e3)),
            ("own hiccup, ms", round(self.hiccup * 1e3)),
        ]
        rows += [("readers lost", self.lost)]
        rows += [("daemon, MiB", self.daemon >> 10), ("reader, MiB", self.worker >> 10)]
        rows += [("longest uninterruptible sleep, s", round(self.asleep))]
        rows += [(f"met: {why}", number) for why, number in sorted(self.met.items())]
        for name, number in [*rows, ("wrong", len(self.wrong))]:
            print(f"{name:36} {number:12}")
        for line in self.wrong[:40]:
            print(line)


def _begins(name: str) -> Callable[[str], bool]:
    return lambda text: text.startswith(name)


def _family(pid: int) -> set[int]:
    """This process and all below it."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            parents[int(name)] = int(words[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _resident(pid: int) -> int:
    """KiB; 0: it has ended."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) if found else 0
    return 0


def _state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, number in (("good", 50), ("malformed", 140), ("damaged", 400), ("mutants", 5000)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--published", type=Path, help="a folder of more files")
    parser.add_argument(
        "--seconds", type=float, default=3600.0, help="longest that `find` may take"
    )
    parser.add_argument("--program", default=str(Path(sys.executable).with_name("esrffs")))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="esrffs-gauntlet-"))
    counts = given.good, given.malformed, given.damaged, given.mutants
    gauntlet = Gauntlet(folder, given.program, counts)
    if given.published:
        gauntlet.add(given.published)
    well = gauntlet.run(given.seconds)
    gauntlet.tell()
    if well:
        shutil.rmtree(folder)
    else:
        print(f"the folder: {folder}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
