"""Views are looked up by name: what wins, and where symlinks lead.  Without a mount."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import trio

from esrffs.cache import ByteCache
from esrffs.encoders.file_image import ArrayDescription
from esrffs.encoders.file_names import shorten
from esrffs.errors import NotFoundError
from esrffs.model import FileStatus, JsonText
from esrffs.tree.context import ViewOptions
from esrffs.tree.handles import OpenArray
from esrffs.tree.nodes import Node, Path, Symlink
from esrffs.tree.view_files import ImageView
from esrffs.tree.view_frames import FramesDirectory
from esrffs.tree.views import ViewFinder

STATUS = FileStatus(0o100640, 1, 1, 1000, 1000, 10, 0, 0, 0)


class Held:
    def __init__(self) -> None:
        self.released = 0

    def acquire(self) -> None: ...

    def release(self) -> None:
        self.released += 1


class Bytes:
    def __init__(self, content: bytes) -> None:
        self.content = content

    async def read(self, start: int, stop: int) -> bytes:
        return self.content[start:stop]


@dataclass
class FakeArray:
    path: Path
    values: np.ndarray
    held: Held = field(default_factory=Held)
    errors: list[str] = field(default_factory=list)
    key: bytes = b"key"
    status: FileStatus = STATUS
    listed_text: JsonText | None = None

    def description(self) -> ArrayDescription:
        return ArrayDescription("x", self.values.shape, self.values.dtype)

    async def is_colour(self) -> bool:
        return False

    async def open_array(self) -> OpenArray:
        values = self.values
        return OpenArray(self.held, Bytes(values.tobytes()), values.dtype, self.errors.append)

    def record_error(self, text: str) -> None:
        self.errors.append(text)

    def error_text(self) -> str | None:
        return "\n".join(self.errors) or None


STACK = np.arange(5 * 6 * 7, dtype="<u2").reshape(5, 6, 7)
LONG = b"l" * 251


def finder(**options: object) -> ViewFinder:
    here = (b"a.h5", b"entry")
    nodes: dict[bytes, Node] = {
        name: FakeArray((*here, name), STACK)
        for name in (b"x.npy", b"x~1.npy", b"a.b.npy", LONG + b".npy", b"x.csv.npy")
    }
    nodes[b"link.npy"] = Symlink((*here, b"link.npy"), STATUS, b"../other/y~1.npy")
    nodes[b"dangling.npy"] = Symlink((*here, b"dangling.npy"), STATUS, b"../nothing.npy")

    async def real(name: bytes) -> Node:
        if name not in nodes:
            raise NotFoundError("none")
        return nodes[name]

    async def follow(name: bytes) -> Node:
        if name == b"link.npy":
            return FakeArray((b"a.h5", b"other", b"y~1.npy"), STACK)
        raise NotFoundError("dangling")

    async def names() -> list[bytes]:
        return list(nodes)

    return ViewFinder(here, real, follow, names, ByteCache(1 << 20), ViewOptions(**options))


@pytest.mark.parametrize("stem", [b"x", b"x~1", b"a.b", b"x.csv", LONG], ids=len)
def test_a_view_is_called_as_its_array(stem: bytes) -> None:
    for suffix, kind in ((b".tif", ImageView), (b".edf", ImageView), (b".tifs", FramesDirectory)):
        name = shorten(stem, suffix)
        node = trio.run(finder().find, name)
        assert isinstance(node, kind)
        assert node.path == (b"a.h5", b"entry", name)


@pytest.mark.parametrize(
    "name", [b"x.csv", b"x.png", b"y.tif", b"x.tif.tif", b"x", b".tif", b"dangling.tif", b"l.tif"]
)
def test_what_there_is_not(name: bytes) -> None:
    with pytest.raises(NotFoundError):
        trio.run(finder().find, name)


def test_a_symlink_leads_to_the_view_of_its_target() -> None:
    node = trio.run(finder().find, b"link.tifs")
    assert isinstance(node, Symlink)
    assert node.target == b"../other/y~1.tifs"


def test_a_view_is_read_and_closed() -> None:
    async def work() -> None:
        node = await finder().find(b"x.edf")
        assert isinstance(node, ImageView)
        size = (await node.stat()).size
        handle = await node.open()
        whole = bytes(await handle.read(0, size + 99))
        assert len(whole) == size
        assert bytes(await handle.read(600, 99)) == whole[600:699]
        assert bytes(await handle.read(size, 9)) == b""
        handle.close()
        [array] = node.arrays
        assert isinstance(array, FakeArray)
        assert array.held.released == 1

    trio.run(work)


def test_frames_are_found_without_all_of_them() -> None:
    async def work() -> None:
        directory = await finder().find(b"x.tifs")
        assert isinstance(directory, FramesDirectory)
        node = await directory.child(b"0003.tif")
        assert isinstance(node, ImageView)
        handle = await node.open()
        content = bytes(await handle.read(0, 1 << 20))
        assert content.endswith(STACK[3].tobytes())
        children = await directory.children()
        assert list(children) == [b"%04d.tif" % k for k in range(5)]
        assert (await children[b"0003.tif"].stat()).size == len(content)
        for name in (b"0005.tif", b"3.tif", b"0003.edf"):
            with pytest.raises(NotFoundError):
                await directory.child(name)

    trio.run(work)


def test_what_is_listed_never_takes_the_name_of_a_real_entry() -> None:
    async def work() -> None:
        views = finder(listed=frozenset({"tif", "tifs", "csv"}))
        nodes = {name: await views.real(name) for name in await views.names()}
        nodes[b"x.tif"] = nodes[b"link.npy"]
        listed = await views.listed(nodes)
        assert not set(listed) & set(nodes)
        assert {b"x.tifs", b"x~1.tif", b"a.b.tif", b"x.csv.tif"} <= set(listed)
        assert not [name for name in listed if name.startswith(b"link")]
        for name, node in listed.items():
            assert node.path[-1] == name
            assert type(await views.find(name)) is type(node)

    trio.run(work)
