"""The program: how it starts, what it says, how it ends, and that it leaves nothing behind."""

import contextlib
import errno
import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.marks import as_root, needs_fuse
from tests.support.mounts import Mounted, MountFactory, is_mounted
from tests.support.processes import (
    as_nobody,
    daemon_of,
    family,
    gone,
    need_nobody_to_run_it,
    parents,
)
from tests.support.programs import ESRFFS, esrffs, run, wait_for

pytestmark = needs_fuse


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    with h5py.File(folder / "data.h5", "w") as file:
        file["x"] = np.arange(10)
    return folder


def test_the_background_and_back(source: Path, mountpoint: Path) -> None:
    done = esrffs(source, mountpoint)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert os.listdir(mountpoint) == ["data.h5"]
    line = next(
        line
        for line in Path("/proc/self/mounts").read_text().splitlines()
        if str(mountpoint) in line
    )
    device, _, kind, options = line.split()[:4]
    assert (device, kind) == (str(source), "fuse.esrffs")
    assert {"ro", "nosuid", "nodev"} <= set(options.split(","))
    processes = family(daemon_of(mountpoint))
    assert len(processes) > 2
    done = esrffs("-u", mountpoint)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not is_mounted(mountpoint)
    wait_for(lambda: gone(processes), 5)


@as_root
def test_a_connection_that_is_cut_leaves_nothing_behind(mount: MountFactory, source: Path) -> None:
    """`umount -f` cuts it, and then cannot unmount, because a file is open."""
    mounted = mount(source)
    mounted.expect("was cut")
    with open(next(mounted.path.rglob("*.npy")), "rb") as file:
        assert run("umount", "-f", mounted.path).returncode == 32, "busy"
        wait_for(lambda: mounted.process.poll() is not None)
        assert mounted.process.returncode == 0
        assert not os.path.ismount(mounted.path)
        assert list(mounted.path.iterdir()) == []
        with pytest.raises(OSError, match="not connected"):
            os.pread(file.fileno(), 10, 0)


@pytest.mark.parametrize("command", [["fusermount3", "-u"], ["umount"]], ids=" ".join)
def test_other_ways_to_unmount(source: Path, mountpoint: Path, command: list[str]) -> None:
    esrffs(source, mountpoint)
    processes = family(daemon_of(mountpoint))
    subprocess.run([*command, mountpoint], check=True)
    wait_for(lambda: gone(processes), 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_unmount_even_with_files_open(
    source: Path, mountpoint: Path, number: signal.Signals
) -> None:
    esrffs(source, mountpoint)
    daemon = daemon_of(mountpoint)
    processes = family(daemon)
    file = os.open(mountpoint / "data.h5/x.npy", os.O_RDONLY)
    os.read(file, 10)
    os.kill(daemon, number)
    wait_for(lambda: gone(processes), 5)
    assert not is_mounted(mountpoint)
    with contextlib.suppress(OSError):
        os.close(file)


def test_a_killed_daemon_leaves_no_worker_and_a_mount_that_can_be_cleaned(
    source: Path, mountpoint: Path
) -> None:
    esrffs(source, mountpoint)
    daemon = daemon_of(mountpoint)
    workers = family(daemon) - {daemon}
    assert workers
    os.kill(daemon, signal.SIGKILL)
    wait_for(lambda: gone(workers), 2)
    with pytest.raises(OSError) as caught:
        os.listdir(mountpoint)
    assert caught.value.errno == errno.ENOTCONN
    assert esrffs(source, mountpoint).returncode == 0, "a new mount over the dead one"
    assert os.listdir(mountpoint) == ["data.h5"]
    os.kill(daemon_of(mountpoint), signal.SIGKILL)
    wait_for(lambda: esrffs("-u", mountpoint).returncode == 0)
    assert not is_mounted(mountpoint)
    assert os.listdir(mountpoint) == []


def test_a_killed_worker_goes_unnoticed(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    daemon = mounted.process.pid
    for _ in range(3):
        workers = {p for p, parent in parents().items() if parent in family(daemon) - {daemon}}
        assert workers
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):  # one that was not needed has left
                os.kill(pid, signal.SIGKILL)
        os.utime(source / "data.h5")  # so that it must be asked again
        assert np.load(mounted / "data.h5/x.npy").tolist() == list(range(10))


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        ([], 2, "needs a SOURCE and perhaps a MOUNTPOINT"),
        (["only"], 2, "no such file or folder"),
        (["{source}", "{mnt}", "third"], 2, "needs a SOURCE and perhaps a MOUNTPOINT"),
        (["{source}/none", "{mnt}"], 2, "no such file or folder"),
        (["{source}", "{mnt}/none"], 1, "no such directory; make it"),
        (["{source}", "{source}/data.h5"], 1, "is not a directory"),
        (["{source}", "{source}"], 1, "cannot be mounted on itself"),
        (
            [
                "{source}/..",
                "{mnt}/..",
            ],
            1,
            "cannot be mounted on itself",
        ),
        (["{source}/data.h5", "{source}"], 1, "is not empty"),
        (["{source}", "{mnt}", "-o", "nonsense"], 2, "unknown option 'nonsense'"),
        (["{source}", "{mnt}", "-o", "workers=x"], 2, "workers=x"),
        (["{source}", "{mnt}", "-o", "allow_other=1"], 2, "takes no value"),
        (["{source}", "{mnt}", "--workers", "0"], 2, "workers=0"),
        (["{source}", "{mnt}", "--log-file", "{mnt}/no/log"], 2, "No such file"),
        (["-u", "{mnt}"], 1, "no esrffs is mounted there"),
        (["-u"], 2, "-u needs a mount point"),
        (["{source}/data.txt", "{mnt}"], 2, "neither a folder nor a data file"),
    ],
)
def test_one_line_says_what_is_wrong(
    source: Path, mountpoint: Path, arguments: list[str], status: int, text: str
) -> None:
    (source / "data.txt").write_text("no data")
    filled = [word.format(source=source, mnt=mountpoint) for word in arguments]
    done = esrffs(*filled)
    assert text in done.stderr
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)
    assert not is_mounted(mountpoint)


