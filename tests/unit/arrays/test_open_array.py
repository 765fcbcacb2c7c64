"""`arrays/open_array`: which way of reading a dataset is chosen, and that its bytes are right."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import trio

from esrffs import limits
from esrffs.arrays.block_array import ArrayBytes, BlockArray
from esrffs.arrays.chunked import ChunkedBlocks
from esrffs.arrays.open_array import ReaderBlocks, VirtualArray, open_array
from esrffs.arrays.verbatim import FramesArray
from esrffs.errors import DamagedError, TooLargeError
from tests.support.image_files import edf, image
from tests.support.in_process import as_array, calls, data_context, dataset, opened

STACK = np.arange(20 * 30 * 40, dtype=">u2").reshape(20, 30, 40)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """`a.h5`: the same stack in every layout, virtual ones of `b.h5` among them."""
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["stack"] = STACK
        file.create_dataset("packed", data=STACK[:7], chunks=(1, 30, 40), compression="gzip")
        file["other dtype"] = STACK.astype("<u4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["contiguous"] = STACK
        file.create_dataset("gzip", data=STACK, chunks=(3, 30, 40), compression="gzip")
        file.create_dataset("filter unknown", data=STACK, chunks=(3, 30, 40), scaleoffset=0)
        file["sequences"] = np.array(["a", "bcd", ""], object)
        mapped = h5py.VirtualLayout((20, 30, 40), ">u2")
        mapped[:5] = h5py.VirtualSource("b.h5", "stack", STACK.shape)[2:7]
        mapped[6:13] = h5py.VirtualSource("b.h5", "packed", (7, 30, 40))
        file.create_virtual_dataset("virtual", mapped, fillvalue=9)
        wrong = h5py.VirtualLayout((20, 30, 40), ">u2")
        wrong[:] = h5py.VirtualSource("b.h5", "other dtype", STACK.shape)
        file.create_virtual_dataset("converted", wrong)
        lost = h5py.VirtualLayout((20, 30, 40), ">u2")
        lost[:10] = h5py.VirtualSource("b.h5", "stack", STACK.shape)[:10]
        lost[10:] = h5py.VirtualSource("gone.h5", "stack", (10, 30, 40))
        file.create_virtual_dataset("partly lost", lost)
    return tmp_path


def read(
    source: Path, name: str, check: Callable[[ArrayBytes], None] | None = None
) -> tuple[np.ndarray[Any, Any], list[str]]:
    """A whole dataset, read in pieces of odd lengths, and the calls that workers got for it."""

    async def main() -> tuple[np.ndarray[Any, Any], list[str]]:
        context = data_context(source)
        file, info = await dataset(context, "a.h5", name)
        before = len(calls(context))
        with opened(context, file) as handle:
            array = await open_array(handle, info, context)
            if check is not None:
                check(array)
            pieces = [
                await array.read(start, min(start + 4999, info.nbytes))
                for start in range(0, info.nbytes, 4999)
            ]
        return as_array(b"".join(pieces), info), calls(context)[before:]

    return trio.run(main)


def made_by(kind: type[object]) -> Callable[[ArrayBytes], None]:
    def check(array: ArrayBytes) -> None:
        assert isinstance(array, BlockArray)
        assert isinstance(array._source, kind)

    return check


def test_contiguous_data_are_read_where_they_lie(source: Path) -> None:
    def check(array: ArrayBytes) -> None:
        assert isinstance(array, FramesArray)

    found, asked = read(source, "contiguous", check)
    assert np.array_equal(found, STACK)
    assert asked == []


def test_chunks_with_known_filters_are_decoded_in_this_process(source: Path) -> None:
    found, asked = read(source, "gzip", made_by(ChunkedBlocks))
    assert np.array_equal(found, STACK)
    assert "read" not in asked


@pytest.mark.parametrize("name", ["filter unknown", "sequences"])
def test_a_reader_makes_the_blocks_of_what_is_not_known_here(source: Path, name: str) -> None:
    found, asked = read(source, name, made_by(ReaderBlocks))
    if name == "sequences":
        assert found.tolist() == ["a", "bcd", ""]
    else:
        assert np.array_equal(found, STACK)
    assert "read" in asked


def test_a_virtual_dataset_is_read_from_its_sources(source: Path) -> None:
    def check(array: ArrayBytes) -> None:
        assert isinstance(array, VirtualArray)

    expected = np.full_like(STACK, 9)
    expected[:5], expected[6:13] = STACK[2:7], STACK[:7]
    found, asked = read(source, "virtual", check)
    assert np.array_equal(found, expected)
    assert "read" not in asked


def test_a_source_that_is_not_as_mapped_is_left_to_a_reader(source: Path) -> None:
    found, asked = read(source, "converted")
    assert np.array_equal(found, STACK)
    assert "read" in asked


def test_frames_whose_source_is_gone_are_errors_and_others_are_not(source: Path) -> None:
    async def main() -> None:
        context = data_context(source)
        file, info = await dataset(context, "a.h5", "partly lost")
        frame = info.nbytes // 20
        with opened(context, file) as handle:
            array = await open_array(handle, info, context)
            found = await array.read(0, 10 * frame)
            assert bytes(found) == STACK[:10].tobytes()
            with pytest.raises(DamagedError, match=r"gone\.h5"):
                await array.read(10 * frame, 11 * frame)

    trio.run(main)


def test_a_chunk_beyond_the_limit_is_refused_before_it_is_read(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_sizes", limits.Limits(chunk=4096))
    with pytest.raises(TooLargeError, match="chunk_limit"):
        read(source, "gzip")
    assert np.array_equal(read(source, "contiguous")[0], STACK)


def test_an_image_file_has_its_frames_where_they_lie(tmp_path: Path) -> None:
    edf(tmp_path / "a.edf", *(image(number) for number in range(4)))

    async def main() -> None:
        context = data_context(tmp_path)
        path = "scan_0/instrument/detector_0/data"
        file, info = await dataset(context, "a.edf", path, "image")
        with opened(context, file) as handle:
            array = await open_array(handle, info, context)
            assert isinstance(array, FramesArray)
            found = as_array(await array.read(0, info.nbytes), info)
        assert np.array_equal(found, [image(number) for number in range(4)])

    trio.run(main)
