"""Single frames of an array as files of their own, and the directories of all frames.

`x.tifs/`, `x.edfs/` and `x.pngs/` are listed by arithmetic: no pixel is read for their names and
sizes.  Does not: make the files of whole arrays (`tree/view_files`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from esrffs import limits
from esrffs.cache import ByteCache
from esrffs.encoders import edf, tiff, view_names, views
from esrffs.errors import NotFoundError
from esrffs.tree.nodes import Node, Path, Stat
from esrffs.tree.view_files import ArrayFile, ImageView, PngView


def frame_view(
    path: Path,
    array: ArrayFile,
    format_: str,
    number: int,
    colour: bool,
    cache: ByteCache,
    limit: int,
    headers: Sequence[edf.Header] = (),
) -> Node:
    """Frame `number` of an array as a file of its own: tif, edf or png."""
    one = views.frame(array.description(), colour=colour)
    first = number * one.size
    match format_:
        case "tif":
            return ImageView(path, (array,), tiff.tiff_image(one, colour=colour), first)
        case "edf":
            image = edf.edf_image(one, headers[number : number + 1])
            return ImageView(path, (array,), image, first)
        case _:
            return PngView(path, array, one, colour, first, cache, limit)


@dataclass(frozen=True, slots=True)
class FramesDirectory:
    """`x.tifs/`, `x.edfs/`, `x.pngs/`: a file for each frame, by arithmetic."""

    path: Path
    array: ArrayFile
    format: str  # "tifs" …
    colour: bool
    cache: ByteCache
    limit: int
    headers: tuple[edf.Header, ...] = ()  # of an EDF, one for each frame

    @property
    def key(self) -> bytes:
        return b"directory"

    @property
    def _shown(self) -> str:
        return b"/".join(self.path).decode("utf-8", "replace")

    @property
    def _count(self) -> int:
        return views.frame_count(self.array.description(), colour=self.colour)

    async def stat(self) -> Stat:
        return Stat.directory(self.array.status)

    async def check(self) -> None:
        await self.stat()

    async def children(self) -> Mapping[bytes, Node]:
        limits.check_children(self._shown, self._count)
        names = view_names.frame_names(self._count, self.format)
        first = self._node(next(names), 0)
        nodes: dict[bytes, Node] = {first.path[-1]: first}
        size = views.frame(self.array.description(), colour=self.colour).size
        for number, name in enumerate(names, 1):
            path = (*self.path, name)  # all are alike but for where their pixels are
            if isinstance(first, ImageView) and not self.headers:
                nodes[name] = ImageView(path, first.arrays, first.image, number * size)
            else:
                nodes[name] = self._node(name, number)
        return nodes

    async def child(self, name: bytes) -> Node:
        number = view_names.frame_number(name, self._count, self.format)
        if number is None:
            raise NotFoundError(f"no {name!r} in {self._shown}")
        return self._node(name, number)

    def _node(self, name: bytes, number: int) -> Node:
        single = view_names.FRAME_FORMATS[self.format]
        path = (*self.path, name)
        return frame_view(
            path, self.array, single, number, self.colour, self.cache, self.limit, self.headers
        )

    def error_text(self) -> str | None:
        return self.array.error_text()
