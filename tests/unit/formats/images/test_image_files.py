"""The makers of image files for tests: each writes a file."""

import contextlib
import io
from pathlib import Path

import pytest

from tests.support.image_files import WRITERS


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_writes(name: str, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        WRITERS[name](tmp_path / name)
    assert (tmp_path / name).stat().st_size > 500
