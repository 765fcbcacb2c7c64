"""`esrffs.waiting`: requests in a row, and who goes next."""

import os
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio
import trio.testing

from esrffs import waiting
from esrffs.waiting import Readable, Turn

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def turns_of_others_during(work: Callable[[], Awaitable[None]]) -> int:
    """How often another task came to its turn meanwhile."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async def main() -> int:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            await trio.lowlevel.checkpoint()
            before = turns
            await work()
            nursery.cancel_scope.cancel()
            return turns - before

    return trio.run(main)


@pytest.mark.parametrize("more", [0, 3 * waiting._IN_A_ROW])
def test_what_is_there_is_taken_at_once_but_not_for_ever(pipe: Pipe, more: int) -> None:
    os.write(pipe[1], b"x")

    async def work() -> None:
        readable = Readable(lambda: True)
        for _ in range(waiting._IN_A_ROW + more):
            await readable.wait(pipe[0])

    assert (turns_of_others_during(work) > 0) == bool(more)


@pytest.mark.usefixtures("two_processors")
@pytest.mark.parametrize("busy", [False, True])
def test_the_next_request_is_awaited_for_a_moment_if_there_is_nothing_else_to_do(
    pipe: Pipe, busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_MOMENT", 60.0)

    async def work() -> None:
        later = threading.Timer(0.1, os.write, (pipe[1], b"x"))
        later.start()
        await Readable(lambda: busy).wait(pipe[0])
        later.join()

    assert (turns_of_others_during(work) > 0) == busy


@pytest.mark.usefixtures("two_processors")
def test_an_idle_mount_sleeps(pipe: Pipe) -> None:
    async def work() -> None:
        with trio.move_on_after(0.05) as scope:
            await Readable(lambda: False).wait(pipe[0])
        assert scope.cancelled_caught

    assert turns_of_others_during(work) > 0


def test_one_processor_is_left_to_the_reader(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(waiting, "_MOMENT", 60.0)

    async def work() -> None:
        with trio.move_on_after(0.05):
            await Readable(lambda: False).wait(pipe[0])

    assert turns_of_others_during(work) > 0


def test_the_owner_goes_on_until_he_waits_and_only_one_has_the_turn() -> None:
    told: list[str] = []

    async def task(name: str, turn: Turn) -> None:
        for pause in (False, False, True, False):
            async with turn:
                told.append(f"+{name}")
                if pause:
                    await trio.sleep(0.001)
                told.append(f"-{name}")

    async def main() -> None:
        turn = Turn()
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(task, name, turn)

    trio.run(main)
    assert len(told) == 24
    assert all(
        told[k].replace("+", "-") == told[k + 1] for k in range(0, 24, 2)
    )  # nobody else between
    assert told[0:4:2] == [told[0]] * 2  # the first went on without a change


def test_who_waits_for_his_turn_can_be_cancelled() -> None:
    async def main() -> None:
        turn = Turn()
        async with turn, trio.open_nursery() as nursery:
            nursery.start_soon(turn.__aenter__)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        async with turn:
            pass

    trio.run(main)
