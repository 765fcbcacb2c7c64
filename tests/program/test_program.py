"""The command, however it is started: descriptors, limits, places that are gone, stuck daemons."""

import contextlib
import errno
import json
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path

import pytest

from tests.support.marks import as_root, needs_fuse
from tests.support.mounts import MountFactory, is_mounted
from tests.support.processes import daemon_of, gone, need_nobody_to_run_it
from tests.support.programs import ESRFFS, esrffs, run, wait_for

pytestmark = needs_fuse


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "notes.txt").write_text("hi")
    return folder


SUBSETS = [*chain.from_iterable(combinations((0, 1, 2), number) for number in range(4))]


@pytest.mark.parametrize("closed", SUBSETS, ids=str)
def test_closed_descriptors(source: Path, mountpoint: Path, closed: tuple[int, ...]) -> None:
    def start(*words: object) -> int:
        return subprocess.run(
            [ESRFFS, *words],
            check=False,
            timeout=120,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: [os.close(number) for number in closed],
        ).returncode

    assert start(source, mountpoint) == 0
    assert os.listdir(mountpoint) == ["notes.txt"]
    daemon = daemon_of(mountpoint)
    for number in (0, 1, 2):
        assert os.readlink(f"/proc/{daemon}/fd/{number}") == "/dev/null"
    assert start("--status", mountpoint) == 0
    assert start("-u", mountpoint) == 0
    assert start("-u", mountpoint) == 1
    assert start(source, mountpoint / "none") == 1
    assert start("--nonsense") == 2


@pytest.mark.parametrize("foreground", [False, True], ids=["background", "foreground"])
def test_no_descriptor_of_the_caller_is_kept(
    source: Path, mountpoint: Path, foreground: bool
) -> None:
    receive, send = os.pipe()
    words = [ESRFFS, source, mountpoint, *(["-f"] if foreground else [])]
    command = subprocess.Popen(words, pass_fds=[send], stderr=subprocess.DEVNULL)
    os.close(send)
    wait_for(lambda: is_mounted(mountpoint))
    assert os.read(receive, 1) == b"", "at the end, and not when the mount is gone"
    os.close(receive)
    wait_for(lambda: esrffs("-u", mountpoint).returncode == 0)
    assert command.wait(60) == 0


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["--status", "{mnt}"]], ids=str)
def test_a_full_disk_is_one_line(source: Path, mountpoint: Path, words: list[str]) -> None:
    assert esrffs(source, mountpoint).returncode == 0
    filled = [word.format(mnt=mountpoint) for word in words]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [ESRFFS, *filled], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == ("esrffs: cannot write to the standard output: No space left on device\n")
    assert esrffs("-u", mountpoint).returncode == 0


