"""Setting up: which Python serves, what is installed for what, what is left where, what CI runs.

Nothing is installed here.  The Pythons, `make` and `apt-get` of these tests write down what they
are asked for.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

KERNEL = "esrffs/flatfield/_kernel.c"

_PYTHON = """\
#!{python}
import ensurepip, os, shutil, sys, sysconfig, venv  # which ask for the version now
from collections import namedtuple

Version = namedtuple("Version", "major minor micro releaselevel serial")
sys.version_info = Version(3, {minor}, 0, "final", 0)
sys.executable = os.path.abspath(__file__)
match sys.argv[1:]:
    case ["-", *_]:
        exec(sys.stdin.read())
    case ["-c", text]:
        exec(text)
    case ["--version"]:
        print("Python 3.{minor}.0")
    case ["-m", "venv", "--clear", folder]:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder + "/bin")
        shutil.copy(__file__, folder + "/bin/python")
    case ["-m", "pip", "install", *words]:
        print("Collecting numpy")
        print("  Downloading numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl (16.9 MB)")
        with open({log!r}, "a") as log:
            print("pip", words[-1], *sorted(os.listdir(words[-1].partition("[")[0])), file=log)
"""

_WRITES_DOWN = """\
#!/bin/sh
echo "${{0##*/}} $* PYTHON=$PYTHON" >>{log}
"""


class Machine:
    """A clone of the set-up in a folder, and the programs beside it."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "clone"
        self.home = folder / "home"
        self.bin = folder / "bin"
        self._log = folder / "log"
        for made in (self.home, self.bin, self.clone / "esrffs/flatfield"):
            made.mkdir(parents=True)
        for name in (".ci", "packaging"):
            shutil.copytree(ROOT / name, self.clone / name)
        for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE", KERNEL):
            shutil.copy(ROOT / name, self.clone / name)
        for name in ("apt-get", "sudo"):
            self._program(self.bin / name, _WRITES_DOWN.format(log=self._log))

    def _program(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def python(self, path: Path, minor: int) -> Path:
        text = _PYTHON.format(python=sys.executable, minor=minor, log=str(self._log))
        return self._program(path, text)

    def make_writes_down(self) -> Path:
        return self._program(self.bin / "make", _WRITES_DOWN.format(log=self._log))

    def run(self, *words: object, fails: bool = False, **variables: object) -> str:
        """What the command tells; the clone is where it runs."""
        done = subprocess.run(
            [str(word) for word in words],
            cwd=self.clone,
            env={
                "PATH": f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": str(self.home),
                **{name: str(value) for name, value in variables.items()},
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def asked(self) -> list[str]:
        """What the programs were asked for since this was asked, system packages aside."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return [line for line in lines if not line.startswith(("apt-get", "sudo"))]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# Which Python


def test_the_newest_python_is_found_on_the_path_and_among_those_of_pyenv(machine: Machine) -> None:
    on_path = machine.python(machine.bin / "python3.98", 98)
    assert machine.run(".ci/python", "--newest").strip() == str(on_path)
    pyenv = machine.python(machine.home / ".pyenv/versions/3.99.0/bin/python3", 99)
    assert machine.run(".ci/python", "--newest").strip() == str(pyenv)
    machine.python(machine.home / ".pyenv/versions/3.9.1/bin/python3", 9)
    assert machine.run(".ci/python", "--newest").strip() == str(pyenv)


def test_python_of_the_environment_is_heard(machine: Machine) -> None:
    chosen = machine.python(machine.home / "mine", 97)
    assert machine.run(".ci/python", PYTHON=chosen).strip() == str(chosen)
    rule = ("--eval", "told: ; @echo [$$PYTHON]", "--silent", "told")
    assert machine.run("make", *rule, PYTHON=chosen).strip() == f"[{chosen}]"
    assert machine.run("make", *rule, f"PYTHON={chosen}").strip() == f"[{chosen}]"
    assert machine.run("make", *rule).strip() == "[]", "so that .ci/python chooses"


def test_a_python_that_does_not_serve_is_told(machine: Machine) -> None:
    old = machine.python(machine.home / "old", 9)
    done = subprocess.run(
        [machine.clone / ".ci/setup", "demo"],
        env={**os.environ, "PATH": f"{machine.bin}:{os.environ['PATH']}", "PYTHON": str(old)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"{old} does not serve: it takes Python 3.11 or newer" in done.stderr


# What is installed


def test_a_demo_installs_what_a_demo_needs(machine: Machine) -> None:
    python = machine.python(machine.home / "mine", 97)
    told = machine.run(".ci/setup", "demo", PYTHON=python)
    assert "making .venv with Python 3.97" in told
    assert "\n  numpy 2.4.6 (16.9 MB)\n" in told, "what pip is doing is shown"
    [line] = machine.asked()
    assert line.split()[:2] == ["pip", "."]
    assert machine.run(".ci/setup", "demo", PYTHON=python) == ""
    assert machine.asked() == [], "all is there"
    told = machine.run(".ci/setup", "test", PYTHON=python)
    assert "making" not in told, "tests need more, in the same environment"
    [line] = machine.asked()
    assert line.split()[:2] == ["pip", ".[test]"]
    for what in ("demo", "test"):
        assert machine.run(".ci/setup", what, PYTHON=python) == ""
    assert machine.asked() == []
    (machine.clone / KERNEL).write_text("/* another */")
    assert "making" not in machine.run(".ci/setup", "test", PYTHON=python)
    assert len(machine.asked()) == 1, "pip compiles the new kernel"
    other = machine.python(machine.home / "other", 98)
    assert "making .venv with Python 3.98" in machine.run(".ci/setup", "demo", PYTHON=other)


def test_an_environment_elsewhere(machine: Machine) -> None:
    python = machine.python(machine.home / "mine", 97)
    machine.run(".ci/setup", "test", ".venv-3.97", PYTHON=python)
    assert (machine.clone / ".venv-3.97/bin/python").exists()
    assert not (machine.clone / ".venv").exists()


def test_a_failure_of_pip_is_one_of_the_set_up(machine: Machine) -> None:
    python = machine.python(machine.home / "mine", 97)
    text = python.read_text().replace('print("Collecting numpy")', 'sys.exit("ERROR: no numpy")')
    python.write_text(text)
    done = subprocess.run(
        [machine.clone / ".ci/setup", "demo"],
        env={**os.environ, "PATH": f"{machine.bin}:{os.environ['PATH']}", "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "ERROR: no numpy" in done.stderr
    assert "pip could not install esrffs" in done.stderr
    assert not (machine.clone / ".venv/stamp").exists()


def test_make_install_builds_in_a_copy(machine: Machine) -> None:
    """What root leaves in the clone, its owner cannot change."""
    python = machine.python(machine.home / "mine", 97)
    before = sorted(machine.clone.rglob("*"))
    lib = machine.home / "lib"
    told = machine.run("make", "install-program", f"LIB={lib}", PYTHON=python)
    assert "  numpy 2.4.6 (16.9 MB)" in told
    [line] = machine.asked()
    _, source, *names = line.split()
    assert not Path(source).is_relative_to(machine.clone)
    assert names == ["LICENSE", "README.md", "esrffs", "pyproject.toml"]
    assert not Path(source).exists(), "and takes it away"
    assert sorted(machine.clone.rglob("*")) == before


@pytest.mark.skipif(not shutil.which("dpkg"), reason="there is no dpkg")
def test_dpkg_tells_which_libfuse3_a_package_needs(machine: Machine) -> None:
    import pyfuse3

    folder = Path(pyfuse3.__file__).parent.parent
    found = machine.run(machine.clone / "packaging/libfuse.sh", folder).strip()
    listed = machine.run("dpkg", "-L", found)
    assert "/libfuse3.so." in listed


# What CI runs


def test_ci_tests_on_the_default_python_and_on_the_newest(machine: Machine) -> None:
    machine.make_writes_down()
    default = machine.python(machine.home / "mine", 97)
    newest = machine.python(machine.home / ".pyenv/versions/3.99.0/bin/python3", 99)
    told = machine.run(".ci/run", PYTHON=default)
    pip, *makes = sorted(machine.asked(), key=lambda line: line.startswith("make"))
    assert pip.startswith("pip .[test] "), "the second environment is made beside the first"
    assert (machine.clone / ".venv-3.99/stamp").exists()
    assert makes[:2] == [f"make setup PYTHON={default}", f"make test PYTHON={default}"]
    assert sorted(makes[2:]) == [
        f"make dist PYTHON={default}",
        f"make pytest VENV=.venv-3.99 PYTHON={newest}",
    ]
    assert told.splitlines()[-1] == "ci: tested on Python 3.97 and 3.99"


@pytest.mark.parametrize("target", ["dist", "pytest"])
def test_ci_fails_where_a_part_of_it_fails(machine: Machine, target: str) -> None:
    make = machine.make_writes_down()
    make.write_text(f"{make.read_text()}case $1 in {target}) exit 3;; esac\n")
    machine.python(machine.home / ".pyenv/versions/3.99.0/bin/python3", 99)
    default = machine.python(machine.home / "mine", 97)
    told = machine.run(".ci/run", fails=True, PYTHON=default)
    assert "ci: tested on" not in told


def test_ci_says_so_where_there_is_only_one_python(machine: Machine) -> None:
    machine.make_writes_down()
    only = machine.python(machine.bin / "python3.99", 99)
    told = machine.run(".ci/run", PYTHON=only)
    assert machine.asked() == [f"make test dist PYTHON={only}"]
    assert "tested on Python 3.99 only" in told
