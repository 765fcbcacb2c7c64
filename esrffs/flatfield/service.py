"""The service of `corrected/`: finds what each group and folder holds, and keeps it while it holds.

A plan is kept in the cache under the version of its file or folder, and is made again when another
file that it was made from has changed.  A rejection goes to the log once, and to the registry of
errors.  Does not: decide which image has which role (`conventions`), or compute pixels
(`corrected_array`).
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

from esrffs.cache import CacheKey
from esrffs.flatfield.conventions.config_file import FILE
from esrffs.flatfield.conventions.detect import detect_in_folder, detect_in_group, group_may_match
from esrffs.flatfield.conventions.name_words import is_dark, is_flat
from esrffs.flatfield.conventions.queries import Queries
from esrffs.flatfield.conventions.reduced_frames import SUFFIXES
from esrffs.flatfield.dependencies import Dependencies
from esrffs.flatfield.folder_inspector import FolderInspector, FolderListing
from esrffs.flatfield.inspectors import FileInspector, Inspector
from esrffs.flatfield.plan import CorrectionOptions, CorrectionPlan, Detection, Rejected
from esrffs.flatfield.resolved_plan import CorrectedEntry, ResolvedPlan, resolve
from esrffs.model import FileStatus, Generation
from esrffs.source.context import DataContext
from esrffs.source.data_file import DataFile
from esrffs.source.listings import group_index
from esrffs.source.retry import retry_while_changing

log = logging.getLogger(__name__)

CLOCK_TICK_NS = 100_000_000  # longer than a tick of the clock that stamps files
MAX_FOLDERS = 64  # whose last plan is at hand without listing the folder
_OUTCOME_NBYTES_ESTIMATE = 1000  # of memory, where there is no plan

Outcome = ResolvedPlan | Rejected | None


def folder_may_match(file_names: Iterable[str]) -> bool:
    """May a folder of these files be one that is corrected?  Opens nothing."""
    return any(
        name == FILE or is_dark(name) or is_flat(name) or name.endswith(SUFFIXES)
        for name in file_names
    )


class CorrectionService:
    """What `corrected/` holds in each group and folder of one mount."""

    def __init__(self, context: DataContext, options: CorrectionOptions) -> None:
        self.context = context
        self.options = options
        self._folders: OrderedDict[str, _UnchangedFolder] = OrderedDict()

    async def for_group(self, source: DataFile, address: str) -> Outcome:
        """What `corrected/` holds in this group, as its file is now; None where nothing fits."""
        if source.subject.format != "hdf5":
            return None
        listed: DataFile | None = source

        async def found() -> Outcome:
            nonlocal listed
            file = listed or await self.context.files.current(source.path, "hdf5")
            listed = None  # if it changed, the next attempt is for the file as it is then
            if not group_may_match((await group_index(self.context, file, address)).by_name):
                return None
            return await self._for_group(file, address)

        return await retry_while_changing(found)

    async def _for_group(self, source: DataFile, address: str) -> Outcome:
        async def detect() -> _Resolution:
            inspector = FileInspector(self.context, source)
            steps = detect_in_group(address.strip("/"), self.options)
            found = await _answer_queries(steps, inspector)
            text = f"{source.path}: {found.reason}" if isinstance(found, Rejected) else None
            if text is None or source.error_text(address) != text:
                _log(found, source.path, address)
            if text is not None:
                self.context.errors.record(source.version, text, address)
            return await _resolve(found, inspector, source.status)

        return await self._current(_GroupKey(source.version, address), detect)

    async def for_folder(self, listing: FolderListing) -> Outcome:
        """What `corrected/` holds in this folder of files; None where nothing fits."""
        folder = listing.path

        async def detect() -> _Resolution:
            inspector = FolderInspector(self.context, listing)
            found = await _answer_queries(detect_in_folder(self.options), inspector)
            status = await self.context.files.folders.status(folder)
            resolution = await _resolve(found, inspector, status)
            if not isinstance(found, Rejected) or self.rejection(folder) != found.reason:
                _log(found, folder or ".", "")
            return resolution

        key = _FolderKey(folder, listing.version)
        outcome = await self._current(key, partial(retry_while_changing, detect))
        if isinstance(outcome, Rejected):
            self.context.errors.record(_folder_key(folder), outcome.reason)
        else:
            self.forget_rejection(folder)
        return outcome

    def rejection(self, folder: str) -> str | None:
        """Why this folder has no `corrected/`, if it was to have one."""
        return self.context.errors.text(_folder_key(folder))

    def forget_rejection(self, folder: str) -> None:
        """Nothing in this folder speaks of darks or flats any more."""
        self.context.errors.forget(_folder_key(folder))

    async def for_file_in_folder(
        self, folder: str, file_name: bytes, find: Callable[[], Awaitable[Outcome]]
    ) -> Outcome:
        """The plan of which one file is looked up; `find` lists the folder to find it.

        The folder, which may hold thousands of images, is not listed again for each file: the plan
        that was found last serves where neither the folder nor what this file is made of changed.
        """
        run, generation = self.context.files.folders.executor.run, self._generation
        last = self._folders.get(folder)
        if last is not None and await run(partial(last.serves, file_name)):
            return last.plan
        now, before = time.time_ns(), await run(partial(generation, folder))
        found = await find()
        if before is not None and isinstance(found, ResolvedPlan):
            others = found.dependencies.folders.values()
            if all(one and now - one.mtime_ns >= CLOCK_TICK_NS for one in (before, *others)):
                self._folders[folder] = _UnchangedFolder(found, folder, before)
                self._folders.move_to_end(folder)
                while len(self._folders) > MAX_FOLDERS:
                    self._folders.popitem(last=False)
                return found
        self._folders.pop(folder, None)
        return found

    def _generation(self, path: str) -> Generation | None:
        return self.context.files.folders.generation(path)

    async def _current(
        self, key: "_GroupKey | _FolderKey", detect: Callable[[], Awaitable["_Resolution"]]
    ) -> Outcome:
        """The outcome for this key; detected again where another file that it needs has changed."""
        run = self.context.files.folders.executor.run

        async def is_current(resolution: _Resolution) -> bool:
            return await run(resolution.dependencies.is_current)

        resolution = await self.context.cache.get_or_compute(
            key, detect, _Resolution.nbytes, is_current
        )
        return resolution.outcome


@dataclass(frozen=True, slots=True)
class _UnchangedFolder:
    """The plan that was found last in a folder, and the folder's generation just before.

    Kept only where nothing was modified within the last tick of the clock: a change that comes next
    has another time then.
    """

    plan: ResolvedPlan
    folder: str
    generation: Generation

    def serves(self, file_name: bytes) -> bool:
        """Is this file certainly what it was?  Calls stat(2)."""
        entry, dependencies = self.plan.file(file_name), self.plan.dependencies
        return (
            isinstance(entry, CorrectedEntry)
            and dependencies.generation(self.folder) == self.generation
            and dependencies.serves_unlisted()
            and all(
                dependencies.generation(path) == seen for path, seen in entry.input_files().items()
            )
        )


@dataclass(frozen=True, slots=True)
class _Resolution:
    """What was found, and what that depends on: an entry of the cache."""

    outcome: Outcome
    dependencies: Dependencies

    def nbytes(self) -> int:
        if isinstance(self.outcome, ResolvedPlan):
            return self.outcome.nbytes()
        return _OUTCOME_NBYTES_ESTIMATE


@dataclass(frozen=True, slots=True)
class _GroupKey(CacheKey[_Resolution]):
    version: bytes  # of the data file
    address: str


@dataclass(frozen=True, slots=True)
class _FolderKey(CacheKey[_Resolution]):
    folder: str
    version: bytes  # of its listing


async def _resolve(found: Detection, inspector: Inspector, status: FileStatus) -> _Resolution:
    outcome = (
        await resolve(found, inspector, status) if isinstance(found, CorrectionPlan) else found
    )
    return _Resolution(outcome, inspector.dependencies())


async def _answer_queries(steps: Queries[Detection], inspector: Inspector) -> Detection:
    """The outcome of a convention, whose queries are answered on the way."""
    try:
        question = next(steps)
        while True:
            question = steps.send(await inspector.answer(question))
    except StopIteration as stop:
        found: Detection = stop.value
        return found


def _folder_key(folder: str) -> tuple[str, str]:
    return "folder", folder


def _log(found: Detection, path: str, address: str) -> None:
    where = f"{path}: {address}" if address else path
    if isinstance(found, Rejected):
        log.warning("%s: no corrected/: %s", where, found.reason)
    elif isinstance(found, CorrectionPlan):
        for warning in found.warnings:
            log.warning("%s: corrected/: %s", where, warning)
        for note in found.notes:
            log.info("%s: corrected/: %s", where, note)
