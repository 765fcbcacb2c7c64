"""Inode numbers: the same for the same node, whatever was forgotten between."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from esrffs.fuse.inodes import ROOT, InodeTable


class Place(NamedTuple):
    path: tuple[bytes, ...]
    key: bytes = b""


names = st.binary(min_size=1, max_size=3).filter(lambda b: not set(b) & set(b"/\0"))
places = st.builds(Place, st.lists(names, max_size=3).map(tuple), names)


@given(st.lists(places, max_size=20))
def test_numbers_tell_nodes_apart_and_stay(nodes: list[Place]) -> None:
    inodes = InodeTable(Place(()))
    numbers = {}
    for node in nodes:
        number = inodes.number(node)
        if node.path:
            assert numbers.setdefault(node, number) == number
            inodes.add_lookup(number, node)
            assert inodes[number] == node
        else:
            assert number == ROOT
    assert len(set(numbers.values())) == len(numbers)
    assert InodeTable(Place(())).number(Place((b"a",))) == inodes.number(Place((b"a",)))


def test_nodes_go_when_the_last_reference_does() -> None:
    inodes = InodeTable(Place(()))
    node = Place((b"a",), b"1")
    number = inodes.number(node)
    inodes.add_lookup(number, node)
    inodes.add_lookup(number, node)
    inodes.forget(number, 1)
    assert inodes[number] == node
    inodes.forget(number, 1)
    assert len(inodes) == 1
    inodes.forget(number, 1)
    inodes.forget(ROOT, 1000)
    assert inodes[ROOT].path == ()
    assert inodes.number(node) == number


def test_two_nodes_of_one_hash_get_two_numbers() -> None:
    inodes = InodeTable(Place(()))
    one, other = Place((b"a",), b"1"), Place((b"a",), b"2")
    number = inodes.number(one)
    inodes.add_lookup(number, other)  # as if the other had that hash
    assert inodes.number(one) == number + 1
    assert inodes.number(other) != number + 1


def test_a_name_is_no_part_of_a_key() -> None:
    inodes = InodeTable(Place(()))
    numbers = [
        inodes.number(place)
        for place in (Place((b"a", b"b")), Place((b"a",), b"b"), Place((b"ab",)), Place((b"a b",)))
    ]
    assert len(set(numbers)) == 4
