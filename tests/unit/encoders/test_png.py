"""PNG views, as Pillow reads them."""

import io

import numpy as np
import pytest
from PIL import Image

from esrffs.encoders import png
from tests.support.encoded_files import described, numbers


def opened(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.load()  # checksums as well
    return picture


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", ">u2", "<i4", "u8", "<f2", "<f4", ">f8"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (300, 1000)], ids=str)
def test_grey(dtype: str, shape: tuple[int, int]) -> None:
    array = numbers(dtype, shape)
    content = png.png(array)
    assert len(content) == png.png_nbytes(shape, array.dtype)
    picture = opened(content)
    low, high = np.percentile(array.astype("f8"), (0.5, 99.5))
    black, white = picture.text["Comment"].removeprefix("black ").split(" (")[0].split(", white ")
    assert (float(black), float(white)) == (low, high)
    grey = np.clip((array.astype("f8") - low) * (255 / ((high - low) or 1)), 0, 255)
    assert np.abs(np.asarray(picture) - grey).max() <= 0.5 + 1e-9


def test_what_is_no_number_is_black() -> None:
    array = np.linspace(0, 1, 10_000).reshape(100, 100)
    array[0, :3] = np.nan, -np.inf, np.inf
    pixels = np.asarray(opened(png.png(array)))
    assert pixels[0, :3].tolist() == [0, 0, 255]
    assert np.asarray(opened(png.png(np.full((3, 4), np.nan)))).max() == 0
    assert np.asarray(opened(png.png(np.full((3, 4), 7.5)))).max() == 0


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_colour_is_kept(samples: int) -> None:
    array = numbers("u1", (5, 7, samples))
    content = png.png(array, colour=True)
    assert len(content) == png.png_nbytes(array.shape, array.dtype, colour=True)
    assert np.array_equal(np.asarray(opened(content)), array)


def test_what_has_none() -> None:
    for array in (np.zeros(3), np.zeros((2, 3, 4)), np.zeros((0, 3)), np.zeros((2, 2), "c8")):
        assert not png.accepts(described(array))
    assert not png.accepts(described(np.zeros((2, 2, 5))), colour=True)


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">i4", "<f2", ">f4", "<f8", "?", "<i8"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (7, 11), (1100, 1000)], ids=str)
def test_the_percentiles_are_those_of_numpy(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.abs(np.random.default_rng(2).normal(100, 30, shape)).astype(dtype)
    low, high = png.limits(array)
    values = array.astype(np.float64)
    assert [low, high] == pytest.approx(np.percentile(values, png.PERCENTILES), rel=1e-14)
    expected = np.rint(np.clip((values - low) * (255.0 / ((high - low) or 1.0)), 0, 255))
    assert np.array_equal(png.scaled(array, low, high), expected)
