"""Programs that a test runs, esrffs among them, and what it waits for."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.stopwatch import Stopwatch

ESRFFS = Path(sys.executable).with_name("esrffs")


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Until the condition holds; fails after so many seconds that count (`Stopwatch`)."""
    watch = Stopwatch()
    while not condition():
        assert watch.seconds < seconds, f"still not so after {seconds} s"
        time.sleep(0.02)


def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    """A program that ends by itself; the timeout is for one that does not, not for a slow one."""
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def esrffs(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    return run(ESRFFS, *words, **options)