def test_mounted_twice(source: Path, mountpoint: Path) -> None:
    esrffs(source, mountpoint)
    done = esrffs(source, mountpoint)
    assert done.returncode == 1
    assert "mounted there already" in done.stderr
    assert esrffs("-u", mountpoint).returncode == 0


def test_options_of_mount_are_taken(source: Path, mountpoint: Path) -> None:
    options = (
        "rw,noauto,user,_netdev,nofail,x-systemd.automount,defaults,comment=a b,attr_timeout=5"
    )
    done = esrffs(source, mountpoint, "-o", options, "-o", "dev,suid")
    assert done.returncode == 0, done.stderr
    line = next(
        line
        for line in Path("/proc/self/mounts").read_text().splitlines()
        if str(mountpoint) in line
    )
    assert {"ro", "nosuid", "nodev"} <= set(line.split()[3].split(","))
    assert esrffs("-u", mountpoint).returncode == 0


@pytest.mark.parametrize("name", ["a,b", "a b", "é", "a\\b", "100%"])
def test_odd_source_names(source: Path, mountpoint: Path, name: str) -> None:
    odd = source.with_name(name)
    source.rename(odd)
    done = esrffs(odd, mountpoint)
    assert done.returncode == 0, done.stderr
    assert np.load(mountpoint / "data.h5/x.npy").shape == (10,)
    assert esrffs("-u", mountpoint).returncode == 0


def test_version_and_help() -> None:
    text = esrffs("--version").stdout
    assert [line.split()[0] for line in text.splitlines()] == [
        *("esrffs", "pyfuse3", "h5py", "HDF5", "silx", "fabio")
    ]
    assert h5py.version.hdf5_version in text
    assert "esrffs -u MOUNTPOINT" in esrffs("--help").stdout


def test_a_log_line_stays_one_line(mount: MountFactory, source: Path) -> None:
    bad = source / "bad\nWARNING forged.h5"
    bad.write_bytes((source / "data.h5").read_bytes()[:100])
    mounted = mount(source)
    with pytest.raises(OSError):
        os.listdir(mounted.path / bad.name)
    mounted.expect("forged")
    assert len(mounted.warnings) == 1
    assert r"bad\nWARNING forged.h5" in mounted.warnings[0]


