"""The structure of one HDF5 file on a file server: many reads at a time, and the same listing."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.mounts import FUSE, Mounted
from tests.support.programs import run
from tests.support.slow_server import SlowServer

pytestmark = pytest.mark.skipif(not FUSE, reason="there is no /dev/fuse")

LATENCY = 10.0  # ms
_WALK = """
import sys, h5py
def look(_, one):
    if isinstance(one, h5py.Dataset):
        one.shape, one.dtype
with h5py.File(sys.argv[1], locking=False) as file:
    file.visititems(look)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SlowServer]:
    folder = tmp_path / "files"
    folder.mkdir()
    for version in ("earliest", "latest"):
        with h5py.File(folder / f"{version}.h5", "w", libver=version) as file:
            for number in range(400):
                data = file.create_dataset(f"scan {number // 40}/d{number}", data=np.ones(9_000))
                data.attrs["units"] = "mm"
    served = SlowServer(folder, tmp_path / "slow", LATENCY)
    yield served
    served.end()


@pytest.mark.parametrize("name", ["earliest.h5", "latest.h5"])
def test_a_file_is_gone_through_with_many_reads_at_a_time(
    server: SlowServer, mount: Callable[..., Mounted], tmp_path: Path, name: str
) -> None:
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", _WALK, server.path / name], check=True)
    one_after_the_other = time.monotonic() - start
    mounted = mount(server.path)
    server.reset()
    start = time.monotonic()
    listed = run("ls", "-lR", mounted.path / name).stdout
    elapsed = time.monotonic() - start
    counts = server.counts()
    assert counts["most"] >= 8
    assert elapsed < one_after_the_other / 2
    assert counts[f"open {name}"] <= 6
    local = mount(tmp_path / "files")
    expected = run("ls", "-lR", local.path / name).stdout
    assert listed.replace(str(mounted.path), "") == expected.replace(str(local.path), "")
