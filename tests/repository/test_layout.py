"""The layout of the tests: a folder for what they need, short files, helpers apart."""

from types import SimpleNamespace

from tests.conftest import TESTS, pytest_collection_modifyitems


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
