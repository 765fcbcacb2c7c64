"""Options, mount points and mount(8): what people are used to, on real mounts where it matters."""

import contextlib
import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from esrffs.cli.mountpoint import make_default_mountpoint
from tests.support.marks import as_root, needs_fuse
from tests.support.mounts import MountFactory, is_mounted
from tests.support.programs import ESRFFS, esrffs, run, wait_for
from tests.support.stopwatch import Stopwatch

HELPER = ESRFFS.with_name("mount.esrffs")


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "source"
    folder.mkdir()
    with h5py.File(folder / "data.h5", "w") as file:
        file["x"] = np.arange(10)
    (folder / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (folder / "run.sh").chmod(0o750)
    (folder / "data.h5").chmod(0o640)
    yield folder
    for path in tmp_path.iterdir():
        if is_mounted(path):
            subprocess.run(["umount", "-l", path], check=False)


@pytest.fixture
def mountpoint(source: Path) -> Path:
    path = source.with_name("mnt")
    path.mkdir()
    return path


# What is shown


@needs_fuse
def test_owner_and_masks_on_a_mount(mount: MountFactory, source: Path) -> None:
    options = "uid=1234,gid=4321,umask=077,dmask=022"
    mounted = mount(source, "-o", options)
    for name, mode in (
        ("", 0o40755),
        ("data.h5", 0o40755),
        ("data.h5/x.npy", 0o100600),
        ("run.sh", 0o100700),
    ):
        status = (mounted / name).stat()
        assert (status.st_uid, status.st_gid, oct(status.st_mode)) == (1234, 4321, oct(mode)), name
    with os.scandir(mounted.path) as entries:
        assert {entry.stat().st_uid for entry in entries} == {1234}


@needs_fuse
def test_noexec(mount: MountFactory, source: Path) -> None:
    assert run(mount(source) / "run.sh").stdout == "ran\n"
    with pytest.raises(PermissionError):
        run(mount(source, "-o", "noexec") / "run.sh")


# Mount points


@needs_fuse
def test_a_mount_point_is_made_and_removed(source: Path) -> None:
    chosen = source.with_name("source.mnt")
    done = esrffs(f"{source}/")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{chosen}\n", "")
    assert sorted(os.listdir(chosen)) == ["data.h5", "run.sh"]
    again = esrffs(source)
    assert again.returncode == 1
    assert (
        again.stderr == f"esrffs: {chosen}: it is mounted there already; `esrffs -u` unmounts it\n"
    )
    assert is_mounted(chosen)
    watch = Stopwatch()
    assert esrffs("-u", chosen).returncode == 0
    assert not chosen.exists(), "gone when the command returns"
    assert watch.seconds < 1.5
    assert os.listdir(source.parent) == ["source"]


@needs_fuse
def test_a_mount_point_for_one_file_in_the_foreground(source: Path) -> None:
    chosen = source / "data.h5.mnt"
    process = subprocess.Popen([ESRFFS, "-f", "data.h5"], cwd=source, stderr=subprocess.PIPE)
    with process:
        wait_for(lambda: is_mounted(chosen) or process.poll() is not None)
        assert process.poll() is None, process.communicate()[1]
        assert os.listdir(chosen) == ["x.npy"]
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert not chosen.exists()


@needs_fuse
def test_after_a_crash_the_same_mount_point_serves_and_goes(source: Path) -> None:
    chosen = source.with_name("source.mnt")

    def crash() -> None:
        os.kill(json.loads(esrffs("--status", chosen).stdout)["pid"], signal.SIGKILL)
        wait_for(lambda: "dead" in esrffs("--status", chosen).stderr)

    assert esrffs(source).returncode == 0
    crash()
    assert esrffs(source).returncode == 0, "over the dead mount"
    crash()
    assert esrffs("-u", chosen).returncode == 0
    assert not chosen.exists(), "made by us, and its daemon is dead"
    made = make_default_mountpoint(str(source))
    assert made == (str(chosen), True), "as a power cut leaves it"
    assert esrffs(source).returncode == 0
    crash()
    assert esrffs(source).returncode == 0, "over the dead mount"
    assert run("umount", chosen).returncode == 0
    wait_for(lambda: not chosen.exists())


@needs_fuse
def test_what_is_not_ours_stays(source: Path, mountpoint: Path) -> None:
    assert esrffs(source, mountpoint).returncode == 0
    assert esrffs("-u", mountpoint).returncode == 0
    assert mountpoint.is_dir(), "it was given"
    chosen = source.with_name("source.mnt")
    chosen.mkdir()
    (chosen / "thesis.tex").touch()
    done = esrffs(source)
    assert (done.returncode, done.stderr) == (
        1,
        f"esrffs: {chosen}: is not empty; choose an empty directory\n",
    )
    assert (chosen / "thesis.tex").exists()


@needs_fuse
def test_a_failed_start_leaves_no_directory(source: Path) -> None:
    (source / "notes").write_text("no data")
    for words in ([source / "notes"], [source, "--log-file", "/nowhere/log"]):
        assert esrffs(*words).returncode == 2
    assert sorted(os.listdir(source)) == ["data.h5", "notes", "run.sh"]
    assert os.listdir(source.parent) == ["source"]


@needs_fuse
def test_no_place_beside() -> None:
    done = esrffs("/")
    assert done.returncode == 2
    assert "name a mount point" in done.stderr
    done = esrffs("/proc/self")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "cannot be made" in done.stderr
    assert "name a mount point" in done.stderr


@needs_fuse
def test_several_at_once(source: Path, mountpoint: Path) -> None:
    second = source.with_name("second")
    second.mkdir()
    for path in (mountpoint, second):
        assert esrffs(source, path).returncode == 0
    done = esrffs("-u", mountpoint, source, second)
    assert done.returncode == 1
    assert done.stderr.startswith(f"esrffs: {source}: no esrffs is mounted there; `findmnt")
    assert not is_mounted(mountpoint)
    assert not is_mounted(second)


@needs_fuse
def test_words_in_any_order(source: Path, mountpoint: Path) -> None:
    assert esrffs(source, "-o", "ro", mountpoint, "--workers", "1").returncode == 0
    assert esrffs(mountpoint, "-u").returncode == 0


# What is said


@pytest.mark.parametrize("word", ["--nonsense", "-o", "--cache-size", "--work"])
def test_a_wrong_word_is_one_sentence_with_a_way_out(word: str) -> None:
    done = esrffs("/", "/mnt", word)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "`esrffs --help` lists what there is" in done.stderr


@needs_fuse
def test_a_hint_at_a_terminal_alone(source: Path) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run([ESRFFS, source], stdout=theirs, stderr=theirs, timeout=60, check=False)
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError), open(ours, "rb", buffering=0) as terminal:
        while more := terminal.read(1000):
            text += more
    chosen = source.with_name("source.mnt")
    assert done.returncode == 0
    hint = f"mounted on {chosen}; `esrffs -u {chosen}` unmounts\r\n"
    assert text.decode() == hint
    assert esrffs("-u", chosen).returncode == 0


