"""Files of others in the source: a daemon of root must not read them for somebody who may not."""

import errno
import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.errnos import errno_of_reading
from tests.support.marks import as_root
from tests.support.mounts import Mounted
from tests.support.processes import as_nobody
from tests.support.secrets import SECRET, attacks, edf, everything


@as_root
def test_what_a_stranger_may_not_read_he_may_not_read_by_reference(
    source: Path, shared_mount: Callable[..., Mounted]
) -> None:
    (source / "mine").mkdir()
    (source / "private").mkdir(mode=0o700)
    shutil.copy(source.parent / "secret.h5", source / "mine/hidden.h5")
    shutil.copy(source.parent / "secret.raw", source / "mine/hidden.raw")
    for name in ("hidden.h5", "hidden.raw"):
        (source / "mine" / name).chmod(0o600)
    shutil.copy(source.parent / "secret.h5", source / "private/open.h5")
    shutil.copy(source.parent / "secret.raw", source / "private/open.raw")
    strange = pwd.getpwnam("nobody")
    targets = []
    for number, (h5, raw) in enumerate(
        [("../mine/hidden.h5", "../mine/hidden.raw"), ("../private/open.h5", "../private/open.raw")]
    ):
        folder = source / f"stranger{number}"
        folder.mkdir()
        targets += [f"{folder.name}/{name}" for name in attacks(folder, h5, raw)]
        for path in folder.iterdir():
            os.chown(path, strange.pw_uid, strange.pw_gid)
    mounted = shared_mount()
    mounted.expect("EACCES", r"attack\.edf")
    for target in targets:
        done = as_nobody("cat", mounted / target)
        assert "Permission denied" in done.stderr, target
        assert SECRET.decode()[:10] not in done.stdout
    for folder in ("stranger0", "stranger1"):
        assert SECRET[:10] not in everything(mounted / folder / "attack.edf")


@as_root
@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_link_to_a_less_readable_file_says_so_and_its_root_is_for_the_kernel_to_judge(
    source: Path, shared_mount: Callable[..., Mounted], mode: int
) -> None:
    """The daemon opens nothing to find out what it leads to; who may read it reads it there."""
    (source / "raw").mkdir()
    with h5py.File(source / "raw/scan.h5", "w") as file:
        file["entry/swordfish"] = 1
    (source / "raw/alias.h5").symlink_to("scan.h5")
    with h5py.File(source / "master.h5", "w") as file:
        for name in ("scan", "alias"):
            file[f"{name} file"] = h5py.ExternalLink(f"raw/{name}.h5", "/")
            file[f"{name} entry"] = h5py.ExternalLink(f"raw/{name}.h5", "/entry")
        file["soft"] = h5py.SoftLink("/scan entry")
    with h5py.File(source / "far.h5", "w") as file:
        file["far"] = h5py.ExternalLink("master.h5", "/scan entry")
    (source / "raw/scan.h5").chmod(mode)
    mounted = shared_mount()
    mounted.expect("EACCES", "not everybody")
    folder = mounted / "master.h5"
    for name in ("scan", "alias"):
        assert os.readlink(folder / f"{name} file") == f"../raw/{name}.h5"
        assert os.listdir(folder / f"{name} file") == ["entry"]
        denied = as_nobody("ls", f"{folder}/{name} file/")
        assert "Permission denied" in denied.stderr
        assert "swordfish" not in denied.stdout
    for path in (folder / "scan entry", folder / "soft", mounted / "far.h5/far"):
        assert errno_of_reading(path) == errno.EACCES
        told = os.getxattr(path, "user.esrffs.error").decode()
        assert "leads out of the source" not in told
        assert "not everybody who may read" in told
        assert f"may read {source}/raw/scan.h5, to which it leads" in told
    shown = as_nobody("ls", "-lR", folder, mounted / "far.h5")
    assert "swordfish" not in shown.stdout


@as_root
def test_a_series_is_as_private_as_its_most_private_member(
    source: Path, shared_mount: Callable[..., Mounted]
) -> None:
    for number in range(3):
        path = source / f"a_{number:04}.edf"
        path.write_bytes(edf() + SECRET)
        path.chmod(0o644 if number else 0o600)
    mounted = shared_mount()
    shown = "scan_0/instrument/detector_0/data.npy"
    assert as_nobody("cat", mounted / "a_0001.edf" / shown).returncode == 0
    for name in ("a_0000.edf", "a_####.edf"):
        refused = as_nobody("cat", mounted / name / shown)
        assert "Permission denied" in refused.stderr, name
    assert np.load(mounted / "a_####.edf" / shown).shape == (3, 32, 16)


@as_root
def test_a_virtual_dataset_whose_source_becomes_private(
    source: Path, shared_mount: Callable[..., Mounted]
) -> None:
    """The daemon, which knows where the frames lie, looks at who may read them each time."""
    frames = np.frombuffer(SECRET, "u1").reshape(4, 128)
    with h5py.File(source / "frames.h5", "w") as file:
        file["x"] = frames
    with h5py.File(source / "all.h5", "w") as file:
        layout = h5py.VirtualLayout((4, 128), "u1")
        layout[:] = h5py.VirtualSource("frames.h5", "x", (4, 128))
        file.create_virtual_dataset("v", layout)
    mounted = shared_mount("-o", "attr_timeout=0,entry_timeout=0")
    mounted.expect("all.h5")
    shown = mounted / "all.h5/v.npy"
    assert SECRET.decode() in as_nobody("cat", shown).stdout
    (source / "frames.h5").chmod(0o600)
    refused = as_nobody("cat", shown)
    assert refused.returncode != 0
    assert SECRET.decode()[:10] not in refused.stdout


