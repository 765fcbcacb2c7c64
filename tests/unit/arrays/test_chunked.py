"""`arrays/chunked`: how a block is made of chunks, and what is said where that takes too long."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import trio

from esrffs.arrays.chunk_grid import ChunkPart
from esrffs.arrays.chunked import ChunkedBlocks
from esrffs.background import DecodeThreads
from esrffs.cache import ByteCache
from esrffs.errors import UnavailableError
from esrffs.formats.filters import codecs
from esrffs.model import Box, ChunkedLayout, ChunkIndex, DatasetInfo
from esrffs.source.executor import SourceExecutor


@pytest.mark.parametrize(
    ("place", "text"),
    [("read_sync", "disk or file server"), ("decode", "decoding took longer than 0.3 s")],
)
@pytest.mark.parametrize("alone", [True, False])
def test_only_a_disk_that_is_waited_for_is_blamed(
    monkeypatch: pytest.MonkeyPatch, place: str, text: str, alone: bool
) -> None:
    end = threading.Event()

    def wait(*_: object) -> memoryview:
        end.wait(20)
        return memoryview(b"")

    resources = SimpleNamespace(cache=ByteCache(1000), threads=DecodeThreads())
    view = SimpleNamespace(
        is_slow=False, read_sync=wait if place == "read_sync" else lambda *_: memoryview(b"")
    )
    monkeypatch.setattr(codecs, "decode", wait)
    executor = SourceExecutor(0.3)
    opened = SimpleNamespace(
        sources=SimpleNamespace(folders=SimpleNamespace(executor=executor)),
        source=SimpleNamespace(path="a.h5", subject=SimpleNamespace(generations=[None])),
        file=lambda: trio.to_thread.run_sync(lambda: view),
    )
    chunks, layout = ChunkIndex(*np.zeros((3, 1), "i8")), ChunkedLayout((4,), (), indexed=True)
    info = DatasetInfo("x", "/x", (4,), np.dtype("i8"), layout)
    blocks = ChunkedBlocks(opened, info, layout, resources)  # type: ignore[arg-type]

    def fill(_: object) -> None:
        blocks._decoded(view, chunks, 0)  # type: ignore[arg-type]

    async def work() -> None:
        if alone:
            await blocks._assemble(chunks, Box((0,), (4,)), [ChunkPart(0, (), ())])
        else:
            await blocks._filled(fill, [ChunkPart(0, (), ())])

    try:
        with pytest.raises(UnavailableError, match=text):
            trio.run(work)
    finally:
        end.set()


@pytest.mark.parametrize(
    ("slow", "window", "stored", "depth"),
    [
        (False, 32 << 20, 0.5, 4),  # as many as keep the processors busy
        (True, 2 << 20, 0.5, 4),
        (True, 32 << 20, 1.0, 10),
        (True, 32 << 20, 0.5, 18),
        (True, 32 << 20, 0.01, 32),  # each block is a read at least
        (True, 0, 0.5, 0),  # while a call is overdue
    ],
)
def test_depth_of_read_ahead(slow: bool, window: int, stored: float, depth: int) -> None:
    executor = SimpleNamespace(read_ahead_nbytes=lambda _: window, parallel=32)
    opened = SimpleNamespace(
        is_slow=slow,
        sources=SimpleNamespace(folders=SimpleNamespace(executor=executor)),
        source=SimpleNamespace(
            path="a.h5", subject=SimpleNamespace(generations=[SimpleNamespace(device=1)])
        ),
    )
    resources = SimpleNamespace(cache=ByteCache(1000), threads=DecodeThreads())
    layout = ChunkedLayout((1, 1 << 22), (), indexed=True)
    info = DatasetInfo("x", "/x", (100, 1 << 22), np.dtype("u1"), layout)
    blocks = ChunkedBlocks(opened, info, layout, resources)  # type: ignore[arg-type]
    blocks._stored = stored
    assert blocks.depth() == depth
