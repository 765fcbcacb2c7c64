"""Files that change under their readers, and an acquisition that must not notice them.

    python -m tests.faults.live [--events 10000] [--scans 200] [--seed 1] [--program esrffs]

Events are at random: the file is replaced, rewritten in place, cut short, or more is appended.
Readers open, read piece by piece with pauses, and compare: all bytes of a handle are those of one
state.  The acquisition writes scan after scan as BLISS does, with HDF5's locking on, in a process
of its own, while four readers list and read; with SWMR, then without.  Exit status 1 where anything
was not as it should be.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import h5py
import numpy as np

from tests.support.stopwatch import Stopwatch

# One file, a group for each scan, opened for appending each time, locking on.
WRITER = """
import os, sys, time
os.environ["HDF5_USE_FILE_LOCKING"] = "TRUE"
import h5py, numpy as np
path, scans, swmr = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "swmr"
for number in range(1, scans + 1):
    with h5py.File(path, "a", libver="latest", locking=True) as file:
        scan = file.create_group(f"{number}.1")
        scan["title"] = f"scan {number}"
        data = scan.create_dataset("data", (0, 64), "i4", maxshape=(None, 64), chunks=(1, 64))
        if swmr:
            file.swmr_mode = True
        for frame in range(5):
            data.resize(frame + 1, axis=0)
            data[frame] = number * 10 + frame
            data.flush()
            time.sleep(0.01)
    time.sleep(0.05)
"""


class Changing:
    """A file whose arrays hold the number of its state, and readers that compare."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wrong: list[str] = []
        self.read = 0
        self.events: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.end = threading.Event()
        self._states: set[bytes] = set()
        self._whole = True
        self._write(path, 0)

    def _write(self, target: Path, state: int) -> None:
        values = np.full((64, 500), state, "i4")
        self._states.add(values.tobytes())  # before it can be seen
        with h5py.File(target, "w") as file:
            file["x"] = values
            file.create_dataset("z", data=values, chunks=(8, 500), compression="gzip")

    def change(self, state: int, chance: random.Random) -> bool:
        """One event; is the file sound now, and its state the new one?"""
        event = chance.choice(("replaced", "replaced", "rewritten", "truncated", "appended"))
        if event == "appended" and not self._whole:
            event = "replaced"  # what is appended to a cut file are its values, who knows which
        self._whole = event != "truncated"
        self.events[event] += 1
        match event:
            case "replaced":
                new = self.path.parent.with_name("new.h5")
                self._write(new, state)
                os.replace(new, self.path)
            case "rewritten":
                self._write(self.path, state)
            case "truncated":
                os.truncate(self.path, chance.randrange(max(self.path.stat().st_size, 1)))
            case "appended":
                with self.path.open("ab") as file:
                    file.write(chance.randbytes(chance.randrange(1, 5000)))
        return event in {"replaced", "rewritten"}

    def reader(self, shown: Path, seed: int) -> None:
        chance = random.Random(seed)
        while not self.end.is_set():
            try:
                read = self._read(shown / f"{chance.choice('xz')}.npy", chance)
            except OSError as error:
                self.refused[os.strerror(error.errno or 0)] += 1
                time.sleep(0.002)
                continue
            self.read += 1
            if read[128:] not in self._states:
                values = sorted(set(read[128:][:: 4 * 500]))
                self.wrong.append(f"{len(read)} bytes, of the states {values}")

    def _read(self, path: Path, chance: random.Random) -> bytes:
        """All of it by one handle, which may be kept for a while in between."""
        size = chance.choice((777, 40_000, 1 << 20))
        pieces = []
        with open(path, "rb", 0) as file:
            while piece := file.read(size):
                pieces.append(piece)
                if chance.random() < 0.01:
                    time.sleep(0.05)
        return b"".join(pieces)

    def newest(self, shown: Path, state: int, seconds: float) -> float:
        """After how many seconds a new open gives this state; one that never does is wrong."""
        watch = Stopwatch()
        while (taken := watch.seconds) < seconds:
            try:
                if (np.load(shown / "x.npy") == state).all():
                    return taken
            except (OSError, ValueError):
                pass
            time.sleep(0.01)
        self.wrong.append(f"state {state} was not to be seen within {seconds:g} s")
        return seconds