def test_a_mount_whose_place_cannot_be_told_is_mounted(source: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([ESRFFS, source], stdout=full, stderr=full, check=False)
    place = source.with_name("source.mnt")
    assert (done.returncode, is_mounted(place)) == (0, True)
    assert esrffs("-u", place).returncode == 0
    assert not place.exists()


def test_in_the_foreground_without_a_reader_of_stderr(source: Path, mountpoint: Path) -> None:
    command = subprocess.Popen([ESRFFS, "-f", "-d", source, mountpoint], stderr=subprocess.PIPE)
    assert command.stderr is not None
    command.stderr.close()
    wait_for(lambda: is_mounted(mountpoint))
    os.listdir(mountpoint)
    command.terminate()
    assert command.wait(60) == 0


def test_a_working_directory_that_is_gone(source: Path, mountpoint: Path, tmp_path: Path) -> None:
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'

    def start(*words: object) -> subprocess.CompletedProcess[str]:
        return run("bash", "-c", script, "bash", ESRFFS, *words, cwd=tmp_path)

    for words in (["source", "mnt"], [source, "mnt"], ["-u", "mnt"], ["--status", "mnt"]):
        done = start(*words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "the working directory is gone" in done.stderr
    assert start(source, mountpoint).returncode == 0
    assert start("-u", mountpoint).returncode == 0


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((resource.RLIMIT_NOFILE, number) for number in (8, 12, 16, 20, 24, 28, 32, 48)),
        *((resource.RLIMIT_AS, number << 20) for number in (60, 200, 400, 700)),
        (resource.RLIMIT_FSIZE, 0),
    ],
)
def test_small_limits(source: Path, mountpoint: Path, kind: int, value: int) -> None:
    """It is mounted and says so, or one line tells why not."""
    done = esrffs(
        source,
        mountpoint,
        preexec_fn=lambda: resource.setrlimit(kind, (value, value)),
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert (done.returncode == 0) == is_mounted(mountpoint)
    assert done.stderr.count("\n") == (done.returncode != 0), done.stderr
    assert "Traceback" not in done.stderr
    assert "Error(" not in done.stderr
    if done.returncode == 0:
        assert esrffs("-u", mountpoint).returncode == 0


@pytest.mark.parametrize(
    "variables",
    [{}, {"PATH": ""}, {"PATH": "/nowhere"}, {"PATH": "/usr/bin:/bin", "TMPDIR": "/nowhere"}],
    ids=str,
)
def test_poor_environments(source: Path, mountpoint: Path, variables: dict[str, str]) -> None:
    done = esrffs(source, mountpoint, env=variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert esrffs("-u", mountpoint, env=variables).returncode == 0


@pytest.mark.parametrize("language", ["C", "POSIX", "C.UTF-8"])
def test_names_that_are_no_text(tmp_path: Path, language: str) -> None:
    variables = {"LC_ALL": language, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    source = os.fsencode(tmp_path) + b"/odd\xff\xe9"
    os.mkdir(source)

    def start(*words: bytes) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, **variables}
        command = [os.fsencode(ESRFFS), *words]
        return subprocess.run(command, capture_output=True, check=False, env=environment)

    done = start(source)
    assert (done.returncode, done.stdout, done.stderr) == (0, source + b".mnt\n", b"")
    assert json.loads(start(b"--status", source + b".mnt").stdout)["source"] == os.fsdecode(source)
    assert start(b"-u", source + b".mnt").returncode == 0
    for words in ([source + b"x", b"y"], [b"-o", b"\xff"], [b"--\xff"], [b"-u", source]):
        done = start(*words)
        assert done.returncode in (1, 2)
        assert (done.stderr.count(b"\n"), b"Traceback" in done.stderr) == (1, False)
    assert start(b"--help").returncode == 0


@pytest.mark.parametrize("kind", ["fifo", "/dev/stdout"])
def test_a_log_is_no_pipe(source: Path, mountpoint: Path, tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    done = esrffs(source, mountpoint, "--log-file", tmp_path / kind)
    assert (done.returncode, "is a pipe" in done.stderr) == (2, True)
    assert not is_mounted(mountpoint)


def test_a_path_that_is_empty(source: Path) -> None:
    for words in ([""], [source, ""], ["", source]):
        done = esrffs(*words)
        assert (done.returncode, "a path is empty" in done.stderr) == (2, True)


def test_as_a_module(source: Path, mountpoint: Path) -> None:
    assert run(sys.executable, "-m", "esrffs", source, mountpoint).returncode == 0
    assert run(sys.executable, "-m", "esrffs", "-u", mountpoint).returncode == 0
    assert run(sys.executable, "-m", "esrffs", "--version").stdout.startswith("esrffs ")


def test_an_interrupted_command_leaves_no_mount(source: Path, mountpoint: Path) -> None:
    """Wherever it is when Ctrl-C comes."""
    for pause in (0.05, 0.3, 0.6, 0.9, 1.2):
        command = subprocess.Popen([ESRFFS, source, mountpoint], stderr=subprocess.PIPE, text=True)
        time.sleep(pause)  # of the program's own pace, which cannot be asked
        command.send_signal(signal.SIGINT)
        _, told = command.communicate(timeout=120)
        assert (command.returncode == 0) == is_mounted(mountpoint)
        assert command.returncode in (0, 130, -signal.SIGINT, 1)
        assert (
            told in ("", "esrffs: interrupted\n") or "KeyboardInterrupt" in told
        )  # of Python itself
        esrffs("-u", mountpoint)
        assert not is_mounted(mountpoint)


def test_one_whose_caller_was_killed_leaves_no_mount(source: Path, mountpoint: Path) -> None:
    command = subprocess.Popen([ESRFFS, source, mountpoint])
    time.sleep(0.6)
    command.kill()
    command.wait()
    seen = [name for name in os.listdir("/proc") if name.isdigit() and _serves(name, mountpoint)]
    wait_for(lambda: gone({int(name) for name in seen}) or is_mounted(mountpoint), 60)
    if is_mounted(mountpoint):  # it was ready before, or is being taken away
        done = esrffs("-u", mountpoint)
        assert done.returncode == 0 or not is_mounted(mountpoint), done.stderr


def _serves(name: str, mountpoint: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.fsencode(mountpoint) in Path("/proc", name, "cmdline").read_bytes()
    return False


@pytest.fixture
def stopped(source: Path, mountpoint: Path) -> Iterator[int]:
    """A daemon that does not answer."""
    assert esrffs(source, mountpoint).returncode == 0
    daemon = daemon_of(mountpoint)
    os.kill(daemon, signal.SIGSTOP)
    yield daemon
    with contextlib.suppress(ProcessLookupError):
        os.kill(daemon, signal.SIGCONT)


@pytest.mark.parametrize("words", [["-u", "{mnt}"], ["--status", "{mnt}"], ["{source}", "{mnt}"]])
def test_a_daemon_that_does_not_answer(
    stopped: int, source: Path, mountpoint: Path, words: list[str]
) -> None:
    done = esrffs(*(word.format(mnt=mountpoint, source=source) for word in words))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"(process {stopped}) gives no answer" in done.stderr
    assert "-u --force" in done.stderr
    assert is_mounted(mountpoint)
    os.kill(stopped, signal.SIGCONT)
    assert esrffs("-u", mountpoint).returncode == 0
    assert gone({stopped})


@as_root
def test_by_force(stopped: int, mountpoint: Path) -> None:
    waiting = subprocess.Popen(["ls", mountpoint / "notes.txt"], stderr=subprocess.PIPE)
    done = esrffs("-u", "--force", mountpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert not is_mounted(mountpoint)
    wait_for(lambda: gone({stopped}))
    waiting.communicate(timeout=20)
    assert os.listdir(mountpoint) == []


def test_force_is_for_unmounting(mountpoint: Path) -> None:
    assert esrffs("--force", mountpoint).returncode == 2


@as_root
def test_the_source_can_be_unmounted_at_once(source: Path, mountpoint: Path) -> None:
    run("mount", "-t", "tmpfs", "none", source)
    try:
        (source / "a.txt").write_text("hi")
        for _ in range(3):
            assert esrffs(source, mountpoint).returncode == 0
            daemon = daemon_of(mountpoint)
            assert (mountpoint / "a.txt").read_text() == "hi"
            assert esrffs("-u", mountpoint).returncode == 0
            assert gone({daemon})
        done = run("umount", source)
        assert done.returncode == 0, done.stderr
    finally:
        run("umount", "-l", source)


@as_root
def test_a_copy_of_the_mount_in_a_container_keeps_no_daemon(source: Path, mountpoint: Path) -> None:
    assert esrffs(source, mountpoint).returncode == 0
    daemon = daemon_of(mountpoint)
    words = ["unshare", "--mount", "bash", "-c", "echo; exec sleep 100"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as container:
        assert container.stdout is not None
        container.stdout.readline()
        try:
            assert esrffs("-u", mountpoint).returncode == 0
            assert gone({daemon})
        finally:
            container.kill()


def test_a_busy_mount_stays(source: Path, mountpoint: Path) -> None:
    assert esrffs(source, mountpoint).returncode == 0
    with open(mountpoint / "notes.txt"):
        done = esrffs("-u", mountpoint)
    assert done.returncode == 1
    assert "busy; close what uses it" in done.stderr
    assert os.listdir(mountpoint) == ["notes.txt"]
    assert esrffs("-u", mountpoint).returncode == 0


def test_a_source_that_is_gone(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    assert mounted.status["source_error"] is None
    source.rename(source.with_name("elsewhere"))
    told = json.loads(esrffs("--status", mounted.path).stdout)["source_error"]
    assert "the source is gone" in told
    with pytest.raises(OSError) as caught:
        os.listdir(mounted.path)
    assert caught.value.errno == errno.ENOENT
    source.mkdir()
    assert "is not the folder that was mounted" in mounted.status["source_error"]
    source.rmdir()
    source.with_name("elsewhere").rename(source)
    assert mounted.status["source_error"] is None
    wait_for(lambda: os.listdir(mounted.path) == ["notes.txt"])


def test_a_killed_daemon_leaves_nothing_in_the_temporary_folder(
    source: Path, mountpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    for _ in range(2):
        done = esrffs(source, mountpoint, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")})
        assert done.returncode == 0
        os.kill(daemon_of(mountpoint), signal.SIGKILL)
        wait_for(lambda: os.listdir(tmp_path / "tmp") == [])
        wait_for(lambda: esrffs("-u", mountpoint).returncode == 0)


_AS_A_USER = """
mount -t tmpfs none {folder}/dev
mknod -m 666 {folder}/dev/fuse c 10 229
mount --bind {folder}/dev/fuse /dev/fuse  # as udev makes it where users may mount
mount -t tmpfs none {folder}/upper
mkdir {folder}/upper/u {folder}/upper/w
mount -t overlay none -o lowerdir=/etc,upperdir={folder}/upper/u,workdir={folder}/upper/w /etc
rm -f /etc/mtab
user() {{ setpriv --reuid=nobody --regid={gid} --clear-groups "$@"; }}
user {esrffs} {folder}/source {folder}/mnt
echo "mounted $?"
{esrffs} --status {folder}/mnt | grep -c source_error
user {esrffs} -u {folder}/mnt
echo "unmounted $?"
{esrffs} {folder}/source {folder}/mnt
user {esrffs} -u {folder}/mnt
echo "not unmounted $?"
{esrffs} -u {folder}/mnt
echo "unmounted by root $?"
"""


@as_root
def test_an_ordinary_user_without_mtab(source: Path, place: Path) -> None:
    need_nobody_to_run_it()
    shutil.copytree(source, place / "source")
    for name in ("mnt", "dev", "upper"):
        (place / name).mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(place / "mnt", nobody.pw_uid, nobody.pw_gid)
    script = _AS_A_USER.format(folder=place, gid=nobody.pw_gid, esrffs=ESRFFS)
    done = run("unshare", "--mount", "bash", "-c", script, cwd="/")
    told = ["mounted 0", "1", "unmounted 0", "not unmounted 1", "unmounted by root 0"]
    assert done.stdout.splitlines() == told, done.stderr
    assert done.stderr == (f"esrffs: {place}/mnt: mounted by root: `sudo umount {place}/mnt`\n")
