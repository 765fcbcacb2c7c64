"""Taking a mount away: the right one, the right process, and no waiting for others' file systems.

A daemon of somebody's own making, a path that changes meanwhile and a file system that does not
answer are what `-u` and `--status` of root meet.
"""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from esrffs.cli import background, daemon_processes, deadline, descriptors, mountpoint, unmounting
from esrffs.errors import MountError
from esrffs.linux import path_walk
from esrffs.linux.mountinfo import Mount
from esrffs.linux.path_walk import MountPlace
from tests.support.marks import as_root, needs_fuse
from tests.support.mounts import MountFactory, is_mounted
from tests.support.programs import esrffs, run, wait_for

MOUNT = Mount("/there", "fuse.esrffs", "/source", "0:99", 7, f"rw,user_id={os.geteuid()}")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "notes.txt").write_text("hi")
    return folder


# Which mount


@contextmanager
def tmpfs(path: Path) -> Iterator[None]:
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=False, stderr=subprocess.DEVNULL)


@needs_fuse
@as_root
@pytest.mark.parametrize("how", ["unmount", "dead", "force"])
def test_what_a_path_leads_to_meanwhile_stays_mounted(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """While the daemon of a user is asked, the user puts a link in the place of a folder."""
    mine, theirs = tmp_path / "home/a/name", tmp_path / "root/name"
    mine.mkdir(parents=True)
    assert esrffs(source, mine).returncode == 0
    real = unmounting.held if how == "force" else unmounting.state
    if how == "dead":
        pid = json.loads(os.getxattr(mine, "user.esrffs.status"))["pid"]
        with daemon_processes.held(path_walk.find_esrffs_mount(str(mine))) as processes:
            os.kill(pid, signal.SIGKILL)
            assert deadline.gone(processes, 20)

    def swapping(*arguments: object) -> object:
        answer = real(*arguments)  # type: ignore[arg-type]
        (tmp_path / "home/a").rename(tmp_path / "home/b")
        (tmp_path / "home/a").symlink_to(tmp_path / "root")
        return answer

    with tmpfs(theirs):
        monkeypatch.setattr(unmounting, "held" if how == "force" else "state", swapping)
        try:
            unmounting.unmount(str(mine), force=how == "force")
            assert is_mounted(theirs)
            assert not is_mounted(tmp_path / "home/b/name")
        finally:
            run("umount", "-l", tmp_path / "home/b/name")


@needs_fuse
def test_a_mount_point_where_something_else_is_now_is_left_alone(
    mount: MountFactory, source: Path
) -> None:
    mounted = mount(source)
    with path_walk.esrffs_mount(str(mounted.path)) as place:
        assert place is not None
        os.close(place.open())
        other = MountPlace(Mount("/x", "", "", "", place.mount.id + 1), place.parent, place.name)
        with pytest.raises(MountError, match="not mounted there any more"):
            unmounting.take_away(other, dead=True)
    assert is_mounted(mounted.path)


# Which process


def forged(mount: Mount, prepare: str = "") -> subprocess.Popen[str]:
    """A process that says that it serves this mount."""
    program = (
        f"import os; {prepare}\n"
        f"os.memfd_create({daemon_processes._marked(mount)!r})\n"
        "print(flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@needs_fuse
@pytest.mark.parametrize(
    ("prepare", "believed"),
    [
        ("", False),
        ("os.open('/dev/fuse', os.O_RDWR)", True),
        pytest.param("os.open('/dev/fuse', os.O_RDWR); os.setuid(65534)", False, marks=as_root),
        pytest.param(
            "os.open('/dev/fuse', os.O_RDWR); os.setresuid(65534, 0, 0)", False, marks=as_root
        ),
    ],
    ids=["no device", "all of it", "another user", "another real user"],
)
def test_who_is_believed_to_serve_a_mount(prepare: str, believed: bool) -> None:
    with forged(MOUNT, prepare) as process:
        found = daemon_processes.daemons(MOUNT)
        with daemon_processes.held(MOUNT, process.pid) as processes:
            assert list(processes) == found == [process.pid] * believed
        process.communicate("\n")


@needs_fuse
@as_root
def test_a_forger_is_not_ended(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    ours = path_walk.find_esrffs_mount(str(mounted.path))
    assert ours is not None
    with forged(ours, "os.open('/dev/fuse', os.O_RDWR); os.setuid(65534)") as forger:
        assert daemon_processes.daemons(ours) == [mounted.process.pid]
        assert esrffs("-u", mounted.path).returncode == 0
        assert forger.poll() is None
        forger.communicate("\n")
        assert forger.returncode == 0


# What it tells


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> MountPlace:
    """Of a mount that is not there, of which `status` believes that it is."""
    found = MountPlace(MOUNT, -1, "there")

    @contextmanager
    def located(_: str) -> Iterator[MountPlace]:
        yield found

    monkeypatch.setattr(unmounting, "located", located)
    return found


@pytest.mark.parametrize(
    "told", [b"7", b"[1, 2]", b'"text"', b"null", b"[" * 60_000, b"", b"\xff", b"9" * 9000]
)
def test_an_answer_that_is_no_status(
    place: MountPlace, monkeypatch: pytest.MonkeyPatch, told: bytes
) -> None:
    monkeypatch.setattr(unmounting, "_told", lambda _: told)
    how, answer = unmounting.state(place)
    assert (how in {"answers", "private"}, answer) == (True, {})
    with pytest.raises(MountError, match=r"is no status|only the user who mounted it"):
        unmounting.status("/there")


def test_what_is_told_does_nothing_to_a_terminal(
    place: MountPlace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "é a\x1b[2J\x9b2J\x7f\x85\u202e\udcff\U000e0001"
    monkeypatch.setattr(unmounting, "_told", lambda _: json.dumps({evil: evil}).encode())
    text = unmounting.status("/there")
    assert json.loads(text) == {evil: evil}
    assert "é a" in text
    assert all(c.isprintable() or c == "\n" for c in text)
    descriptors.warn(evil)
    line = capsys.readouterr().err
    assert line.startswith("esrffs: é a")
    assert line[:-1].isprintable()


# Which directory goes with it


def status_pid(path: Path) -> int:
    return json.loads(os.getxattr(path, "user.esrffs.status"))["pid"]


@needs_fuse
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "alive"])
@pytest.mark.parametrize("who", ["we", "user", "user, named"])
def test_only_a_mount_point_that_we_made_is_removed(source: Path, killed: bool, who: str) -> None:
    path = source.with_name("source.mnt")
    if who != "we":
        path.mkdir()
    done = esrffs(source, *([path] if who == "user, named" else []))
    assert done.returncode == 0, done.stderr
    if killed:
        os.kill(status_pid(path), signal.SIGKILL)
    wait_for(lambda: esrffs("-u", path).returncode == 0)
    assert path.exists() == (who != "we")


@needs_fuse
@pytest.mark.parametrize("ours", [True, False])
def test_a_directory_that_was_left_is_ours_again(source: Path, ours: bool) -> None:
    path = source.with_name("source.mnt")
    if ours:
        assert mountpoint.make_default_mountpoint(str(source)) == (str(path), True)
    else:
        path.mkdir()
    assert mountpoint.make_default_mountpoint(str(source)) == (str(path), False)
    assert mountpoint.prepared(str(source), None, shared=False) == (str(source), str(path), ours)
    assert mountpoint.prepared(str(source), str(path), shared=False)[2] is False


def test_a_mount_point_is_removed_where_it_was_made(tmp_path: Path) -> None:
    for name in ("home/mnt", "other/mnt"):
        (tmp_path / name).mkdir(parents=True)
    with mountpoint.removed_after(str(tmp_path / "home/mnt")):
        (tmp_path / "home").rename(tmp_path / "away")
        (tmp_path / "home").symlink_to("other")
    assert (tmp_path / "other/mnt").exists()
    assert not (tmp_path / "away/mnt").exists()
    with mountpoint.removed_after(str(tmp_path / "other/mnt"), failure=True):
        pass
    assert (tmp_path / "other/mnt").exists()
    with (
        pytest.raises(KeyError),
        mountpoint.removed_after(str(tmp_path / "other/mnt"), failure=True),
    ):
        raise KeyError
    assert not (tmp_path / "other/mnt").exists()


# File systems on the way


@pytest.fixture
def silent_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever walks to a mount point waits for a file system that does not answer."""

    def waits(*_: object) -> Iterator[MountPlace | None]:
        signal.pause()
        yield None

    monkeypatch.setattr(unmounting, "esrffs_mount", contextmanager(waits))
    monkeypatch.setattr(unmounting, "SECONDS", 0.3)


@pytest.mark.usefixtures("silent_way")
@pytest.mark.parametrize("work", [unmounting.status, unmounting.unmount])
def test_no_command_waits_for_what_is_on_the_way(work: object) -> None:
    """A process waits instead; the alarm is for when it is this one that does."""

    def waited(*_: object) -> None:
        raise AssertionError("this process waits itself")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(20)
    try:
        with pytest.raises(MountError, match="on the way to it gives no answer"):
            work("/there")  # type: ignore[operator]
        with pytest.raises(MountError, match="on the way to it gives no answer"):
            background._check_ready(b"1\nready\n", "/there")
        background._abandon(b"", "/there")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_way_that_cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(path_walk, "open_step", fails)
    for work in (unmounting.status, unmounting.unmount):
        with pytest.raises(MountError, match="cannot be looked at: Input/output error"):
            work(str(tmp_path))
