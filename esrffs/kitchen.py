"""Who is raw, flat, dark in this group or folder: the questions of `esrffs.roles`, answered.

Decided here: how data files and folders answer, when a recipe is looked for anew, and that a
refusal is told to the log and to the user.
"""

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from math import prod
from typing import Any, Protocol

import numpy as np

from esrffs.corrections import Located
from esrffs.errors import EsrffsError, MissingError, StaleError
from esrffs.files import Shared
from esrffs.model import Box, DatasetInfo, GroupInfo, LinkInfo, Member
from esrffs.plans import Attributes, DataFile, plan
from esrffs.roles import (
    READ_LIMIT,
    Describe,
    Entry,
    Found,
    List,
    Question,
    Read,
    ReadFile,
    Recipe,
    Refusal,
    Steps,
    in_file,
    in_folder,
)
from esrffs.roles_config import FILE
from esrffs.series import numbered
from esrffs.sources import Source

log = logging.getLogger(__name__)

_IMAGE = "scan_0/instrument/detector_0/data"  # where silx, and so the raster reader, puts it
_OUTPUT_SIZE = 2000  # bytes that an output takes in memory, about
_MEMBER_SIZE = 500  # bytes that what was found at a path takes


def may_be(file_names: Iterable[str]) -> bool:
    """May a folder of these files be one that is corrected?  Opens nothing."""
    return any(
        name == FILE or name.lower().startswith(("dark", "flat", "ref")) for name in file_names
    )


class Answers(Protocol):
    """Answers the questions of `esrffs.roles`, and remembers where what it told of lies."""

    async def answer(self, question: Question) -> object: ...

    async def locate(self, path: str) -> Located: ...


@dataclass(frozen=True, slots=True)
class Kitchen:
    """A recipe with what it needs to be carried out; or why there is none."""

    found: Found
    answers: Answers
    digest: bytes
    status: os.stat_result
    errors: dict[str, str] = field(default_factory=dict)  # of reading, by the name of the output

    @property
    def recipe(self) -> Recipe | None:
        return self.found if isinstance(self.found, Recipe) else None

    @property
    def refusal(self) -> str | None:
        return self.found.reason if isinstance(self.found, Refusal) else None

    def size(self) -> int:
        return _OUTPUT_SIZE * (
            1 + len(self.found.outputs if isinstance(self.found, Recipe) else ())
        )


async def _driven(steps: Steps[Found], answers: Answers) -> Found:
    """The end of a convention, its questions answered on the way."""
    try:
        question = next(steps)
        while True:
            question = steps.send(await answers.answer(question))
    except StopIteration as stop:
        found: Found = stop.value
        return found


class InFile:
    """Answers from one HDF5 file."""

    def __init__(self, shared: Shared, source: Source) -> None:
        self._shared = shared
        self._source = source

    async def answer(self, question: Question) -> object:
        """None where there is no such thing, or where it cannot be read."""
        try:
            match question:
                case List(path):
                    return await self._members(path)
                case Describe(path):
                    return _entry(await self._found(path))
                case Read(path):
                    return await self._values(path)
        except StaleError:
            raise
        except EsrffsError:
            pass
        return None

    async def locate(self, path: str) -> Located:
        info = await self._found(path)
        if not isinstance(info, DatasetInfo):
            raise MissingError(f"{self._source.path}: {path} is no dataset")
        return Located(self._source, info)

    async def _members(self, path: str) -> Mapping[str, Entry]:
        group = await plan(self._shared, self._source, f"/{path}" if path else "")
        members = (e for e in group.entries.values() if not isinstance(e, Attributes))
        return {member.name: entry for member in members if (entry := _entry(member))}

    async def _found(self, path: str) -> Member:
        find = partial(self._source.find, path)
        return await self._shared.cache.get(
            (self._source.digest, path, "find"), find, lambda _: 500
        )

    async def _values(self, path: str) -> np.ndarray[Any, Any] | None:
        info = (await self.locate(path)).info
        box = Box((0,) * len(info.shape), info.shape)
        nbytes = info.dtype.itemsize * prod(info.shape)
        if not 0 < nbytes <= READ_LIMIT:
            return np.empty(info.shape, info.dtype) if nbytes == 0 else None
        data = await self._source.read(info.address, box, nbytes)
        return np.frombuffer(data, info.dtype).reshape(info.shape)