TOML = '[[corrected]]\nraw = "open.edf"\nflat = "{flat}"\ndark = "dark.edf"\n'
IMAGE = "scan_0/instrument/detector_0/data"


@as_root
@pytest.mark.parametrize(
    "flat",
    [
        "hidden.edf",
        "link.edf",
        "../secret.edf",
        "{place}/secret.edf",
        "far.h5::/x",
        "private/p.edf",
    ],
)
def test_a_strangers_toml_shows_nothing_that_the_stranger_may_not_see(
    source: Path, place: Path, shared_mount: Callable[..., Mounted], flat: str
) -> None:
    secret = edf() + bytes(range(1, 129)) * 4
    (place / "secret.edf").write_bytes(secret)
    (source / "hidden.edf").write_bytes(secret)
    (source / "hidden.edf").chmod(0o600)
    (source / "private").mkdir(mode=0o700)
    (source / "private/p.edf").write_bytes(secret)
    (source / "link.edf").symlink_to("../secret.edf")
    with h5py.File(source / "far.h5", "w") as file:
        file["x"] = h5py.ExternalLink("../secret.h5", "/x")
    for name, value in (("open", 200), ("dark", 0), ("plain", 1)):
        (source / f"{name}.edf").write_bytes(edf() + bytes([value]) * 512)
    toml = source / ".esrffs.toml"
    toml.write_text(TOML.format(flat="plain.edf"))
    strange = pwd.getpwnam("nobody")
    os.chown(toml, strange.pw_uid, strange.pw_gid)
    mounted = shared_mount("-o", "attr_timeout=0,entry_timeout=0")
    mounted.expect("no corrected/", "EACCES")
    shown = mounted / "corrected/open.npy"
    assert as_nobody("cat", shown).returncode == 0, "a sound one is followed"
    toml.write_text(TOML.format(flat=flat.format(place=place)))
    refused = as_nobody("cat", shown)
    assert refused.returncode != 0
    assert refused.stdout == ""


@as_root
@pytest.mark.parametrize("mode", [0o700, 0o711, 0o744])
@pytest.mark.parametrize(
    "flat", ["private/x*.edf", "private/x.edf", "private/far.h5::/x", "own.h5::/x"]
)
def test_names_in_private_folders_do_not_show_in_errors(
    source: Path, shared_mount: Callable[..., Mounted], mode: int, flat: str
) -> None:
    """An entry of `.esrffs.toml` that matches nothing tells the names that are there."""
    (source / "private").mkdir()
    (source / "private/swordfish.edf").write_bytes(edf() + bytes(512))
    with h5py.File(source / "private/far.h5", "w") as file:
        file["swordfish"] = np.zeros((16, 16))
    shutil.copy(source / "private/far.h5", source / "own.h5")
    (source / "own.h5").chmod(0o600)
    (source / "private").chmod(mode)
    for name in ("open", "dark"):
        (source / f"{name}.edf").write_bytes(edf() + bytes(512))
    (source / ".esrffs.toml").write_text(TOML.format(flat=flat))
    mounted = shared_mount("-o", "attr_timeout=0,entry_timeout=0")
    mounted.expect("no corrected/", "EACCES")
    os.listdir(mounted.path)
    text = os.getxattr(mounted.path, "user.esrffs.error").decode()
    assert "nothing can be found" in text
    assert "swordfish" not in text + mounted.log.read_text()
    (source / "private").chmod(0o755)
    (source / "own.h5").chmod(0o644)
    os.listdir(mounted.path)
    assert "swordfish" in os.getxattr(mounted.path, "user.esrffs.error").decode()


@as_root
@pytest.mark.parametrize("way", ["linked", "private", "linked far"])
def test_texts_of_others_do_not_show_in_errors(
    source: Path, shared_mount: Callable[..., Mounted], way: str
) -> None:
    """A key that nobody knows is quoted: of `.esrffs.toml` itself, not of what it is a link to."""
    (source / "theirs").mkdir(mode=0o700 if way == "linked far" else 0o755)
    theirs = source / "theirs/.esrffs.toml"
    theirs.write_text(TOML.format(flat="plain.edf") + 'password = "swordfish"\n')
    theirs.chmod(0o644 if way == "linked far" else 0o600)
    broken = (source / "data.h5").read_bytes()[:600]
    (source / "theirs/broken.h5").write_bytes(broken)
    for name in ("open", "dark", "plain"):
        (source / f"theirs/{name}.edf").write_bytes(edf() + bytes(512))
        (source / f"{name}.edf").write_bytes(edf() + bytes(512))
    if way != "private":
        (source / ".esrffs.toml").symlink_to("theirs/.esrffs.toml")
    mounted = shared_mount()
    mounted.expect("no corrected/", "EACCES", "broken")
    everything(mounted.path)
    for line in mounted.log.read_text().splitlines():
        assert "password" not in line or "theirs" in line
    ask = "import os, sys; print(*(os.getxattr(sys.argv[1], n) for n in sys.argv[2:]))"
    names = [*os.listxattr(mounted.path), "user.esrffs.status"]
    told = as_nobody("/usr/bin/python3", "-c", ask, mounted / "theirs", "user.esrffs.error")
    assert "password" not in told.stdout
    assert errno_of_reading(mounted / "theirs/broken.h5") == errno.EIO
    told = as_nobody("/usr/bin/python3", "-c", ask, mounted.path, *names)
    assert "pid" in told.stdout, told.stderr
    assert "theirs" not in told.stdout
    assert "password" not in told.stdout
    assert "errors" in mounted.status
