"""What files are taken for, by their first bytes and names."""

import bz2
import contextlib
import gzip
import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from esrffs.errors import DamagedError
from esrffs.formats.detect import detect_format
from esrffs.formats.images.reader import ImageFileReader
from esrffs.formats.images.signatures import codec_of_header, is_single_frame
from esrffs.model import Format
from tests.support.image_files import WRITERS, edf, edf_text, image


def taken(content: bytes, name: str, preads: list[int] | None = None) -> Format | None:
    def pread(offset: int, count: int) -> bytes:
        if preads is not None:
            preads.append(count)
        return content[offset : offset + count]

    return detect_format(pread, len(content), name)


def taken_file(path: Path, name: str = "") -> Format | None:
    return taken(path.read_bytes(), name or path.name)


@pytest.mark.parametrize("name", WRITERS)
def test_every_image_format(name: str, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        WRITERS[name](tmp_path / name)
    preads: list[int] = []
    assert taken((tmp_path / name).read_bytes(), name, preads) == "image"
    assert len(preads) <= 2


@pytest.mark.parametrize("name", ["one.edf", "a.cbf", "pages.tif", "a.jpg", "a.msk", "a.pnm"])
def test_by_content_whatever_the_name(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    for other in ("x", "x.dat", "x.txt", "x.h5", "0001"):
        assert taken_file(tmp_path / name, other) == "image"


def _header(size: int, **at: bytes) -> bytes:
    content = bytearray(size)
    for offset, part in at.items():
        content[int(offset[1:]) : int(offset[1:]) + len(part)] = part
    return bytes(content)


def _i4(*numbers: int) -> bytes:
    return np.array(numbers, "<i4").tobytes()


HANDMADE = {
    "a.ge2": _header(8192 + 2048 * 2048 * 2),
    "b.ge": _header(9000, _0=b"ADEPT     "),
    "c.mar3450": _header(5000, _0=_i4(1234, 3450), _64=b"mar research"),
    "d.spe": _header(4100 + 200, _42=b"\x0a\0", _108=b"\3\0", _656=b"\x0a\0", _1446=_i4(1)),
    "e.mpa": b"[MPA3A] 00000a\r\nmpafmt=asc\r\n[ADC1]\r\nrange=512\r\n",
    "f.spr": b"# spreadsheet\n 3 2 Start pixel = (1, 1)\n1 2 3\n4 5 6\n",
    "g.kcd": b"No\nX dimension = 3\nY dimension = 2\n",
    "h.f2d": b"\\$FFF_START:00000000" + bytes(600),
    "i.osc": b"R-AXIS4   " + bytes(2000),
    "k.img": _header(64 + 8 + 12, _0=b"IM\x08\0\x03\0\x02\0"),
    "l.xml": b'<?xml version="1.0"?>\n<XSDataImage><shape>3</shape></XSDataImage>',
    "m.jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99),
    "n.pixi": b"\n\xb8\x03\0" + bytes(487_444),
    "o.img": b"OD SAPPHIRE  3.0\r\nCOMPRESSION=TY1 (12.3)\r\n" + bytes(99),
    "p.img": b"{\nHEADER_BYTES=  512;\nDIM=2;\n",
    "q.tif": b"MM\0*\0\0\0\x08" + bytes(99),
    "r.edf": b"\r\n{\r\nEDF_DataBlockID = 0.Image.Psd ;\r\n",
    "s.cor": b"\n{\nanything = 3 ;\n}\n",
}


@pytest.mark.parametrize("name", HANDMADE)
def test_headers_by_hand(name: str) -> None:
    assert taken(HANDMADE[name], name) == "image"


@pytest.mark.parametrize("block", [0, 512, 1024, 2048, 8192])
def test_hdf5_behind_a_user_block(block: int, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=block) as file:
        file["x"] = 1
    assert taken_file(tmp_path / "a.h5") == "hdf5"
    assert taken_file(tmp_path / "a.h5", "a.NXS") == "hdf5"
    assert taken_file(tmp_path / "a.h5", "a.dat") == ("hdf5" if block <= 2048 else None)


def test_spec() -> None:
    text = b"#F a.spec\n#E 1\n#D Mon Jan 01 00:00:00 2001\n\n#S 1 ascan\n#N 1\n#L a\n1\n2\n"
    assert taken(text, "a.dat") == "spec"


def _archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    inner = io.BytesIO()
    with h5py.File(inner, "w") as file:
        file["x"] = 1
    if kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            info = tarfile.TarInfo("a.h5")
            info.size = len(inner.getvalue())
            archive.addfile(info, io.BytesIO(inner.getvalue()))
    else:
        with zipfile.ZipFile(buffer, "w") as zipped:
            zipped.writestr("a.h5", inner.getvalue())
    return buffer.getvalue()


def _picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image().astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, image())
    return buffer.getvalue()


OTHERS = {
    "empty.edf": b"",
    "tiny": b"{",
    "notes.txt": b"Note: the IM detector was OD today\n" * 9,
    "notes.md": b"# Title\n\n## More\n",
    "log.txt": b"No such file or directory\nNo beam\n" * 99,
    "kappa.log": b"No X dimension given\n" * 9,
    "IMPORTANT.txt": b"IMPORTANT: read this first, all of it, before you go on\n" * 9,
    "od.txt": b"OD of the filter is 3\n" * 9,
    "a.json": json.dumps({"a = b": 1, "Dim_1": [1, 2]}, indent=2).encode(),
    "b.json": b'{\n"ByteOrder": "LowByteFirst", "Size": 3\n}\n',
    "c.json": b"{}\n",
    "set.txt": b"{ a, b, c }\nDim_1 = 3 ;\n",
    "a.c": b"{\n  int ByteOrderOf;\n  x = 5;\n}\n",
    "a.css": b"\n{ color: red; }\n",
    "a.tex": b"{\\bf bold} text = 3 ;\n",
    "a.py": b"import os\nDim_1 = 3\n",
    "b.py": b"#!/usr/bin/env python\n#S 1 ascan\n#N 1\n",
    "a.sh": b"#!/bin/sh\necho '#S 1'\n",
    "a.xml": b'<?xml version="1.0"?>\n<note><shape>3</shape></note>\n',
    "a.html": b"<!DOCTYPE html><html></html>\n",
    "a.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>\n",
    "a.pdf": b"%PDF-1.7\n" + bytes(99),
    "a.zip": _archive("zip"),
    "a.tar": _archive("tar"),
    "a.tar.gz": gzip.compress(_archive("tar")),
    "a.npy": _npy(),
    "a.npz": _archive("zip"),
    "a.pickle": pickle.dumps(list(range(99))),
    "a.png": _picture("PNG"),
    "a.gif": _picture("GIF"),
    "a.bmp": _picture("BMP"),
    "a.pgm": b"P2\n3 2\n9\n1 2 3\n4 5 6\n",
    "a.ppm": b"P6\n1 1\n255\nabc",
    "P5.txt": b"P5 is the name of the beamline station\n",
    "zeros.dat": bytes(100_000),
    "zeros.edf": bytes(100_000),
    "zeros.ge": bytes(100_000),
    "zeros.img": bytes(100_000),
    "threes.dat": b"\0\0\0\3" * 9999,
    "mar.dat": b"\xd2\x04\0\0" + bytes(5000),
    "text.mar2300": b"-\x04" + bytes(99),
    "raw.bin": np.arange(9999, dtype="<u2").tobytes(),
    "a.out": b"\x7fELF\x02\x01\x01" + bytes(99),
    "a.exe": b"MZ\x90\0" + bytes(99),
    "notes.gz": gzip.compress(b"notes\n" * 99),
    "notes.edf.gz": gzip.compress(b"notes\n" * 99),
    "notes.bz2": bz2.compress(b"notes\n" * 99),
    "notes.edf.bz2": bz2.compress(b"notes\n" * 99),
    "broken.edf.gz": b"\x1f\x8b" + b"\xff" * 99,
    "broken.edf.bz2": b"BZh9" + b"\xff" * 99,
    "not.edf.gz": b"plain text called .gz\n",
    "raw.cr2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(99),
    "II.dat": b"II*\0\x03\0\0\0" + bytes(99),
    "II.txt": b"II* is a magic number, and so is MM\n",
    "table.spr": b"a b c\n1 2 3\n",
    "a.mrc": bytes(2000),
    "a.spe": b"some text\n" * 999,
    "a.csv": b"1,2,3\n" * 99,
    "format.txt": b"FORMAT :100 pages of text\n" * 9,
    "mat5.mat": b"MATLAB 5.0 MAT-file" + bytes(999),
    "text.h5": b"no HDF5 at all\n" * 999,
}


@pytest.mark.parametrize("name", OTHERS)
def test_everything_else_is_passed_through(name: str) -> None:
    preads: list[int] = []
    assert taken(OTHERS[name], name, preads) is None
    assert len(preads) <= 6


def test_an_edf_in_a_large_bz2_block(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (700, 1000), np.uint8)
    path = edf(tmp_path / "a.edf", noise)
    packed = bz2.compress(path.read_bytes())
    preads: list[int] = []
    assert taken(packed, "a.edf.bz2", preads) == "image"
    assert len(preads) == 2


PACKERS = {"gz": gzip.compress, "bz2": bz2.compress}


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_data_that_are_damaged(suffix: str, tmp_path: Path) -> None:
    """What can be had of them tells, else the name; else they are passed through."""
    path = edf(tmp_path / "a.edf", np.random.default_rng(0).integers(0, 255, (70, 90), np.uint8))
    packed = bytearray(PACKERS[suffix](path.read_bytes()))
    early, late = bytearray(packed), bytearray(packed)
    early[12:40] = b"\xff" * 28  # of bzip2 the one checksum of all
    late[3000:3040] = b"\xff" * 40
    for content in (early, late, packed[:18], packed[:-4]):
        for name in (f"a.edf.{suffix}", f"a.EDF.{suffix}"):
            assert taken(bytes(content), name) == "image"
        for name in (f"a.log.{suffix}", f"a.xsl.{suffix}", f"a.{suffix}"):
            found = suffix == "gz" and content in (late, packed[:-4])
            assert taken(bytes(content), name) == ("image" if found else None), name
    for name in (f"a.img.{suffix}", f"a.xml.{suffix}"):
        assert taken(bytes(early), name) is None
    for content in (early, packed[:18]):
        broken = tmp_path / f"a.edf.{suffix}"
        broken.write_bytes(content)
        with pytest.raises(DamagedError, match="packed data"):
            ImageFileReader(str(broken), None)
    for suffix_ in "tif cbf jpg jp2 pgm mrc mccd".split():
        broken = tmp_path / f"a.{suffix_}.{suffix}"
        broken.write_bytes(early)
        with pytest.raises(DamagedError, match="packed data"):
            ImageFileReader(str(broken), None)


def test_a_gz_bomb_is_not_unpacked() -> None:
    assert taken(gzip.compress(bytes(50_000_000)), "a.edf.gz") is None


@given(st.binary(max_size=5000), st.sampled_from([*WRITERS, *HANDMADE, *OTHERS]))
def test_whatever_comes(content: bytes, name: str) -> None:
    taken(content, name)


@given(st.data())
def test_headers_cut_anywhere(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(HANDMADE)))
    content = HANDMADE[name]
    cut = data.draw(st.integers(0, min(len(content), 5000)))
    taken(content[:cut], name)


def test_codecs_are_told_apart() -> None:
    tiff = b"II*\0\x08\0\0\0" + bytes(99)
    assert codec_of_header(tiff, None, "a.tif") == "tif"
    assert codec_of_header(tiff, None, "a.mccd") == "tif"
    assert codec_of_header(b"II*\0\x82\0\0\0" + bytes(999), None, "a.tif") == "pilatus"
    assert codec_of_header(HANDMADE["r.edf"], None, "a.edf") == "edf"
    assert codec_of_header(HANDMADE["p.img"], None, "a.img") == "dtrek"


def test_single_frames(tmp_path: Path) -> None:
    one = edf(tmp_path / "one.edf", image()).read_bytes()
    two = edf(tmp_path / "two.edf", image(), image()).read_bytes()
    padded = edf_text(tmp_path / "p.edf", bytes(600), ByteOrder="LowByteFirst", Size=500)
    assert is_single_frame(one[:4096], len(one))
    assert not is_single_frame(two[:4096], len(two))
    assert is_single_frame(padded.read_bytes(), padded.stat().st_size)
    assert is_single_frame(one[:100], len(two))  # not certain
    assert is_single_frame(b"II*\0\x08\0\0\0", 999)
