"""Write images side by side as a PNG: `python demo/picture.py OUT.png FILE.npy[:INDEX] …`.

Each is shown from its 1st to its 99th percentile, three pixels for one; with `--bin N` one pixel
for the mean of N × N.
"""

import argparse
import struct
import zlib

import numpy as np
import numpy.typing as npt

SCALE = 3
GAP = 12  # white pixels between two images

Grey = npt.NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=int, default=0)
    parser.add_argument("out")
    parser.add_argument("names", nargs="+", metavar="FILE.npy[:INDEX]")
    arguments = parser.parse_args()
    images = [grey(name, arguments.bin) for name in arguments.names]
    gap = np.full((len(images[0]), GAP), 255, np.uint8)
    parts = [part for image in images for part in (gap, image)][1:]
    with open(arguments.out, "wb") as file:
        file.write(png(np.hstack(parts)))


def grey(name: str, binning: int) -> Grey:
    path, _, index = name.partition(":")
    array = np.load(path, mmap_mode="r")
    image = np.asarray(array[int(index)] if index else array, np.float64)
    if binning:
        height, width = (length // binning * binning for length in image.shape)
        cells = image[:height, :width].reshape(height // binning, binning, -1, binning)
        image = cells.mean(axis=(1, 3))
    low, high = np.nanpercentile(image, (1, 99))
    levels = (np.clip((image - low) / (high - low), 0, 1) * 255.999).astype(np.uint8)
    scale = 1 if binning else SCALE
    return levels.repeat(scale, axis=0).repeat(scale, axis=1)


def png(image: Grey) -> bytes:
    """Eight bits of grey, https://www.w3.org/TR/png/."""
    height, width = image.shape
    lines = b"".join(b"\0" + line.tobytes() for line in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


if __name__ == "__main__":
    main()
