"""Where large buffers come from."""

import gc
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esrffs.arrays.chunked import ChunkedBlocks
from esrffs.errors import TooLargeError
from esrffs.linux import buffers
from esrffs.linux.buffers import allocate, trim
from esrffs.model import ChunkIndex, Generation
from esrffs.source.verified_file import VerifiedFile


@given(st.integers(0, 20 << 20))
def test_a_buffer_has_the_size_that_was_asked_for_and_is_nobody_elses(nbytes: int) -> None:
    one, two = allocate(nbytes, "x"), allocate(nbytes, "x")
    one[:], two[:] = bytes(nbytes), b"\xff" * nbytes
    assert len(one) == nbytes
    assert one == bytes(nbytes)
    assert not one.readonly


def address(view: memoryview) -> int:
    return np.frombuffer(view, np.uint8).ctypes.data


@pytest.mark.parametrize("nbytes", [8 << 20, (8 << 20) + 128, 4_300_000])
def test_who_comes_next_gets_the_pages_of_who_is_gone(nbytes: int) -> None:
    trim()
    first = allocate(nbytes, "x")
    place = address(first)
    del first
    assert address(allocate(nbytes - 100, "x")) == place


def test_no_page_changes_hands_while_there_is_a_view_of_it() -> None:
    trim()
    whole = allocate(8 << 20, "x")
    place, part = address(whole), np.frombuffer(whole, "<u4")[100:200]
    del whole
    gc.collect()
    assert address(allocate(8 << 20, "x")) != place
    del part
    assert address(allocate(8 << 20, "x")) == place


def test_so_many_free_buffers_are_kept_and_no_more() -> None:
    trim()
    several = [allocate(2 << 20, "x") for _ in range(20)]
    large = allocate(100 << 20, "x")
    del several, large
    assert len(buffers._free) == buffers.MAX_FREE_MAPPINGS
    assert {len(mapping) for mapping in buffers._free} == {2 << 20}
    trim()
    assert not buffers._free


def test_what_does_not_fit_is_an_error_that_says_so() -> None:
    with pytest.raises(
        TooLargeError, match=r"^x: not enough memory for 1152921504606846976 bytes; end"
    ):
        allocate(1 << 60, "x")


def test_the_error_says_which_file(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    path.write_bytes(bytes(8))
    view = VerifiedFile(os.open(path, os.O_RDONLY), Generation.of(path.stat()), "scan.h5")
    try:
        with pytest.raises(TooLargeError, match=r"^scan\.h5: not enough memory"):
            view.read_sync(0, 1 << 60)
        index = ChunkIndex(np.array([0]), np.array([8]), np.array([0]))
        layout, info = SimpleNamespace(filters=()), SimpleNamespace(dtype=np.dtype("u1"))
        chunks = SimpleNamespace(_name="scan.h5: /x", _layout=layout, _info=info, _nbytes=1 << 31)
        with pytest.raises(TooLargeError, match=r"^scan\.h5: /x: a chunk of 2048\.0 MiB"):
            ChunkedBlocks._decoded(chunks, view, index, 0)  # type: ignore[arg-type]  # a double
    finally:
        view.close()


def test_threads_never_share_a_buffer() -> None:
    trim()
    wrong = []

    def work(number: int) -> None:
        for _ in range(200):
            view = np.frombuffer(allocate(2 << 20, "x"), np.uint8)
            view[::4096] = number
            time.sleep(0)  # the others' turn
            wrong.extend(view[::4096][view[::4096] != number])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
