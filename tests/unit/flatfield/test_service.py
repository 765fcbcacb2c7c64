"""The service of `corrected/`: what it looks for again, and that its state is not in the cache."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trio

from esrffs.cache import ByteCache
from esrffs.flatfield import service as service_module
from esrffs.flatfield.conventions.config_file import FILE
from esrffs.flatfield.folder_inspector import Contents, FolderListing
from esrffs.flatfield.plan import CorrectionOptions, Rejected
from esrffs.flatfield.resolved_plan import ATTRIBUTES, CorrectedEntry, ResolvedPlan
from esrffs.flatfield.service import CorrectionService
from esrffs.model import DatasetInfo, FileStatus, Generation
from esrffs.source.context import DataContext
from esrffs.source.error_registry import ErrorRegistry

IMAGE = DatasetInfo("data", "/data", (4, 5), np.dtype("<u2"))


class Folder:
    """A folder of images that no reader is needed for; `listed` counts how often it was listed."""

    def __init__(self, path: Path, *names: str, cache: int = 1 << 20) -> None:
        self.path, self.listed = path, 0
        for name in names:
            self.write(name)
        folders = SimpleNamespace(
            executor=SimpleNamespace(run=self._run, run_in_thread=self._run),
            generation=self.generation,
            status=self._status,
            open=lambda name: os.open(path / name, os.O_RDONLY),
            confined=False,
        )
        files: Any = SimpleNamespace(folders=folders, errors=ErrorRegistry())
        context = DataContext(files, ByteCache(cache), lambda *_: None)
        self.service = CorrectionService(context, CorrectionOptions())

    def write(self, name: str, text: str = "") -> None:
        (self.path / name).write_text(text)

    async def _run(self, function: Callable[[], object]) -> object:
        await trio.lowlevel.checkpoint()
        return function()

    def generation(self, name: str) -> Generation | None:
        try:
            return Generation.of(os.stat(self.path / name))
        except FileNotFoundError:
            return None

    async def _status(self, name: str) -> FileStatus:
        return FileStatus.of(os.stat(self.path / name))

    def _file(self, name: str) -> Any:
        """Where a data file is: as `DataFileRef` is used."""
        generation = self.generation(name)

        async def find(_path: str) -> DatasetInfo:
            return IMAGE

        async def source() -> object:
            subject = SimpleNamespace(series=False, paths=(name,), generations=(generation,))
            version, status = repr((name, generation)).encode(), await self._status(name)
            return SimpleNamespace(
                subject=subject, find=find, path=name, version=version, status=status
            )

        return SimpleNamespace(members=(), format="image", path=name, source=source)

    async def find(self) -> Any:
        """What `corrected/` holds, after the folder was listed."""
        self.listed += 1
        names = sorted(os.listdir(self.path))
        files = {name: self._file(name) if name.endswith(".edf") else None for name in names}
        version = repr([self.generation(name) for name in names]).encode()
        listing = FolderListing("", Contents(files), self._look, version)
        return await self.service.for_folder(listing)

    async def _look(self, folder: str) -> Contents:
        raise AssertionError(folder)

    async def file(self, name: bytes) -> Any:
        """What holds for one file of `corrected/`."""
        return await self.service.for_file_in_folder("", name, self.find)


def run(work: Callable[[], Awaitable[None]]) -> None:
    trio.run(work)


@pytest.mark.parametrize("cache", [1 << 20, 0])
def test_a_quiet_folder_is_listed_once_for_all_its_files(tmp_path: Path, cache: int) -> None:
    folder = Folder(tmp_path, "dark.edf", "flat.edf", "a_1.edf", "b_1.edf", cache=cache)

    async def work() -> None:
        await trio.sleep(2e-9 * service_module.CLOCK_TICK_NS)
        plans = [await folder.file(name) for name in (b"a_1.npy", b"b_1.npy", b"a_1.npy")]
        assert folder.listed == 1
        assert plans[0] is plans[1] is plans[2]
        assert isinstance(plans[0].files[b"a_1.npy"], CorrectedEntry)
        folder.write("a_1.edf", "changed")
        assert await folder.file(b"a_1.npy") is not plans[0]
        assert folder.listed == 2

    run(work)


def test_a_folder_that_was_modified_just_now_is_listed_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "dark.edf", "flat.edf", "a_1.edf")

    async def work() -> None:
        for count in (1, 2):
            await folder.file(b"a_1.npy")
            assert folder.listed == count

    run(work)


def test_a_rejection_does_not_depend_on_the_cache(tmp_path: Path, caplog: Any) -> None:
    folder = Folder(tmp_path, "dark.edf", "a_1.edf", cache=0)

    async def work() -> None:
        for _ in range(3):
            assert isinstance(await folder.find(), Rejected)
        assert "no flat image" in (folder.service.rejection("") or "")
        folder.write("flat.edf")
        assert isinstance(await folder.find(), ResolvedPlan)
        assert folder.service.rejection("") is None

    run(work)
    assert [record.message for record in caplog.records].count(
        ".: no corrected/: folder of images: no flat image"
    ) == 1


def test_everything_about_a_file_is_found_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "dark.edf", "flat.edf", "a_1.edf", "b_2.edf")

    async def work() -> None:
        plan = await folder.find()
        assert plan is await folder.find()
        assert set(plan.files) == {b"a_1.npy", b"b_2.npy", ATTRIBUTES}
        one, two = plan.entries
        assert one.key != two.key
        assert set(one.input_files()) == {"a_1.edf", "flat.edf", "dark.edf"}
        assert one.inputs is two.inputs
        assert plan.dependencies.is_current()

    run(work)


def test_a_text_of_the_folder_is_watched(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "x.edf", "y.edf", "z.edf")
    table = '[[corrected]]\nraw = "x.edf"\nflat = "{}.edf"\ndark = "{}.edf"\n'
    folder.write(FILE, table.format("y", "z"))

    async def work() -> None:
        await trio.sleep(2e-9 * service_module.CLOCK_TICK_NS)
        first = await folder.file(b"x.npy")
        folder.write(FILE, table.format("z", "y"))  # the folder itself stays as it is
        second = await folder.file(b"x.npy")
        assert folder.listed == 2
        assert first.entries[0].key != second.entries[0].key

    run(work)
