"""File names: what a filesystem can hold, and who keeps a name."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esrffs.encoders.file_names import NAME_MAX, escape, relative_link, shorten, unique_names

stems = st.binary(min_size=1, max_size=300).filter(lambda b: b"/" not in b and b"\0" not in b)
suffixes = st.sampled_from([b"", b".npy", b".json", b".attrs.json"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b", b"a%b"),
        (".", b"%2E"),
        ("..", b"%2E%2E"),
        ("...", b"..."),
        ("a\0b", b"a%00b"),
        ("é", "é".encode()),
        ("\udce9", b"\xe9"),
        ("", b"%"),
    ],
)
def test_escape(name: str, expected: bytes) -> None:
    assert escape(name) == expected


@given(st.text())
def test_escaped_names_are_path_components(name: str) -> None:
    try:
        escaped = escape(name)
    except UnicodeEncodeError:
        return  # surrogates that stand for no byte: no reader gives them
    assert escaped not in (b"", b".", b"..")
    assert not set(escaped) & set(b"/\0")


@given(stems, suffixes)
def test_long_names_fit_and_differ_by_their_hash(stem: bytes, suffix: bytes) -> None:
    name = shorten(stem, suffix)
    assert len(name) <= NAME_MAX
    assert name.endswith(suffix)
    assert (name == stem + suffix) == (len(stem + suffix) <= NAME_MAX)
    assert shorten(stem * 300 + b"1", suffix) != shorten(stem * 300 + b"2", suffix)


def test_a_character_is_not_cut_in_two() -> None:
    assert shorten(("é" * 200).encode(), b".npy").decode()
    assert shorten(("a" + "é" * 200).encode(), b".npy").decode()


@given(st.lists(st.tuples(stems, suffixes), max_size=30), st.lists(stems, max_size=5))
def test_distinct(wanted: list[tuple[bytes, bytes]], taken: list[bytes]) -> None:
    names = unique_names(wanted, taken)
    assert len(set(names) | set(taken)) == len(wanted) + len(set(taken))
    assert names == unique_names(wanted, taken)
    for (stem, suffix), name in zip(wanted, names, strict=True):
        assert name.endswith(suffix)
        first = wanted.index((stem, suffix)) == names.index(name)
        if first and shorten(stem, suffix) not in {*taken, *names[: names.index(name)]}:
            assert name == shorten(stem, suffix)


def test_the_first_keeps_its_name() -> None:
    wanted = [(b"a.npy", b""), (b"a", b".npy"), (b"a", b".npy"), (b"a~1", b".npy")]
    assert unique_names(wanted) == [b"a.npy", b"a~1.npy", b"a~2.npy", b"a~1~1.npy"]


@given(
    st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=4).map(tuple),
    st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=4).map(tuple),
)
def test_relative_links_lead_there(target: tuple[bytes, ...], directory: tuple[bytes, ...]) -> None:
    link = relative_link(target, directory)
    resolved = os.path.normpath(b"/".join((b"", *directory, link)))
    assert resolved == os.path.normpath(b"/" + b"/".join(target))
