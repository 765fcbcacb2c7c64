"""Series of image files as one stack, against silx and FabIO."""

import gzip
import json
import shutil
from pathlib import Path

import fabio.cbfimage
import fabio.tifimage
import numpy as np
import pytest
from fabio.edfimage import EdfFrame
from silx.io import fabioh5

from esrffs.errors import DamagedError, UnsupportedError
from esrffs.formats.images.series import ImageSeriesReader, missing_numbers, numbers
from esrffs.formats.images.tiff import TiffFrames
from esrffs.model import DatasetInfo, FramesLayout, OpaqueLayout, Reader
from tests.support.image_files import MOTORS, data, edf, edf_text, image, in_order, opened, values
from tests.support.reader_contract import ReaderContract, walk, whole
from tests.support.silx_trees import assert_same_tree

COUNT = 5

__all__ = ["in_order"]  # a fixture for every test here


def open_series(paths: list[str]) -> ImageSeriesReader:
    return opened(ImageSeriesReader(paths))


def write(folder: Path, *numbers: int, suffix: str = "edf") -> list[str]:
    kinds = {"cbf": fabio.cbfimage.CbfImage, "tif": fabio.tifimage.TifImage}
    paths = []
    for number in numbers:
        path = folder / f"run_{number:04d}.{suffix}"
        if suffix == "edf":
            edf(path, image(number), header={**MOTORS, "n": str(number)})
        else:
            kinds[suffix](data=image(number)).write(str(path))
        paths.append(str(path))
    return paths


def note(reader: Reader) -> dict[str, object]:
    found = json.loads(reader.attributes(""))
    assert isinstance(found, dict)
    return found


class TestContract(ReaderContract):
    @pytest.fixture(params=["edf", "cbf", "tif"])
    def reader(self, request: pytest.FixtureRequest, tmp_path: Path) -> Reader:
        return open_series(write(tmp_path, *range(COUNT), suffix=request.param))


@pytest.mark.parametrize("suffix", ["edf", "cbf", "tif"])
def test_the_tree_is_silx(suffix: str, tmp_path: Path) -> None:
    paths = write(tmp_path, *range(COUNT), suffix=suffix)
    reader = open_series(paths)
    silx = opened(fabioh5.File(file_series=paths))
    assert_same_tree(reader, "/scan_0", silx["scan_0"])
    assert note(reader)["files"] == [Path(path).name for path in paths]
    assert "missing" not in note(reader)


