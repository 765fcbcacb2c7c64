"""The files of a soak test: their arrays in each state, and what a mount may answer."""

import contextlib
import errno
import hashlib
import os
import random
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np

from tests.support.npy import npy_bytes

PAUSE = 0.2  # seconds at the most between two files that one process reads


FILES = 12  # that change; as many beside them do not


def content(number: int, state: int) -> dict[str, np.ndarray]:
    """The arrays of a file in a state, by their path in the mount."""
    chance = np.random.default_rng([number, state])
    return {
        "plain": chance.integers(0, 1 << 30, (40, 50)),
        "packed": chance.integers(0, 99, (30, 1000), dtype="u2"),
        "words": np.array([f"{number} {state} {i}" for i in range(200)]),
    }


def write(path: Path, number: int, state: int) -> None:
    arrays = content(number, state)
    with h5py.File(path, "w") as file:
        file.attrs["state"] = state
        file["plain"] = arrays["plain"]
        file.create_dataset("packed", data=arrays["packed"], chunks=(4, 1000), compression="gzip")
        file["words"] = arrays["words"].astype(h5py.string_dtype())


class Oracle:
    """What every file may hold: the digests of all states that it has had."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], set[bytes]] = {}

    def learn(self, name: str, number: int, state: int) -> None:
        """Before the state can be seen."""
        for array, values in content(number, state).items():
            digest = hashlib.blake2b(npy_bytes(values)).digest()
            self._known.setdefault((name, array), set()).add(digest)

    def knows(self, name: str, array: str, read: bytes) -> bool:
        return hashlib.blake2b(read).digest() in self._known[name, array]


def mounted(path: Path) -> bool:
    """False while a dead mount is taken away, and where the new one is not yet there."""
    with contextlib.suppress(OSError):
        return os.path.ismount(path)
    return False


def read_still(mountpoint: Path, seed: int) -> dict[str, object]:
    """Read files that never change until something comes by stdin, or it ends."""
    chance, done = random.Random(f"still {seed}"), threading.Event()
    expected = {
        f"still{number}.h5/{array}.npy": npy_bytes(values)
        for number in range(FILES)
        for array, values in content(number, 0).items()
    }
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
    read = requests = 0
    wrong: list[str] = []
    while not done.is_set():
        name = chance.choice(sorted(expected))
        try:
            if (mountpoint / name).read_bytes() != expected[name]:
                wrong.append(f"{name}: other bytes")
        except OSError as error:
            if error.errno in {errno.ENOTCONN, errno.ECONNABORTED} or not mounted(mountpoint):
                time.sleep(0.5)  # it is mounted anew
            else:
                wrong.append(f"{name}: {error}")
        read += 1
        requests += 4
        time.sleep(chance.random() * PAUSE)
    return {"read": read, "requests": requests, "wrong": wrong[:10]}
