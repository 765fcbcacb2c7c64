"""What a handle reads from, and whether it is still what was opened.

Close-to-open consistency (CONTRACT §8): a handle gives the bytes of the state in which it was
opened, or StaleError.  A file that only grew goes on being served: it is larger, and samples of
what the handle depends on are what they were.  Does not: read (`source/verified_file`).
"""

import os
from collections import OrderedDict
from functools import partial
from typing import Protocol

import trio

from esrffs.damage import Block
from esrffs.errors import NotFoundError, StaleError
from esrffs.model import Box, Generation
from esrffs.source.data_file import DataFile, DataFiles
from esrffs.source.retry import ATTEMPTS, retry_while_changing
from esrffs.source.verified_file import VerifiedFile

MAX_OPEN_FILES = 32  # files of a series, or of a virtual dataset, that stay open for one handle


class Part(Protocol):
    """What is closed together with an open data file."""

    def release(self) -> None: ...


class OpenDataFile:
    """One data file as one handle sees it: open until `release` was called once for each owner.

    `state` is that of the other files on which its values depend (`DataFiles.dependency_version`).
    """

    def __init__(self, sources: DataFiles, source: DataFile, state: bytes = b"") -> None:
        self.source = source
        self.sources = sources
        self.state = state
        self._views: OrderedDict[int, VerifiedFile] = OrderedDict()  # by number in the series
        self._opening: dict[int, trio.Event] = {}
        self._parts: list[Part] = []
        self._holders = 1

    def __repr__(self) -> str:
        return f"<OpenDataFile {self.source.path}>"

    def acquire(self) -> None:
        """One more owner: the descriptor must not be closed while a task reads from it."""
        self._holders += 1

    def release(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            for view in self._views.values():
                view.close()
            self._views.clear()
            while self._parts:
                self._parts.pop().release()

    def attach(self, part: Part) -> None:
        """Release this together with the file."""
        self._parts.append(part)

    @property
    def is_slow(self) -> bool:
        """Whether reads should be few and long, and many in flight."""
        device = self.source.subject.generations[0].device
        return self.sources.folders.executor.is_slow(device)

    async def file(self, number: int = 0) -> VerifiedFile:
        """The file itself, or this member of the series, opened if it is not.

        Tasks that ask for one file at the same time share one call of open(2).
        """
        while number not in self._views:
            if (opening := self._opening.get(number)) is not None:
                await opening.wait()
                continue
            self._opening[number] = event = trio.Event()
            try:
                executor = self.sources.folders.executor
                view = await executor.run(partial(self._viewed, number), VerifiedFile.close)
                return self._kept(number, view)
            finally:
                del self._opening[number]
                event.set()
        self._views.move_to_end(number)
        return self._views[number]

    def _viewed(self, number: int) -> VerifiedFile:
        folders, subject = self.sources.folders, self.source.subject
        try:
            descriptor = folders.open(subject.paths[number])
            name = self._name(number)
            return VerifiedFile(descriptor, subject.generations[number], name, folders.executor)
        except (StaleError, NotFoundError):
            self.source.forget_status()  # the next open looks at the file as it is now
            raise

    def _kept(self, number: int, view: VerifiedFile) -> VerifiedFile:
        if len(self._views) >= MAX_OPEN_FILES:
            self._views.popitem(last=False)[1].close()
        self._views[number] = view
        return view

    def _name(self, number: int) -> str:
        subject = self.source.subject
        return os.path.basename(subject.paths[number]) if subject.series else self.source.path

    async def _current_version(self, seen: Generation) -> DataFile:
        """The file in the state that its descriptor shows: a reader opens what is called so now."""
        current = partial(self.sources.current, self.source.path, self.source.subject.format)
        source = await current()
        if source.subject.generations != (seen,):
            self.source.forget_status()  # perhaps it grew since its folder was listed
            source = await current()
        if source.subject.generations != (seen,):
            raise StaleError(f"{source.path}: was rewritten since it was opened")
        return source

    async def read_box(self, address: str, box: Box, nbytes: int) -> Block:
        """The elements of this box, from a reader; a file in change is tried again for a while."""
        is_series = self.source.subject.series

        async def read() -> Block:
            source = self.source
            try:
                if not is_series:
                    source = await self._current_version(await (await self.file()).verified())
                return await source.read(address, box, nbytes)
            except NotFoundError as error:
                raise StaleError(f"{source.path}: is gone") from error

        return await retry_while_changing(read, attempts=1 if is_series else ATTEMPTS)
