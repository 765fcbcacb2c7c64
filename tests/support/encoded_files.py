"""What the tests of the encoders share: the bytes of a file image, and arrays for it."""

import numpy as np

from esrffs.encoders.file_image import ArrayDescription, FileImage, content, needed

Array = np.ndarray


def described(array: Array, name: str = "x") -> ArrayDescription:
    return ArrayDescription(name, array.shape, array.dtype)


def file_bytes(image: FileImage, *arrays: Array, start: int = 0, stop: int | None = None) -> bytes:
    """What a reader gets of the file between these offsets."""
    flat = [array.reshape(-1) for array in arrays]
    parts = []
    for piece in image.pieces(start, image.nbytes if stop is None else stop):
        values = [flat[run.array][run.first : run.stop] for run in needed(piece)]
        parts.append(bytes(content(piece, values)))
    return b"".join(parts)


def numbers(dtype: str, shape: tuple[int, ...]) -> Array:
    """Numbers over the whole range of a dtype, the same ones each time."""
    rng = np.random.default_rng(len(shape) + sum(shape))
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.random(shape) > 0.5
    if kind in "iu":
        limits = np.iinfo(dtype)
        native = np.dtype(dtype).newbyteorder("=")
        return rng.integers(limits.min, limits.max, shape, native, endpoint=True).astype(dtype)
    values = rng.normal(0, 100, shape)
    return (values + 1j * rng.normal(0, 100, shape) if kind == "c" else values).astype(dtype)
