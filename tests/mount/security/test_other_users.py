"""What other users may see of a mount: as much as of the source."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from tests.support.marks import as_root
from tests.support.mounts import Mounted
from tests.support.processes import as_nobody, as_user
from tests.support.programs import esrffs


@as_root
def test_another_user_in_a_private_mount(source: Path, place: Path) -> None:
    assert esrffs(source, place / "mnt").returncode == 0
    for command in ("ls", "cat"):
        assert "Permission denied" in as_nobody(command, place / "mnt/data.h5").stderr
    assert "Permission denied" in as_nobody("ls", "-d", place / "mnt/.").stderr
    assert esrffs("-u", place / "mnt").returncode == 0


@as_root
def test_owner_group_and_supplementary_groups(
    source: Path, shared_mount: Callable[..., Mounted]
) -> None:
    path = source / "grouped.h5"
    shutil.copy(source / "data.h5", path)
    os.chown(path, 4001, 5001)
    mounted = shared_mount("-o", "attr_timeout=0,entry_timeout=0")
    shown = mounted / "grouped.h5/x.npy"
    for mode, owner, group, other in [
        (0o400, True, False, False),
        (0o440, True, True, False),
        (0o040, False, True, False),
        (0o044, False, True, True),
        (0o404, True, False, True),
        (0o000, False, False, False),
    ]:
        path.chmod(mode)
        assert as_user(shown, 4001, 1) is owner, oct(mode)
        assert as_user(shown, 4002, 5001) is group, oct(mode)
        assert as_user(shown, 4002, 1, 5001) is group, f"{mode:o}, by a supplementary group"
        assert as_user(shown, 4002, 1, 5002) is other, oct(mode)
    folder = source / "closed"
    folder.mkdir(mode=0o700)
    shutil.copy(source / "data.h5", folder)
    assert not as_user(mounted / "closed/data.h5/x.npy", 4002, 1)


@as_root
@pytest.mark.skipif(not shutil.which("getfattr"), reason="there is no getfattr (package attr)")
def test_names_of_attributes_are_content(
    source: Path, shared_mount: Callable[..., Mounted]
) -> None:
    """The kernel lets everybody ask for names, and checks only who asks for values."""
    with h5py.File(source / "private.h5", "w") as file:
        file.attrs["a_secret_name"] = 1
    os.chown(source / "private.h5", 4001, 5001)
    (source / "private.h5").chmod(0o440)
    shown = shared_mount() / "private.h5"
    os.listdir(shown)  # of a file that nobody has looked into not even the owner is told
    for uid, groups, may in [
        (0, [0], True),
        (4001, [1], True),
        (4002, [5001], True),
        (4002, [1, 5001], True),
        (4002, [1], False),
    ]:
        done = subprocess.run(
            ["getfattr", shown],
            user=uid,
            group=groups[0],
            extra_groups=groups,
            capture_output=True,
            text=True,
            check=True,
        )
        assert ("user.a_secret_name" in done.stdout) is may, (uid, groups)
        assert "user.esrffs.path" in done.stdout


ACLS = [
    "u:4002:---",
    "u:4002:r--",
    "g:5002:---",
    "g:5002:r--",
    "g::---,m::r--,u:4001:r--",
    "u:4002:---,g:5002:r--",
    "u:4002:rw-,m::---",
    "u:4003:rwx,g:5001:---,m::rwx,o::r--",
    "g::r--,m::---,u:4002:r--,o::r--",
]


PEOPLE = [(4001, 1, ()), (4002, 1, ()), (4002, 5001, ()), (4003, 1, (5001,)), (4003, 1, (5002,))]
PEOPLE += [(4004, 5001, (5002,)), (4004, 1, ())]


@as_root
@pytest.mark.skipif(not shutil.which("setfacl"), reason="there is no setfacl")
def test_nobody_reads_what_an_acl_refuses(
    source: Path, shared_mount: Callable[..., Mounted]
) -> None:
    """The kernel itself, asked about the source, is the oracle."""
    for number, acl in enumerate(["", *ACLS]):
        for base in (0o640, 0o644, 0o604):
            path = source / f"acl{number}-{base:o}.h5"
            shutil.copy(source / "data.h5", path)
            os.chown(path, 4001, 5001)
            path.chmod(base)
            if acl:
                subprocess.run(["setfacl", "-m", acl, path], check=True)
    closed = source / "closed"
    closed.mkdir()
    shutil.copy(source / "data.h5", closed / "data.h5")
    subprocess.run(["setfacl", "-m", "u:4002:---", closed], check=True)
    with h5py.File(source / "attack.h5", "w") as file:
        layout = h5py.VirtualLayout((10,), "i8")
        layout[:] = h5py.VirtualSource("acl1-644.h5", "x", (10,))
        file.create_virtual_dataset("virtual", layout)
    os.chown(source / "attack.h5", 4002, 4002)
    (source / "attack.h5").chmod(0o644)
    mounted = shared_mount()
    granted = 0
    for path in sorted(source.glob("acl*.h5")):
        for person in PEOPLE:
            if as_user(mounted / path.name / "x.npy", *person[:2], *person[2]):
                assert as_user(path, *person[:2], *person[2]), f"{path.name}: {person}"
                granted += 1
    assert granted > 60, "and what is granted to all is granted"
    assert not as_user(mounted / "closed/data.h5/x.npy", 4002, 1)
    assert as_user(closed / "data.h5", 4004, 1)
    mounted.expect("attack.h5")
    assert not as_user(mounted / "attack.h5/virtual.npy", 4002, 4002)
