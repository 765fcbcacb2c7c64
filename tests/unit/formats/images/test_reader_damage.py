"""Images that are cut short, or whose header or pixels are damaged."""

import contextlib
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest

from esrffs.errors import DamagedError
from esrffs.model import OpaqueLayout
from tests.support.image_files import (
    WRITERS,
    data,
    edf,
    edf_text,
    image,
    open_image,
    values,
    verbatim,
)
from tests.support.reader_contract import datasets


class TestDamage:
    def test_a_half_written_last_frame_is_left_out(self, tmp_path: Path) -> None:
        path = edf(tmp_path / "a.edf", *(image(n) for n in range(4)))
        raw = path.read_bytes()
        for cut in (1, 100, 24 * 32 * 4 - 1, 24 * 32 * 4 + 300):
            path.write_bytes(raw[:-cut])
            reader = open_image(str(path), None)
            np.testing.assert_array_equal(values(reader), [image(n) for n in range(3)])
            np.testing.assert_array_equal(verbatim(path, data(reader)), values(reader))
            assert {info.shape[0] for info in datasets(reader)} == {3}
            assert json.loads(reader.attributes(""))["end"]

    def test_a_half_written_only_frame_is_listed_and_not_read(self, tmp_path: Path) -> None:
        path = edf(tmp_path / "a.edf", image())
        path.write_bytes(path.read_bytes()[:-1])
        reader = open_image(str(path), None)
        assert (data(reader).shape, data(reader).layout) == ((24, 32), OpaqueLayout())
        with pytest.raises(DamagedError, match="ends before"):
            values(reader)

    def test_a_size_too_small_is_not_filled_with_zeros(self, tmp_path: Path) -> None:
        path = edf_text(
            tmp_path / "a.edf", bytes(4000), HeaderID=1, ByteOrder="LowByteFirst",
            DataType="SignedInteger", Dim_1=32, Dim_2=24, Size=100,
        )  # fmt: skip
        with pytest.raises(DamagedError, match="100 bytes"):
            values(open_image(str(path), None))

    def test_a_frame_of_another_kind_ends_the_stack(self, tmp_path: Path) -> None:
        for other in (image(shape=(24, 31)), image().astype(np.uint16)):
            path = edf(tmp_path / "a.edf", image(0), image(1), other, image(3))
            reader = open_image(str(path), None)
            np.testing.assert_array_equal(values(reader), [image(0), image(1)])
            assert "frame 2" in json.loads(reader.attributes(""))["end"]

    def test_a_cut_gz(self, tmp_path: Path) -> None:
        path = tmp_path / "many.edf.gz"
        WRITERS["many.edf.gz"](path)
        path.write_bytes(path.read_bytes()[:-2000])
        array = values(open_image(str(path), None))
        assert len(array) < 4
        np.testing.assert_array_equal(array, [image(n) for n in range(len(array))])

    @pytest.mark.parametrize(
        "name", [name for name in WRITERS if "edf" not in name and name not in ("a.mrc", "lzw.tif")]
    )
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
    def test_a_cut_image_is_no_image(self, name: str, share: float, tmp_path: Path) -> None:
        path = tmp_path / name
        with contextlib.redirect_stdout(io.StringIO()):
            WRITERS[name](path)
            raw = path.read_bytes()
            path.write_bytes(raw[: int(len(raw) * share)])
            with pytest.raises(DamagedError):
                values(open_image(str(path), None))

    def test_an_mrc_of_fewer_sections_than_told(self, tmp_path: Path) -> None:
        WRITERS["a.mrc"](tmp_path / "a.mrc")
        raw = (tmp_path / "a.mrc").read_bytes()
        for sections in (4, 2**31 - 1):
            told = raw[:8] + sections.to_bytes(4, "little") + raw[12:-1]
            (tmp_path / "a.mrc").write_bytes(told)
            reader = open_image(str(tmp_path / "a.mrc"), None)
            np.testing.assert_array_equal(values(reader), image(shape=(3, 24, 32))[:2])
            assert "frame 2" in json.loads(reader.attributes(""))["end"]

    def test_a_cbf_with_other_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "a.cbf"
        WRITERS["a.cbf"](path)
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
        with pytest.raises(DamagedError, match="Checksum"):
            open_image(str(path), None)

    def test_a_cbf_of_zeros_and_a_tiff_in_a_circle_end(self, tmp_path: Path) -> None:
        (tmp_path / "a.cbf").write_bytes(b"###CBF: VERSION 1.5\n" + bytes(100_000))
        (tmp_path / "b.cbf").write_bytes(b"###CBF: VERSION 1.5\n\x0c\x1a\x04\xd5" + bytes(999))
        (tmp_path / "c.cbf.gz").write_bytes(gzip.compress((tmp_path / "a.cbf").read_bytes()))
        (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0" + bytes(2) + b"\x08\0\0\0" + bytes(99))
        for name in ("a.cbf", "b.cbf", "c.cbf.gz", "a.tif"):
            with pytest.raises(DamagedError):
                open_image(str(tmp_path / name), None)

    @pytest.mark.parametrize("content", [b"", b"rubbish" * 999, b"{\n}\n", b"{\nDim_1 = 3 ;\n}\n"])
    def test_rubbish(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "a.edf").write_bytes(content)
        with pytest.raises(DamagedError, match=r"\w+ \w+"):
            open_image(str(tmp_path / "a.edf"), None)

    def test_a_file_cut_while_open(self, tmp_path: Path) -> None:
        path = edf(tmp_path / "a.edf", image())
        reader = open_image(str(path), None)
        with path.open("r+b") as file:
            file.truncate(2000)
        with pytest.raises(DamagedError, match="too early"):
            values(reader)
