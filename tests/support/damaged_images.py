"""Images of which a strip, a tile, a frame or a file is damaged."""

import zlib
from pathlib import Path
from typing import Any

import fabio.cbfimage
import numpy as np
import numpy.typing as npt
import tifffile


def numbers(shape: tuple[int, ...], dtype: str = "u2") -> npt.NDArray[Any]:
    return np.random.default_rng(3).integers(0, 200, shape).astype(dtype)


def spoil(path: Path, page: int, segment: int, count: int = 40) -> None:
    """Other bytes at the start of a strip or tile."""
    with tifffile.TiffFile(path) as file:
        offset = file.pages[page].dataoffsets[segment]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * count)


def edf_blocks(path: Path, stack: npt.NDArray[Any], bad: int) -> None:
    """An EDF whose frames are compressed, one of which is damaged."""
    with path.open("wb") as file:
        for number, frame in enumerate(stack):
            content = bytearray(zlib.compress(frame.tobytes()))
            if number == bad:
                content[len(content) // 2] ^= 0x55
            keys = {
                "EDF_DataBlockID": f"{number + 1}.Image.Psd",
                "EDF_BinarySize": len(content),
                "EDF_HeaderSize": 512,
                "ByteOrder": "LowByteFirst",
                "DataType": "UnsignedShort",
                "Dim_1": frame.shape[1],
                "Dim_2": frame.shape[0],
                "Compression": "ZCompression",
            }
            text = "{\n" + "".join(f"{key} = {value} ;\n" for key, value in keys.items())
            file.write(text.ljust(510).encode() + b"}\n" + content)


def series(folder: Path, suffix: str, stack: npt.NDArray[Any], bad: int) -> list[str]:
    """A file for each frame, one of which is damaged."""
    paths = []
    for number, frame in enumerate(stack):
        path = folder / f"se_{number:02d}.{suffix}"
        if suffix == "tif":
            options: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
            tifffile.imwrite(path, frame, compression="zlib", rowsperstrip=20, **options)
            if number == bad:
                spoil(path, 0, 1)
        elif suffix == "cbf":
            fabio.cbfimage.CbfImage(data=frame.astype("i4")).write(str(path))
            if number == bad:
                raw = bytearray(path.read_bytes())
                raw[raw.index(b"\x0c\x1a\x04\xd5") + 500] ^= 1
                path.write_bytes(raw)
        else:
            edf_blocks(path, frame[np.newaxis], bad=0 if number == bad else -1)
        paths.append(str(path))
    return paths
