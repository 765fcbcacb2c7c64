"""The layout of the tests: a folder for what they need, short files, helpers apart."""

import ast
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import FOLDERS, TESTS, pytest_collection_modifyitems

MODULES = sorted(path for path in TESTS.rglob("*.py") if path.name != "__init__.py")
UNIT = [path for path in MODULES if path.is_relative_to(TESTS / "unit")]
SUPPORT = [path for path in MODULES if path.is_relative_to(TESTS / "support")]
MAX_LINES = 400

# What a unit test does without: mounts, their fixtures, and processes of its own.
FIXTURES = {"mount", "mountpoint"}
NOT_IN_UNIT = {"subprocess", "multiprocessing", "trio_parallel", "esrffs.workers.pool"}
NOT_IN_UNIT |= {f"tests.support.{name}" for name in ("marks", "mounts", "processes", "programs")}


def name_of(path: object) -> str:
    return path.relative_to(TESTS).as_posix() if isinstance(path, Path) else str(path)


def imported(module: Path) -> Iterator[str]:
    """The modules that a module imports, and the names that it takes from them, with dots."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(module: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_test_is_in_a_folder_that_says_what_it_needs() -> None:
    assert {path.name for path in TESTS.glob("*.py")} == {"__init__.py", "conftest.py"}
    folders = {path.name for path in TESTS.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == {*FOLDERS, "support"}


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_modules_are_short_and_say_what_they_are_about(module: Path) -> None:
    text = module.read_text()
    assert len(text.splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("module", SUPPORT, ids=name_of)
def test_helpers_are_no_tests(module: Path) -> None:
    """The tests of `ReaderContract` run where a test class inherits them."""
    assert not module.name.startswith("test_")
    names = [getattr(node, "name", "") for node in ast.parse(module.read_text()).body]
    assert [name for name in names if name.lower().startswith("test")] == []


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_test_module_imports_another(module: Path) -> None:
    """What two of them need is in `support/`."""
    names = [name.split(".") for name in imported(module)]
    assert [parts for parts in names if any(part.startswith("test_") for part in parts[:-1])] == []
    if module in SUPPORT:
        tests = [parts for parts in names if parts[0] == "tests" and parts[1] != "support"]
        assert tests == []


@pytest.mark.parametrize("module", UNIT, ids=name_of)
def test_unit_tests_neither_mount_nor_start_processes(module: Path) -> None:
    used = {
        part
        for name in imported(module)
        for part in (name, name.rpartition(".")[0])
        if part in NOT_IN_UNIT
    }
    assert used == set()
    tests = [node for node in functions(module) if node.name.startswith("test_")]
    arguments = {argument.arg for node in tests for argument in node.args.args}
    assert not arguments & FIXTURES


def test_unit_tests_mirror_the_package() -> None:
    """`tests/unit/formats/hdf5` is about `esrffs/formats/hdf5`; so for `benchmarks`."""
    places = [TESTS.parent / "esrffs", TESTS.parent]
    folders = {path.parent.relative_to(TESTS / "unit") for path in UNIT}
    assert [f for f in folders if not any((place / f).is_dir() for place in places)] == []


def test_what_is_fast_is_tested_first_and_faults_last() -> None:
    marks: dict[str, list[str]] = {}

    def item(name: str) -> SimpleNamespace:
        marks[name] = []
        return SimpleNamespace(path=TESTS / name, name=name, add_marker=marks[name].append)

    names = ["faults/test_x.py", "mount/test_b.py", "mount/security/test_a.py"]
    names += ["workers/test_c.py", "unit/tree/test_y.py", "unit/test_x.py"]
    items = [item(name) for name in names]
    pytest_collection_modifyitems(items)
    assert [item.name for item in items] == [*names[4:], names[3], *names[1:3], names[0]]
    assert marks == {name: [name.split("/")[0]] for name in names}