class InFolder:
    """Answers from the files of a folder; `files` are its data files and series, by name."""

    def __init__(self, shared: Shared, folder: str, files: Mapping[str, DataFile | None]) -> None:
        self._shared = shared
        self._folder = folder
        self._files = files
        self._located: dict[str, Located] = {}
        self._members = {
            os.path.basename(member): (name, index)
            for name, file in files.items()
            if file is not None
            for index, member in enumerate(file.members)
        }

    async def answer(self, question: Question) -> object:
        try:
            match question:
                case List():
                    return {name: _listed(file) for name, file in self._files.items()}
                case Describe(path):
                    info = (await self._at(path)).info
                    return _entry(info, self._files.get(path))
                case ReadFile(name):
                    return self._content(name)
        except StaleError:
            raise
        except EsrffsError as error:
            log.debug("%s", error)
        return None

    async def locate(self, path: str) -> Located:
        """The array of a file, which may be one frame of a series that was described."""
        series, index = self._members.get(path, ("", 0))
        if path not in self._located and series in self._located:
            whole = self._located[series]
            return Located(whole.source, whole.info, index)
        return await self._at(path)

    async def _at(self, path: str) -> Located:
        located = self._located.get(path)
        if located is None:
            name, _, inner = path.partition("::")
            file = self._files.get(name)
            if file is None:
                raise MissingError(f"{os.path.join(self._folder, name)}: is no data file")
            source = await file.source()
            info = await source.find(inner or _IMAGE)
            if not isinstance(info, DatasetInfo):
                raise MissingError(f"{file.path}: {inner} is no dataset")
            located = self._located[path] = Located(source, info)
        return located

    def _content(self, name: str) -> bytes | None:
        descriptor = self._shared.sources.folders.open(os.path.join(self._folder, name))
        try:
            content = os.pread(descriptor, READ_LIMIT + 1, 0)
        finally:
            os.close(descriptor)
        return content if len(content) <= READ_LIMIT else None

    def digest(self) -> bytes:
        """What the located arrays depend on."""
        digests = sorted({located.source.digest for located in self._located.values()})
        return blake2b(b"".join(digests), digest_size=16).digest()


def _listed(file: DataFile | None) -> Entry:
    if file is None:
        return Entry("other")
    if file.members:
        parts = (numbered(os.path.basename(member)) for member in file.members)
        return Entry("series", numbers=tuple(int(part.digits) for part in parts if part))
    return Entry("raster" if file.format == "raster" else "other")


def _entry(member: Member, file: DataFile | None = None) -> Entry | None:
    match member:
        case GroupInfo():
            return Entry("group")
        case DatasetInfo(shape=shape, dtype=dtype):
            if file is None:
                return Entry("dataset", shape, dtype)
            listed = _listed(file)
            return Entry(listed.kind, shape, dtype, listed.numbers)
        case LinkInfo():
            return Entry("link")
    return None


async def of_group(shared: Shared, source: Source, address: str) -> Kitchen | None:
    """What `corrected/` holds in this group; None where there is to be none."""
    if source.subject.format != "hdf5":
        return None

    async def make() -> Kitchen:
        answers = InFile(shared, source)
        found = await _driven(in_file(address.strip("/"), shared.roles), answers)
        _tell(found, source.path, address)
        if isinstance(found, Refusal):
            source.errors.setdefault(address, f"{source.path}: {found.reason}")
        return Kitchen(found, answers, source.digest, source.status)

    key = source.digest, address, "recipe"
    kitchen = await shared.cache.get(key, make, Kitchen.size)
    return kitchen if kitchen.recipe is not None else None


async def of_folder(
    shared: Shared, folder: str, files: Mapping[str, DataFile | None], state: bytes
) -> Kitchen:
    """What `corrected/` holds in this folder of files; `state` tells these files from others."""

    async def make() -> Kitchen:
        answers = InFolder(shared, folder, files)
        found = await _driven(in_folder(shared.roles), answers)
        _tell(found, folder or ".", "")
        status = await shared.sources.folders.status(folder)
        return Kitchen(found, answers, answers.digest(), status)

    return await shared.cache.get((folder, state, "recipe"), make, Kitchen.size)


def _tell(found: Found, path: str, address: str) -> None:
    where = f"{path}: {address}" if address else path
    if isinstance(found, Refusal):
        log.warning("%s: no corrected/: %s", where, found.reason)
    elif isinstance(found, Recipe):
        for note in found.notes:
            log.info("%s: corrected/: %s", where, note)
