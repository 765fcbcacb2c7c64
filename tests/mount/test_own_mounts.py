"""Links that lead into a mount of esrffs: they stay links, and no daemon waits for itself."""

import os
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from esrffs.errors import AccessDeniedError, OwnMountError
from esrffs.linux import path_walk
from esrffs.linux.mountinfo import OWN
from tests.support.marks import as_root, needs_fuse
from tests.support.mounts import Mounted, MountFactory
from tests.support.programs import esrffs, run, wait_for


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Its mount will be at `mnt0` beside it."""
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "notes.txt").write_text("hi")
    return folder


def links_into(folder: Path, mountpoint: Path) -> dict[str, str]:
    """Links of all kinds into a mount: by name, as they are to be shown."""
    texts = {}
    for name in ("notes.txt", "nothing", "sub", "", "sub/../notes.txt"):
        for kind, start in (("relative", f"../{mountpoint.name}"), ("absolute", str(mountpoint))):
            texts[f"{kind} {name.replace('/', '%')}"] = f"{start}/{name}"
    texts |= {"hop": "relative notes.txt", "hops": "hop", "back": "relative /../source"}
    for name, text in texts.items():
        (folder / name).symlink_to(text)
    return texts


def in_time(*words: object) -> subprocess.CompletedProcess[str]:
    """A program that looks into a mount: a daemon that waited for itself would not let it end."""
    done = run("timeout", "-s", "KILL", "60", *words)
    assert done.returncode != 137, "still waiting"
    return done


@needs_fuse
@pytest.mark.parametrize("options", [(), ("-o", "allow_other")], ids=["private", "shared"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_links_into_the_own_mount_stay_links(
    mount: MountFactory, source: Path, before: bool, options: tuple[str, ...]
) -> None:
    mountpoint = source.parent / "mnt0"
    texts = links_into(source, mountpoint) if before else {}
    mounted = mount(source, *options)
    texts = texts or links_into(source, mountpoint)
    wait_for(lambda: len(in_time("ls", mounted.path).stdout.splitlines()) == len(texts) + 2)
    for name, text in texts.items():
        assert in_time("readlink", mounted / name).stdout == f"{text}\n"
    assert in_time("cat", mounted / "hops").stdout == "hi", "the kernel of who looks follows it"
    assert mounted.status["errors"] == []


@needs_fuse
def test_two_mounts_whose_sources_lead_into_each_other(mount: MountFactory, source: Path) -> None:
    other = source.parent / "other"
    other.mkdir()
    (other / "notes.txt").write_text("other")
    (source / "there").symlink_to("../mnt1/notes.txt")
    (other / "there").symlink_to("../mnt0/there")
    (source / "round").symlink_to("../mnt1/round")
    (other / "round").symlink_to("../mnt0/round")
    first, second = mount(source), mount(other)
    for mounted in (first, second):
        assert {"there", "round"} <= set(in_time("ls", mounted.path).stdout.split())
        assert in_time("cat", mounted / "there").stdout == "other"
        assert "Too many levels" in in_time("cat", mounted / "round").stderr


@needs_fuse
@as_root
def test_a_mount_that_is_bound_into_its_own_source(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    run("mount", "--bind", mounted.path, source / "sub")
    try:
        (source / "link").symlink_to("sub/notes.txt")
        wait_for(lambda: in_time("ls", mounted.path).stdout.split() == ["link", "notes.txt"])
        assert in_time("ls", mounted / "sub").returncode != 0
        assert in_time("ls", mounted / "sub/sub").returncode != 0
    finally:
        mounted.expect("never follows")
        run("umount", source / "sub")
    wait_for(lambda: "sub" in os.listdir(mounted.path))


def in_files(mountpoint: Path, path: Path) -> None:
    """Everything of HDF5 that can name another file: each names one in the mount."""
    with h5py.File(path, "w") as file:
        file["sound"] = np.arange(5)
        for number, name in enumerate(
            ("../mnt0/a.h5", f"{mountpoint}/a.h5", "../mnt0/raw", "link")
        ):
            file[f"external{number}"] = h5py.ExternalLink(name, "/sound")
            file[f"soft{number}"] = h5py.SoftLink(f"/external{number}")
            layout = h5py.VirtualLayout((5,), "i8")
            layout[:] = h5py.VirtualSource(name, "sound", (5,))
            file.create_virtual_dataset(f"virtual{number}", layout)
            file.create_dataset(f"raw{number}", (4,), "u1", external=[(name, 0, 4)])


@needs_fuse
def test_links_in_data_files_that_lead_into_the_own_mount(
    mount: MountFactory, source: Path
) -> None:
    (source / "raw").write_bytes(b"1234")
    (source / "link").symlink_to("../mnt0/raw")
    in_files(source.parent / "mnt0", source / "a.h5")
    mounted: Mounted = mount(source)
    mounted.expect("never follows")
    names = in_time("ls", mounted / "a.h5").stdout.split()
    assert len(names) == 4 * 4 + 1
    assert np.load(mounted / "a.h5/sound.npy").tolist() == [0, 1, 2, 3, 4]
    for name in set(names) - {"sound.npy"}:
        done = in_time("cat", mounted / "a.h5" / name)
        assert "Permission denied" in done.stderr, name
        told = os.getxattr(mounted / "a.h5" / name, "user.esrffs.error").decode()
        assert "leads into a mount of esrffs" in told


@needs_fuse
def test_which_mounts_are_ours_is_known_at_once(mount: MountFactory, source: Path) -> None:
    path = str(source.parent / "mnt0")
    assert not OWN.cover(path)
    mounted = mount(source)
    assert OWN.cover(path)
    assert OWN.cover(path + "/sub")
    assert not OWN.cover(path + "x")
    assert OWN.within(str(source.parent)) == {"mnt0"}
    for look in (path_walk.resolve, path_walk.status):
        for name in ("", "/sub", "/nothing", "/../mnt0/sub"):
            with pytest.raises(OwnMountError, match="never follows"):
                look(path + name)
    found = path_walk.find_esrffs_mount(path)
    assert found is not None
    assert (found.source, found.user) == (str(source), os.geteuid())
    assert path_walk.find_esrffs_mount(path + "/sub") is None
    assert issubclass(OwnMountError, AccessDeniedError)
    run("umount", "-l", mounted.path)
    wait_for(lambda: mounted.process.poll() is not None)
    assert not OWN.cover(path)


@needs_fuse
@pytest.mark.parametrize("where", ["itself", "by a link", "by a bind mount"])
def test_a_folder_is_not_mounted_on_itself(tmp_path: Path, where: str) -> None:
    """An empty one: of others it would be said that they are not empty."""
    folder, other = tmp_path / "empty", tmp_path / "other"
    folder.mkdir()
    if where == "by a link":
        other.symlink_to(folder)
    elif where == "by a bind mount":
        other.mkdir()
        if run("mount", "--bind", folder, other).returncode:
            pytest.skip("only root can bind a folder elsewhere")
    try:
        done = esrffs(folder, folder if where == "itself" else other)
    finally:
        run("umount", other)
    assert done.returncode == 1
    assert "cannot be mounted on itself" in done.stderr


@needs_fuse
def test_neither_source_nor_mount_point_in_a_mount(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    (source.parent / "empty").mkdir()
    for path in (mounted.path, mounted / "sub"):
        done = esrffs(path, source.parent / "empty")
        assert (done.returncode, "lies in a mount of esrffs" in done.stderr) == (2, True)
    done = esrffs(source, mounted / "sub")
    assert (done.returncode, "lies in a mount of esrffs" in done.stderr) == (1, True)
