"""Whatever is wrong with an image: a sentence, never the text of a Python exception."""

import contextlib
import io
import random
import re
from pathlib import Path

import numpy as np
import pytest

from esrffs.errors import EsrffsError
from esrffs.formats.images.cbf import read_cbf
from esrffs.formats.images.error_sentences import GIVES_UP, sentence
from esrffs.formats.images.fabio_frames import FabioFrames
from esrffs.formats.images.reader import ImageFileReader
from esrffs.model import BrokenInfo, DatasetInfo
from tests.support.image_files import WRITERS, edf, edf_text, image
from tests.support.reader_contract import walk, whole

BARE = re.compile(
    r"^'|: '[^']*'$|index out of range|object has no attribute|NoneType|invalid literal|<class|<_io"
    r"|could not convert|not enough values|unpack requires|positional argument|operand|reshape"
    r"|cannot identify|codec can't|bytes-like|dtype\(|\w+Error\b|Errno|: $|not supported between"
    r"|must be|out of bounds|division|numpy|argument"
)
ODD = ["", "0", "-1", "99999999999", "1e999", "nan", "abc", "3.5", "\xe9", "9" * 5000]


def said(path: Path) -> list[str]:
    """All that goes wrong when everything of a file is read."""
    texts = []
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            reader = ImageFileReader(str(path), None)
        except EsrffsError as error:
            return [str(error)]
        try:
            for member in walk(reader):
                if isinstance(member, BrokenInfo):
                    texts.append(member.reason)
                elif isinstance(member, DatasetInfo) and np.prod(member.shape) < 1 << 24:
                    try:
                        reader.read(member.address, whole(member))
                    except EsrffsError as error:
                        texts.append(str(error))
        finally:
            reader.close()
    return texts


def check(path: Path) -> None:
    for text in said(path):
        assert not BARE.search(text), text
        assert len(re.findall(r"[A-Za-z]{2,}", text)) >= 4, text


@pytest.mark.parametrize("name", [name for name in WRITERS if "tif" not in name])
def test_headers_with_anything_in_them(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with contextlib.redirect_stdout(io.StringIO()):
        WRITERS[name](path)
    raw = path.read_bytes()
    generator = random.Random(name)
    numbers = [*re.finditer(rb"(?<=[ =:])\d+", raw[:3000])]
    words = [*re.finditer(rb"[A-Za-z_0-9-]{4,}", raw[:3000])]
    for number in range(120):
        damaged = bytearray(raw)
        match number % 4:
            case 0 if numbers:
                found = generator.choice(numbers)
                odd = generator.choice(ODD).encode("latin-1")
                damaged[found.start() : found.end()] = odd
            case 1 if words:
                found = generator.choice(words)
                damaged[found.start() : found.end()] = b"x" * generator.randrange(9)
            case 2:
                start = generator.randrange(min(1100, len(raw)))
                damaged[start : start + 4] = generator.choice(
                    [bytes(4), b"\xff" * 4, b"\0\0\0\x7f"]
                )
            case _:
                del damaged[generator.choice([1, 8, 64, 512, 600, 1024, len(raw) // 2]) :]
        path.write_bytes(damaged)
        check(path)


KEYS = """Dim_1 Dim_2 Dim_3 Dim_999999 DataType ByteOrder Size EDF_BinarySize Compression
EDF_BinaryFileName EDF_BinaryFilePosition EDF_BinaryFileSize EDF_HeaderSize UB_mne motor_mne
EDF_DataFormatVersion"""


@pytest.mark.parametrize("key", KEYS.split())
def test_every_key_of_an_edf(key: str, tmp_path: Path) -> None:
    sound = {"HeaderID": 1, "ByteOrder": "LowByteFirst", "DataType": "UnsignedShort", "Dim_1": 4,
             "Dim_2": 3, "Size": 24}  # fmt: skip
    for number, odd in enumerate(
        [*ODD, None, "FloatIEEE128", "GZIP", "Z", "BZ", "Byte_Offset", "/"]
    ):
        keys = {**sound, key: odd}
        if odd is None:
            del keys[key]
        path = tmp_path / f"{number}.edf"
        for block in (sound, keys, sound) if number % 2 else (keys,):
            edf_text(path, bytes(24), **block)
        check(path)


@pytest.mark.parametrize("name", ["a.edf", "a.cbf", "a.jpg", "a.jp2", "a.msk", "a.mrc", "a.edf.gz"])
@pytest.mark.parametrize("size", [0, 1, 512, 5000])
def test_files_with_nothing_in_them(name: str, size: int, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(bytes(size))
    check(tmp_path / name)


@pytest.mark.parametrize(
    "codec",
    "ge bruker bruker100 fit2d fit2dmask raxis esperanto OXD HiPiC mar345 kcd pixi pnm xsd mrc spe "
    "mpa fit2dspreadsheet dtrek cbf jpeg jpeg2k".split(),
)
def test_codecs_of_files_that_are_something_else(codec: str, tmp_path: Path) -> None:
    """As where a header was overwritten after it was recognised."""
    path = tmp_path / "x.img"
    texts = []
    generator = np.random.default_rng(0)
    for content in (b"", bytes(512), bytes(20000), generator.bytes(9999), b"a = 1\n" * 999):
        path.write_bytes(content)
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                FabioFrames(str(path), codec.lower())
            except EsrffsError as error:
                texts.append(str(error))
    assert [text for text in texts if BARE.search(text)] == []


def test_known_exceptions() -> None:
    said_of = {
        "its header lacks 'Dim_1', or gives it a value that is not known": KeyError("Dim_1"),
        "its header has 'abc' where a number belongs": ValueError(
            "invalid literal for int() with base 10: 'abc'"
        ),
        GIVES_UP: Exception(OSError, "Compression scheme not yet supported"),
        "the library says: HiPic file a.img is corrupted, cannot read it": OSError(
            "HiPic file /data/visitor/a.img is corrupted, cannot read it"
        ),
        "the system says: No space left on device": OSError(28, "No space left on device"),
        "the file ends before its header or its data do": EOFError("Compressed file ended"),
    }
    for text, error in said_of.items():
        assert sentence(error) == text
    for error in (
        IndexError("list index out of range"), AttributeError("'NoneType' object has no attribute"),
        AssertionError(), TypeError("unsupported operand"), ZeroDivisionError("division by zero"),
        ValueError("cannot reshape array of size 3 into shape (2,2)"), Exception(), OSError(),
    ):  # fmt: skip
        assert sentence(error) == GIVES_UP


def test_a_sound_file_says_nothing(tmp_path: Path) -> None:
    assert said(edf(tmp_path / "a.edf", image())) == []
    with pytest.raises(EsrffsError):
        read_cbf(str(tmp_path / "a.edf"))
