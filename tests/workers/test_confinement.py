"""What a confined reader may do: read the source, and nothing else."""

import errno
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from esrffs.linux import sandbox

landlock = pytest.mark.skipif(sandbox.landlock_version() < 3, reason="no Landlock in this kernel")


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
