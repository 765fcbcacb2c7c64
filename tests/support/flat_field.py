"""The flat-field formula in plain NumPy on whole arrays, and arrays to compare it on."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

DTYPES = ("u1", "<u2", ">u2", "u4", "<i4", ">i4", "u8", "<f4", ">f4", "f8", "?")


def images(count: int, shape: tuple[int, int]) -> st.SearchStrategy[np.ndarray]:
    return st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, (count, *shape)))


def f32(array: np.ndarray) -> np.ndarray:
    return np.asarray(array).astype(np.float32)


def whole(raw, at, dark, flats, abscissae, method="linear", nan=None, ratios=None):
    """The contract, in plain numpy on whole arrays."""
    out = np.empty(raw.shape, np.float32)
    for k, i in enumerate(at):
        if method == "first" or i <= abscissae[0]:
            flat = f32(flats[0])
        elif i >= abscissae[-1]:
            flat = f32(flats[-1])
        elif i in abscissae:
            flat = f32(flats[abscissae.index(i)])
        else:
            n = max(j for j, a in enumerate(abscissae) if a < i)
            a, b = abscissae[n], abscissae[n + 1]
            if method == "nearest":
                flat = f32(flats[n] if i - a < b - i else flats[n + 1])
            else:
                w = np.clip((i - a) / (b - a), 0, 1)  # a float64, so the flat is one too
                flat = f32(f32(flats[n]) * (1 - w) + f32(flats[n + 1]) * w)
        out[k] = (f32(raw[k]) - f32(dark)) / (flat - f32(dark))
        if ratios is not None:
            out[k] *= np.float32(ratios[k])
    if nan is not None:
        out[~np.isfinite(out)] = nan
    return out


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """To the bit, zeros' signs included; a NaN is a NaN."""
    nans = np.isnan(a) & np.isnan(b)
    return bool(np.all(nans | (a.view(np.uint32) == b.view(np.uint32))))


def divided(raw, dark, flat, flat_dark=None):
    """One flat for all frames; the flat has the dark of the raw frames, or one of its own."""
    return (f32(raw) - f32(dark)) / (f32(flat) - f32(dark if flat_dark is None else flat_dark))


def blend(a, b, w):
    """A flat between two, `w` of the way from `a` to `b`: in float64, then float32."""
    return (f32(a) * (1 - np.float64(w)) + f32(b) * np.float64(w)).astype(np.float32)


def between(flats: Sequence[np.ndarray], at: Sequence[float], i: float) -> np.ndarray:
    """The flat of a frame at i: two flats mixed in float64, or one alone."""
    after = next((k for k, a in enumerate(at) if a >= i), len(at) - 1)
    if after == 0 or i >= at[after]:
        return f32(flats[after])
    w = np.clip((i - at[after - 1]) / (at[after] - at[after - 1]), 0, 1)
    one, two = f32(flats[after - 1]).astype(np.float64), f32(flats[after]).astype(np.float64)
    return (one * (1 - w) + two * w).astype(np.float32)


def formula(raw, dark, flats, at=(0.0,), abscissae=None) -> np.ndarray:
    """Of a stack, or of one image at `abscissae`."""
    stack = raw if raw.ndim == 3 else raw[np.newaxis]
    where = range(len(stack)) if abscissae is None else np.atleast_1d(abscissae)
    out = np.empty(stack.shape, np.float32)
    with np.errstate(all="ignore"):
        for k, i in enumerate(where):
            out[k] = (f32(stack[k]) - f32(dark)) / (between(flats, at, i) - f32(dark))
    return out.reshape(raw.shape)


def mean(run: np.ndarray) -> np.ndarray:
    return np.mean(f32(run), axis=0)


def median(run: np.ndarray) -> np.ndarray:
    return np.median(f32(run), axis=0)
