"""Questions to worker processes, and what is left of those that ended badly."""

import contextlib
import gc
import os

import trio

from esrffs.errors import ReaderDiedError
from esrffs.workers.pool import PoolConfig, open_pool


def test_a_dead_process_leaves_no_descriptors() -> None:
    """Without waiting for the garbage collector, which may have nothing to do for minutes."""

    async def die() -> int:
        async with open_pool(PoolConfig(), None) as workers:
            await workers.rebalance()
            gc.collect()
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(8):
                with contextlib.suppress(ReaderDiedError):
                    await workers.run(os.abort)
            await trio.sleep(0.2)
            await workers.rebalance()
            return len(os.listdir("/proc/self/fd")) - before

    gc.disable()
    try:
        assert trio.run(die) <= 4
    finally:
        gc.enable()
