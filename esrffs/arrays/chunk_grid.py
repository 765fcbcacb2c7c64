"""Which chunks lie in a box, and where in it.  Pure, integers only."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

from esrffs.model import Box


class ChunkPart(NamedTuple):
    """A chunk, and the part of it that is in a block."""

    number: int  # of the chunk, in the grid
    inside: tuple[slice, ...]  # of the chunk
    target: tuple[slice, ...]  # of the block

    def byte_range(self, chunk: Sequence[int], itemsize: int) -> tuple[int, int]:
        """The bytes [first, last) of a chunk of this shape that hold all of `inside`."""
        first = last = 0
        for length, inside in zip(chunk, self.inside, strict=True):
            first, last = first * length + inside.start, last * length + inside.stop - 1
        return first * itemsize, (last + 1) * itemsize


def parts_of_box(box: Box, chunk: Sequence[int], grid: Sequence[int]) -> Iterator[ChunkPart]:
    """The chunks that lie in this box, of an array with a grid of so many chunks on each axis."""
    axes = []
    for start, stop, k in zip(box.start, box.stop, chunk, strict=True):
        axes.append(
            [
                (
                    number,
                    slice(max(start - number * k, 0), min(stop - number * k, k)),
                    slice(max(number * k - start, 0), min((number + 1) * k, stop) - start),
                )
                for number in range(start // k, -(-stop // k))
            ]
        )
    steps = [prod(grid[axis + 1 :]) for axis in range(len(grid))]
    for parts in product(*axes):
        number = sum(part[0] * step for part, step in zip(parts, steps, strict=True))
        yield ChunkPart(number, tuple(p[1] for p in parts), tuple(p[2] for p in parts))
