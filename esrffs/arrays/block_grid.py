"""How an array is cut into blocks: byte range → blocks → boxes.  Pure, integers only.

A *block* is at once one box of the array, one run of bytes of its C-ordered data, and one entry of
the cache.  All blocks of an array have the same size, but for the last ones along the cut axis.
"""

from dataclasses import dataclass
from math import prod

from esrffs.model import Box

TARGET_NBYTES = 4 << 20  # large enough that a hop to a worker process costs little beside it
MAX_NBYTES = 64 << 20  # no block is larger, whatever the chunks are, unless one element is


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
        """The number of the block that holds this byte of the data, 0 ≤ offset < nbytes."""
        row, rest = divmod(offset, self._length * self._step)
        return row * self._blocks_per_row + rest // (self.count * self._step)

    def part(self, start: int, stop: int) -> tuple[Box, int]:
        """The smallest box that is one run of bytes and holds bytes [start, stop) of the data.

        With it the first byte of that run.  0 ≤ start < stop ≤ nbytes.
        """
        begin: list[int] = []
        end: list[int] = []
        offset = 0
        for axis in range(len(self.shape)):
            step = self.itemsize * prod(self.shape[axis + 1 :])
            begin.append((start - offset) // step)
            end.append(-(-(stop - offset) // step))
            offset += begin[-1] * step
            if end[-1] - begin[-1] > 1:
                break
        rest = self.shape[len(begin) :]
        return Box((*begin, *(0 for _ in rest)), (*end, *rest)), offset

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
    chunk_shape: tuple[int, ...] = (),
    target: int = TARGET_NBYTES,
    limit: int = MAX_NBYTES,
) -> BlockGrid:
    """Choose the block grid for an array in chunks of this shape (`()`: it is in none).

    Blocks are cut along the outermost axis on which one layer of chunks has at most `target` bytes.
    A block contains whole chunks, so that reading all blocks decodes each chunk once.  Only where
    such a block would have more than `limit` bytes are chunks split.
    """
    if not shape or 0 in shape:
        return BlockGrid(shape, itemsize, 0, 1)
    steps = [itemsize * prod(shape[k + 1 :]) for k in range(len(shape))]
    chunk = chunk_shape or (1,) * len(shape)
    layer = [min(k, n) for k, n in zip(chunk, shape, strict=True)]
    axis = 0
    while axis + 1 < len(shape) and layer[axis] == 1 and steps[axis] > target:
        axis += 1
    while axis + 1 < len(shape) and steps[axis] > limit:
        axis += 1
    least = min(layer[axis], max(1, limit // steps[axis]))
    count = least * max(1, target // (least * steps[axis]))
    return BlockGrid(shape, itemsize, axis, min(count, shape[axis]))
