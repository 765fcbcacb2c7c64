"""`source/known_heads`: the first bytes of files, of one generation, once, and not too many."""

from esrffs.model import Generation
from esrffs.source.known_heads import KnownHeads


def state(mtime: int) -> Generation:
    return Generation(1, 2, 3, mtime, mtime)


def test_they_are_given_once_and_for_their_generation_only() -> None:
    heads = KnownHeads()
    heads.put("a", state(1), b"A")
    heads.put("b", state(1), b"B")
    assert heads.take(["x", "a", "b"], [state(1), state(1), state(2)]) == {1: b"A"}
    assert heads.take(["x", "a", "b"], [state(1)] * 3) == {}


def test_the_oldest_are_dropped() -> None:
    heads = KnownHeads(limit=10)
    for name in "abcd":
        heads.put(name, state(1), bytes(4))
    heads.put("d", state(2), bytes(4))
    assert set(heads.take("abcd", [state(1)] * 3 + [state(2)])) == {2, 3}
    heads.put("large", state(1), bytes(11))
    assert heads.take(["large"], [state(1)]) == {}
