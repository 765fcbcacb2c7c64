"""Only `source/` decides where a call runs that may wait for a file server."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "esrffs"

# Modules that still reach through to the executor of the source, to become fewer.
NOT_YET = {
    "arrays/chunked",
    "flatfield/corrected_array",
    "flatfield/folder_inspector",
    "flatfield/inspectors",
    "flatfield/service",
}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent.name != "source")


def reaches_through(module: Path) -> bool:
    """Does it use an attribute called `executor`, its own or another object's?"""
    return any(
        isinstance(node, ast.Attribute) and node.attr in {"executor", "_executor"}
        for node in ast.walk(ast.parse(module.read_text()))
    )


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_module_outside_source_asks_for_the_executor(module: Path) -> None:
    name = module.relative_to(PACKAGE).with_suffix("").as_posix()
    assert not reaches_through(module) or name in NOT_YET
