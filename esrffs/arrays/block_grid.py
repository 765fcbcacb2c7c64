"""Byte range → blocks → boxes.  Pure, integers only.

Decided here: how an array is cut for reading.  A *block* is at once one box of the array, one run
of bytes of its C-ordered data, and one entry of the cache.  All blocks of an array are equal but
for the last along the axis that is cut.
"""

from dataclasses import dataclass
from math import prod

from esrffs.model import Box

TARGET_NBYTES = 4 << 20  # bytes: large enough that a hop to a worker is lost in the noise
MAX_NBYTES = 64 << 20  # bytes: no block is larger, whatever the chunks are, unless one element is


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """The data of one array, cut on `axis` into blocks of `count` steps."""

    shape: tuple[int, ...]
    itemsize: int  # bytes
    axis: int
    count: int

    @property
    def nbytes(self) -> int:
        return self.itemsize * prod(self.shape)

    @property
    def _step(self) -> int:
        """Bytes of one index of the cut axis."""
        return self.itemsize * prod(self.shape[self.axis + 1 :])

    @property
    def _length(self) -> int:
        return self.shape[self.axis] if self.shape else 1

    @property
    def _blocks_per_row(self) -> int:
        return -(-self._length // self.count)

    def block_at(self, offset: int) -> int:
        """Which block holds this byte of the data, 0 ≤ offset < nbytes."""
        row, rest = divmod(offset, self._length * self._step)
        return row * self._blocks_per_row + rest // (self.count * self._step)

    def byte_range(self, number: int) -> tuple[int, int]:
        """First and one-past-last byte of this block in the data."""
        row, block = divmod(number, self._blocks_per_row)
        first = row * self._length + block * self.count
        last = row * self._length + min((block + 1) * self.count, self._length)
        return first * self._step, last * self._step

    def box(self, number: int) -> Box:
        """The elements of this block."""
        if not self.shape:
            return Box((), ())
        row, block = divmod(number, self._blocks_per_row)
        leading = []
        for length in reversed(self.shape[: self.axis]):
            row, index = divmod(row, length)
            leading.append(index)
        leading.reverse()
        first = block * self.count
        last = min(first + self.count, self._length)
        trailing = self.shape[self.axis + 1 :]
        return Box(
            (*leading, first, *(0 for _ in trailing)),
            (*(index + 1 for index in leading), last, *trailing),
        )


def block_grid(
    shape: tuple[int, ...],
    itemsize: int,
    grain: tuple[int, ...] = (),
    target: int = TARGET_NBYTES,
    limit: int = MAX_NBYTES,
) -> BlockGrid:
    """The blocks for an array whose bytes come in grains (chunks) of this shape.

    The cut is on the outermost axis where one layer of grains makes no more than the target, or
    as far in as goes without a grain in two blocks: reading all blocks in turn then touches each
    grain once.  Only where such a block would exceed the limit are grains touched again.
    """
    if not shape or 0 in shape:
        return BlockGrid(shape, itemsize, 0, 1)
    steps = [itemsize * prod(shape[k + 1 :]) for k in range(len(shape))]
    layer = [min(g, n) for g, n in zip(grain or (1,) * len(shape), shape, strict=True)]
    axis = 0
    while axis + 1 < len(shape) and layer[axis] == 1 and steps[axis] > target:
        axis += 1
    while axis + 1 < len(shape) and steps[axis] > limit:
        axis += 1
    least = min(layer[axis], max(1, limit // steps[axis]))
    count = least * max(1, target // (least * steps[axis]))
    return BlockGrid(shape, itemsize, axis, min(count, shape[axis]))
