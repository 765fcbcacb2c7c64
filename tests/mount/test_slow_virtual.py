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
SHAPE = (16, 32)


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


def test_the_values(server: SlowServer, mount: MountFactory) -> None:
    mounted = mount(server.path, "-o", "index=none")
    data = np.load(mounted / "master.h5/data.npy")
    assert (data == np.arange(COUNT, dtype="u2")[:, None, None]).all()
