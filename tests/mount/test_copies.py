"""What is copied out of a mount belongs to whoever copied it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

from tests.support.marks import needs_fuse
from tests.support.mounts import Mounted
from tests.support.programs import run

pytestmark = needs_fuse

ROOT = os.geteuid() == 0


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may enter and write to, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="esrffs-copies-", dir="/tmp"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def mounted(place: Path) -> Iterator[Mounted]:
    source = place / "source"
    (source / "folder").mkdir(parents=True)
    (source / "folder/notes.txt").write_text("notes\n")
    with h5py.File(source / "data.h5", "w") as file:
        file["entry/x"] = range(10)
        file["entry/x"].attrs["units"] = "mm"
        for role in ("data", "flatfield", "dark"):
            file[f"scan/{role}/0000"] = [[1, 2], [3, 4]]
    for path in (source, source / "folder"):
        path.chmod(0o755)
    for path in (source / "data.h5", source / "folder/notes.txt"):
        path.chmod(0o644)
    mounted = Mounted(source, place / "mnt", place / "log", *(("-o", "allow_other") * ROOT))
    try:
        yield mounted
    finally:
        mounted.unmount()


def as_user(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a program as somebody without root's rights, with nothing to answer its questions."""
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") * ROOT
    return run(*user, *words, stdin=subprocess.DEVNULL, cwd="/")


def test_a_copy_can_be_copied_over_changed_and_deleted(mounted: Mounted, place: Path) -> None:
    copy = place / "copy"
    for word in ("copied", "copied over"):
        done = as_user("cp", "-rT", mounted.path, copy)
        assert (done.returncode, done.stderr) == (0, ""), word
    assert (copy / "data.h5/scan/corrected/0000.npy").is_file()
    changed = as_user("sh", "-c", f"echo > {copy}/data.h5/entry/x.attrs.json")
    assert (changed.returncode, changed.stderr) == (0, "")
    deleted = as_user("rm", "-r", copy)
    assert (deleted.returncode, deleted.stderr) == (0, "")
    assert not copy.exists()
