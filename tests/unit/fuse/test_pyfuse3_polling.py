"""`fuse/pyfuse3_polling`: requests in a row, and who goes next."""

import os
import threading
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from esrffs.fuse import pyfuse3_polling
from esrffs.fuse.pyfuse3_polling import BusyPoller, UnfairLock

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The descriptors that trio was asked to wait for, each time with a turn of its loop."""
    asked: list[int] = []
    wait_readable = trio.lowlevel.wait_readable

    async def counted(descriptor: int) -> None:
        asked.append(descriptor)
        await wait_readable(descriptor)

    monkeypatch.setattr(trio.lowlevel, "wait_readable", counted)
    return asked


@pytest.mark.parametrize("rows", [1, 4])
def test_what_is_there_is_taken_at_once_but_not_for_ever(
    pipe: Pipe, sleeps: list[int], rows: int
) -> None:
    """A row, a turn of the others, a row …: `rows` of them."""
    os.write(pipe[1], b"x")

    async def work() -> None:
        readable = BusyPoller(lambda: True)
        for _ in range(rows * (pyfuse3_polling.MAX_CONSECUTIVE_REQUESTS + 1) - 1):
            await readable.wait(pipe[0])

    trio.run(work)
    assert len(sleeps) == rows - 1


@pytest.mark.parametrize(
    ("processors", "busy", "slept"), [(2, False, 0), (2, True, 1), (1, False, 1), (1, True, 1)]
)
def test_the_next_request_is_awaited_for_a_moment_if_a_processor_has_nothing_else_to_do(
    pipe: Pipe,
    sleeps: list[int],
    processors: int,
    busy: bool,
    slept: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(processors)})
    monkeypatch.setattr(pyfuse3_polling, "POLL_SECONDS", 60.0)

    async def work() -> None:
        later = threading.Timer(0.1, os.write, (pipe[1], b"x"))
        readable = BusyPoller(lambda: busy)
        later.start()
        await readable.wait(pipe[0])
        later.join()

    trio.run(work)
    assert len(sleeps) == slept


def test_an_idle_mount_sleeps(
    pipe: Pipe, sleeps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the moment is over."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})

    async def work() -> None:
        with trio.move_on_after(0.05) as scope:
            await BusyPoller(lambda: False).wait(pipe[0])
        assert scope.cancelled_caught

    trio.run(work)
    assert sleeps == [pipe[0]]


def test_the_owner_goes_on_until_he_waits_and_only_one_has_the_turn() -> None:
    told: list[str] = []

    async def task(name: str, turn: UnfairLock) -> None:
        for pause in (False, False, True, False):
            async with turn:
                told.append(f"+{name}")
                if pause:
                    await trio.sleep(0.001)
                told.append(f"-{name}")

    async def main() -> None:
        turn = UnfairLock()
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
        turn = UnfairLock()
        async with turn, trio.open_nursery() as nursery:
            nursery.start_soon(turn.__aenter__)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        async with turn:
            pass

    trio.run(main)
