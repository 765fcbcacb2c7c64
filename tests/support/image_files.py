"""Image files for tests, written by FabIO itself (JPEG by Pillow)."""

import bz2
import contextlib
import gzip
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fabio.bruker100image
import fabio.brukerimage
import fabio.cbfimage
import fabio.dtrekimage
import fabio.esperantoimage
import fabio.fit2dmaskimage
import fabio.marccdimage
import fabio.OXDimage
import fabio.pilatusimage
import fabio.pnmimage
import fabio.tifimage
import numpy as np
import numpy.typing as npt
import pytest
from fabio.edfimage import EdfImage
from PIL import Image

from esrffs.formats.images.reader import ImageFileReader
from esrffs.model import DatasetInfo, FramesLayout, Reader
from tests.support.reader_contract import whole

OPENED: list[Any] = []  # by the test that runs


def opened(closable: Any) -> Any:
    """The same, closed when the test is over."""
    OPENED.append(closable)
    return closable


@pytest.fixture(autouse=True)
def in_order() -> Iterator[None]:
    """Everything is closed after each test; tests import this."""
    yield
    while OPENED:
        OPENED.pop().close()


MOTORS = {
    "motor_mne": "phi th chi",
    "motor_pos": "1.5 -2 1e3",
    "counter_mne": "mon det image_0",
    "counter_pos": "7 8.5 9",
}


def image(seed: int = 0, shape: tuple[int, ...] = (24, 32)) -> npt.NDArray[np.int32]:
    return np.random.default_rng(seed).integers(0, 200, shape, dtype=np.int32)


def edf(
    path: Path, *frames: npt.NDArray[np.generic], header: Mapping[str, str] | None = None
) -> Path:
    """An EDF; the header of each frame says its number, and what `header` says."""
    written = EdfImage(frames[0], {**(header or {}), "Number": "0"})
    for number, frame in enumerate(frames[1:], 1):
        written.append_frame(data=frame, header={**(header or {}), "Number": str(number)})
    written.write(str(path))
    return path


def edf_text(path: Path, data: bytes, **keys: object) -> Path:
    """One EDF block by hand, to say what FabIO never writes."""
    text = "".join(f"{key} = {value} ;\n" for key, value in keys.items())
    with path.open("ab") as file:
        file.write(("{\n" + text).encode().ljust(510, b" ") + b"}\n" + data)
    return path


def _fabio(kind: type) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            kind(data=image(shape=(256, 256))).write(str(path))

    return write


def _many(path: Path) -> Path:
    return edf(path, *(image(n) for n in range(4)), header=MOTORS)


def _packed(pack: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(pack(_many(path.with_name("inner.edf")).read_bytes()))


def _pages(path: Path) -> None:
    pages = [Image.fromarray(image(n).astype(np.uint16)) for n in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def _packed_pages(path: Path) -> None:
    pages = [Image.fromarray(image(n).astype(np.uint8)) for n in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw")


def _mrc(path: Path) -> None:
    head = np.zeros(256, np.int32)
    head[:4] = 32, 24, 3, 6
    head[52] = np.frombuffer(b"MAP ", np.int32)[0]
    path.write_bytes(head.tobytes() + image(shape=(3, 24, 32)).astype(np.uint16).tobytes())


def _jpeg(path: Path) -> None:
    Image.fromarray(image().astype(np.uint8)).save(path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "one.edf": lambda path: edf(path, image(), header=MOTORS),
    "many.edf": _many,
    "many.edf.gz": _packed(gzip.compress),
    "many.edf.bz2": _packed(bz2.compress),
    "a.cbf": _fabio(fabio.cbfimage.CbfImage),
    "a.tif": _fabio(fabio.tifimage.TifImage),
    "a.mccd": _fabio(fabio.marccdimage.MarccdImage),
    "pages.tif": _pages,
    "lzw.tif": _packed_pages,
    "a.jpg": _jpeg,
    "a.msk": _fabio(fabio.fit2dmaskimage.Fit2dMaskImage),
    "a.pnm": _fabio(fabio.pnmimage.PnmImage),
    "a.img": _fabio(fabio.dtrekimage.DtrekImage),
    "oxford.img": _fabio(fabio.OXDimage.OxdImage),
    "a.0001": _fabio(fabio.brukerimage.BrukerImage),
    "a.sfrm": _fabio(fabio.bruker100image.Bruker100Image),
    "a.esper": _fabio(fabio.esperantoimage.EsperantoImage),
    "a.mrc": _mrc,
}


def open_image(path: str, confine: str | None) -> ImageFileReader:
    return opened(ImageFileReader(path, confine))


def data(reader: Reader) -> DatasetInfo:
    found = reader.find("scan_0/image/data")
    assert isinstance(found, DatasetInfo)
    return found


def values(reader: Reader) -> np.ndarray:
    return reader.read(data(reader).address, whole(data(reader)))


def verbatim(path: Path, info: DatasetInfo) -> np.ndarray:
    """What a program gets that goes by the layout alone."""
    assert isinstance(info.layout, FramesLayout)
    frame = info.shape[1:] if len(info.layout.offsets) > 1 else info.shape
    dtype = info.dtype.newbyteorder() if info.layout.swapped else info.dtype
    raw = path.read_bytes()
    runs = [np.frombuffer(raw, dtype, np.prod(frame), at) for at in info.layout.offsets]
    return np.stack(runs).reshape(info.shape)
