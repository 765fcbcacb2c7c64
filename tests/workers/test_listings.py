"""Groups of a file one after another, as `ls -R`, `find` and `cp -r` ask for them."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trio
from fabio.edfimage import EdfImage

from esrffs import model
from esrffs.cache import ByteCache
from esrffs.errors import ReaderDiedError
from esrffs.flatfield.plan import CorrectionOptions
from esrffs.flatfield.service import CorrectionService
from esrffs.model import GroupInfo, GroupListing
from esrffs.source import listings
from esrffs.source.data_file import DataFile, DataFiles
from esrffs.source.group_walks import Following, GroupWalks
from esrffs.source.listings import GroupIndex, ListingKey
from esrffs.source.root import SourceRoot
from esrffs.tree.entries import name_entries
from esrffs.workers import server
from esrffs.workers.pool import PoolConfig, WorkerPool, open_pool
from tests.support.many_groups import many_groups

Work = Callable[[WorkerPool, Any, DataFile], Awaitable[None]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return many_groups(tmp_path)


def in_workers(
    folder: Path, work: Work, name: str = "many.h5", format_: model.Format = "hdf5"
) -> None:
    async def run() -> None:
        folders = SourceRoot(str(folder), confined=False, hidden="/nowhere")
        async with open_pool(PoolConfig(2), folders.boundary) as workers:
            sources = DataFiles(folders, workers)
            begun: list[tuple[Callable[..., Awaitable[None]], *tuple[object, ...]]] = []
            context = SimpleNamespace(
                cache=ByteCache(1 << 24),
                files=sources,
                start_task=lambda *task: begun.append(task),
                begun=begun,
            )
            await work(workers, context, await sources.current(name, format_))

    trio.run(run)


async def meanwhile(context: Any) -> None:
    """What was begun in the background."""
    while context.begun:
        task, *arguments = context.begun.pop()
        await task(*arguments)


async def walk(context: Any, source: DataFile, address: str = "") -> dict[str, GroupIndex]:
    index = await listings.group_index(context, source, address)
    found = {address: index}
    for entry in index.listing.members:
        if isinstance(entry, GroupInfo) and entry.name != "circle":
            found |= await walk(context, source, entry.address)
    return found


def test_a_walk_asks_once_for_many_groups(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(workers: WorkerPool, context: Any, source: DataFile) -> None:
        calls: list[object] = []
        run = workers.run

        async def counted(function, *arguments):
            calls.append(function)
            return await run(function, *arguments)

        workers.run = counted
        together = await walk(context, source)
        assert len(together) == 121
        assert len(calls) < 80  # without: 121
        monkeypatch.setattr(GroupWalks, "visit", lambda *_: Following())
        context.cache = ByteCache(1 << 24)
        assert await walk(context, source) == together

    in_workers(source, work)


def test_the_next_groups_are_listed_while_the_last_ones_are_looked_at(source: Path) -> None:
    async def work(workers: WorkerPool, context: Any, source: DataFile) -> None:
        asked: list[str] = []

        async def of_three(
            address: str, following: Sequence[str], *, deep: bool
        ) -> dict[str, GroupListing]:
            asked.append(address)
            return {one: await source.listing(one) for one in (address, *following[:3])}

        source.listings = of_three

        def known(*names: str) -> list[bool]:
            return [listings.is_known(context, source, f"/{name}") for name in names]

        await listings.group_index(context, source, "")
        await listings.group_index(context, source, "/00")
        await listings.group_index(
            context, source, "/01"
        )  # as in a walk: … /04 come with it, and next …
        await meanwhile(context)
        assert known("04", "05", "08", "09") == [True, True, True, False]
        for name in ("02", "03", "04"):
            await listings.group_index(context, source, f"/{name}")
        assert asked == ["/01", "/05"]  # … nothing more before somebody comes to them
        await listings.group_index(context, source, "/05")
        await meanwhile(context)
        assert known("09", "12", "13") == [True, True, False]
        assert asked == ["/01", "/05", "/09"]

    in_workers(source, work)


def test_a_failure_ahead_is_told_to_who_comes_there(source: Path) -> None:
    async def work(workers: WorkerPool, context: Any, source: DataFile) -> None:
        async def dying(
            address: str, following: Sequence[str], *, deep: bool
        ) -> dict[str, GroupListing]:
            if address != "/01":
                raise ReaderDiedError("the reader process died (SIGSEGV)")
            return {"/01": await source.listing("/01")}

        source.listings = dying
        for address in ("", "/00", "/01"):
            await listings.group_index(context, source, address)
        await meanwhile(context)
        with pytest.raises(ReaderDiedError):
            await listings.group_index(context, source, "/02")

    in_workers(source, work)


def test_looking_at_one_group_asks_for_that_alone(source: Path) -> None:
    async def work(workers: WorkerPool, context: Any, source: DataFile) -> None:
        await listings.group_index(context, source, "")
        await listings.group_index(context, source, "/40")
        assert not any(
            ListingKey(source.version, other) in context.cache for other in ("/40/below", "/41")
        )

    in_workers(source, work)


def test_what_is_at_hand_comes_with_the_root(tmp_path: Path) -> None:
    image = EdfImage(np.zeros((2, 3), "u2"), {"motor_mne": "x", "motor_pos": "1"})
    image.append_frame(data=np.ones((2, 3), "u2"))
    image.write(str(tmp_path / "some.edf"))
    detector = "/scan_0/instrument/detector_0"

    async def work(workers: WorkerPool, context: Any, source: DataFile) -> None:
        await listings.group_index(context, source, "")
        assert listings.is_known(context, source, detector)
        assert not listings.is_known(context, source, detector + "/others")  # needs all headers
        known = await listings.group_index(context, source, detector)
        context.cache.discard(ListingKey(source.version, detector))
        assert list(known.by_name) == list(
            (await listings.group_index(context, source, detector)).by_name
        )
        named = name_entries(known.listing, detector).entries
        assert list(named) == [b"others", b"data.npy", b"data.attrs.json", b"attrs.json"]

    in_workers(tmp_path, work, "some.edf", "image")


def test_a_group_without_any_word_for_flat_or_dark_is_not_asked_about(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(CorrectionService, "_for_group", asked)

    async def work(workers: WorkerPool, context: Any, source: DataFile) -> None:
        corrections = CorrectionService(context, CorrectionOptions())
        assert await corrections.for_group(source, "/00") is None
        assert await corrections.for_group(source, "/00/below") is None

    in_workers(source, work)


def test_what_nobody_asked_for_is_no_reason_to_fail(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(workers: WorkerPool, context: Any, source: DataFile) -> None:
        run = workers.run

        async def dying(function, *arguments):
            if function is server.list_groups:
                raise ReaderDiedError("the reader process died (SIGSEGV)")
            return await run(function, *arguments)

        monkeypatch.setattr(workers, "run", dying)
        assert len(await walk(context, source)) == 121
        assert source.error_text_within("") is None

    in_workers(source, work)


def test_a_shallow_walk_does_not_list_what_is_below(source: Path) -> None:
    """As `find -maxdepth 2` goes: one group after another, and into none."""

    async def work(workers: WorkerPool, context: Any, source: DataFile) -> None:
        await listings.group_index(context, source, "")
        for name in ("00", "01"):
            await listings.group_index(context, source, f"/{name}")
        assert listings.is_known(context, source, "/02")
        assert not listings.is_known(context, source, "/02/below")

    in_workers(source, work)
