from typing import Any

import numpy as np
import numpy.typing as npt

def correct(
    raw: npt.NDArray[Any],
    dark: npt.NDArray[np.float32],
    flat_dark: npt.NDArray[np.float32],
    first: npt.NDArray[np.float32],
    second: npt.NDArray[np.float32] | None,
    weight: float,
    scale: float,
    nan: float | None,
    out: npt.NDArray[np.float32],
    /,
) -> None: ...
