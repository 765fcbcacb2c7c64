"""Image files of a few bytes, of which a folder may have many."""

from pathlib import Path

import numpy as np


def edf(path: Path, value: int) -> None:
    data = np.full((8, 16), value, "<u2").tobytes()
    keys = {"HeaderID": "x", "ByteOrder": "LowByteFirst", "DataType": "UnsignedShort"}
    keys |= {"Dim_1": "16", "Dim_2": "8", "Size": "256", "n": str(value)}
    text = "{\n" + "".join(f"{key} = {word} ;\n" for key, word in keys.items())
    path.write_bytes(text.encode().ljust(1022) + b"}\n" + data)
