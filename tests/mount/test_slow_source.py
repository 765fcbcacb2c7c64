"""Sources behind a file server: many reads in flight for who reads on, and no more than asked."""

import errno
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from tests.support.mounts import FUSE, Mounted
from tests.support.programs import wait_for
from tests.support.slow_server import SlowServer

pytestmark = pytest.mark.skipif(not FUSE, reason="no /dev/fuse")

LATENCY = 10.0  # ms
FRAMES = np.random.default_rng(0).integers(0, 900, (24, 512, 1024), np.uint16)  # 1 MiB each
STORED = {
    "contiguous": {},
    "gzip": {"chunks": (1, 512, 1024), "compression": "gzip", "compression_opts": 1},
    "bitshuffle": {"chunks": (1, 512, 1024), **hdf5plugin.Bitshuffle(cname="lz4")},
    "small": {"chunks": (1, 64, 64)},
}


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SlowServer]:
    real = tmp_path / "real"
    real.mkdir()
    with h5py.File(real / "a.h5", "w") as file:
        for name, options in STORED.items():
            file.create_dataset(name, data=FRAMES, **options)
    with h5py.File(real / "tomo.h5", "w") as file:
        file["data/0"] = FRAMES
        file["dark/0"] = np.zeros_like(FRAMES[:1])
        file["flat/0"] = np.full_like(FRAMES[:1], 100)
    (real / "notes.bin").write_bytes(FRAMES.tobytes())
    served = SlowServer(real, tmp_path / "slow", LATENCY, cached=False)
    yield served
    served.end()


@pytest.mark.parametrize(
    "name", [*(f"a.h5/{name}.npy" for name in STORED), "notes.bin", "a.h5/gzip.tif"]
)
def test_who_reads_on_has_many_reads_in_flight(
    source: SlowServer, mount: Callable[..., Mounted], name: str
) -> None:
    mounted = mount(source.path)
    content = (mounted / name).read_bytes()
    assert content[-FRAMES.nbytes :] == FRAMES.tobytes()
    assert source.counts()["most"] >= 8
    told = mounted.status["reads"]
    assert told["latency_ms"] >= LATENCY / 2
    assert told["read_ahead"]["bytes_used"] > FRAMES.nbytes // 2
    assert told["read_ahead"]["bytes"] == 0


def test_corrected_reads_its_raw_frames_ahead(
    source: SlowServer, mount: Callable[..., Mounted]
) -> None:
    mounted = mount(source.path)
    found = np.load(mounted / "tomo.h5/corrected/0.npy")
    assert np.array_equal(found, FRAMES.astype("f4") / np.float32(100))
    assert source.counts()["most"] >= 8


