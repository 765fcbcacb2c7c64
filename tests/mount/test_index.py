"""A second mount of a file server finds what the first one learnt, if it may be believed."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.marks import needs_fuse
from tests.support.mounts import Mounted
from tests.support.programs import run
from tests.support.slow_files import edf
from tests.support.slow_server import SlowServer

pytestmark = needs_fuse

COUNT = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Old files: an HDF5 file that was copied, a series, notes."""
    folder = tmp_path / "files"
    folder.mkdir()
    with h5py.File(folder / "0.h5", "w") as file:
        file["entry/data"] = np.arange(5)
        file["entry/title"] = "a title"
        file["entry"].attrs["NX_class"] = "NXentry"
    for number in range(1, COUNT):
        shutil.copy(folder / "0.h5", folder / f"{number}.h5")
        edf(folder / f"e_{number:03d}.edf", number)
    (folder / "notes.txt").write_text("notes")
    time.sleep(3.2)  # what changed just now is not remembered
    return folder


@pytest.fixture
def server(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowServer]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    server = SlowServer(folder, tmp_path / "slow", 2.0)
    yield server
    server.end()


def look(mounted: Mounted) -> str:
    """All that a walk shows, but for times of access."""
    return run("ls", "-lR", mounted.path).stdout


def status(mounted: Mounted) -> dict[str, object]:
    return mounted.status["index"]


Mount = Callable[..., Mounted]


def learn(mount: Mount, server: SlowServer, *options: str) -> str:
    """A mount that walks through all, and ends."""
    mounted = mount(server.path, *options)
    shown = look(mounted).replace(str(mounted.path), "")
    mounted.process.terminate()
    mounted.process.wait(30)
    server.reset()
    return shown


def test_a_second_mount_opens_nothing_to_list_all(server: SlowServer, mount: Mount) -> None:
    shown = learn(mount, server)
    mounted = mount(server.path)
    assert look(mounted).replace(str(mounted.path), "") == shown
    assert server.counts()["open"] == 0
    told = status(mounted)
    assert int(str(told["entries"])) > COUNT
    assert int(str(told["hits"])) > COUNT
    assert told["misses"] == 0
    data = np.load(mounted / "7.h5/entry/data.npy")
    assert data.tolist() == [*range(5)]
    stack = np.load(mounted / "e_###.edf/scan_0/instrument/detector_0/data.npy")
    assert stack[:, 0, 0].tolist() == [*range(1, COUNT)]
    assert (mounted / "7.h5/entry/title.txt").read_text() == "a title\n"


def test_what_changed_is_looked_at(server: SlowServer, mount: Mount, folder: Path) -> None:
    learn(mount, server)
    with h5py.File(folder / "7.h5", "w") as file:
        file["other"] = 1.0
    edf(folder / "e_007.edf", 777)
    (folder / "0.h5").write_text("no data file any more")
    time.sleep(1.2)  # the kernel of the server's mount knows it, too
    server.reset()
    mounted = mount(server.path)
    look(mounted)
    assert os.listdir(mounted / "7.h5") == ["other.npy"]
    assert (mounted / "0.h5").is_file()
    stack = np.load(mounted / "e_###.edf/scan_0/instrument/detector_0/data.npy")
    assert stack[6, 0, 0] == 777
    opened = {name for name in server.counts() if name.startswith("open ") and ".h5" in name}
    assert opened <= {"open 0.h5", "open 7.h5"}


def test_without_an_index_nothing_is_kept(server: SlowServer, mount: Mount, tmp_path: Path) -> None:
    learn(mount, server, "-o", "index=none")
    assert not (tmp_path / "cache").exists()
    mounted = mount(server.path, "-o", "index=none")
    look(mounted)
    assert server.counts()["open"] >= COUNT
    assert status(mounted)["off"] == "index=none"


def test_two_mounts_at_once(server: SlowServer, mount: Mount) -> None:
    first, second = mount(server.path), mount(server.path)
    shown = [look(mounted).replace(str(mounted.path), "") for mounted in (first, second)]
    assert shown[0] == shown[1]
    assert np.load(second / "3.h5/entry/data.npy").tolist() == [*range(5)]


def test_a_damaged_index_costs_one_line_of_the_log(
    server: SlowServer, mount: Mount, tmp_path: Path
) -> None:
    shown = learn(mount, server)
    (file,) = (tmp_path / "cache" / "esrffs").glob("*.sqlite")
    file.write_bytes(b"damaged" * 10_000)
    mounted = mount(server.path)
    mounted.expect("the index was damaged")
    assert look(mounted).replace(str(mounted.path), "") == shown
    assert len(mounted.warnings) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_index_of_another_user_is_left_alone(
    server: SlowServer, mount: Mount, tmp_path: Path
) -> None:
    learn(mount, server)
    cache = tmp_path / "cache" / "esrffs"
    before = {path.name: path.read_bytes() for path in cache.iterdir()}
    os.chown(cache, 12345, 12345)
    mounted = mount(server.path)
    assert len(look(mounted).splitlines()) > COUNT
    assert "only you can enter" in str(status(mounted)["off"])
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == before
