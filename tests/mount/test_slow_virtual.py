"""Virtual datasets over many files of a file server: their sources are looked for side by side."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.marks import needs_fuse
from tests.support.mounts import MountFactory
from tests.support.slow_server import SlowServer

pytestmark = needs_fuse

COUNT = 40
SHAPE = (64, 512)
FRAME = 2 * 64 * 512  # bytes


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SlowServer]:
    folder = tmp_path / "files"
    folder.mkdir()
    layout = h5py.VirtualLayout((COUNT, *SHAPE), "u2")
    for number in range(COUNT):
        frames = np.full((1, *SHAPE), number, "u2")
        with h5py.File(folder / f"s{number:03d}.h5", "w") as file:
            file.create_dataset("entry/data", data=frames, chunks=(1, *SHAPE), compression="gzip")
        layout[number] = h5py.VirtualSource(f"s{number:03d}.h5", "entry/data", (1, *SHAPE))[0]
    with h5py.File(folder / "master.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    server = SlowServer(folder, tmp_path / "slow", 10.0)
    yield server
    server.end()


def test_the_sources_of_a_listing(server: SlowServer, mount: MountFactory) -> None:
    mounted = mount(server.path, "-o", "index=none")
    os.listdir(mounted.path)
    time.sleep(1.5)  # the kernel does not know the names any more
    server.reset()
    assert os.listdir(mounted / "master.h5") == ["data.npy"]
    counts = server.counts()
    assert counts["lookup"] >= COUNT
    assert counts["most"] > 4
    assert counts["open"] == 1


def test_a_reader_who_reads_on_finds_the_next_sources_open(
    server: SlowServer, mount: MountFactory
) -> None:
    """Each is opened once to be described, with the place of its chunks, and once to be read."""
    mounted = mount(server.path, "-o", "index=none")
    os.listdir(mounted.path)
    os.listdir(mounted / "master.h5")
    server.reset()
    data = np.load(mounted / "master.h5/data.npy")
    assert (data == np.arange(COUNT, dtype="u2")[:, None, None]).all()
    counts = server.counts()
    assert 2 * COUNT <= counts["open"] <= 2 * COUNT + 10
    assert counts["most"] > 2


def test_a_reader_of_single_frames_opens_no_others(server: SlowServer, mount: MountFactory) -> None:
    mounted = mount(server.path, "-o", "index=none")
    os.listdir(mounted.path)
    os.listdir(mounted / "master.h5")
    server.reset()
    with open(mounted / "master.h5/data.npy", "rb", buffering=0) as file:
        for number in (30, 7, 21):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            content = os.pread(file.fileno(), 2, 128 + number * FRAME)
            assert content == number.to_bytes(2, "little")
    # The first frame was looked at with the header; a page holds the end of the frame before.
    assert server.counts()["open"] <= 2 * 7 + 2


def test_a_source_that_is_not_there_costs_its_own_frame(
    server: SlowServer, mount: MountFactory, tmp_path: Path
) -> None:
    (tmp_path / "files/s020.h5").unlink()
    mounted = mount(server.path, "-o", "index=none")
    mounted.expect("s020.h5")
    with open(mounted / "master.h5/data.npy", "rb", buffering=0) as file:
        head = os.pread(file.fileno(), 128 + 16 * FRAME, 0)
        assert head[-2:] == (15).to_bytes(2, "little")
        assert os.pread(file.fileno(), 2, 128 + 36 * FRAME) == (36).to_bytes(2, "little")
        with pytest.raises(OSError, match="Input/output error"):
            os.pread(file.fileno(), 2, 128 + 20 * FRAME)