@needs_fuse
def test_status(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    (source / "bad.h5").write_bytes((source / "data.h5").read_bytes()[:100])
    mounted.expect("bad.h5")
    wait_for(lambda: "bad.h5" in os.listdir(mounted.path))
    with pytest.raises(OSError):
        os.listdir(mounted / "bad.h5")
    done = esrffs("--status", mounted.path)
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["source"] == str(source)
    assert told["pid"] == mounted.process.pid
    assert "bad.h5" in told["errors"][0]
    assert len(done.stdout.splitlines()) > 10, "for people to read"
    assert "user.esrffs.status" not in os.listxattr(mounted.path)
    assert "no esrffs is mounted there" in esrffs("--status", source).stderr


@needs_fuse
def test_sigusr1_turns_debugging_on_and_off(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    for state in ("on", "off"):
        mounted.process.send_signal(signal.SIGUSR1)
        wait_for(lambda state=state: f"debugging is {state}" in mounted.log.read_text())
    assert np.load(mounted / "data.h5/x.npy").sum() == 45


@needs_fuse
def test_the_journal_is_told_how_bad_it_is(source: Path, mountpoint: Path, tmp_path: Path) -> None:
    with open(tmp_path / "journal", "wb") as journal:
        status = os.fstat(journal.fileno())
        process = subprocess.Popen(
            [ESRFFS, "-f", source, mountpoint],
            stderr=journal,
            env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
        )
    wait_for((tmp_path / "journal").read_text)  # a signal before would end it before it tells
    process.terminate()
    assert process.wait(20) == 0
    lines = (tmp_path / "journal").read_text().splitlines()
    assert lines[0] == f"<6>INFO: mounted {source} on {mountpoint}"


# mount(8)


@pytest.fixture
def mount8(tmp_path: Path) -> str:
    """A shell command line in whose own view of the files mount(8) finds both helpers.

    Whether esrffs was installed on this machine must not matter, nor may it be changed by a test.
    """
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin" / "mount.esrffs").symlink_to(HELPER)
    for name in ("mount.fuse", "mount.fuse3"):
        (tmp_path / "sbin" / name).symlink_to(f"{tmp_path}/real/mount.fuse3")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "esrffs").symlink_to(ESRFFS)
    (tmp_path / "real").mkdir()
    (tmp_path / "fstab").touch()
    return f"""
        set -e
        mount --bind /usr/sbin {tmp_path}/real
        mount --bind {tmp_path}/sbin /usr/sbin
        mount --bind {tmp_path}/bin /usr/local/bin
        mount --bind {tmp_path}/fstab /etc/fstab
        export PATH=/usr/local/bin:/usr/bin:/bin
        cd {tmp_path}
    """


def script(mount8: str, text: str) -> subprocess.CompletedProcess[str]:
    return run("unshare", "--mount", "bash", "-c", mount8 + text)


@needs_fuse
@as_root
@pytest.mark.parametrize("kind", ["esrffs", "fuse.esrffs"])
def test_mount_by_type(mount8: str, source: Path, mountpoint: Path, kind: str) -> None:
    options = (
        "noauto,user,_netdev,nofail,x-systemd.automount,defaults,rw,comment=by hand,"
        "allow_other,attr_timeout=5,uid=77"
    )
    done = script(
        mount8,
        f"""
        mount -n -v -s -t {kind} -o '{options}' source mnt
        stat -c %u mnt/data.h5/x.npy
        findmnt -n -o FSTYPE,OPTIONS mnt
        umount mnt
        ls mnt
        """,
    )
    assert done.returncode == 0, done.stderr
    owner, line = done.stdout.strip().splitlines()[-2:]
    assert owner == "77"
    kind_, options_ = line.split()
    assert kind_ == "fuse.esrffs"
    assert {"ro", "allow_other"} <= set(options_.split(","))


@needs_fuse
@as_root
@pytest.mark.parametrize(
    ("kind", "status"), [("esrffs", (1, 32)), ("fuse.esrffs", (2, 1))], ids=["own", "fuse"]
)
def test_mount_that_fails(
    mount8: str, source: Path, mountpoint: Path, kind: str, status: tuple[int, int]
) -> None:
    (mountpoint / "full").touch()
    done = script(
        mount8,
        f"""
        set +e
        mount -t {kind} -o nonsense=1 source mnt
        echo $?
        mount -t {kind} source mnt
        echo $?
        """,
    )
    assert done.stdout.split() == [str(number) for number in status]
    assert "unknown option 'nonsense=1'" in done.stderr
    assert "is not empty" in done.stderr


@needs_fuse
@as_root
def test_fstab_without_path_and_home(mount8: str, source: Path, mountpoint: Path) -> None:
    (source.parent / "fstab").write_text(
        f"{source} {mountpoint} fuse.esrffs noauto,nofail,_netdev,allow_other,ro 0 0\n"
        f"{source} {source.parent}/two esrffs noauto,user,x-systemd.automount,dev,suid 0 0\n"
    )
    (source.parent / "two").mkdir()
    done = script(
        mount8,
        f"""
        for path in {mountpoint} {source.parent}/two; do
            env -i /usr/bin/mount $path
            cat $path/data.h5/x.npy | tail -c 8 | od -A n -t d8
            env -i /usr/bin/umount $path
        done
        env -i {ESRFFS} source mnt
        env -i {ESRFFS} -u mnt
        """,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["9", "9"]), done.stderr


@needs_fuse
@as_root
def test_a_fake_mount_mounts_nothing(source: Path, mountpoint: Path) -> None:
    assert run(HELPER, source, mountpoint, "-f", "-o", "rw").returncode == 0
    assert not is_mounted(mountpoint)
    assert run(HELPER, source).returncode == 1
