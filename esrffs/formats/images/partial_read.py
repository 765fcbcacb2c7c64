"""Read the parts of a box that are not damaged, after reading the whole box has failed.

Each frame is read again by itself, so that a damaged frame does not affect the others.  Within a
frame, `FrameSource.sound_rows` finds the elements that can be read.
"""

import numpy as np

from esrffs.damage import Damage, DamagedArray
from esrffs.errors import EsrffsError
from esrffs.formats import budget
from esrffs.formats.budget import TooSlowError
from esrffs.formats.images.frames import Array, FrameSource, Where
from esrffs.model import Box


def sound(frames: FrameSource, box: Box, *, stacked: bool) -> DamagedArray:
    """The elements of this box, with the errors of those that cannot be read.

    `stacked`: the first axis of the box counts frames.
    """
    numbers = range(box.start[0], box.stop[0]) if stacked else range(1)
    part = Box(box.start[1:], box.stop[1:]) if stacked else box
    shape = len(numbers), *part.shape
    array: Array = np.zeros(shape, frames.dtype)
    damage = Damage(shape)
    for at, number in enumerate(numbers):
        try:
            budget.check(f"frame {number}")
        except TooSlowError:
            why = "looking for what is damaged took too long (time_limit)"
            damage.add(slice(at, None), TooSlowError(f"frame {number}: was not read: {why}"))
            break

        def missing(where: Where, error: EsrffsError, at: int = at) -> None:
            damage.add((at, *_within(where, part, frames.shape)), error)

        rows = frames.sound_rows(number, part.start[0], part.stop[0], missing)
        array[at] = rows[(slice(None), *part.slices[1:])]
    codes = damage.codes.reshape(box.shape)
    return DamagedArray(array.reshape(box.shape), codes, tuple(damage.errors))


def _within(where: Where, part: Box, frame: tuple[int, ...]) -> Where:
    """Convert slices of rows of a frame to slices of the part of the frame that is read."""
    cut = []
    for axis, one in enumerate(where[1:], 1):
        start, stop, _ = one.indices(frame[axis])
        first, last = part.start[axis], part.stop[axis]
        cut.append(slice(max(start - first, 0), max(min(stop, last) - first, 0)))
    return (where[0], *cut)
