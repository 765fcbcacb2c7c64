"""JPEG and JPEG 2000: the samples as they were encoded, colours included."""

import gzip
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from imagecodecs import jpeg2k_encode
from PIL import Image

from esrffs.errors import EsrffsError, UnsupportedError
from esrffs.formats import detect
from esrffs.formats.images.reader import ImageFileReader
from esrffs.model import Box, DatasetInfo
from tests.support.image_files import image, in_order, opened

__all__ = ["in_order"]  # a fixture for every test here


def values(path: Path) -> npt.NDArray[np.generic]:
    reader = opened(ImageFileReader(str(path), None))
    info = reader.find("scan_0/image/data")
    assert isinstance(info, DatasetInfo)
    return reader.read(info.address, Box((0,) * len(info.shape), info.shape))


def recognised(path: Path) -> str | None:
    content = path.read_bytes()
    return detect.detect_format(lambda at, n: content[at : at + n], len(content), path.name)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("form", ["jp2", "j2k"])
@pytest.mark.parametrize("shape", [(40, 64), (40, 64, 3)])
def test_jpeg_2000(dtype: str, form: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    limits = np.iinfo(dtype)
    generator = np.random.default_rng(0)
    array = generator.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)
    path = tmp_path / f"a.{form}"
    path.write_bytes(jpeg2k_encode(array, codecformat=form, level=0))
    assert recognised(path) == "image"
    assert values(path).dtype == array.dtype
    np.testing.assert_array_equal(values(path), array)
    packed = tmp_path / f"a.{form}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(values(packed), array)


def test_twelve_bits_are_not_stretched(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 4096, (40, 64)).astype("u2")
    (tmp_path / "a.j2k").write_bytes(
        jpeg2k_encode(array, codecformat="j2k", level=0, bitspersample=12)
    )
    np.testing.assert_array_equal(values(tmp_path / "a.j2k"), array)


@pytest.mark.parametrize("form", ["jp2", "j2k"])
def test_damaged_jpeg_2000(form: str, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 4096, (40, 64)).astype("u2")
    sound = jpeg2k_encode(array, codecformat=form, level=0)
    path = tmp_path / f"a.{form}"
    for cut in (20, 60, 120, len(sound) // 2, len(sound) - 100):
        path.write_bytes(sound[:cut])
        with pytest.raises(EsrffsError):
            values(path)


def test_wide_samples_are_refused(tmp_path: Path) -> None:
    wide = jpeg2k_encode(image().astype("u4"), codecformat="j2k", level=0)
    (tmp_path / "a.j2k").write_bytes(wide)
    with pytest.raises(UnsupportedError, match="bits are not read here"):
        values(tmp_path / "a.j2k")


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(mode: str, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(
        0, 256, (40, 64, len(Image.new(mode, (1, 1)).getbands()))
    )
    picture = Image.fromarray(samples.astype("u1").squeeze(), mode)
    picture.save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as expected:
        np.testing.assert_array_equal(values(tmp_path / "a.jpg"), np.asarray(expected))


def test_further_pictures_are_told(tmp_path: Path) -> None:
    pictures = [Image.fromarray(image(n).astype("u1")) for n in range(3)]
    pictures[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=pictures[1:])
    reader = opened(ImageFileReader(str(tmp_path / "a.jpg"), None))
    assert json.loads(reader.attributes(""))["end"] == "after frame 0: 2 more, which are not read"


def test_dm3_is_passed_through(tmp_path: Path) -> None:
    head = b"\0\0\0\3" + (84).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes(88)
    (tmp_path / "a.dm3").write_bytes(head)
    assert recognised(tmp_path / "a.dm3") is None
