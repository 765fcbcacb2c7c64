"""Time without that which a busy machine takes: bounds that hold beside other programs.

Decided here: what counts.  A moment in which anything that was ready had to wait for a processor or
a disk does not; the kernel adds such moments up (PSI).  What sleeps, hangs, waits for a lock or is
at work for too long waits for neither, and is found out as ever.  A tenth of all time counts in
any case, so that every wait has an end; where the kernel does not tell, all of it does.
"""

import re
import time
from pathlib import Path

_PRESSURE = [Path("/proc/pressure") / name for name in ("cpu", "io")]


class Stopwatch:
    """Runs since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._stalled = _stalled()

    @property
    def seconds(self) -> float:
        """That count."""
        passed = time.monotonic() - self._began
        return max(passed / 10, passed - (_stalled() - self._stalled))


def _stalled() -> float:
    """Seconds since the machine began in which something had to wait."""
    total = 0
    for path in _PRESSURE:
        try:
            text = path.read_text()
        except OSError:  # no PSI in this kernel, or switched off
            continue
        found = re.search(r"^some .*total=(\d+)$", text, re.MULTILINE)
        total += int(found[1]) if found else 0
    return total / 1e6
