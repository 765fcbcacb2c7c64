"""What is installed beside the package: units, manual pages, completions, the package itself."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np
import pytest

from esrffs.cli.options import MountOptions
from tests.support.marks import needs_fuse
from tests.support.mounts import is_mounted
from tests.support.programs import ESRFFS, run
from tests.support.stopwatch import Stopwatch

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"
UNITS = [
    path
    for path in sorted(SYSTEMD.rglob("*"))
    if path.suffix in {".service", ".mount", ".automount"}
]
needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="there is no systemd-analyze"
)


# systemd


@pytest.fixture
def service(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(20)
        yield listener


def directives(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


def as_started(unit: Path, **values: object) -> list[str]:
    """The command of a unit, its ${NAME} replaced as systemd would."""
    [command] = directives(unit, "ExecStart")
    words = command.replace("/usr/bin/esrffs", str(ESRFFS)).split()
    return [re.sub(r"\$\{(\w+)\}", lambda match: str(values[match[1]]), word) for word in words]


# What the sandbox of the unit takes away and can be taken away without systemd.  The number is
# PR_SET_MDWE of <linux/prctl.h>, of Linux 6.3: it stands for MemoryDenyWriteExecute.
_CONFINED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
command = ["setpriv", "--bounding-set=-all,+sys_admin", "--inh-caps=-all", "--no-new-privs"]
os.execvp(command[0], command + sys.argv[1:])
"""


@needs_fuse
@pytest.mark.parametrize(
    "unit", ["esrffs@.service", "user/esrffs@.service"], ids=["system", "user"]
)
def test_a_service_is_ready_alive_and_stopped(
    unit: str, service: socket.socket, tmp_path: Path
) -> None:
    (tmp_path / "a source").mkdir()
    with h5py.File(tmp_path / "a source" / "data.h5", "w") as file:
        file.create_dataset("x", data=np.arange(1000), chunks=(100,), compression="gzip")
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    command = as_started(
        SYSTEMD / unit, OPTIONS="", SOURCE=tmp_path / "a source", MOUNTPOINT=mountpoint
    )
    if unit.startswith("esrffs") and os.geteuid() == 0:
        assert directives(SYSTEMD / unit, "CapabilityBoundingSet") == ["CAP_SYS_ADMIN"]
        command = [sys.executable, "-c", _CONFINED, *command]
    process = subprocess.Popen(
        command,
        env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert service.recv(1000).startswith(b"READY=1\nSTATUS=")
        assert is_mounted(mountpoint)
        spans = []
        for _ in range(3):
            began, watch = time.monotonic(), Stopwatch()
            assert [service.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            spans.append((time.monotonic() - began, watch.seconds))
        # Each after half of what it waits for: the first may have been said before we listened.
        assert max(passed for passed, _ in spans) > 0.5
        assert min(counted for _, counted in spans) < 1.1
        assert np.load(mountpoint / "data.h5/x.npy").sum() == 499500
        process.send_signal(signal.SIGTERM)
        while (text := service.recv(1000)) == b"WATCHDOG=1":
            pass
        assert text == b"STOPPING=1"
        assert process.wait(20) == 0
        assert not is_mounted(mountpoint)
    finally:
        process.kill()
        process.communicate()
        subprocess.run(["umount", "-ql", mountpoint], check=False)


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: str(path.relative_to(SYSTEMD)))
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    for other in unit.parent.glob("*.*mount"):  # an .automount names its .mount
        shutil.copy(other, tmp_path)
    text = unit.read_text().replace("/usr/bin/esrffs", str(ESRFFS))
    text = text.replace("/usr/lib/udev/", f"{SYSTEMD}/")
    (tmp_path / unit.name).write_text(text)
    done = run("systemd-analyze", "verify", "--man=no", tmp_path / unit.name)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_the_service_is_confined() -> None:
    unit = SYSTEMD / "esrffs@.service"
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=30", unit)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


# Manual pages and completions


@pytest.mark.parametrize("page", ["esrffs.1", "mount.esrffs.8"])
def test_manual_pages_tell_of_every_option(page: str) -> None:
    if not shutil.which("man"):
        pytest.skip("there is no man")
    done = run("man", "--warnings", "-l", ROOT / "man" / page, env={"MANWIDTH": "200"})
    assert (done.returncode, done.stderr) == (0, "")
    for entry in fields(MountOptions):
        name = entry.name if page.endswith("8") else "--" + entry.name.replace("_", "-")
        assert re.search(rf"^ +{name}\b", done.stdout, re.MULTILINE), name


def completed(*words: str) -> list[str]:
    script = (
        f'. {ROOT}/completions/esrffs.bash; compopt() {{ :; }}; COMP_WORDS=(esrffs "$@"); '
        "COMP_CWORD=$#; _esrffs; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = run("bash", "-c", script, "bash", *words, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_bash_completes() -> None:
    assert completed("--cach") == ["--cache-size"]
    assert "--unmount" in completed("--")
    assert completed("-o", "cache") == ["cache_size="]
    assert completed("REA") == ["README.md"]
    assert completed("--workers", "") == []
    assert "README.md" not in completed("-u", "")


@pytest.mark.parametrize(("shell", "file"), [("zsh", "_esrffs"), ("fish", "esrffs.fish")])
def test_other_shells_can_read_theirs(shell: str, file: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell}")
    done = run(shell, "-n", ROOT / "completions" / file)
    assert (done.returncode, done.stderr) == (0, "")


# Installation


def found(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_install_and_uninstall(tmp_path: Path) -> None:
    assert run("make", "install-files", f"PREFIX={tmp_path}", cwd=ROOT).returncode == 0
    assert {
        "sbin/mount.esrffs",
        "lib/systemd/system/esrffs@.service",
        "lib/systemd/user/esrffs@.service",
        "lib/systemd/system/esrffs-read-ahead@.service",
        "lib/tmpfiles.d/esrffs.conf",
        "lib/udev/esrffs-read-ahead",
        "lib/udev/rules.d/99-esrffs.rules",
        "share/man/man1/esrffs.1",
        "share/man/man8/mount.esrffs.8",
        "share/bash-completion/completions/esrffs",
        "share/zsh/site-functions/_esrffs",
        "share/fish/vendor_completions.d/esrffs.fish",
        "bin/esrffs",
    } == found(tmp_path)
    assert (
        f"{tmp_path}/bin/esrffs -" in (tmp_path / "lib/systemd/system/esrffs@.service").read_text()
    )
    assert run("make", "uninstall", f"PREFIX={tmp_path}", cwd=ROOT).returncode == 0
    assert found(tmp_path) == set()


def test_the_helper_goes_where_mount_looks() -> None:
    plan = run("make", "--dry-run", "install-files", cwd=ROOT).stdout
    assert "/lib/esrffs/bin/mount.esrffs /usr/sbin/mount.esrffs" in plan
