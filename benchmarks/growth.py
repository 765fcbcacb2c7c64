"""Time and memory for data of one, four and sixteen times the size.

The cache is small (64 MiB), so that memory which grows with the size would show.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import mounted

CACHE = 64  # MiB


@dataclass(frozen=True, slots=True)
class Grown:
    """`frame`: seconds for one frame out of the middle; `whole`: for all; memory in MiB."""

    times: int
    mebibytes: float
    frame: float
    whole: float
    peak: float
    shared: float


def measure(source: Path, scratch: Path, told: Callable[[str], None]) -> list[Grown]:
    found = []
    for times in (1, 4, 16):
        told(f"growth: ×{times}")
        with mounted(source, scratch / "grown", f"cache_size={CACHE}") as mount:
            path = mount.path / f"sizes/x{times}.h5/data.npy"
            start = time.perf_counter()
            mapped = np.load(path, mmap_mode="r")
            np.array(mapped[len(mapped) // 2])
            frame = time.perf_counter() - start
            start = time.perf_counter()
            with open(path, "rb", buffering=0) as file:
                buffer = bytearray(1 << 20)
                while file.readinto(buffer):
                    pass
            whole = time.perf_counter() - start
            size = mapped.nbytes / 2**20
            del mapped  # or the mount would be busy
            found.append(Grown(times, size, frame, whole, mount.peak(), mount.shared()))
    return found


def table(found: Sequence[Grown]) -> str:
    lines = [
        f"\n| size (cache {CACHE} MiB) | one frame, ms | whole, ms | peak, MiB | now (PSS), MiB |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| ×{g.times}: {g.mebibytes:.0f} MiB | {1e3 * g.frame:.0f} | {1e3 * g.whole:.0f} "
        f"| {g.peak:.0f} | {g.shared:.0f} |"
        for g in found
    ]
    return "\n".join(lines)
