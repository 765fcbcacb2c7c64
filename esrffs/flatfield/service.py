"""Recipes: what `corrected/` holds in this group or folder, found once and kept.

Decided here: when a recipe is looked for anew, what the bytes of a corrected array depend on, and
that a refusal is told to the log and to the user.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from esrffs.flatfield.conventions.config_file import FILE
from esrffs.flatfield.conventions.detect import detect_in_folder, detect_in_group, group_may_match
from esrffs.flatfield.conventions.name_words import is_dark, is_flat
from esrffs.flatfield.conventions.queries import Queries
from esrffs.flatfield.folder_inspector import Contents, FolderInspector, Look
from esrffs.flatfield.inspectors import FileInspector, Inspector
from esrffs.flatfield.plan import CorrectionOptions, CorrectionPlan, Detection, FrameRange, Rejected
from esrffs.linux.permissions import intersect
from esrffs.model import FileStatus
from esrffs.source.context import DataContext
from esrffs.source.data_file import DataFile
from esrffs.source.listings import plan
from esrffs.source.retry import ATTEMPTS, retry_while_changing

log = logging.getLogger(__name__)

_OUTPUT_SIZE = 2000  # bytes that an output takes in memory, about


def folder_may_match(file_names: Iterable[str]) -> bool:
    """May a folder of these files be one that is corrected?  Opens nothing."""
    return any(name == FILE or is_dark(name) or is_flat(name) for name in file_names)


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedPlan:
    """A recipe with what it needs to be carried out; or why there is none.

    `keys`: what the bytes of each output depend on, in their order; `statuses`: readable by whom
    all that it is made of is.
    """

    detection: Detection
    inspector: Inspector
    status: FileStatus
    keys: tuple[bytes, ...] = ()
    statuses: tuple[FileStatus, ...] = ()
    errors: dict[str, str] = field(default_factory=dict)  # of reading, by the name of the output

    @property
    def plan(self) -> CorrectionPlan | None:
        return self.detection if isinstance(self.detection, CorrectionPlan) else None

    @property
    def rejection(self) -> str | None:
        return self.detection.reason if isinstance(self.detection, Rejected) else None

    def size(self) -> int:
        return _OUTPUT_SIZE * (1 + len(self.keys))


@dataclass(slots=True)
class _Revision:
    """How often a recipe was made anew because another file changed."""

    number: int = 0


class CorrectionService:
    """What `corrected/` holds in each group and folder of one mount.

    `rejections`: why a folder has none, by folder; told once to the log.
    """

    def __init__(self, context: DataContext, options: CorrectionOptions) -> None:
        self.context = context
        self.options = options
        self.rejections: dict[str, str | None] = {}

    async def for_group(self, source: DataFile, address: str) -> ResolvedPlan | None:
        """What `corrected/` holds in this group, as its file is now; None where there is none."""
        if source.subject.format != "hdf5":
            return None
        listed: DataFile | None = source

        async def found() -> ResolvedPlan | None:
            nonlocal listed
            file = listed or await self.context.files.current(source.path, "hdf5")
            listed = None  # if it changed, the next attempt is for the file as it is then
            if not group_may_match((await plan(self.context, file, address)).file_names):
                return None
            resolved = await self._for_group(file, address)
            return resolved if resolved.plan is not None else None

        return await retry_while_changing(found)

    async def _for_group(self, source: DataFile, address: str) -> ResolvedPlan:
        async def make() -> ResolvedPlan:
            answers = FileInspector(self.context, source)
            found = await _answer_queries(
                detect_in_group(address.strip("/"), self.options), answers
            )
            if isinstance(found, Rejected):
                text = f"{source.path}: {found.reason}"
                if source.errors.get(address) != text:
                    _log(found, source.path, address)
                source.errors[address] = text
            else:
                _log(found, source.path, address)
            return await _resolve(found, answers, source.status)

        return await self._kept((source.version, address, "correction"), make)

    async def for_folder(
        self, folder: str, contents: Contents, look: Look, state: bytes
    ) -> ResolvedPlan:
        """What `corrected/` holds in this folder of files; `state` tells these files from others.

        `look` tells the contents of another folder of the source.
        """

        async def make() -> ResolvedPlan:
            inspector = FolderInspector(self.context, folder, contents, look)
            found = await _answer_queries(detect_in_folder(self.options), inspector)
            status = await self.context.files.folders.status(folder)
            resolved = await _resolve(found, inspector, status)
            if resolved.rejection is None or resolved.rejection != self.rejections.get(folder):
                _log(found, folder or ".", "")
            return resolved

        return await self._kept((folder, state, "correction"), partial(retry_while_changing, make))

    async def _kept(
        self, key: tuple[object, ...], make: Callable[[], Awaitable[ResolvedPlan]]
    ) -> ResolvedPlan:
        """The plan for this key, made anew where another file that it looked at has changed."""
        revision = await self.context.cache.get_or_compute(
            (*key, "revision"), _first_revision, lambda _: _OUTPUT_SIZE
        )
        for _ in range(ATTEMPTS):
            number = revision.number
            resolved = await self.context.cache.get_or_compute(
                (*key, number), make, ResolvedPlan.size
            )
            if await self.context.files.folders.executor.run(resolved.inspector.is_current):
                break
            revision.number = max(revision.number, number + 1)
        return resolved


async def _first_revision() -> _Revision:
    return _Revision()


async def _resolve(found: Detection, answers: Inspector, status: FileStatus) -> ResolvedPlan:
    if not isinstance(found, CorrectionPlan):
        return ResolvedPlan(found, answers, status)
    known: dict[int, _Dependency] = {}  # many outputs share one correction
    bases = []
    for output in found.outputs:
        correction = output.correction
        if id(correction) not in known:
            known[id(correction)] = await _base(answers, repr(correction), correction.parts)
        made = repr((output.name, output.shape, output.raw, output.currents))
        raw = await _base(answers, made, [stretch.part for stretch in output.raw])
        bases.append((known[id(correction)], raw))
    keys = tuple(one.key + two.key for one, two in bases)
    statuses = tuple(intersect((one.status, two.status)) for one, two in bases)
    return ResolvedPlan(found, answers, status, keys, statuses)


class _Dependency(NamedTuple):
    """What bytes depend on: how they are made, and of what."""

    key: bytes
    status: FileStatus


async def _base(answers: Inspector, made: str, parts: Iterable[FrameRange]) -> _Dependency:
    key = blake2b(made.encode("utf-8", "surrogateescape"), digest_size=16)
    statuses: dict[bytes, FileStatus] = {}
    for path in dict.fromkeys(part.path for part in parts):
        located = await answers.locate(path)
        key.update(located.key)
        statuses[located.source.version] = located.source.status
    return _Dependency(key.digest(), intersect(statuses.values()))


async def _answer_queries(steps: Queries[Detection], answers: Inspector) -> Detection:
    """The end of a convention, its questions answered on the way."""
    try:
        question = next(steps)
        while True:
            question = steps.send(await answers.answer(question))
    except StopIteration as stop:
        found: Detection = stop.value
        return found


def _log(found: Detection, path: str, address: str) -> None:
    where = f"{path}: {address}" if address else path
    if isinstance(found, Rejected):
        log.warning("%s: no corrected/: %s", where, found.reason)
    elif isinstance(found, CorrectionPlan):
        for warning in found.warnings:
            log.warning("%s: corrected/: %s", where, warning)
        for note in found.notes:
            log.info("%s: corrected/: %s", where, note)
