"""The bytes of `.npy` files, as NumPy writes them."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt


def npy_bytes(array: npt.NDArray[Any]) -> bytes:
    """What `numpy.save` writes for this array, which must not contain Python objects."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
