"""`arrays/block_array`: what is made before it is asked for, and what is let go of."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.lowlevel
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from esrffs.arrays.block_array import READ_AHEAD_BLOCKS, BlockArray, BlockKey
from esrffs.arrays.block_grid import BlockGrid, block_grid
from esrffs.background import ReadAheadBudget, task_starter
from esrffs.cache import ByteCache
from esrffs.errors import DamagedError

BLOCK = 1000  # bytes, in these tests


class Bench:
    """An array of some blocks; what is made, and held, is written down."""

    def __init__(
        self,
        nursery: trio.Nursery,
        count: int = 40,
        limit: int = 1 << 20,
        broken: int | None = None,
        budget: int = 1 << 30,
        parts: int = 0,
    ) -> None:
        self.grid: BlockGrid = block_grid((count, BLOCK), 1, target=BLOCK)
        self.owner = self
        self.cache = ByteCache(limit)
        self.start_task = nursery.start_soon
        self.read_ahead = ReadAheadBudget(budget)
        self.made: list[int] = []
        self.parts: list[tuple[int, int]] = []
        self.held = 0
        self.most = 0  # at a time
        self._making = 0
        self._broken = broken
        self._largest_part = parts
        self.array = BlockArray(self, self)

    def acquire(self) -> None:
        self.held += 1

    def release(self) -> None:
        self.held -= 1

    def key(self, block: int) -> BlockKey:
        return BlockKey(("key",), block)

    def depth(self) -> int:
        return READ_AHEAD_BLOCKS

    async def compute(self, number: int) -> memoryview:
        assert self.held > 0  # or the file may be closed under who makes it
        self.made.append(number)
        self._making += 1
        self.most = max(self.most, self._making)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        self._making -= 1
        if number == self._broken:
            raise DamagedError("broken")
        return memoryview(bytes([number]) * BLOCK)

    async def compute_part(self, start: int, stop: int, damaged: bool, /) -> bytes | None:
        if damaged or stop - start > self._largest_part:
            return None
        self.parts.append((start, stop))
        return bytes(n // BLOCK for n in range(start, stop))

    async def read(self, start: int, stop: int) -> bytes:
        data = bytes(await self.array.read(start, stop))
        assert data == bytes(n // BLOCK for n in range(start, stop))
        return data


def run(work: Callable[[Bench], Awaitable[None]], **options: int) -> Bench:
    async def main() -> Bench:
        async with trio.open_nursery() as nursery:
            bench = Bench(nursery, **options)
            await work(bench)
        assert bench.held == 0
        bench.array.release()
        assert bench.read_ahead.held == 0
        return bench

    return trio.run(main)


def test_who_reads_on_finds_the_next_blocks_made() -> None:
    async def work(bench: Bench) -> None:
        for start in range(0, 10 * BLOCK, 250):
            await bench.read(start, start + 250)
            await trio.testing.wait_all_tasks_blocked()

    made = run(work).made
    assert len(made) == len(set(made))  # nothing twice
    assert max(made) == 9 + READ_AHEAD_BLOCKS


def test_who_takes_single_blocks_pays_for_no_other() -> None:
    async def work(bench: Bench) -> None:
        for number in (7, 3, 30, 12, 11, 25):
            await bench.read(number * BLOCK, (number + 1) * BLOCK)
            await trio.testing.wait_all_tasks_blocked()

    assert run(work).made == [7, 3, 30, 12, 11, 25]


def test_the_edge_of_a_neighbour_is_no_reason_to_make_more() -> None:
    """A page fault reads a little before and behind a frame."""

    async def work(bench: Bench) -> None:
        await bench.read(7 * BLOCK - 50, 8 * BLOCK + 50)
        await trio.testing.wait_all_tasks_blocked()

    assert sorted(run(work).made) == [6, 7, 8]


def test_the_blocks_of_one_request_are_made_side_by_side() -> None:
    async def work(bench: Bench) -> None:
        await bench.read(10 * BLOCK + 500, 13 * BLOCK + 500)

    bench = run(work)
    assert sorted(bench.made) == [10, 11, 12, 13]
    assert bench.most == 4


def test_a_block_that_was_given_away_whole_makes_room() -> None:
    async def work(bench: Bench) -> None:
        await bench.read(5 * BLOCK, 5 * BLOCK + 600)
        assert bench.cache.size == BLOCK
        await bench.read(5 * BLOCK + 400, 6 * BLOCK - 100)
        assert bench.cache.size == BLOCK  # some bytes came twice, others not yet
        await bench.read(6 * BLOCK - 100, 6 * BLOCK)
        assert bench.cache.size == 0

    run(work)


def test_a_few_elements_are_made_without_their_block() -> None:
    async def work(bench: Bench) -> None:
        for start in (7 * BLOCK + 300, 3 * BLOCK, 30 * BLOCK + 900):
            await bench.read(start, start + 20)
            await trio.testing.wait_all_tasks_blocked()

    bench = run(work, parts=20)
    assert not bench.made
    assert len(bench.parts) == 3


def test_parts_end_where_a_quarter_of_the_block_was_asked_for() -> None:
    async def work(bench: Bench) -> None:
        for start in range(7 * BLOCK + 300, 8 * BLOCK, 100):
            await bench.read(start, start + 100)
            await trio.testing.wait_all_tasks_blocked()

    bench = run(work, parts=100)
    assert len(bench.parts) == 2
    assert bench.made[0] == 7


def test_memory_for_what_is_made_ahead_is_bounded_and_what_was_in_vain_is_counted() -> None:
    async def work(bench: Bench) -> None:
        for start in range(0, 10 * BLOCK, 250):
            await bench.read(start, start + 250)
            await trio.testing.wait_all_tasks_blocked()
            assert bench.read_ahead.held <= 2 * BLOCK

    bench = run(work, budget=2 * BLOCK)
    assert max(bench.made) == 11
    assert bench.read_ahead.used == 9 * BLOCK
    assert bench.read_ahead.wasted == 2 * BLOCK


def test_what_is_broken_is_told_to_who_asks_and_to_nobody_else() -> None:
    async def work(bench: Bench) -> None:
        for number in range(3):
            await bench.read(number * BLOCK, (number + 1) * BLOCK)
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(DamagedError):
            await bench.read(3 * BLOCK, 4 * BLOCK)
        await bench.read(4 * BLOCK, 5 * BLOCK)

    assert run(work, broken=3).made.count(3) >= 1


@given(
    st.lists(st.tuples(st.integers(0, 12 * BLOCK - 1), st.integers(1, 3 * BLOCK)), max_size=20),
    st.sampled_from([0, BLOCK, 3 * BLOCK, 1 << 20]),
)
def test_any_reads_give_the_bytes_whatever_is_made_ahead(
    reads: list[tuple[int, int]], limit: int
) -> None:
    async def work(bench: Bench) -> None:
        for start, count in reads:
            await bench.read(start, min(start + count, 12 * BLOCK))
            await trio.testing.wait_all_tasks_blocked()

    run(work, count=12, limit=limit)


def test_a_task_that_nobody_waits_for_ends_nothing_but_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[int] = []

    async def task(number: int) -> None:
        done.append(10 // number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            ahead = task_starter(nursery)
            for number in (2, 0, 5):
                ahead(task, number)

    trio.run(main)
    assert sorted(done) == [2, 5]
    assert "ZeroDivisionError" in caplog.text
    assert "internal error in" in caplog.text
