"""The text that stands for an object in the log names its class."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "esrffs"


def own_reprs() -> Iterator[tuple[str, str]]:
    """Each class that defines `__repr__`, and the source text of that method."""
    for module in sorted(PACKAGE.rglob("*.py")):
        source = module.read_text()
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.ClassDef):
                continue
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and inner.name == "__repr__":
                    yield node.name, ast.get_source_segment(source, inner) or ""


FOUND = list(own_reprs())


def test_there_are_some() -> None:
    assert len(FOUND) > 20


@pytest.mark.parametrize(("name", "text"), FOUND, ids=[name for name, _ in FOUND])
def test_a_repr_names_its_class_of_today(name: str, text: str) -> None:
    assert name in text or "type(self).__name__" in text
