"""pyfuse3 waits for requests as `fuse/pyfuse3_polling` has it."""

import subprocess
import sys
from pathlib import Path

from tests.support.marks import needs_fuse

_USED = """
import os, pyfuse3, sys, trio
from esrffs.fuse import pyfuse3_polling

used = set()

class Poller(pyfuse3_polling.BusyPoller):
    async def wait(self, descriptor):
        used.add("wait")
        await super().wait(descriptor)

class Lock(pyfuse3_polling.UnfairLock):
    async def __aenter__(self):
        used.add("turn")
        await super().__aenter__()

pyfuse3_polling.BusyPoller, pyfuse3_polling.UnfairLock = Poller, Lock
pyfuse3_polling.install_in_pyfuse3(lambda: False)

async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        try:
            await trio.to_thread.run_sync(os.stat, sys.argv[1])
        except OSError:
            nursery.cancel_scope.cancel()

pyfuse3.init(pyfuse3.Operations(), sys.argv[1], {"fsname=test_waiting"})
trio.run(main)
pyfuse3.close()
print(*sorted(used))
"""


@needs_fuse
def test_pyfuse3_waits_in_this_way(tmp_path: Path) -> None:
    """Where it takes `trio` from is its own affair: a version that does otherwise is slow."""
    command = [sys.executable, "-c", _USED, tmp_path]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    finally:
        subprocess.run(["umount", "-l", tmp_path], stderr=subprocess.DEVNULL)
    assert done.stdout == "turn wait\n", done.stderr
