"""Folders on a file server: how many calls a listing takes, and that it is as true as before."""

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

COUNT = 60
LATENCY = 10.0  # ms


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Callable[[Path], SlowServer]]:
    servers: list[SlowServer] = []

    def serve(folder: Path) -> SlowServer:
        servers.append(SlowServer(folder, tmp_path / f"slow{len(servers)}", LATENCY))
        return servers[-1]

    yield serve
    for server in servers:
        server.end()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    with h5py.File(folder / "0000.h5", "w") as file:
        file["x"] = 1
    for number in range(1, COUNT):
        shutil.copy(folder / "0000.h5", folder / f"{number:04d}.h5")
    return folder


def test_a_listing_opens_each_file_once_and_many_side_by_side(
    files: Path, slow: Callable[[Path], SlowServer], mount: Callable[..., Mounted]
) -> None:
    server = slow(files)
    mounted = mount(server.path)
    server.reset()
    start = time.monotonic()
    listed = run("ls", "-l", mounted.path)
    seconds = time.monotonic() - start
    assert len(listed.stdout.splitlines()) == COUNT + 1
    counts = server.counts()
    assert (counts["open"], counts["read"], counts["opendir"]) == (COUNT, COUNT, 1)
    assert counts["lookup"] <= COUNT
    assert counts["most"] > 4
    assert seconds < COUNT * 2 * LATENCY / 1000, "as if one call came after the other"


def test_the_option_bounds_how_many(
    files: Path, slow: Callable[[Path], SlowServer], mount: Callable[..., Mounted]
) -> None:
    server = slow(files)
    mounted = mount(server.path, "-o", "parallel=3")
    server.reset()
    run("ls", "-l", mounted.path)
    assert 1 < server.counts()["most"] <= 3


def test_what_is_asked_after_a_listing_was_learnt_with_it(
    files: Path, slow: Callable[[Path], SlowServer], mount: Callable[..., Mounted]
) -> None:
    server = slow(files)
    mounted = mount(server.path, "-o", "entry_timeout=0,attr_timeout=30")
    names = os.listdir(mounted.path)
    server.reset()
    for name in names:  # the kernel asks for each of them: it believes no name
        os.stat(mounted / name)
        os.listxattr(mounted / name)
    counts = server.counts()
    assert (counts["open"], counts["lookup"]) == (0, 0)


def test_a_second_listing_opens_only_what_changed(
    files: Path, slow: Callable[[Path], SlowServer], mount: Callable[..., Mounted]
) -> None:
    server = slow(files)
    mounted = mount(server.path)
    os.listdir(mounted.path)
    (files / "0007.h5").write_text("no data file any more")
    (files / "new.txt").write_text("new")
    time.sleep(2.5)  # neither the kernel nor the mount believe what they were told
    server.reset()
    assert "new.txt" in os.listdir(mounted.path)
    assert (mounted / "0007.h5").is_file()
    assert (mounted / "0008.h5").is_dir()
    counts = server.counts()
    assert {name for name in counts if name.startswith("open ")} <= {"open 0007.h5", "open new.txt"}


@pytest.mark.parametrize("known", [True, False])
def test_a_series_is_described_from_what_its_files_were_recognised_by(
    tmp_path: Path, slow: Callable[[Path], SlowServer], mount: Callable[..., Mounted], known: bool
) -> None:
    """`known` is not so where the files were recognised long before."""
    folder = tmp_path / "series"
    folder.mkdir()
    for number in range(COUNT):
        edf(folder / f"e_{number:03d}.edf", number)
    server = slow(folder)
    mounted = mount(server.path)
    server.reset()
    if not known:
        os.listdir(mounted.path)
        run("ls", "-l", mounted / "e_###.edf/scan_0/instrument/detector_0")
        edf(folder / "e_007.edf", 77)
        time.sleep(2.5)  # neither the kernel nor the mount believe what they were told
        server.reset()
    run("ls", "-lR", mounted / "e_###.edf")
    counts = server.counts()
    assert counts["open"] <= COUNT + 2
    assert counts["read"] <= COUNT + 2
    assert counts["most"] > 4
    n = np.load(mounted / "e_###.edf/scan_0/instrument/detector_0/others/n.npy")
    assert n.tolist() == [77 if number == 7 and not known else number for number in range(COUNT)]


@pytest.mark.parametrize("attr_timeout", [0, 1, 30])
def test_a_program_that_opens_a_file_sees_it_as_it_is(
    tmp_path: Path,
    slow: Callable[[Path], SlowServer],
    mount: Callable[..., Mounted],
    attr_timeout: int,
) -> None:
    """Whatever a listing learnt before; only the server's own kernel may know an older state."""
    folder = tmp_path / "changing"
    folder.mkdir()
    with h5py.File(folder / "a.h5", "w") as file:
        file["x"] = np.arange(5)
    (folder / "notes.txt").write_text("one")
    for number in range(3):
        edf(folder / f"e_{number}.edf", number)
    server = slow(folder)
    mounted = mount(server.path, "-o", f"attr_timeout={attr_timeout}")
    mounted.expect("changed since it was listed", "rewritten")
    series = mounted / "e_#.edf/scan_0/instrument/detector_0/data.npy"
    run("ls", "-lR", mounted.path)
    assert np.load(mounted / "a.h5/x.npy").tolist() == [*range(5)]
    assert np.load(series)[:, 0, 0].tolist() == [0, 1, 2]
    with h5py.File(folder / "b.h5", "w") as file:
        file["x"] = np.arange(7)
    os.replace(folder / "b.h5", folder / "a.h5")
    (folder / "notes.txt").write_text("and two")
    edf(folder / "e_1.edf", 11)
    time.sleep(1.2)  # for so long the server's kernel believes what it was told
    assert (mounted / "notes.txt").read_text() == "and two"
    assert np.load(mounted / "a.h5/x.npy").tolist() == [*range(7)]
    assert np.load(series)[:, 0, 0].tolist() == [0, 11, 2]
