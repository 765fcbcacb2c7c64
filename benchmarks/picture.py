"""The picture of the table in docs/performance.md: `python -m benchmarks.picture PAGE OUT.png`.

Five reads that stand for the others, on a linear axis.  The figures are those of the page, so that
page and picture cannot disagree.
"""

import re
import sys
from pathlib import Path

ROWS = {  # the row of the table, and its label
    ("gzip + shuffle", "h5py [...]"): "stack in gzip",
    ("zstd", "h5py [...]"): "stack in zstd",
    ("bitshuffle-LZ4", "h5py [...]"): "stack in bitshuffle-LZ4",
    ("contiguous", "h5py [...]"): "uncompressed stack",
    ("corrected/, whole stack", "the training's loop"): "corrected stack, against a NumPy loop",
}


def ratios(page: str) -> dict[str, tuple[float, float]]:
    """Label: how many times as fast, as an ordinary user and as root."""
    found = {}
    columns: list[str] = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if "ordinary" in cells:
            columns = cells
        key = tuple(cells[:2])
        if key in ROWS:
            row = dict(zip(columns, cells, strict=True))
            ordinary, root = (
                float(re.match(r"[0-9.]+", row[kind])[0]) for kind in ("ordinary", "root")
            )
            found[ROWS[key]] = ordinary, root
    return {label: found[label] for label in ROWS.values()}


def draw(found: dict[str, tuple[float, float]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 2.9))
    for kind, (name, colour) in enumerate((("ordinary user", "#7fa6d6"), ("root", "#1f4e8c"))):
        bars = axes.barh(
            [-k - 0.38 * kind for k in range(len(found))],
            [values[kind] for values in found.values()],
            0.36,
            color=colour,
            label=name,
        )
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axes.axvline(1, color="black", lw=0.8)
    axes.set_yticks([-k - 0.19 for k in range(len(found))], list(found), fontsize=9)
    axes.set_xlabel("how many times as fast as h5py (line: as fast)", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, loc="lower right", frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(ratios(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
