"""`arrays/coalesce`: neighbouring ranges are read as one."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from esrffs.arrays.coalesce import coalesce, split

RANGES = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 60)), max_size=20)


def test_neighbours_are_merged_and_the_others_are_not() -> None:
    assert coalesce([(100, 10), (0, 10), (10, 5), (20, 5), (200, 0)], gap=5) == [(0, 25), (100, 10)]


def test_a_long_run_is_cut_into_reads() -> None:
    assert split((5, 25), most=10) == [(5, 10), (15, 10), (25, 5)]


@given(RANGES, st.integers(0, 50))
def test_runs_hold_all_ranges_and_lie_apart(ranges: list[tuple[int, int]], gap: int) -> None:
    runs = coalesce(ranges, gap)
    wanted = {at for offset, count in ranges for at in range(offset, offset + count)}
    read = [at for offset, count in runs for at in range(offset, offset + count)]
    assert wanted <= set(read)
    assert len(read) == len(set(read))
    for (first, count), (following, _) in pairwise(runs):
        assert first + count + gap < following
    for first, count in runs:  # begins and ends with what is wanted
        assert {first, first + count - 1} <= wanted


@given(st.integers(0, 1000), st.integers(1, 1000), st.integers(1, 100))
def test_reads_are_the_run(first: int, count: int, most: int) -> None:
    reads = split((first, count), most)
    assert [at for offset, size in reads for at in range(offset, offset + size)] == list(
        range(first, first + count)
    )
    assert all(0 < size <= most for _, size in reads)
