"""The udev rule that raises the read-ahead of ordinary users' mounts, and its helper."""

import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.marks import as_root, needs_fuse
from tests.support.programs import ESRFFS, run

SYSTEMD = Path(__file__).parents[2] / "systemd"
HELPER = SYSTEMD / "esrffs-read-ahead"
OURS = "fuse.esrffs /data rw,user_id=1000,group_id=100"


def line(device: str, rest: str, mountpoint: str = "/mnt", optional: str = "shared:7 ") -> str:
    return f"90 25 {device} / {mountpoint} ro,nosuid,nodev,relatime {optional}- {rest}"


class Kernel:
    """A copy of the helper that reads our files where it would read the kernel's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bdi = folder / "bdi"
        self.mountinfo = folder / "mountinfo"
        self.helper = folder / "helper"
        for made in (self.bin, self.bdi / "0:55", self.bdi / "0:5"):
            made.mkdir(parents=True)
        text = HELPER.read_text()
        for real, ours in (("/proc/self/mountinfo", self.mountinfo), ("/sys/class/bdi", self.bdi)):
            assert real in text
            text = text.replace(real, str(ours))
        self.helper.write_text(text)
        self.helper.chmod(0o755)
        self.sleeps('echo "$1" >>"$0.log"')

    def sleeps(self, command: str) -> None:
        """What happens while the helper waits."""
        (self.bin / "sleep").write_text(f"#!/bin/sh\n{command}\n")
        (self.bin / "sleep").chmod(0o755)

    def set(self, kib: object) -> None:
        for each in self.bdi.iterdir():
            (each / "read_ahead_kb").write_text(f"{kib}\n")

    def read_ahead(self, device: str = "0:55") -> int:
        return int((self.bdi / device / "read_ahead_kb").read_text())

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run(self.helper, *words, env={"PATH": f"{self.bin}:{os.environ['PATH']}"})

    def after(self, *lines: str, kib: int = 1024) -> int:
        """The read-ahead after the helper saw these lines, with 128 KiB before."""
        self.mountinfo.write_text("".join(f"{each}\n" for each in lines))
        self.set(128)
        done = self.run("0:55", str(kib))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert self.read_ahead("0:5") == 128, "that is another file system"
        return self.read_ahead()


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def test_a_users_mount_of_esrffs_is_raised(kernel: Kernel) -> None:
    root = line("8:1", "ext4 /dev/sda1 rw", "/")
    assert kernel.after(root, line("0:55", OURS)) == 1024
    assert kernel.after(root, line("0:55", OURS, optional="")) == 1024
    assert kernel.after(root, line("0:55", OURS, optional="shared:7 master:1 ")) == 1024
    assert kernel.after(root, line("0:55", OURS), kib=64) == 128, "raised, never lowered"


@pytest.mark.parametrize(
    "rest",
    [
        "fuse.sshfs host:/data rw,user_id=1000,group_id=100",
        "fuse /dev/fuse rw,user_id=1000,group_id=100",
        "fuse.esrffs2 /data rw,user_id=1000,group_id=100",
        "nfs4 server:/data rw",
        "fuse.esrffs /data rw,user_id=0,group_id=0",
        "fuse.esrffs /data rw,user_id=0",
    ],
)
def test_other_file_systems_and_roots_mounts_are_left_alone(kernel: Kernel, rest: str) -> None:
    assert kernel.after(line("0:55", rest)) == 128
    assert "0.1" not in (kernel.bin / "sleep.log").read_text().split(), "and not waited for"


def test_only_the_device_itself_counts(kernel: Kernel) -> None:
    for other in ("0:5", "0:555", "10:55", "5:0"):
        assert kernel.after(line(other, OURS)) == 128


def test_names_do_not_pass_for_fields(kernel: Kernel) -> None:
    """The kernel writes a blank of a name as "\\040", so that it stays one field."""
    forged = r"x\040-\040fuse.esrffs\040x\040rw,user_id=1000"
    assert kernel.after(line("0:55", f"fuse.sshfs {forged} rw,user_id=1000", forged)) == 128
    assert kernel.after(line("0:55", "fuse.sshfs - rw,user_id=1000", "-")) == 128
    assert kernel.after(line("0:7", "tmpfs 0:55 rw", r"/mnt\0120:55")) == 128
    assert (
        kernel.after(line("0:55", r"fuse.esrffs a\040b rw,user_id=1000", r"/a\040-\040b")) == 1024
    )


def test_the_mount_may_come_later_and_fuse_lowers_it_once(kernel: Kernel) -> None:
    kernel.set(128)
    kernel.mountinfo.write_text("")
    late = line("0:55", OURS)
    kernel.sleeps(
        f"""case "$1" in
        0.2) echo '{late}' >{kernel.mountinfo} ;;
        0.8) cat {kernel.bdi}/0:55/read_ahead_kb >{kernel.folder}/seen
             echo 128 >{kernel.bdi}/0:55/read_ahead_kb ;;
        esac"""
    )
    assert kernel.run("0:55", "1024").returncode == 0
    assert (kernel.folder / "seen").read_text() == "1024\n"
    assert kernel.read_ahead() == 1024


def test_a_mount_that_is_gone_is_no_error(kernel: Kernel) -> None:
    kernel.mountinfo.write_text(line("0:99", OURS) + "\n")
    done = kernel.run("0:99", "1024")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "words",
    [(), ("0:55",), ("0:55", "x"), ("../0:5", "1024"), ("0:55 ", "1"), ("0:55", "1", "2")],
)
def test_wrong_arguments(kernel: Kernel, words: tuple[str, ...]) -> None:
    kernel.set(128)
    kernel.mountinfo.write_text(line("0:55", OURS) + "\n")
    done = kernel.run(*words)
    assert (done.returncode, done.stderr) == (2, "usage: esrffs-read-ahead MAJOR:MINOR KIB\n")
    assert kernel.read_ahead() == 128


def test_the_rule_starts_the_unit_that_runs_the_helper() -> None:
    [rule] = re.findall(r"^[A-Z].*", (SYSTEMD / "99-esrffs.rules").read_text(), re.MULTILINE)
    [unit] = re.findall(r'RUN\+="/usr/bin/systemctl --no-block start (\S+)@\$kernel.service"', rule)
    text = (SYSTEMD / f"{unit}@.service").read_text()
    assert f"\nExecStart=/usr/lib/udev/{HELPER.name} %i ${{READ_AHEAD}}\n" in text
    assert os.access(HELPER, os.X_OK)


def test_udev_takes_the_rule() -> None:
    if not shutil.which("udevadm") or "verify" not in run("udevadm", "--help").stdout:
        pytest.skip("there is no `udevadm verify`")
    done = run("udevadm", "verify", "--resolve-names=never", SYSTEMD / "99-esrffs.rules")
    assert done.returncode == 0, done.stderr


# A real mount, in a mount namespace in which everybody may use /dev/fuse

_MOUNTED = """
set -eu
cd "$1"
user() { setpriv --reuid="$owner" --regid="$owner" --clear-groups "$@"; }
owner=$2
mount --bind fuse /dev/fuse
user "$3" source mnt -o read_ahead=128
device=$(awk -v path="$1/mnt" '$5 == path { print $3 }' /proc/self/mountinfo)
cat "/sys/class/bdi/$device/read_ahead_kb"
"$4" "$device" 1024
cat "/sys/class/bdi/$device/read_ahead_kb"
user "$3" -u mnt
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a source and a mount point of the user nobody, and a device for everybody."""
    path = Path("/tmp") / f"esrffs-read-ahead-{os.getpid()}"
    user = pwd.getpwnam("nobody")
    for made in (path, path / "source", path / "mnt"):
        made.mkdir()
        made.chmod(0o755)
        os.chown(made, user.pw_uid, user.pw_gid)
    os.mknod(path / "fuse", stat.S_IFCHR | 0o666, os.makedev(10, 229))
    (path / "fuse").chmod(0o666)
    yield path
    shutil.rmtree(path)


@needs_fuse
@as_root
@pytest.mark.parametrize(("user", "expected"), [("nobody", 1024), ("root", 128)])
def test_a_real_mount(user: str, expected: int, place: Path) -> None:
    owner = str(pwd.getpwnam(user).pw_uid)
    if run("setpriv", f"--reuid={owner}", "--clear-groups", ESRFFS, "--version").returncode:
        pytest.skip(f"{user} may not run this clone")
    done = run("unshare", "--mount", "sh", "-c", _MOUNTED, "sh", place, owner, ESRFFS, HELPER)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"128\n{expected}\n"
