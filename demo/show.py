"""Show one image in a terminal: `python demo/show.py FILE.npy [INDEX]`.

Two pixels for each character where the output is a terminal with colours, else one of ten signs.
"""

import os
import sys

import numpy as np
import numpy.typing as npt

SIGNS = np.array(list(" .:-=+*#%@"))
WIDTH = 64  # characters


def main() -> None:
    array = np.load(sys.argv[1], mmap_mode="r")
    image = array[int(sys.argv[2])] if len(sys.argv) > 2 else array
    low, high = np.nanpercentile(image, (1, 99))
    print(f"{array.dtype} {array.shape}   shown: {low:.4g} (dark) to {high:.4g} (bright)")
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    grey = np.clip((binned(image, 1 if coloured else 2) - low) / (high - low), 0, 1)
    for line in half_blocks(grey) if coloured else signs(grey):
        print(line)


def binned(image: npt.NDArray[np.generic], aspect: int) -> npt.NDArray[np.float64]:
    """The image with `WIDTH` columns, `aspect` times fewer rows: means of whole pixels."""
    step = max(1, image.shape[1] // WIDTH)
    rows, columns = image.shape[0] // (step * aspect), image.shape[1] // step
    whole = image[: rows * step * aspect, : columns * step].astype(np.float64)
    return whole.reshape(rows, step * aspect, columns, step).mean(axis=(1, 3))


def signs(grey: npt.NDArray[np.float64]) -> list[str]:
    return ["".join(line) for line in SIGNS[(grey * 9.999).astype(int)]]


def half_blocks(grey: npt.NDArray[np.float64]) -> list[str]:
    """The upper pixel is the colour of the sign, the lower one that behind it."""
    codes = 232 + (grey * 23.999).astype(int)
    pairs = zip(codes[::2], codes[1::2], strict=False)
    return [
        "".join(f"\x1b[38;5;{a};48;5;{b}m▀" for a, b in zip(up, low, strict=True)) + "\x1b[0m"
        for up, low in pairs
    ]


if __name__ == "__main__":
    main()
