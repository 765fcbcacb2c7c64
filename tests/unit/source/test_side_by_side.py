"""`source/side_by_side`: many waiting calls in a few threads, in order, with an end."""

import threading
import time

import pytest
import trio

from esrffs.errors import NotFoundError, UnavailableError
from esrffs.source.executor import SourceExecutor
from esrffs.source.side_by_side import side_by_side


class Busy:
    """Work that waits, and how many threads were at it at the same time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, item: int) -> int:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
        return item * item


def test_the_results_come_in_order_and_no_more_threads_work_than_asked_for() -> None:
    work = Busy(0.005)
    found = trio.run(side_by_side, SourceExecutor(), work, range(200), 8)
    assert found == [n * n for n in range(200)]
    assert 1 < work.most <= 8


def test_short_work_needs_one_thread() -> None:
    names: set[int] = set()

    def work(item: int) -> int:
        names.add(threading.get_ident())
        return item

    assert trio.run(side_by_side, SourceExecutor(), work, range(50), 32) == [*range(50)]
    assert len(names) == 1
    assert trio.run(side_by_side, SourceExecutor(), work, [], 32) == []


def test_the_first_error_ends_it() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.005)
        if item == 5:
            raise NotFoundError("5")
        return item

    with pytest.raises(NotFoundError, match="5"):
        trio.run(side_by_side, SourceExecutor(), work, range(1000), 4)
    assert len(begun) < 100


def test_a_long_list_may_take_longer_than_the_time_limit_but_one_item_may_not() -> None:
    assert len(trio.run(side_by_side, SourceExecutor(0.3), Busy(0.01), range(300), 4)) == 300
    end, begun = threading.Event(), []

    def hang(item: int) -> None:
        begun.append(item)
        if item >= 5:
            end.wait(20)
        time.sleep(0.003)

    try:
        with pytest.raises(UnavailableError, match="gave no answer within"):
            trio.run(side_by_side, SourceExecutor(0.3), hang, range(1000), 4)
    finally:
        end.set()
    count = len(begun)
    time.sleep(0.1)
    assert len(begun) == count < 20  # threads that were left behind do not go on


def test_a_silent_server_leaves_threads_for_others() -> None:
    """Several listings that wait for it do not take all that there are."""
    end = threading.Event()
    executor = SourceExecutor(0.3)

    def hang(item: int) -> None:
        if item:
            end.wait(20)
        time.sleep(0.003)

    async def work() -> None:
        for _ in range(8):
            with pytest.raises(UnavailableError):
                await side_by_side(executor, hang, range(100), 32)
        assert executor.threads_to_spare() >= 1
        assert await executor.run_in_thread(lambda: "answer") == "answer"

    try:
        trio.run(work)
    finally:
        end.set()
