"""`fuse/pyfuse3_polling`: requests in a row, and who goes next."""

import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import trio
import trio.testing

from esrffs.arrays.chunked import ChunkedBlocks, _ChunkPart
from esrffs.cache import ByteCache
from esrffs.errors import UnavailableError
from esrffs.formats.filters import codecs
from esrffs.fuse import pyfuse3_polling
from esrffs.fuse.pyfuse3_polling import BusyPoller, UnfairLock
from esrffs.model import Box, ChunkedLayout, ChunkIndex, DatasetInfo
from esrffs.source.executor import SourceExecutor

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
    ("place", "text"),
    [("read_sync", "disk or file server"), ("decode", "decoding took longer than 0.3 s")],
)
@pytest.mark.parametrize("alone", [True, False])
def test_only_a_disk_that_is_waited_for_is_blamed(
    monkeypatch: pytest.MonkeyPatch, place: str, text: str, alone: bool
) -> None:
    end = threading.Event()

    def wait(*_: object) -> memoryview:
        end.wait(20)
        return memoryview(b"")

    view = SimpleNamespace(read_sync=wait if place == "read_sync" else lambda *_: memoryview(b""))
    monkeypatch.setattr(codecs, "decode", wait)
    executor = SourceExecutor(0.3)
    opened = SimpleNamespace(
        sources=SimpleNamespace(folders=SimpleNamespace(executor=executor)),
        source=SimpleNamespace(path="a.h5", subject=SimpleNamespace(generations=[None])),
        file=lambda: trio.to_thread.run_sync(lambda: view),
    )
    chunks, layout = ChunkIndex(*np.zeros((3, 1), "i8")), ChunkedLayout((4,), (), indexed=True)
    info = DatasetInfo("x", "/x", (4,), np.dtype("i8"), layout)
    blocks = ChunkedBlocks(opened, info, layout, ByteCache(1000))  # type: ignore[arg-type]

    def fill(_: object) -> None:
        blocks._decoded(view, chunks, 0)  # type: ignore[arg-type]

    async def work() -> None:
        if alone:
            await blocks._assemble(chunks, Box((0,), (4,)), [_ChunkPart(0, (), ())])
        else:
            await blocks._filled(fill, [_ChunkPart(0, (), ())])

    try:
        with pytest.raises(UnavailableError, match=text):
            trio.run(work)
    finally:
        end.set()


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
