"""Freed memory goes back to the system."""

import subprocess
import sys


def test_what_is_free_is_given_back_when_asked() -> None:
    """As the daemon does now and then; in a process of its own, whose memory nobody else uses."""
    work = """if True:
        import numpy as np
        from esrffs.linux.buffers import configure_malloc, trim
        def resident():
            return int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0]) >> 10
        configure_malloc()
        pieces = [np.ones(1 << 18, "u1") for _ in range(800)]
        kept = pieces[::20]
        del pieces
        before = resident()
        trim()
        print(before - resident())
    """
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100, "MiB"
