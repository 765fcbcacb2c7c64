"""Selections of virtual datasets as numbers, without a dataspace of libhdf5 for each.

They have the methods of h5py's `SpaceID` that are used here, so that one may stand for the other.
Only regular hyperslabs, and whole datasets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from esrffs.formats.hdf5.library import h5s

EVER: Final = (1 << 64) - 1  # H5S_UNLIMITED as it is stored


@dataclass(frozen=True, slots=True)
class StoredSelection:
    """A regular hyperslab, or all of a source; with those methods of h5py's `SpaceID` it needs."""

    whole: bool
    slab: tuple[tuple[int, ...], ...]  # start, stride, count, block
    extent: tuple[int, ...]  # as far as it is known: of a source, libhdf5 knows no more

    def get_select_type(self) -> int:
        return int(h5s.SEL_ALL if self.whole else h5s.SEL_HYPERSLABS)

    def is_regular_hyperslab(self) -> bool:
        return not self.whole

    def get_regular_hyperslab(self) -> tuple[tuple[int, ...], ...]:
        return self.slab

    def get_simple_extent_dims(self) -> tuple[int, ...]:
        return self.extent

    def get_select_bounds(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        axes = zip(*self.slab, strict=True)
        return self.slab[0], tuple(a + (n - 1) * step + k - 1 for a, step, n, k in axes)

    def get_select_npoints(self) -> int:
        return math.prod(n * k for n, k in zip(*self.slab[2:], strict=True))

    def copy(self) -> "_Overlap":
        return _Overlap(self)


class _Overlap:
    """What a selection and a box have in common."""

    def __init__(self, selection: StoredSelection) -> None:
        self._selection = selection
        self._count = selection.get_select_npoints()

    def select_hyperslab(self, start: Sequence[int], shape: Sequence[int], *, op: int) -> None:
        if op != h5s.SELECT_AND:
            raise NotImplementedError
        axes = zip(start, shape, *self._selection.slab, strict=True)
        self._count = math.prod(_before(a + n, *slab) - _before(a, *slab) for a, n, *slab in axes)

    def get_select_npoints(self) -> int:
        return self._count


def _before(position: int, start: int, stride: int, count: int, block: int) -> int:
    """How many selected elements of an axis stand before a position."""
    past = max(0, position - start)
    stride = max(stride, block)  # of a single block it means nothing
    turns = min(past // stride, count)
    return turns * block + (min(past % stride, block) if turns < count else 0)


def selection_of(slab: Any) -> StoredSelection:
    """The selection with this start, stride, count and block (an array [4, axis]); None: all."""
    if slab is None:
        return StoredSelection(True, (), ())
    rows = tuple(
        tuple(int(h5s.UNLIMITED) if n == EVER else n for n in row) for row in slab.tolist()
    )
    axes = zip(*rows, strict=True)
    extent = tuple(a + (n - 1) * step + k for a, step, n, k in axes)
    return StoredSelection(False, rows, extent)
