"""Readers of images: the tree is that of silx, the frames are those of FabIO."""

import bz2
import contextlib
import gzip
import io
import json
import logging
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import fabio
import numpy as np
import pytest
import silx.io
from fabio.edfimage import EdfFrame, EdfImage
from silx.io import fabioh5

from esrffs.errors import AccessDeniedError, DamagedError, EsrffsError, UnsupportedError
from esrffs.model import (
    Box,
    BrokenInfo,
    OpaqueLayout,
    Reader,
)
from tests.support.image_files import (
    MOTORS,
    WRITERS,
    data,
    edf,
    edf_text,
    image,
    in_order,
    open_image,
    values,
    verbatim,
)
from tests.support.reader_contract import ReaderContract, datasets, walk
from tests.support.silx_trees import assert_same_tree

__all__ = ["in_order"]  # a fixture for every test here


@pytest.fixture(params=WRITERS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    found = tmp_path / request.param
    with contextlib.redirect_stdout(io.StringIO()):
        WRITERS[request.param](found)
    return found


@pytest.fixture
def reader(path: Path) -> Reader:
    return open_image(str(path), None)


class TestContract(ReaderContract):
    pass


@pytest.mark.parametrize(
    "name", [name for name in WRITERS if name not in ("lzw.tif", "a.0001", "a.mrc")]
)
def test_the_tree_is_silx(name: str, tmp_path: Path) -> None:
    """Of the three left out FabIO by itself reads one page, nothing, and nothing."""
    path = tmp_path / name
    with contextlib.redirect_stdout(io.StringIO()):
        WRITERS[name](path)
        with fabio.open(str(path)) as theirs:
            assert_same_tree(open_image(str(path), None), "", fabioh5.File(fabio_image=theirs))


@pytest.mark.parametrize("name", ["one.edf", "many.edf", "a.cbf", "pages.tif"])
def test_the_tree_is_what_silx_opens(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    with silx.io.open(str(tmp_path / name)) as theirs:
        assert_same_tree(open_image(str(tmp_path / name), None), "", theirs)


def test_pages_that_fabio_does_not_read(tmp_path: Path) -> None:
    for name, dtype in (("lzw.tif", np.uint8), ("a.mrc", np.uint16)):
        WRITERS[name](tmp_path / name)
        assert data(open_image(str(tmp_path / name), None)).dtype == dtype
    np.testing.assert_array_equal(
        values(open_image(str(tmp_path / "lzw.tif"), None)), [image(n) for n in range(3)]
    )
    np.testing.assert_array_equal(
        values(open_image(str(tmp_path / "a.mrc"), None)), image(shape=(3, 24, 32))
    )


def test_file_time_is_that_of_the_source(tmp_path: Path) -> None:
    path = edf(tmp_path / "a.edf", image())
    listing = json.loads(open_image(str(path), None).attributes(""))
    assert np.datetime64(listing["file_time"]) > np.datetime64("2020-01-01")
    assert listing == json.loads(open_image(str(path), None).attributes(""))


class TestEdf:
    @pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
    @pytest.mark.parametrize("order", ["LowByteFirst", "HighByteFirst"])
    @pytest.mark.parametrize("count", [1, 3])
    def test_verbatim(self, tmp_path: Path, dtype: str, order: str, count: int) -> None:
        frames = [image(n).astype(dtype) for n in range(count)]
        path = tmp_path / "a.edf"
        name = {np.dtype(t): n for n, t in fabio.edfimage.DATA_TYPES.items()}[np.dtype(dtype)]
        for frame in frames:
            raw = frame.astype(frame.dtype.newbyteorder("<" if order[0] == "L" else ">")).tobytes()
            edf_text(
                path, raw, HeaderID=1, ByteOrder=order, DataType=name, Dim_1=32, Dim_2=24,
                Size=len(raw),
            )  # fmt: skip
        reader = open_image(str(path), None)
        expected = np.stack(frames) if count > 1 else frames[0]
        assert data(reader).dtype == np.dtype(dtype)
        np.testing.assert_array_equal(values(reader), expected)
        np.testing.assert_array_equal(verbatim(path, data(reader)), expected)

    def test_a_listing_decodes_no_frame_and_a_read_one_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = edf(tmp_path / "a.edf", *(image(n) for n in range(50)), header=MOTORS)
        monkeypatch.setattr(EdfFrame, "_unpack", lambda self: self.file and pytest.fail("decoded"))
        reader = open_image(str(path), None)
        list(walk(reader))
        box = Box((33, 2, 3), (34, 20, 30))
        np.testing.assert_array_equal(
            reader.read(data(reader).address, box)[0], image(33)[2:20, 3:30]
        )

    def test_three_dimensions(self, tmp_path: Path) -> None:
        block = image(shape=(2, 3, 4)).astype("<u2")
        path = edf_text(
            tmp_path / "a.edf", block.tobytes(), ByteOrder="LowByteFirst",
            DataType="UnsignedShort", Dim_1=4, Dim_2=3, Dim_3=2,
        )  # fmt: skip
        reader = open_image(str(path), None)  # without a Size, too
        np.testing.assert_array_equal(values(reader), block)
        np.testing.assert_array_equal(verbatim(path, data(reader)), block)

    def test_compressed_inside(self, tmp_path: Path) -> None:
        path = tmp_path / "a.edf"
        for n in range(2):
            packed = gzip.compress(image(n).astype("<i4").tobytes())
            edf_text(
                path, packed, HeaderID=n, ByteOrder="LowByteFirst", DataType="SignedInteger",
                Dim_1=32, Dim_2=24, Size=len(packed), Compression="GzipCompression",
            )  # fmt: skip
        reader = open_image(str(path), None)
        assert data(reader).layout == OpaqueLayout()
        np.testing.assert_array_equal(values(reader), [image(0), image(1)])
        raw = path.read_bytes()
        for at in (530, 600, 700, 1000, 1400):
            path.write_bytes(raw[:at] + bytes(20) + raw[at + 20 :])
            with pytest.raises(DamagedError):
                values(open_image(str(path), None))

    @pytest.mark.parametrize(
        ("word", "pack"), [("ZCompression", zlib.compress), ("BzipCompression", bz2.compress)]
    )
    def test_other_compressions(
        self, word: str, pack: Callable[[bytes], bytes], tmp_path: Path
    ) -> None:
        path = tmp_path / "a.edf"
        packed = pack(image().astype(">i4").tobytes()) + bytes(100)
        edf_text(
            path, packed, HeaderID=1, ByteOrder="HighByteFirst", DataType="SignedInteger",
            Dim_1=32, Dim_2=24, Size=len(packed), Compression=word,
        )  # fmt: skip
        np.testing.assert_array_equal(values(open_image(str(path), None)), image())

    @pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
    def test_packed_data_without_their_checksum(
        self, pack: Callable[[bytes], bytes], tmp_path: Path
    ) -> None:
        packed = pack(image().astype("<i4").tobytes())[:-4]
        word = "GzipCompression" if pack is gzip.compress else "ZCompression"
        path = edf_text(
            tmp_path / "a.edf", packed, HeaderID=1, ByteOrder="LowByteFirst",
            DataType="SignedInteger", Dim_1=32, Dim_2=24, Size=len(packed), Compression=word,
        )  # fmt: skip
        with pytest.raises(DamagedError, match="do not end"):
            values(open_image(str(path), None))

    def test_an_unknown_compression_is_not_served_as_numbers(self, tmp_path: Path) -> None:
        path = edf_text(
            tmp_path / "a.edf", bytes(8), HeaderID=1, ByteOrder="LowByteFirst",
            DataType="UnsignedShort", Dim_1=2, Dim_2=2, Size=8, Compression="WhoKnows",
        )  # fmt: skip
        with pytest.raises(UnsupportedError, match="WHOKNOWS"):
            values(open_image(str(path), None))

    def test_a_general_block(self, tmp_path: Path) -> None:
        path = edf_text(tmp_path / "a.edf", b"", EDF_DataFormatVersion="2.40", Title="all")
        raw = image().astype("<i4").tobytes()
        edf_text(
            path, raw, EDF_DataBlockID="1.Image.Psd", EDF_BinarySize=len(raw), Dim_1=32, Dim_2=24,
            ByteOrder="LowByteFirst", DataType="SignedInteger",
        )  # fmt: skip
        reader = open_image(str(path), None)
        np.testing.assert_array_equal(values(reader), image())
        title = reader.find("scan_0/instrument/detector_0/others/Title")
        assert reader.read(title.address, Box((0,), (1,))) == ["all"]

    def test_vectors_of_changing_length_stay_text(self, tmp_path: Path) -> None:
        path = tmp_path / "a.edf"
        for vector in ("1 2", "1 2 3"):
            edf_text(
                path, bytes(8), HeaderID=1, ByteOrder="LowByteFirst", DataType="UnsignedShort",
                Dim_1=2, Dim_2=2, Size=8, Vector=vector,
            )  # fmt: skip
        reader = open_image(str(path), None)
        found = reader.find("scan_0/instrument/detector_0/others/Vector")
        assert reader.read(found.address, Box((0,), (2,))).tolist() == ["1 2", "1 2 3"]

    def test_names_with_slashes(self, tmp_path: Path) -> None:
        path = edf(tmp_path / "a.edf", image(), header={"a/b%2Fc": "7"})
        reader = open_image(str(path), None)
        (found,) = [info for info in datasets(reader) if info.name == "a/b%2Fc"]
        assert reader.read(found.address, Box((0,), (1,))) == [7]

    def test_ub_matrix(self, tmp_path: Path) -> None:
        header = {
            "UB_mne": "UB0 UB1 UB2 UB3 UB4 UB5 UB6 UB7 UB8",
            "UB_pos": "1 0 0 0 1 0 0 0 1",
            "sample_mne": "U0 U1 U2 U3 U4 U5",
            "sample_pos": "4 5 6 90 90 120",
        }
        path = edf(tmp_path / "a.edf", image(), header=header)
        with fabio.open(str(path)) as theirs:
            assert_same_tree(open_image(str(path), None), "", fabioh5.File(fabio_image=theirs))
        half = edf(tmp_path / "b.edf", image(), header={**header, "sample_mne": "U0"})
        members = open_image(str(half), None).listing("/scan_0/sample").members
        assert [type(member) for member in members].count(BrokenInfo) == 4


class TestExternalData:
    def write(self, path: Path, name: str, **more: object) -> Path:
        return edf_text(
            path, b"", EDF_DataBlockID="0.Image.Psd", EDF_BinarySize=0, ByteOrder="LowByteFirst",
            DataType="SignedInteger", Dim_1=32, Dim_2=24, EDF_BinaryFileName=name, **more,
        )  # fmt: skip

    def test_read_from_the_same_folder(self, tmp_path: Path) -> None:
        (tmp_path / "raw.bin").write_bytes(b"12345" + image().astype("<i4").tobytes())
        path = self.write(tmp_path / "a.edf", "/etc/raw.bin", EDF_BinaryFilePosition=5)
        reader = open_image(str(path), str(tmp_path))
        assert data(reader).layout == OpaqueLayout()
        np.testing.assert_array_equal(values(reader), image())

    def test_short_or_absent_is_no_image(self, tmp_path: Path) -> None:
        (tmp_path / "raw.bin").write_bytes(bytes(100))
        for name in ("raw.bin", "absent.bin"):
            path = self.write(tmp_path / f"{name}.edf", name)
            with pytest.raises(EsrffsError, match="frame 0"):
                values(open_image(str(path), None))

    def test_outside_is_forbidden(self, tmp_path: Path) -> None:
        (tmp_path / "inside").mkdir()
        (tmp_path / "secret.bin").write_bytes(bytes(24 * 32 * 4))
        (tmp_path / "inside" / "raw.bin").symlink_to(tmp_path / "secret.bin")
        path = self.write(tmp_path / "inside" / "a.edf", "raw.bin")
        assert not values(open_image(str(path), None)).any()
        with pytest.raises(AccessDeniedError):
            values(open_image(str(path), str(tmp_path / "inside")))

    def test_more_private_than_the_file_itself_is_forbidden(self, tmp_path: Path) -> None:
        """To a daemon of root, who reads it all the same, for everybody else."""
        (tmp_path / "raw.bin").write_bytes(bytes(24 * 32 * 4))
        path = self.write(tmp_path / "a.edf", "raw.bin")
        (tmp_path / "raw.bin").chmod(0o600)
        path.chmod(0o644)
        assert not values(open_image(str(path), None)).any()
        with pytest.raises(AccessDeniedError):
            values(open_image(str(path), str(tmp_path)))

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "raw.bin")
        with pytest.raises(AccessDeniedError):
            values(open_image(str(self.write(tmp_path / "a.edf", "raw.bin")), None))


def test_loggers_are_left_as_they_were(tmp_path: Path) -> None:
    open_image(str(edf(tmp_path / "a.edf", image())), None)
    assert not logging.getLogger("fabio").handlers
    assert logging.getLogger("fabio").propagate


def test_fabio_still_lets_headers_be_read_alone(tmp_path: Path) -> None:
    """What all of this rests on."""
    path = edf(tmp_path / "a.edf", image(0), image(1))
    theirs = EdfImage()
    theirs.read(str(path))
    assert [frame._data for frame in theirs.frames()] == [None, None]
    theirs.close()
