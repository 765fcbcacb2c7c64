"""Processes of a mount, and commands that other users run."""

import json
import os
import pwd
import subprocess
from pathlib import Path

import pytest

from tests.support.mounts import Mounted
from tests.support.programs import ESRFFS


def parents() -> dict[int, int]:
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if words[0] != "Z":
            found[int(name)] = int(words[1])
    return found


def family(pid: int) -> set[int]:
    """This process and all below it."""
    everyone = parents()
    found = {pid} & set(everyone)
    while more := {child for child, parent in everyone.items() if parent in found} - found:
        found |= more
    return found


def gone(pids: set[int]) -> bool:
    return not pids & set(parents())


def daemon_of(mountpoint: Path) -> int:
    return json.loads(os.getxattr(mountpoint, "user.esrffs.status"))["pid"]


def as_nobody(*command: object) -> subprocess.CompletedProcess[str]:
    user = pwd.getpwnam("nobody")
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=30,
        check=False,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd="/",
    )


def need_nobody_to_run_it() -> None:
    """Skip the test where the user nobody cannot start esrffs."""
    try:
        reachable = as_nobody(ESRFFS, "--help").returncode == 0
    except PermissionError:
        reachable = False
    if not reachable:
        pytest.skip("the virtual environment lies where only root may enter")


def as_user(path: Path, uid: int, gid: int, *groups: int) -> bool:
    """May a user with these ids read it?"""
    done = subprocess.run(
        ["cat", path],
        capture_output=True,
        timeout=20,
        check=False,
        user=uid,
        group=gid,
        extra_groups=groups,
        cwd="/",
    )
    return done.returncode == 0


def workers(mounted: Mounted) -> set[int]:
    """The reader processes: children of the fork server, which is the daemon's."""
    everyone = parents()
    below = family(mounted.process.pid) - {mounted.process.pid}
    return {pid for pid in below if everyone.get(pid) in below}
