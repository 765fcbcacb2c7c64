"""Keys of frames: 0 projection, 1 flat, 2 dark, 3 invalid, -1 alignment, as NXtomo has them.

Does not: find the keys in a file.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from esrffs.flatfield.conventions.assignment import FrameStack
from esrffs.flatfield.plan import ConventionError

PROJECTION, FLAT, DARK, INVALID, ALIGNMENT = 0, 1, 2, 3, -1

Keys = npt.NDArray[np.int64]


def runs(chosen: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """[first, last) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], chosen, [False])).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def fitted_keys(
    values: npt.NDArray[Any] | None, name: str, data: FrameStack, there: str = ""
) -> tuple[Keys, list[str]]:
    """The keys of the frames that exist, and a warning where there are fewer frames than keys.

    An acquisition that was stopped has its keys, but not all frames.  ConventionError where the
    values are no keys, or too few; without values its text has what is `there`.
    """
    if values is None:
        raise ConventionError(f"no small array of numbers at {name!r}; {there}")
    keys = np.atleast_1d(values)
    if keys.ndim != 1 or keys.dtype.kind not in "iufb":
        raise ConventionError(
            f"{name} has shape {keys.shape}, type {keys.dtype}: no keys of frames"
        )
    count = data.frames
    if len(keys) < count:
        raise ConventionError(
            f"{name} has shape {keys.shape}, but {data.path} has {count} frames: more than keys"
        )
    warnings = []
    if len(keys) > count:
        warnings.append(
            f"{data.path} has {count} frames, {name} has {len(keys)} keys: was the scan stopped? "
            f"Those that exist are corrected"
        )
    return keys[:count].astype(np.int64), warnings
