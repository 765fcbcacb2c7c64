"""A source beside secret files."""

from pathlib import Path

import pytest

from tests.support.secrets import secret_source


@pytest.fixture
def source(place: Path) -> Path:
    return secret_source(place)