def events(source: Path, mountpoint: Path, count: int, seed: int, executor: float) -> bool:
    """So many events against three readers; True if all was well."""
    file = Changing(source / "file.h5")
    shown = mountpoint / "file.h5"
    threads = [threading.Thread(target=file.reader, args=(shown, n)) for n in range(3)]
    for thread in threads:
        thread.start()
    chance = random.Random(seed)
    slowest = 0.0
    looked = 0
    try:
        for state in range(1, count + 1):
            time.sleep(0.005)
            if file.change(state, chance) and state % 20 == 0:
                looked += 1
                slowest = max(slowest, file.newest(shown, state, executor))
    finally:
        file.end.set()
        for thread in threads:
            thread.join()
    told = ", ".join(f"{n} {event}" for event, n in sorted(file.events.items()))
    refused = ", ".join(f"{n} {why}" for why, n in sorted(file.refused.items()))
    print(f"{count} events ({told}): {file.read} read, {len(file.wrong)} wrong; {refused}")
    print(f"a new open saw the new state {looked} times, at the latest after {slowest:.2f} s")
    for line in file.wrong[:20]:
        print(line)
    return not file.wrong and file.read > count // 20 and looked > count // 100


class Acquisition:
    """A writer with locks, and readers of what it has written."""

    def __init__(self, source: Path, mountpoint: Path, scans: int, mode: str) -> None:
        self._path, self.shown = source / f"{mode}.h5", mountpoint / f"{mode}.h5"
        self.scans, self._mode = scans, mode
        self.bad: list[str] = []
        self.read = 0
        with h5py.File(self._path, "w", libver="latest"):
            pass

    def run(self) -> bool:
        command = [sys.executable, "-c", WRITER, self._path, str(self.scans), self._mode]
        self.writer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        threads = [threading.Thread(target=self._reader, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        said = self.writer.communicate()[1]
        if said or self.writer.returncode:
            self.bad.append(f"the writer ended with {self.writer.returncode}: {said}")
        self._look_back()
        print(f"{self.scans} scans, {self._mode}: {self.read} read, {len(self.bad)} wrong")
        for line in self.bad[:20]:
            print(line)
        return not self.bad and self.read > 20

    def _reader(self, seed: int) -> None:
        chance = random.Random(seed)
        name = ""
        while self.writer.poll() is None:
            try:
                names = [name for name in os.listdir(self.shown) if name.endswith(".1")]
                if not names:
                    continue
                name = chance.choice(names)
                self._compare(name, np.load(self.shown / name / "data.npy"))
                self.read += 1
            except OSError:
                time.sleep(0.005)
            except ValueError as error:  # np.load of less than was promised
                self.bad.append(f"{name}: {error}")

    def _compare(self, name: str, shown: np.ndarray) -> None:
        expected = int(float(name)) * 10 + np.arange(len(shown))
        if not (shown == expected[:, None]).all():
            self.bad.append(f"{name}: {shown[:, 0]}")

    def _look_back(self) -> None:
        watch = Stopwatch()
        while watch.seconds < 3 and len(os.listdir(self.shown)) < self.scans:
            time.sleep(0.05)
        for number in range(1, self.scans + 1):
            shown = np.load(self.shown / f"{number}.1/data.npy")
            self._compare(f"{number}.1", shown)
            if shown.shape != (5, 64):
                self.bad.append(f"{number}.1: {shown.shape} at the end")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--program", default=str(Path(sys.executable).with_name("esrffs")))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="esrffs-live-"))
    source, mountpoint = folder / "source", folder / "mnt"
    source.mkdir()
    mountpoint.mkdir()
    command = [given.program, source, mountpoint, "--log-file", folder / "log"]
    subprocess.run(command, check=True)
    try:
        well = events(source, mountpoint, given.events, given.seed, 1.0)
        for mode in ("swmr", "plain"):
            well &= Acquisition(source, mountpoint, given.scans, mode).run()
    finally:
        subprocess.run(["fusermount3", "-uz", mountpoint], check=True)
    if well:
        shutil.rmtree(folder)
    else:
        print(f"the log: {folder / 'log'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