def test_the_files_of_a_virtual_dataset_are_opened_ahead(
    source: SlowServer, mount: Callable[..., Mounted]
) -> None:
    """And one that is missing costs its own frame."""
    layout = h5py.VirtualLayout(FRAMES.shape, FRAMES.dtype)
    for k, frame in enumerate(FRAMES):
        with h5py.File(source.folder / f"frame{k}.h5", "w") as file:
            file["x"] = frame
        layout[k] = h5py.VirtualSource(f"frame{k}.h5", "x", frame.shape)
    with h5py.File(source.folder / "virtual.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    mounted = mount(source.path)
    found = np.load(mounted / "virtual.h5/x.npy")
    assert np.array_equal(found, FRAMES)
    assert mounted.status["reads"]["read_ahead"]["bytes_used"] > FRAMES.nbytes // 2
    mounted.expect("frame7.h5")
    (source.folder / "frame7.h5").unlink()
    time.sleep(1.1)
    with open(mounted / "virtual.h5/x.npy", "rb", buffering=0) as file:
        whole, code = rest_of(file)
    assert code != 0
    assert 6 << 20 <= len(whole) <= (7 << 20) + 4096
    data = whole[(mounted / "virtual.h5/x.npy").stat().st_size - FRAMES.nbytes :]
    assert data == FRAMES.tobytes()[: len(data)]


def test_parallel_is_the_most_in_flight(source: SlowServer, mount: Callable[..., Mounted]) -> None:
    mounted = mount(source.path, "-o", "parallel=3")
    assert (mounted / "a.h5/gzip.npy").read_bytes()[-FRAMES.nbytes :] == FRAMES.tobytes()
    reading = source.counts()
    assert reading["most"] <= 3 + 9  # beside the samples that tell whether the file grew


@pytest.mark.parametrize("name", ["a.h5/contiguous.npy", "notes.bin"])
def test_who_reads_here_and_there_costs_what_is_asked_for(
    source: SlowServer, mount: Callable[..., Mounted], name: str
) -> None:
    mounted = mount(source.path)
    with open(mounted / name, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        file.seek(0, os.SEEK_END)
        end = file.tell()
        before = source.counts()["nbytes"]
        asked = 0
        for k in range(20):
            at = end - FRAMES.nbytes + k * 7919 % 23 * (1 << 20) + 4096 * k
            read = os.pread(file.fileno(), 4096, at)
            assert read == FRAMES.tobytes()[at - end + FRAMES.nbytes :][:4096]
            asked += 4096
        assert source.counts()["nbytes"] - before <= 3 * asked  # whole pages
    assert mounted.status["reads"]["read_ahead"]["bytes_used"] == 0


def test_what_was_read_ahead_in_vain_is_told(
    source: SlowServer, mount: Callable[..., Mounted]
) -> None:
    mounted = mount(source.path)
    with open(mounted / "notes.bin", "rb", buffering=0) as file:
        for _ in range(40):
            file.read(1 << 17)
    wait_for(lambda: mounted.status["reads"]["read_ahead"]["bytes"] == 0)
    wasted = mounted.status["reads"]["read_ahead"]["bytes_wasted"]
    assert 0 < wasted <= 40 * (1 << 17) * 4


def test_a_file_that_is_rewritten_under_read_ahead_is_stale(
    source: SlowServer, mount: Callable[..., Mounted]
) -> None:
    mounted = mount(source.path)
    mounted.expect("was rewritten", "changed since")
    with open(mounted / "notes.bin", "rb", buffering=0) as file:
        assert file.read(1 << 20) == FRAMES.tobytes()[: 1 << 20]
        (source.folder / "notes.bin").write_bytes(bytes(FRAMES.nbytes))
        read, code = rest_of(file)
    assert code == errno.ESTALE
    assert read == FRAMES.tobytes()[1 << 20 :][: len(read)]


def rest_of(file: io.FileIO) -> tuple[bytes, int]:
    """All that can be read, and the errno at its end."""
    read = bytearray()
    try:
        while part := file.read(1 << 17):
            read += part
    except OSError as error:
        return bytes(read), error.errno or 0
    return bytes(read), 0


def test_a_truncated_file_gives_what_it_has(
    source: SlowServer, mount: Callable[..., Mounted]
) -> None:
    """Neighbouring chunks are read as one: the end of the file costs only those behind it."""
    with h5py.File(source.folder / "cut.h5", "w") as file:
        file.create_dataset("x", data=FRAMES, **STORED["bitshuffle"])
        cut = file["x"].id.get_chunk_info(23).byte_offset + 100
    size = (source.folder / "cut.h5").stat().st_size
    os.truncate(source.folder / "cut.h5", cut)
    os.truncate(source.folder / "cut.h5", size)  # zeros where the last chunk was
    mounted = mount(source.path)
    mounted.expect("chunk 23")
    with open(mounted / "cut.h5/x.npy", "rb", buffering=0) as file:
        header = os.fstat(file.fileno()).st_size - FRAMES.nbytes
        whole, code = rest_of(file)
    assert code == errno.EIO
    assert whole[header:] == FRAMES.tobytes()[: len(whole) - header]
    assert len(whole) >= 22 << 20


LIMIT = 8.0  # seconds
_READ = """
import os, sys
try:
    open(sys.argv[1], "rb", buffering=0).read()
except OSError as error:
    sys.exit(error.errno)
"""


@pytest.mark.parametrize("name", ["notes.bin", "a.h5/bitshuffle.npy"])
def test_a_server_that_falls_silent_with_many_reads_in_flight(
    source: SlowServer, mount: Callable[..., Mounted], name: str
) -> None:
    mounted = mount(source.path, "-o", f"time_limit={LIMIT}")
    mounted.expect("gave no answer within", "no answer within")
    with open(mounted / name, "rb", buffering=0) as file:
        for _ in range(20):
            file.read(1 << 17)
    with source.silent():
        started = time.monotonic()
        asking = [subprocess.Popen([sys.executable, "-c", _READ, mounted / name]) for _ in range(3)]
        time.sleep(LIMIT / 2)
        assert mounted.status["reads"]["calls_in_flight"] > 0  # needs no source
        assert {one.wait(5 * LIMIT) for one in asking} == {errno.ETIMEDOUT}
        assert time.monotonic() - started < 5 * LIMIT
    wait_for(lambda: mounted.status["reads"]["calls_overdue"] == 0)
    assert (mounted / name).read_bytes()[-FRAMES.nbytes :] == FRAMES.tobytes()
