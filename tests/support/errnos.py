"""The errno with which a call fails."""

import os
from collections.abc import Callable
from pathlib import Path


def errno_of(function: Callable[..., object], *arguments: object) -> int:
    """The errno of the OSError that `function(*arguments)` raises; 0: it raises none."""
    try:
        function(*arguments)
    except OSError as error:
        return error.errno or -1
    return 0


def errno_of_reading(path: Path) -> int:
    """The errno of listing this directory or reading this file; 0: it can be read."""
    return errno_of(lambda: os.listdir(path) if path.is_dir() else path.read_bytes())