@as_root
def test_others_see_what_owners_and_modes_allow(source: Path, place: Path) -> None:
    shutil.copytree(source, place / "source")
    shutil.copy(source / "data.h5", place / "source/private.h5")
    (place / "source/private.h5").chmod(0o600)
    (place / "mnt").mkdir()
    assert esrffs(place / "source", place / "mnt", "-o", "allow_other").returncode == 0
    read = as_nobody("cat", place / "mnt/data.h5/x.npy")
    assert read.returncode == 0
    for command in ("ls", "cat"):
        refused = as_nobody(command, place / "mnt/private.h5/x.npy")
        assert refused.returncode != 0
        assert "Permission denied" in refused.stderr
    assert "Permission denied" in as_nobody("ls", place / "mnt/private.h5").stderr
    assert esrffs("-u", place / "mnt").returncode == 0


@as_root
def test_a_private_mount_is_private(source: Path, place: Path) -> None:
    shutil.copytree(source, place / "source")
    (place / "mnt").mkdir()
    assert esrffs(place / "source", place / "mnt").returncode == 0
    assert "Permission denied" in as_nobody("ls", place / "mnt").stderr
    assert esrffs("-u", place / "mnt").returncode == 0


@as_root
def test_nothing_outside_the_source_for_others(source: Path, place: Path) -> None:
    inner = place / "source"
    shutil.copytree(source, inner)
    shutil.copy(source / "data.h5", place / "secret.h5")
    (place / "secret.raw").write_bytes(b"secret!!")
    (inner / "linked.h5").symlink_to("../secret.h5")
    with h5py.File(inner / "links.h5", "w") as file:
        file["external"] = h5py.ExternalLink("../secret.h5", "/x")
        layout = h5py.VirtualLayout((10,), "i8")
        layout[:] = h5py.VirtualSource("../secret.h5", "x", (10,))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", (8,), "u1", external=[(str(place / "secret.raw"), 0, 8)])
    (place / "mnt").mkdir()

    def errors(*options: str) -> dict[str, int]:
        assert esrffs(inner, place / "mnt", *options).returncode == 0
        found = {}
        for name in ("external", "virtual.npy", "raw.npy", "external.npy"):
            try:
                (place / "mnt/links.h5" / name).read_bytes()
                found[name] = 0
            except OSError as error:
                found[name] = error.errno or -1
        assert esrffs("-u", place / "mnt").returncode == 0
        return found

    private = errors()
    assert private["virtual.npy"] == private["raw.npy"] == private["external.npy"] == 0
    shared = errors("-o", "allow_other")
    assert set(shared.values()) <= {errno.EACCES, errno.ENOENT}
    assert shared["virtual.npy"] == shared["raw.npy"] == errno.EACCES
    assert errno.EACCES in (shared["external"], shared["external.npy"])


_AS_A_USER = """
set -e
mount -t tmpfs none {folder}/dev
mknod -m 666 {folder}/dev/fuse c 10 229
mount --bind {folder}/dev/fuse /dev/fuse  # as udev makes it where users may mount
user() {{ setpriv --reuid={uid} --regid={gid} --clear-groups "$@"; }}
user {esrffs} {folder}/source {folder}/mnt
user ls {folder}/mnt
user {python} -c "import numpy; print(numpy.load('{folder}/mnt/data.h5/x.npy').sum())"
user {esrffs} -u {folder}/mnt
user ls {folder}/mnt
! user {esrffs} {folder}/source {folder}/mnt -o allow_other
"""


@as_root
def test_an_ordinary_user_mounts(source: Path, place: Path) -> None:
    need_nobody_to_run_it()
    shutil.copytree(source, place / "source")
    (place / "mnt").mkdir()
    (place / "dev").mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(place / "mnt", nobody.pw_uid, nobody.pw_gid)
    script = _AS_A_USER.format(
        folder=place,
        uid=nobody.pw_uid,
        gid=nobody.pw_gid,
        esrffs=ESRFFS,
        python=sys.executable,
    )
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "data.h5\n45\n"), done.stderr
    assert "user_allow_other" in done.stderr


@as_root
def test_a_mount_that_something_else_has_a_copy_of_ends_all_the_same(
    source: Path, tmp_path: Path
) -> None:
    """As the fixtures of these tests end it: a container may start at any time."""
    mounted = Mounted(source, tmp_path / "mnt", tmp_path / "log")
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE
    ) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            mounted.unmount()
        finally:
            other.kill()
            mounted.abandon()
