"""A tree of nodes in memory, for tests of the filesystem without a mount."""

import stat
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any

from esrffs.errors import EsrffsError, NotFoundError
from esrffs.fuse.attributes import AttributeOptions
from esrffs.fuse.filesystem import Caller, Filesystem
from esrffs.tree.nodes import Path, Stat


@dataclass
class Handle:
    """Counts how often it is closed."""

    content: bytes
    closed: int = 0
    uncached: bool = False
    error: Exception | None = None

    async def read(self, offset: int, count: int) -> bytes:
        if self.error is not None:
            raise self.error
        return self.content[offset : offset + count]

    def close(self) -> None:
        self.closed += 1
        if self.error is not None:
            raise OSError(5, "closing fails too")


@dataclass
class FileNode:
    """A file; `error` is raised when it is opened."""

    path: Path
    content: bytes = b""
    key: bytes = b"1"
    mode: int = stat.S_IFREG | 0o644
    error: Exception | None = None
    gone: bool = False
    values: dict[bytes, bytes] = field(default_factory=dict)  # extended attributes
    handles: list[Handle] = field(default_factory=list)
    text: str | None = None

    async def stat(self) -> Stat:
        if self.gone:
            raise NotFoundError("gone")
        return Stat(self.mode, len(self.content), 1000, 100, 1, 2, 3)

    async def open(self) -> Handle:
        if self.error is not None:
            raise self.error
        self.handles.append(Handle(self.content))
        return self.handles[-1]

    async def xattrs(self) -> dict[bytes, bytes]:
        return self.values

    def error_text(self) -> str | None:
        return self.text


@dataclass
class DirectoryNode:
    """A directory of these nodes."""

    path: Path = ()
    members: list[Any] = field(default_factory=list)
    key: bytes = b"directory"
    error: Exception | None = None
    gone: bool = False
    text: str | None = None

    async def stat(self) -> Stat:
        if self.gone:
            raise NotFoundError("gone")
        return Stat(stat.S_IFDIR | 0o755, 0, 1000, 100, 1, 2, 3)

    async def check(self) -> None:
        await self.stat()

    async def children(self) -> Mapping[bytes, Any]:
        if self.error is not None:
            raise self.error
        return {node.path[-1]: node for node in self.members}

    async def child(self, name: bytes) -> Any:
        try:
            return (await self.children())[name]
        except KeyError:
            raise NotFoundError(f"no {name!r}") from None

    def error_text(self) -> str | None:
        return self.text


async def nothing() -> Any:
    return {}


def filesystem(root: DirectoryNode, **options: Any) -> Filesystem:
    return Filesystem(root, AttributeOptions(**options), nothing, nothing)


def caller(uid: int = 0, gid: int = 0, *groups: int) -> Caller:
    return Caller(uid, gid, lambda: groups)


async def errno_of_request(request: Awaitable[Any]) -> int:
    """The errno of the answer to this request, which must fail."""
    try:
        found = await request
    except EsrffsError as error:
        return error.errno
    raise AssertionError(f"answered with {found!r}")