@pytest.mark.parametrize("order", ["LowByteFirst", "HighByteFirst"])
def test_verbatim(order: str, tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        raw = image(number).astype("<i4" if order[0] == "L" else ">i4").tobytes()
        path = edf_text(
            tmp_path / f"a{number}.edf", raw, HeaderID=1, ByteOrder=order,
            DataType="SignedInteger", Dim_1=32, Dim_2=24, Size=len(raw), Pad="x" * 999 * number,
        )  # fmt: skip
        paths.append(str(path))
    info = data(open_series(paths))
    assert isinstance(info.layout, FramesLayout)
    assert info.layout.files == tuple(paths)
    dtype = info.dtype.newbyteorder() if info.layout.swapped else info.dtype
    for number, (path, offset) in enumerate(zip(paths, info.layout.offsets, strict=True)):
        found = np.fromfile(path, dtype, 24 * 32, offset=offset).reshape(24, 32)
        np.testing.assert_array_equal(found, image(number))


@pytest.mark.parametrize("suffix", ["edf", "cbf", "tif"])
def test_a_listing_decodes_at_most_the_first(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write(tmp_path, *range(COUNT), suffix=suffix)
    decoded: list[object] = []
    monkeypatch.setattr(EdfFrame, "_unpack", lambda self: self.file and pytest.fail("decoded"))
    read = fabio.cbfimage.decByteOffset
    monkeypatch.setattr(
        fabio.cbfimage, "decByteOffset", lambda *a, **k: decoded.append(a) or read(*a, **k)
    )
    rows = TiffFrames.rows
    monkeypatch.setattr(TiffFrames, "rows", lambda *a: decoded.append(a) or rows(*a))
    list(walk(open_series(paths)))
    assert len(decoded) <= 2


def test_gaps_are_told(tmp_path: Path) -> None:
    reader = open_series(write(tmp_path, 2, 3, 5, 9))
    assert note(reader)["missing"] == [4, 6, 7, 8]
    assert data(reader).shape == (4, 24, 32)


def test_numbers_and_gaps() -> None:
    assert numbers(["a18_0.edf", "a18_1.edf", "a18_7.edf"]) == [0, 1, 7]
    assert numbers(["x1008_r2.cbf", "x1018_r2.cbf"]) == [1008, 1018]
    assert numbers(["f.0012", "f.0013"]) == [12, 13]
    assert numbers(["one.edf"]) == numbers(["a.edf", "b.edf"]) == numbers(["a", "ab"]) == []
    assert missing_numbers([1, 2, 5], 9) == (2, [3, 4])
    assert missing_numbers([0, 9], 3) == (8, [1, 2, 3])
    assert missing_numbers([0, 10**29], 2) == (10**29 - 1, [1, 2])
    assert missing_numbers([], 2) == (0, [])


@pytest.mark.parametrize("kind", ["shape", "dtype", "cut", "rubbish", "frames", "absent"])
def test_a_member_that_does_not_fit_ends_it(kind: str, tmp_path: Path) -> None:
    paths = write(tmp_path, *range(COUNT))
    third = Path(paths[2])
    match kind:
        case "shape":
            edf(third, image(shape=(24, 33)))
        case "dtype":
            edf(third, image().astype(np.float32))
        case "cut":
            third.write_bytes(third.read_bytes()[:-1])
        case "rubbish":
            third.write_bytes(b"rubbish" * 99)
        case "frames":
            edf(third, image(), image())
        case "absent":
            third.unlink()
    reader = open_series(paths)
    np.testing.assert_array_equal(values(reader), [image(0), image(1)])
    assert "run_0002.edf" in str(note(reader)["end"])
    lengths = {m.shape[0] for m in walk(reader) if isinstance(m, DatasetInfo)}
    assert lengths == {2}


@pytest.mark.parametrize("suffix", ["cbf", "tif"])
def test_a_member_of_another_kind_ends_it_undecoded(suffix: str, tmp_path: Path) -> None:
    paths = write(tmp_path, *range(COUNT), suffix=suffix)
    kind = {"cbf": fabio.cbfimage.CbfImage, "tif": fabio.tifimage.TifImage}[suffix]
    kind(data=image(shape=(24, 33))).write(paths[3])
    assert data(open_series(paths)).shape == (3, 24, 32)


def test_one_that_is_left_keeps_its_axis(tmp_path: Path) -> None:
    paths = write(tmp_path, 0, 1)
    edf(Path(paths[1]), image(shape=(3, 3)))
    reader = open_series(paths)
    assert (data(reader).shape, data(reader).layout) == ((1, 24, 32), OpaqueLayout())
    np.testing.assert_array_equal(values(reader), [image(0)])


def test_the_first_member_must_be_sound_and_single(tmp_path: Path) -> None:
    paths = write(tmp_path, 0, 1)
    edf(Path(paths[0]), image(), image())
    with pytest.raises(UnsupportedError, match="holds 2 frames"):
        open_series(paths)
    Path(paths[0]).write_bytes(Path(paths[1]).read_bytes()[:-1])
    with pytest.raises(DamagedError, match=r"run_0000\.edf"):
        open_series(paths)


def test_a_compressed_run(tmp_path: Path) -> None:
    paths = []
    for path in write(tmp_path, 0, 1, 2):
        with open(path, "rb") as plain, gzip.open(path + ".gz", "wb") as packed:
            shutil.copyfileobj(plain, packed)
        paths.append(path + ".gz")
    reader = open_series(paths)
    assert data(reader).layout == OpaqueLayout()
    np.testing.assert_array_equal(values(reader), [image(n) for n in range(3)])


def test_no_descriptor_is_kept_for_each_member(tmp_path: Path) -> None:
    paths = write(tmp_path, *range(20))
    before = len(list(Path("/proc/self/fd").iterdir()))
    reader = open_series(paths)
    values(reader)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
    reader.close()
    info = data(reader)
    assert reader.read(info.address, whole(info)).shape == (20, 24, 32)
