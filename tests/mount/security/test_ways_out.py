"""Nothing that a file names leads out of the source."""

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from esrffs.linux import sandbox
from tests.support.errnos import errno_of_reading
from tests.support.mounts import Mounted
from tests.support.processes import workers
from tests.support.programs import wait_for
from tests.support.secrets import SECRET, attacks, everything, swapping


@pytest.mark.parametrize("way", ["relative", "absolute", "symlink", "folder"])
def test_nothing_in_a_file_leads_out(
    source: Path, place: Path, shared_mount: Callable[..., Mounted], way: str
) -> None:
    before = {"relative": "../", "absolute": f"{place}/", "symlink": "", "folder": "up/"}[way]
    if way == "symlink":
        (source / "secret.h5").symlink_to("../secret.h5")
        (source / "secret.raw").symlink_to("../secret.raw")
    if way == "folder":
        (source / "up").symlink_to("..")
    targets = attacks(source, f"{before}secret.h5", f"{before}secret.raw")
    mounted = shared_mount()
    mounted.expect("EACCES", r"attack\.edf")
    for target in targets:
        assert errno_of_reading(mounted / target) == errno.EACCES, target
    assert SECRET[:10] not in everything(mounted.path / "attack.h5")
    assert SECRET[:10] not in everything(mounted.path / "attack.edf")
    assert SECRET[:10] not in everything(mounted.path / "second.h5")
    assert np.load(mounted / "data.h5/x.npy").tolist() == list(range(10))


def test_the_same_ways_lead_where_they_may(
    source: Path, shared_mount: Callable[..., Mounted]
) -> None:
    shutil.copy(source.parent / "secret.h5", source / "open.h5")
    shutil.copy(source.parent / "secret.raw", source / "open.raw")
    targets = [
        target.replace("strings", "strings.npy")
        for target in attacks(source, "open.h5", "open.raw")
    ]
    targets.remove("attack.h5/frames.npy")  # whose source has another shape
    mounted = shared_mount()
    for target in targets:
        assert errno_of_reading(mounted / target) == 0, target


def test_symlinks_of_a_shared_source_stay_links(
    source: Path, place: Path, shared_mount: Callable[..., Mounted]
) -> None:
    (source / "out.raw").symlink_to(place / "secret.raw")
    (source / "out").symlink_to(place)
    (source / "etc").symlink_to("/etc")
    mounted = shared_mount()
    for name in ("out.raw", "out", "etc"):
        assert (mounted / name).is_symlink(), "the kernel, not the daemon, follows it"
    for path in ("..", "x/../../secret.raw", "data.h5/../../secret.raw", "data.h5/%2E%2E"):
        assert errno_of_reading(mounted.path / "y" / path) == errno.ENOENT


def test_a_link_swapped_under_a_reader(
    source: Path, place: Path, shared_mount: Callable[..., Mounted]
) -> None:
    """libhdf5 opens by name: what check and open disagree about, Landlock decides."""
    if sandbox.landlock_version() == 0:
        pytest.skip("no Landlock in this kernel")
    with h5py.File(source / "innocent.h5", "w") as file:
        file["x"] = np.zeros(512, "u1")
        file["words"] = np.array(["nothing"], dtype=h5py.string_dtype())
    (source / "innocent.raw").write_bytes(bytes(512))
    (source / "swapped.h5").symlink_to("innocent.h5")
    (source / "swapped.raw").symlink_to("innocent.raw")
    targets = attacks(source, "swapped.h5", "swapped.raw")
    mounted = shared_mount("-o", "attr_timeout=0,entry_timeout=0")
    mounted.expect("attack", "second")
    end = threading.Event()
    threads = [
        swapping(source / "swapped.h5", "innocent.h5", "../secret.h5", end),
        swapping(source / "swapped.raw", "innocent.raw", "../secret.raw", end),
    ]
    seen = set()
    stop = time.monotonic() + 8
    tries = 0
    try:
        while tries < 2000 and time.monotonic() < stop:
            for target in targets:
                tries += 1
                os.utime(source / target.partition("/")[0])  # so that nothing is remembered
                try:
                    content = (mounted / target).read_bytes()
                except OSError as error:
                    seen.add(error.errno)
                else:
                    assert SECRET[:10] not in content
                    seen.add(0)
    finally:
        end.set()
        for thread in threads:
            thread.join()
    assert {0, errno.EACCES} <= seen


def test_the_readers_of_a_mount_are_confined(
    source: Path, shared_mount: Callable[..., Mounted]
) -> None:
    mounted = shared_mount()
    found = workers(mounted)
    assert found

    def confined(pid: int) -> bool:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        return (
            fields["NoNewPrivs"] == "1"
            and int(fields["CapEff"], 16) & ~(1 << 2) == 0
            and Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
        )

    wait_for(lambda: all(map(confined, found)))  # the spare one may just be starting


def test_a_source_that_was_put_back_is_read_again(
    source: Path, shared_mount: Callable[..., Mounted]
) -> None:
    """The sandbox of a reader knows the source by its inode, which is another one then."""
    with h5py.File(source / "words.h5", "w") as file:
        file["w"] = np.array(["a", "b"], dtype=h5py.string_dtype())
    mounted = shared_mount("-o", "attr_timeout=0,entry_timeout=0")
    assert np.load(mounted / "words.h5/w.npy").tolist() == ["a", "b"]
    away = source.with_name("away")
    source.rename(away)
    mounted.expect("words.h5")
    assert errno_of_reading(mounted / "words.h5/w.npy") != 0
    shutil.copytree(away, source)
    assert np.load(mounted / "words.h5/w.npy").tolist() == ["a", "b"]
