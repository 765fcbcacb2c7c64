"""Attacks on a mount: each is refused with the right errno, and shows nothing of the secret.

`shared_mount` is the mount that a root daemon makes for everybody.  A test that swaps things while
they are read shows the guard that has no race; one that calls `sandbox` or `SourceRoot` directly
shows one guard alone, so that it fails when that one is taken out, whatever stands behind it.
"""

import errno
import json
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import h5py
import numpy as np
import pytest
import trio

from esrffs.errors import AccessDeniedError, EsrffsError, NotFoundError
from esrffs.flatfield import folder_inspector
from esrffs.flatfield.conventions.queries import ListMembers, ReadTextFile
from esrffs.linux import permissions, sandbox
from esrffs.model import FileStatus
from esrffs.source.context import DataContext
from esrffs.source.listings import DataFileRef
from esrffs.source.root import SourceRoot
from tests.support.errnos import errno_of_reading
from tests.support.marks import as_root
from tests.support.mounts import Mounted, MountFactory
from tests.support.processes import as_nobody, as_user
from tests.support.programs import esrffs, wait_for

landlock = pytest.mark.skipif(sandbox.landlock_version() < 3, reason="no Landlock in this kernel")

SECRET = b"the secret".ljust(512, b"!")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everyone may enter, unlike pytest's own."""
    path = Path(f"/tmp/esrffs-security-{os.getpid()}")
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    yield path
    subprocess.run(["umount", "-l", path / "mnt"], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(path)


@pytest.fixture
def source(place: Path) -> Path:
    """`source/data.h5` with the numbers 0 … 9, and outside of it `secret.raw` and `secret.h5`."""
    folder = place / "source"
    folder.mkdir()
    with h5py.File(folder / "data.h5", "w") as file:
        file["x"] = np.arange(10)
    with h5py.File(place / "secret.h5", "w") as file:
        file["x"] = np.frombuffer(SECRET, "u1")
        file["words"] = np.array([SECRET.decode()], dtype=h5py.string_dtype())
    (place / "secret.raw").write_bytes(SECRET)
    (place / "mnt").mkdir()
    return folder


@pytest.fixture
def shared_mount(
    place: Path, source: Path, mount: MountFactory
) -> Iterator[Callable[..., Mounted]]:
    """Mounts the source for everybody at `place/mnt`."""

    def mounted(*options: str) -> Mounted:
        made = Mounted(source, place / "mnt", place / "log", "-o", "allow_other", *options)
        mounts.append(made)
        return made

    mounts: list[Mounted] = []
    yield mounted
    for made in mounts:
        made.unmount()


def everything(path: Path) -> bytes:
    """All that can be had below a directory: names, link texts, contents, extended attributes."""
    found = []
    for folder, names, files in os.walk(path):
        for name in [*names, *files]:
            one = Path(folder, name)
            found.append(os.fsencode(name))
            try:
                found += [
                    os.getxattr(one, name, follow_symlinks=False) for name in os.listxattr(one)
                ]
                found.append(os.fsencode(os.readlink(one)) if one.is_symlink() else b"")
                if stat.S_ISREG(one.stat().st_mode):
                    found.append(one.read_bytes())
            except OSError:
                continue
    return b"\n".join(found)


# Out of the source


def edf(**more: object) -> bytes:
    """The header of an image of 512 bytes."""
    known = {"HeaderID": "EH:000001:000000:000000", "Image": 1, "ByteOrder": "LowByteFirst"}
    known |= {"DataType": "UnsignedByte", "Dim_1": 16, "Dim_2": 32, "Size": 512, **more}
    text = "{\n" + "".join(f"{key} = {value} ;\n" for key, value in known.items())
    return (text.ljust(1022) + "}\n").encode()


def attacks(folder: Path, secret: str, raw: str) -> list[str]:
    """Fill `attack.h5` with all ways to name other files; returns the files to be read."""
    with h5py.File(folder / "attack.h5", "w") as file:
        file["external"] = h5py.ExternalLink(secret, "/x")
        file["group"] = h5py.ExternalLink(secret, "/")
        file["soft"] = h5py.SoftLink("/external")
        layout = h5py.VirtualLayout((512,), "u1")
        layout[:] = h5py.VirtualSource(secret, "x", (512,))
        file.create_virtual_dataset("virtual", layout)
        part = h5py.VirtualLayout((512,), "u1")
        part[:256] = h5py.VirtualSource(secret, "x", (512,))[:256]
        file.create_virtual_dataset("part", part)
        frames = h5py.VirtualLayout((4, 128), "u1")
        frames[:] = h5py.VirtualSource(secret, "x", (4, 128))
        file.create_virtual_dataset("frames", frames)
        words = h5py.VirtualLayout((1,), h5py.string_dtype())
        words[:] = h5py.VirtualSource(secret, "words", (1,))
        file.create_virtual_dataset("strings", words)
        file.create_dataset("raw", (512,), "u1", external=[(raw, 0, 512)])
    with h5py.File(folder / "second.h5", "w") as file:  # one step further
        layout = h5py.VirtualLayout((512,), "u1")
        layout[:] = h5py.VirtualSource("attack.h5", "virtual", (512,))
        file.create_virtual_dataset("chained", layout)
        file["far"] = h5py.ExternalLink("attack.h5", "/external")
    (folder / "attack.edf").write_bytes(
        edf(EDF_BinaryFileName=raw, EDF_BinaryFilePosition=0, EDF_BinaryFileSize=512)
    )
    names = ("virtual.npy", "part.npy", "frames.npy", "strings", "raw.npy")
    return [*(f"attack.h5/{name}" for name in names), "second.h5/chained.npy"]


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


# Others' files in the source: a daemon of root must not read them for a stranger


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


def status(mode: int, uid: int = 1, gid: int = 1, mtime: int = 0) -> FileStatus:
    return FileStatus(stat.S_IFREG | mode, 1, 1, uid, gid, 0, 0, mtime * 10**9, 0)


@pytest.mark.parametrize(
    ("holder", "other", "may"),
    [
        (status(0o600), status(0o600), True),
        (status(0o644), status(0o600), False),
        (status(0o600), status(0o644), True),
        (status(0o640), status(0o640, gid=2), False),
        (status(0o600), status(0o600, uid=2), False),
        (status(0o644), status(0o644, uid=2, gid=2), True),
        (status(0o644), status(0o604, uid=2), False),
        (status(0o440), status(0o460), True),
    ],
)
def test_who_may_read_one_may_read_the_other(
    holder: FileStatus, other: FileStatus, may: bool
) -> None:
    assert permissions.covers(holder, other) is may


def test_the_narrowest_mode() -> None:
    def mode(*statuses: FileStatus) -> str:
        return oct(stat.S_IMODE(permissions.intersect(statuses).st_mode))

    assert mode(status(0o644)) == "0o644"
    assert mode(status(0o644), status(0o640)) == "0o640"
    assert mode(status(0o644, mtime=1), status(0o640, gid=2)) == "0o600"
    assert mode(status(0o644, mtime=1), status(0o644, uid=2, gid=2)) == "0o444"
    assert mode(status(0o600, mtime=1), status(0o600, uid=2)) == "0o0"


@pytest.mark.parametrize(
    "target", ["/usr/share", "outside", "source/inside/../../outside", "rooted"]
)
def test_what_lies_outside_of_the_folder_may_not_be_referred_to(place: Path, target: str) -> None:
    """However it got there: asked in a process of its own, as it went up from "/" for ever."""
    (place / "source/inside").mkdir(parents=True)
    (place / "outside").mkdir()
    (place / "source2").mkdir()  # whose name begins like that of the source
    (place / "source/rooted").symlink_to(place / "source2")
    where = place / "source" / target if target == "rooted" else place / target
    program = textwrap.dedent(
        f"""
        from esrffs.linux.permissions import may_reference
        holder, folder = "{place}/source/inside", "{place}/source"
        print(may_reference(holder, "{where}", folder), may_reference(holder, holder, folder))
        print(may_reference(holder, "{where}", "/"))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.stdout.split() == ["False", "True", "True"], done.stderr


def test_who_may_list_or_read_what_is_asked_in_threads(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are looked at, which may wait for a server: the loop must go on."""
    (source / "sub").mkdir()
    (source / "text").write_text("text")
    threads = []

    def note(*_: object) -> bool:
        threads.append(threading.get_ident())
        return True

    monkeypatch.setattr(folder_inspector, "may_reference", note)
    monkeypatch.setattr(folder_inspector, "may_list", note)
    folders = SourceRoot(str(source), confined=True)
    context = cast(DataContext, SimpleNamespace(files=SimpleNamespace(folders=folders)))
    file = DataFileRef(context, "data.h5", "hdf5")

    async def look(_: str) -> folder_inspector.Contents:
        return folder_inspector.Contents({})

    async def ask() -> tuple[object, object]:
        contents = folder_inspector.Contents({"data.h5": file})
        inspector = folder_inspector.FolderInspector(context, "", contents, look)
        await inspector._open_to_all("data.h5")
        return await inspector.answer(ListMembers("sub")), await inspector.answer(
            ReadTextFile("text")
        )

    assert trio.run(ask) == ({}, b"text")
    assert len(threads) == 4
    assert threading.get_ident() not in threads


def test_a_file_that_goes_away_while_its_rights_are_looked_at(
    source: Path,
) -> None:
    folders = SourceRoot(str(source), confined=True)
    context = cast(DataContext, SimpleNamespace(files=SimpleNamespace(folders=folders)))

    async def look(_: str) -> folder_inspector.Contents:
        return folder_inspector.Contents({})

    file = DataFileRef(context, "gone.h5", "hdf5")
    contents = folder_inspector.Contents({"gone.h5": file})
    inspector = folder_inspector.FolderInspector(context, "", contents, look)
    with pytest.raises(NotFoundError, match=r"gone\.h5"):
        trio.run(inspector._open_to_all, "gone.h5")


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


# Races between check and use


def swapping(path: Path, one: str, other: str, end: threading.Event) -> threading.Thread:
    """A thread that makes `path` a link to one, then to the other, and so on."""

    def swap() -> None:
        turn = 0
        spare = path.with_name(path.name + ".new")
        while not end.is_set():
            turn += 1
            spare.symlink_to((one, other)[turn % 2])
            os.replace(spare, path)

    thread = threading.Thread(target=swap)
    thread.start()
    return thread


def test_a_link_swapped_while_a_file_is_opened(source: Path, place: Path) -> None:
    (source / "open.raw").write_bytes(b"open")
    (source / "swapped").symlink_to("open.raw")
    folders = SourceRoot(str(source), confined=True)
    end = threading.Event()
    thread = swapping(source / "swapped", "open.raw", "../secret.raw", end)
    seen = {b"open": 0, b"refused": 0}
    try:
        for _ in range(2000):
            try:
                descriptor = folders.open("swapped")
            except AccessDeniedError:
                seen[b"refused"] += 1
            else:
                seen[os.pread(descriptor, 100, 0)] += 1
                os.close(descriptor)
    finally:
        end.set()
        thread.join()
    assert min(seen.values()) > 0, "both were met"


def test_a_folder_swapped_for_a_link_while_it_is_listed(source: Path, place: Path) -> None:
    (source / "plain").mkdir()
    (source / "plain/own").touch()
    (place / "outside").mkdir()
    (place / "outside/foreign").touch()
    (source / "swapped").symlink_to("plain")
    folders = SourceRoot(str(source), confined=True)
    end = threading.Event()
    thread = swapping(source / "swapped", "plain", "../outside", end)
    found = {"own": 0}
    refused = 0
    try:
        for _ in range(2000):
            try:
                for entry in folders._scan("swapped"):
                    found[entry.name] += 1
            except EsrffsError:
                refused += 1
    finally:
        end.set()
        thread.join()
    assert found["own"] > 0
    assert refused > 0


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


# What a reader process may do, whatever it is made to try


def confined(body: str, folder: Path | None) -> str:
    """What a process prints that entered the sandbox and then runs this."""
    program = textwrap.dedent(
        f"""
        import os, socket
        from esrffs.linux import sandbox
        sandbox.enter(512 << 20, {str(folder) if folder else None!r})
        def tried(function, *arguments):
            try:
                function(*arguments)
            except OSError as error:
                print(error.errno)
            else:
                print(0)
        """
    ) + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@landlock
def test_a_confined_reader_reads_beneath_the_source_only(source: Path, place: Path) -> None:
    told = confined(
        f"""
        for path in ("/etc/shadow", "/etc/passwd", "{place}/secret.raw", "/proc/1/environ"):
            tried(open, path, "rb")
        tried(os.listdir, "{place}")
        tried(open, "{source}/../secret.raw")
        tried(open, "{source}/data.h5", "rb")
        tried(os.listdir, "{source}")
        import decimal, wave, lzma, h5py  # libraries are still found
        """,
        source,
    )
    assert told.split() == [str(errno.EACCES)] * 6 + ["0", "0"]


@landlock
def test_libraries_of_other_environments_are_found(
    source: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else of what is on Python's way."""
    folders = [place / "other/site-packages", place / "elsewhere"]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / f"late{number}.py").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([f"{folders[0]}/", str(folders[1])]))
    told = confined("for number in (0, 1): tried(__import__, f'late{number}')", source)
    assert told.split()[0] == "0"
    assert told.split()[1] == str(errno.EACCES)


@landlock
@pytest.mark.parametrize("shared", [True, False])
def test_a_reader_changes_nothing(source: Path, shared: bool) -> None:
    told = confined(
        f"""
        tried(open, "{source}/data.h5", "r+b")
        tried(open, "{source}/new", "wb")
        tried(os.truncate, "{source}/data.h5", 0)
        tried(os.unlink, "{source}/data.h5")
        tried(os.mkdir, "{source}/new")
        tried(os.rmdir, "{source}")
        tried(os.symlink, "x", "{source}/new")
        tried(os.mkfifo, "{source}/new")
        tried(open, "/tmp/esrffs-was-here", "wb")
        tried(os.execv, "/bin/true", ["true"])
        tried(open, "/dev/null", "wb")
        """,
        source if shared else None,
    )
    assert told.split() == [str(errno.EACCES)] * 10 + ["0"]


@landlock
def test_a_reader_reaches_no_network_and_signals_nobody(source: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        told = confined(
            f"""
            tried(socket.create_connection, ("127.0.0.1", {port}), 2)
            tried(os.kill, {os.getpid()}, 0)
            """,
            source,
        ).split()
    if sandbox.landlock_version() >= 4 or os.geteuid() == 0:
        assert told[0] in {str(errno.EACCES), str(errno.ENETUNREACH), str(errno.EPERM)}
    if sandbox.landlock_version() >= 6:
        assert told[1] == str(errno.EPERM)


def test_a_reader_gains_no_rights_and_keeps_one(source: Path) -> None:
    told = confined("print(open('/proc/self/status').read())", source)
    fields = dict(line.split(":\t", 1) for line in told.splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"] == "1"
    for name in ("CapPrm", "CapEff"):
        assert int(fields[name], 16) & ~(1 << 2) == 0, "CAP_DAC_READ_SEARCH at the most"
    assert int(fields["CapInh"], 16) == int(fields["CapAmb"], 16) == 0


def test_the_readers_of_a_mount_are_confined(
    source: Path, shared_mount: Callable[..., Mounted]
) -> None:
    from tests.faults.test_readers import workers

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


# What stands in files and in the environment


def test_control_characters_do_no_harm(source: Path, mount: MountFactory) -> None:
    evil = "a\nERROR forged\x1b[2J\x07\u202e"
    with h5py.File(source / "evil.h5", "w") as file:
        file[evil] = 1
        file[evil].attrs[evil] = evil
        file.attrs["bytes"] = np.bytes_(b"\x00\x1b\xff" * 3)
    (source / f"{evil}.h5").write_bytes((source / "evil.h5").read_bytes()[:600])
    mounted = mount(source)
    texts = [path.read_text() for path in (mounted / "evil.h5").glob("*.json")]
    assert len(texts) == 2
    for text in texts:
        assert isinstance(json.loads(text), dict)
        assert not any(c < " " and c != "\n" for c in text), "escaped in JSON"
    assert evil in [key for text in texts for key in json.loads(text)]
    with pytest.raises(OSError):
        os.listdir(mounted / f"{evil}.h5")
    mounted.expect("forged")
    log = mounted.log.read_text()
    assert not any(c != "\n" and not c.isprintable() for c in log)
    assert not any(line.startswith("ERROR") for line in log.splitlines())


@pytest.fixture
def filtered(source: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a filter that nobody has, and a library with code in the environment's folder.

    Where the library is loaded, there is `was-loaded` beside the folder.
    """
    plugins = place / "plugins"
    plugins.mkdir()
    code = """
        int creat(const char *, int);
        __attribute__((constructor)) void loaded(void) { creat("%s", 0644); }
    """
    (place / "p.c").write_text(code % (place / "was-loaded"))
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    library = plugins / "libevil.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, place / "p.c"], check=True)
    path = source / "filtered.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(100), chunks=(10,), compression="gzip")
    content = bytearray(path.read_bytes())
    where = content.index(b"deflate\0")
    content[where - 8 : where - 6] = (30_001).to_bytes(2, "little")
    path.write_bytes(content)
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(plugins))
    return path


def test_plugins_of_the_environment_are_not_used(
    filtered: Path, place: Path, source: Path, mount: MountFactory
) -> None:
    mounted = mount(source)
    mounted.expect("filtered")
    assert errno_of_reading(mounted / "filtered.h5/x.npy") == errno.EIO
    assert not (place / "was-loaded").exists(), "code from HDF5_PLUGIN_PATH ran"


def test_what_the_environment_tells_libhdf5_is_not_heard(
    source: Path, place: Path, mount: MountFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where the sources of a file are nor how it is read."""
    for folder, value in ((source, 1), (place / "decoy", 2)):
        folder.mkdir(exist_ok=True)
        with h5py.File(folder / "other.h5", "w") as file:
            file["x"] = np.full(3, value)
            file["words"] = np.array([str(value)], dtype=h5py.string_dtype())
        (folder / "raw").write_bytes(np.full(3, value, "u1").tobytes())
    with h5py.File(source / "all.h5", "w") as file:
        file["linked"] = h5py.ExternalLink("other.h5", "/x")
        layout = h5py.VirtualLayout((3,), "i8")
        layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
        file.create_virtual_dataset("virtual", layout)
        layout = h5py.VirtualLayout((1,), h5py.string_dtype())
        layout[:] = h5py.VirtualSource("other.h5", "words", (1,), h5py.string_dtype())
        file.create_virtual_dataset("words", layout)  # that libhdf5 reads
        file.create_dataset("raw", (3,), "u1", external=[("raw", 0, 3)])
    for name in ("HDF5_EXT_PREFIX", "HDF5_VDS_PREFIX", "HDF5_EXTFILE_PREFIX"):
        monkeypatch.setenv(name, str(place / "decoy"))
    monkeypatch.setenv("HDF5_DRIVER", "family")
    monkeypatch.setenv("HDF5_VOL_CONNECTOR", "nobodys")
    mounted = mount(source)
    for name in ("linked", "virtual", "raw"):
        assert np.load(mounted / f"all.h5/{name}.npy").tolist() == [1, 1, 1], name
    assert np.load(mounted / "all.h5/words.npy").tolist() == ["1"]


def test_nothing_of_the_environment_reaches_libhdf5() -> None:
    """Though not all of it would have an effect today: files are opened with settings of ours."""
    names = "EXT_PREFIX VDS_PREFIX EXTFILE_PREFIX DRIVER DRIVER_CONFIG VOL_CONNECTOR PLUGIN_PATH"
    told = {f"HDF5_{name}": "x" for name in (*names.split(), "USE_FILE_LOCKING")}
    program = """if True:
        import ctypes
        import esrffs.formats.hdf5.library
        ctypes.CDLL(None).system(b"env | grep ^HDF5_ | sort")
    """
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "HDF5_PLUGIN_PRELOAD=::\nHDF5_USE_FILE_LOCKING=FALSE\n"


_READ = """
import sys
{ours}
from h5py import h5pl
print(sys.argv[2] in [h5pl.get(index).decode() for index in range(h5pl.size())])
h5pl.append(sys.argv[2].encode())
import h5py
try:
    h5py.File(sys.argv[1])["x"][()]
except OSError:
    print("refused")
"""


@pytest.mark.parametrize("ours", [True, False])
def test_no_plugin_is_loaded_from_anywhere(
    filtered: Path, place: Path, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither from the environment's folder nor from the one that libhdf5 was built with.

    Each is kept out by itself: the folder is not known, and were it known, nothing is loaded.
    """
    monkeypatch.delenv("HDF5_PLUGIN_PRELOAD", raising=False)  # that of another test's import
    program = _READ.format(ours="import esrffs.formats.hdf5.library" if ours else "")
    command = [sys.executable, "-c", program, filtered, place / "plugins"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{not ours}\nrefused\n"
    assert (place / "was-loaded").exists() == (not ours)


# Users


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
