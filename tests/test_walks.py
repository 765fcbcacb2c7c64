"""Groups of a file one after another, as `ls -R`, `find` and `cp -r` ask for them."""

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import trio
from fabio.edfimage import EdfImage

from esrffs import formats, hosting, kitchen, plans
from esrffs.cache import Cache
from esrffs.errors import WorkerError
from esrffs.folders import Folders
from esrffs.model import Generation, GroupInfo, Listing
from esrffs.plans import Plan
from esrffs.sources import Source, Sources
from esrffs.workers import Limits, Workers, open_workers

Work = Callable[[Workers, SimpleNamespace, Source], Awaitable[None]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """60 small groups, each with one below it; one leads in a circle, one is damaged."""
    folder = tmp_path / "source"
    folder.mkdir()
    with h5py.File(folder / "many.h5", "w", locking=False) as file:
        for k in range(60):
            group = file.create_group(f"{k:02}")
            group["a"] = k
            group["below/b"] = k
            group["below"].attrs["k"] = k
        file["30/below/circle"] = file["30"]
        file["50/last"] = 1
    return folder


def subject(path: Path) -> hosting.Subject:
    generation = Generation.of(os.stat(path))
    return hosting.Subject((str(path),), (generation,), "hdf5", series=False, confine=None)


def in_workers(
    folder: Path, work: Work, name: str = "many.h5", format_: formats.Format = "hdf5"
) -> None:
    async def run() -> None:
        folders = Folders(str(folder), confined=False, hidden="/nowhere")
        async with open_workers(Limits(2), folders.confine) as workers:
            sources = Sources(folders, workers)
            begun: list[tuple[Callable[..., Awaitable[None]], *tuple[object, ...]]] = []
            shared = SimpleNamespace(
                cache=Cache(1 << 24),
                sources=sources,
                ahead=lambda *task: begun.append(task),
                begun=begun,
            )
            await work(workers, shared, await sources.current(name, format_))

    trio.run(run)


async def meanwhile(shared: SimpleNamespace) -> None:
    """What was begun in the background."""
    while shared.begun:
        task, *arguments = shared.begun.pop()
        await task(*arguments)


async def walk(shared: SimpleNamespace, source: Source, address: str = "") -> dict[str, Plan]:
    plan = await plans.plan(shared, source, address)
    found = {address: plan}
    for entry in plan.entries.values():
        if isinstance(entry, GroupInfo) and entry.name != "circle":
            found |= await walk(shared, source, entry.address)
    return found


def test_a_walk_asks_once_for_many_groups(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(workers: Workers, shared: SimpleNamespace, source: Source) -> None:
        calls: list[object] = []
        run = workers.run

        async def counted(function, *arguments):
            calls.append(function)
            return await run(function, *arguments)

        workers.run = counted
        together = await walk(shared, source)
        assert len(together) == 121
        assert len(calls) < 80  # without: 121
        monkeypatch.setattr(plans, "_following", lambda *_: ())
        shared.cache = Cache(1 << 24)
        assert await walk(shared, source) == together

    in_workers(source, work)


def test_the_next_groups_are_listed_while_the_last_ones_are_looked_at(source: Path) -> None:
    async def work(workers: Workers, shared: SimpleNamespace, source: Source) -> None:
        asked: list[str] = []

        async def of_three(address: str, following: Sequence[str]) -> dict[str, Listing]:
            asked.append(address)
            return {one: await source.listing(one) for one in (address, *following[:3])}

        source.listings = of_three

        def known(*names: str) -> list[bool]:
            return [plans.is_known(shared, source, f"/{name}") for name in names]

        await plans.plan(shared, source, "")
        await plans.plan(shared, source, "/00")
        await plans.plan(shared, source, "/01")  # as in a walk: … /04 come with it, and next …
        await meanwhile(shared)
        assert known("04", "05", "08", "09") == [True, True, True, False]
        for name in ("02", "03", "04"):
            await plans.plan(shared, source, f"/{name}")
        assert asked == ["/01", "/05"]  # … nothing more before somebody comes to them
        await plans.plan(shared, source, "/05")
        await meanwhile(shared)
        assert known("09", "12", "13") == [True, True, False]
        assert asked == ["/01", "/05", "/09"]

    in_workers(source, work)


def test_a_failure_ahead_is_told_to_who_comes_there(source: Path) -> None:
    async def work(workers: Workers, shared: SimpleNamespace, source: Source) -> None:
        async def dying(address: str, following: Sequence[str]) -> dict[str, Listing]:
            if address != "/01":
                raise WorkerError("the reader process died (SIGSEGV)")
            return {"/01": await source.listing("/01")}

        source.listings = dying
        for address in ("", "/00", "/01"):
            await plans.plan(shared, source, address)
        await meanwhile(shared)
        with pytest.raises(WorkerError):
            await plans.plan(shared, source, "/02")

    in_workers(source, work)


def test_looking_at_one_group_asks_for_that_alone(source: Path) -> None:
    async def work(workers: Workers, shared: SimpleNamespace, source: Source) -> None:
        await plans.plan(shared, source, "")
        await plans.plan(shared, source, "/40")
        assert not any(
            shared.cache.holds((source.digest, other, "plan")) for other in ("/40/below", "/41")
        )

    in_workers(source, work)


def test_what_is_at_hand_comes_with_the_root(tmp_path: Path) -> None:
    image = EdfImage(np.zeros((2, 3), "u2"), {"motor_mne": "x", "motor_pos": "1"})
    image.append_frame(data=np.ones((2, 3), "u2"))
    image.write(str(tmp_path / "some.edf"))
    detector = "/scan_0/instrument/detector_0"

    async def work(workers: Workers, shared: SimpleNamespace, source: Source) -> None:
        await plans.plan(shared, source, "")
        assert plans.is_known(shared, source, detector)
        assert not plans.is_known(shared, source, detector + "/others")  # needs all headers
        known = await plans.plan(shared, source, detector)
        shared.cache.forget((source.digest, detector, "plan"))
        assert list(known.entries) == list((await plans.plan(shared, source, detector)).entries)
        assert list(known.entries) == [b"others", b"data.npy", b"data.attrs.json", b"attrs.json"]

    in_workers(tmp_path, work, "some.edf", "raster")


def test_a_group_without_any_word_for_flat_or_dark_is_not_asked_about(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(kitchen, "_of_group", asked)

    async def work(workers: Workers, shared: SimpleNamespace, source: Source) -> None:
        assert await kitchen.of_group(shared, source, "/00") is None
        assert await kitchen.of_group(shared, source, "/00/below") is None

    in_workers(source, work)


def test_what_nobody_asked_for_is_no_reason_to_fail(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(workers: Workers, shared: SimpleNamespace, source: Source) -> None:
        run = workers.run

        async def dying(function, *arguments):
            if function is hosting.listings:
                raise WorkerError("the reader process died (SIGSEGV)")
            return await run(function, *arguments)

        monkeypatch.setattr(workers, "run", dying)
        assert len(await walk(shared, source)) == 121
        assert not source.errors

    in_workers(source, work)


def test_what_comes_next_is_read_in_order_and_without_end(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "_MOMENT", 10.0)
    path = subject(source / "many.h5")
    following = [f"/{k:02}" for k in range(30, 60)]
    found = list(hosting.listings(path, "/29", following))
    assert found[:3] == ["/29", "/29/below", "/30"]
    assert found[-1] == "/59/below"
    assert len(found) == 31 * 2 + 1  # the circle once
    monkeypatch.setattr(hosting, "_MEMBERS", 5)
    assert len(hosting.listings(path, "/29", following)) < 5


def test_one_that_fails_ends_it(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "_MOMENT", 10.0)
    path = subject(source / "many.h5")
    assert list(hosting.listings(path, "/29", ["/30", "/none", "/31"])) == [
        *("/29", "/29/below", "/30", "/30/below", "/30/below/circle")
    ]
