"""Open directories: entries stay in place, and do not pile up."""

import gc
import weakref
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import trio

from esrffs.fuse.open_directories import OpenDirectories


class Entry:
    """A double of a node."""


class Folder:
    def __init__(self, *names: bytes) -> None:
        self.names = names

    async def children(self) -> Mapping[bytes, Any]:
        return dict.fromkeys(self.names, Entry())

    async def stat(self) -> Any:
        return SimpleNamespace()


def test_what_was_read_last_stays_in_place() -> None:
    async def read() -> None:
        listings = OpenDirectories(held=5)
        folders = [Folder(b"a", b"b") for _ in range(4)]
        numbers = [listings.open(folder) for folder in folders]  # type: ignore[arg-type]  # a double
        for number in numbers:
            await listings.read(number, anew=True)
        for folder in folders:
            folder.names = (b"c",)
        shown = [
            [name for name, _ in (await listings.read(n, anew=False))[1]] for n in numbers[::-1]
        ]
        assert shown == [[b"a", b"b"], [b"a", b"b"], [b"c"], [b"c"]]
        listings.close(numbers[0])
        _, entries = await listings.read(numbers[1], anew=True)
        assert [name for name, _ in entries] == [b"c"]

    trio.run(read)


def test_what_is_closed_is_let_go_and_read_again_counts_once() -> None:
    async def read() -> None:
        listings = OpenDirectories(held=5)
        folder = Folder(b"a", b"b")
        one, two = (listings.open(folder) for _ in range(2))  # type: ignore[arg-type]  # a double
        for _ in range(3):
            await listings.read(one, anew=True)
        shown = (await listings.read(two, anew=True))[1]
        first = (await listings.read(one, anew=False))[1]
        assert (await listings.read(one, anew=False))[1] is first
        assert (await listings.read(two, anew=False))[1] is shown
        gone = weakref.ref(shown[0][1])
        del shown
        for _ in range(2):
            listings.close(two)
        gc.collect()
        assert gone() is None

    trio.run(read)


def test_one_that_is_too_long_is_held_all_the_same() -> None:
    async def read() -> None:
        listings = OpenDirectories(held=1)
        folder = Folder(b"a", b"b", b"c")
        number = listings.open(folder)  # type: ignore[arg-type]  # a double
        first = (await listings.read(number, anew=True))[1]
        assert (await listings.read(number, anew=False))[1] is first

    trio.run(read)
