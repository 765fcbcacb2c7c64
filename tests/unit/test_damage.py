"""An error costs the elements that it is about, and no others of the block that they are in."""

import pytest

from esrffs.damage import Damage, DamagedBlock
from esrffs.errors import AccessDeniedError, DamagedError, TooLargeError


def test_a_block_gives_what_it_has() -> None:
    damage = Damage((4, 3))
    damage.add((slice(1, 2), slice(0, 2)), DamagedError("one"))
    damage.add((slice(3, 4), slice(2, 3)), AccessDeniedError("other"))
    block = DamagedBlock(memoryview(bytes(range(24))), damage.codes, damage.errors)
    assert bytes(block.part(0, 6)) == bytes(range(6))
    assert bytes(block.part(10, 22)) == bytes(range(10, 22))
    for start, stop in ((5, 7), (6, 8), (9, 10), (0, 24)):  # parts of elements, too
        with pytest.raises(DamagedError, match=r"^one$"):
            block.part(start, stop)
    with pytest.raises(AccessDeniedError, match=r"^a: other$"):
        block.named("a").part(22, 23)
    assert len(block) == 36


def test_so_many_errors_are_told_apart_and_all_are_errors() -> None:
    damage = Damage((1000,))
    for number in range(1000):
        damage.add(slice(number, number + 1), DamagedError(f"chunk {number}"))
    block = DamagedBlock(memoryview(bytes(1000)), damage.codes, damage.errors)
    for number in (0, 253, 254, 255, 999):
        with pytest.raises(DamagedError):
            block.part(number, number + 1)
    with pytest.raises(DamagedError, match=r"^chunk 253$"):
        block.part(253, 254)


def test_want_of_memory_is_not_remembered() -> None:
    damage = Damage((1,))
    damage.add(slice(0, 1), TooLargeError("not enough memory"))
    assert len(DamagedBlock(memoryview(bytes(1)), damage.codes, damage.errors)) > 1 << 40
