"""Where the files of real experiments are, which are no part of the repository."""

from pathlib import Path

DATA = Path(__file__).parents[3] / "shared" / "data"
