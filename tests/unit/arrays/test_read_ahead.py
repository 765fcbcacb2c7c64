"""`arrays/read_ahead`: which blocks are worth making before they are asked for."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esrffs.arrays.block_grid import BlockGrid
from esrffs.arrays.read_ahead import ReadAhead

BLOCK = 8 << 20
COUNT = 50
GRID = BlockGrid((COUNT * BLOCK,), 1, 0, BLOCK)
PAGES = 128 << 10  # bytes of a request of the kernel


def requests(start: int, stop: int, size: int = PAGES) -> Iterable[tuple[int, int]]:
    for at in range(start, stop, size):
        yield at, min(at + size, stop)


def observe(policy: ReadAhead, asked: Iterable[tuple[int, int]], depth: int = 4) -> list[int]:
    return [block for start, stop in asked for block in policy.observe(start, stop, depth)]


def test_a_reader_who_reads_on_has_ever_more_blocks_ahead_and_each_is_named_once() -> None:
    policy = ReadAhead(GRID)
    assert observe(policy, requests(0, BLOCK)) == [1]
    assert observe(policy, requests(BLOCK, 2 * BLOCK)) == [2, 3]
    assert observe(policy, requests(2 * BLOCK, 10 * BLOCK)) == list(range(4, 14))
    assert observe(policy, requests(10 * BLOCK, COUNT * BLOCK)) == list(range(14, COUNT))


@pytest.mark.parametrize(("gain", "named"), [(1, [1]), (3, [1, 2, 3])])
def test_what_is_made_in_vain_is_in_proportion_to_what_was_read(gain: int, named: list) -> None:
    policy = ReadAhead(GRID, gain=gain)
    assert observe(policy, requests(0, BLOCK), depth=32) == named


def test_a_reader_of_single_frames_gets_nothing_made_ahead() -> None:
    """With what a page fault reads before and behind each of them."""
    policy = ReadAhead(GRID)
    for frame in (7, 30, 12, 25, 3):
        around = requests(frame * BLOCK - PAGES // 2, (frame + 1) * BLOCK + 4 * PAGES)
        assert not observe(policy, around)


def test_frames_of_several_blocks_are_learnt() -> None:
    """The end of a run is known from the ones before it."""
    policy = ReadAhead(GRID)
    first = observe(policy, requests(0, 3 * BLOCK))
    second = observe(policy, requests(10 * BLOCK, 13 * BLOCK))
    assert first
    assert second
    assert not set(observe(policy, requests(20 * BLOCK, 23 * BLOCK))) - {20, 21, 22}
    assert not set(observe(policy, requests(40 * BLOCK, 43 * BLOCK))) - {40, 41, 42}
    assert max(observe(policy, requests(43 * BLOCK, 46 * BLOCK))) > 46  # it reads on after all


def test_two_readers_in_one_array_are_two_runs() -> None:
    policy = ReadAhead(GRID)
    named = []
    for one, two in zip(requests(0, 4 * BLOCK), requests(20 * BLOCK, 24 * BLOCK), strict=True):
        named += observe(policy, [one, two])
    assert {1, 2, 3, 4, 5} <= set(named)
    assert {22, 23, 24, 25} <= set(named)
    assert len(named) == len(set(named))


def test_requests_may_overtake_each_other() -> None:
    policy = ReadAhead(GRID)
    asked = list(requests(0, 6 * BLOCK))
    for k in range(0, len(asked) - 1, 2):
        asked[k], asked[k + 1] = asked[k + 1], asked[k]
    assert observe(policy, asked) == list(range(1, 10))


def test_requests_that_overtake_others_by_far_join_their_run() -> None:
    policy = ReadAhead(GRID)
    part = BLOCK // 4
    asked = [(k * part, (k + 1) * part) for k in (2, 0, 3, 1, *range(4, 12))]
    assert set(observe(policy, asked)) >= {1, 2, 3, 4}


def test_small_blocks_are_worth_it_after_two_requests_in_a_row() -> None:
    grid = BlockGrid((64 << 20,), 1, 0, 1 << 20)
    policy = ReadAhead(grid, gain=4, eager=True)
    middle = 10 << 20
    assert not observe(policy, [(middle + 1000, middle + 1000 + PAGES)], 32)
    assert not policy.wants_block(10, PAGES)
    assert observe(policy, [(middle + 1000 + PAGES, middle + 1000 + 2 * PAGES)], 32) == [
        11,
        12,
        13,
        14,
    ]
    assert policy.wants_block(10, 2 * PAGES)


def test_random_requests_of_any_size_name_nothing() -> None:
    grid = BlockGrid((1 << 30,), 1, 0, 1 << 20)
    policy = ReadAhead(grid, gain=4, eager=True)
    for k in range(100):
        start = k * 7919 % 1021 << 20
        assert not observe(policy, [(start, start + (4096 << k % 6))], 32)


def test_what_could_not_be_begun_is_named_again() -> None:
    policy = ReadAhead(GRID)
    observe(policy, requests(0, 3 * BLOCK))
    assert observe(policy, [(3 * BLOCK, 3 * BLOCK + PAGES)]) == [6, 7]
    policy.postpone(7)
    assert observe(policy, [(3 * BLOCK + PAGES, 3 * BLOCK + 2 * PAGES)]) == [7]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ([(5 * BLOCK, 5 * BLOCK + PAGES)], True),  # a frame begins
        ([(5 * BLOCK, 5 * BLOCK + 4096)], False),  # a few elements
        ([(5 * BLOCK + 3 * PAGES, 5 * BLOCK + 4 * PAGES)], False),  # from its middle
        ([(6 * BLOCK - PAGES, 6 * BLOCK)], False),  # what lies before a frame
        ([(5 * BLOCK - PAGES, 5 * BLOCK), (5 * BLOCK, 5 * BLOCK + PAGES)], True),
        ([*requests(4 * BLOCK, 5 * BLOCK), (5 * BLOCK, 5 * BLOCK + PAGES)], False),  # behind it
    ],
)
def test_whether_the_whole_block_will_be_wanted(asked: list, wanted: bool) -> None:
    policy = ReadAhead(GRID)
    observe(policy, asked)
    assert policy.wants_block(5, PAGES) is wanted
    assert policy.wants_block(5, BLOCK // 3)


def test_the_edge_behind_a_frame_that_is_read_from_its_end() -> None:
    """As memcpy does: the page fault at the end of the frame comes second."""
    policy = ReadAhead(GRID)
    observe(policy, [(5 * BLOCK - PAGES, 5 * BLOCK + PAGES)])
    assert policy.wants_block(5, PAGES)
    observe(policy, [(6 * BLOCK - PAGES, 6 * BLOCK + PAGES)])
    assert not policy.wants_block(6, PAGES, after_whole=True)


def test_the_header_of_a_file_is_no_reason_to_decode_a_block() -> None:
    policy = ReadAhead(GRID)
    observe(policy, [(0, 4096), (0, 4096), (0, 2 * PAGES)])
    assert not policy.wants_block(0, 2 * PAGES)
    observe(policy, [(2 * PAGES, 3 * PAGES)])
    assert policy.wants_block(0, 3 * PAGES)


@given(
    st.lists(st.tuples(st.integers(0, 999), st.integers(1, 300), st.integers(0, 9)), max_size=50),
    st.sampled_from([1, 7, 100]),
    st.booleans(),
)
def test_names_are_blocks_behind_the_request_within_the_depth(
    asked: list[tuple[int, int, int]], size: int, eager: bool
) -> None:
    grid = BlockGrid((1000,), 1, 0, size)
    policy = ReadAhead(grid, gain=2, eager=eager)
    furthest = 0
    for start, count, depth in asked:
        stop = min(start + count, 1000)
        named = policy.observe(start, stop, depth)
        furthest = max(furthest, grid.block_at(stop - 1))
        for block in named:
            assert grid.block_at(stop - 1) < block <= furthest + depth
            assert grid.byte_range(block)[0] < 1000
