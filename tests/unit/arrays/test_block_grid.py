"""Byte ranges, blocks and boxes against what numpy's own indexing says."""

from math import prod

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from esrffs.arrays.block_grid import MAX_NBYTES, TARGET_NBYTES, BlockGrid, block_grid

shapes = st.lists(st.integers(1, 6), max_size=4).map(tuple)


@st.composite
def cuts(draw: st.DrawFn) -> BlockGrid:
    shape = draw(shapes)
    grain = tuple(draw(st.integers(1, n + 2)) for n in shape)
    target = draw(st.integers(1, 400))
    limit = draw(st.integers(target, 1600))
    return block_grid(shape, draw(st.sampled_from([1, 2, 8])), grain, target, limit)


def count(blocks: BlockGrid) -> int:
    return blocks.block_at(blocks.nbytes - 1) + 1


@settings(max_examples=500)
@given(cuts())
def test_each_block_is_its_box_and_its_run_of_bytes(blocks: BlockGrid) -> None:
    dtype = np.dtype(f"V{blocks.itemsize}")
    data = np.random.default_rng(0).bytes(blocks.nbytes)
    array = np.frombuffer(data, dtype).reshape(blocks.shape)
    end = 0
    for number in range(count(blocks)):
        start, stop = blocks.byte_range(number)
        assert start == end, "blocks follow each other without a gap"
        assert array[blocks.box(number).slices].tobytes() == data[start:stop]
        assert {blocks.block_at(offset) for offset in (start, stop - 1)} == {number}
        end = stop
    assert end == blocks.nbytes


@settings(max_examples=500)
@given(shapes.filter(bool), st.data())
def test_no_block_exceeds_the_limit_and_grains_are_touched_once_below_it(
    shape: tuple[int, ...], data: st.DataObject
) -> None:
    grain = tuple(data.draw(st.integers(1, n)) for n in shape)
    target = data.draw(st.integers(8, 400))
    limit = data.draw(st.integers(target, 1600))
    blocks = block_grid(shape, 8, grain, target, limit)
    sizes = [stop - start for start, stop in map(blocks.byte_range, range(count(blocks)))]
    assert max(sizes) <= limit
    layers = [
        8 * min(g, n) * prod(shape[k + 1 :])
        for k, (g, n) in enumerate(zip(grain, shape, strict=True))
    ]
    touched: dict[tuple[int, ...], int] = {}
    for number in range(count(blocks)):
        box = blocks.box(number)
        lows = [a // g for a, g in zip(box.start, grain, strict=True)]
        highs = [(b - 1) // g for b, g in zip(box.stop, grain, strict=True)]
        for index in np.ndindex(*(h - low + 1 for low, h in zip(lows, highs, strict=True))):
            chunk = tuple(low + i for low, i in zip(lows, index, strict=True))
            touched[chunk] = touched.get(chunk, 0) + 1
    deepest = next((k for k, g in enumerate(grain) if min(g, shape[k]) > 1), len(shape) - 1)
    if layers[deepest] <= limit or layers[0] <= limit:
        assert set(touched.values()) == {1}


def test_usual_stacks() -> None:
    frame = 2048 * 2048 * 2
    by_rows = block_grid((1000, 2048, 2048), 2, (1, 64, 2048))
    assert by_rows.axis == 1
    assert by_rows.count % 64 == 0
    whole_chunks = block_grid((1000, 2048, 2048), 2, (1, 2048, 2048))
    assert whole_chunks.byte_range(3) == (3 * frame, 4 * frame)
    cubes = block_grid((640, 256, 256), 2, (64, 64, 64))
    assert (cubes.axis, cubes.count) == (0, 64)
    huge_cubes = block_grid((640, 2048, 2048), 2, (64, 64, 64))
    assert huge_cubes.count * frame <= MAX_NBYTES
    small = block_grid((100000, 16, 16), 2, (1, 16, 16))
    assert TARGET_NBYTES // 2 < small.byte_range(0)[1] <= TARGET_NBYTES


def test_no_elements_and_no_axes() -> None:
    assert block_grid((), 8).box(0).shape == ()
    assert block_grid((), 8).byte_range(0) == (0, 8)
    assert block_grid((3, 0, 5), 8).nbytes == 0
    assert block_grid((1 << 60,), 1, (1 << 40,)).byte_range(0)[1] <= MAX_NBYTES


@given(st.lists(st.integers(1, 5), max_size=4), st.integers(1, 3), st.data())
def test_a_part_is_the_least_box_that_is_one_run(
    shape: list[int], itemsize: int, data: st.DataObject
) -> None:
    grid = BlockGrid(tuple(shape), itemsize, 0, 1)
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    start = data.draw(st.integers(0, grid.nbytes - 1))
    stop = data.draw(st.integers(start + 1, grid.nbytes))
    box, first = grid.part(start, stop)
    numbers = array[box.slices].reshape(-1)
    assert numbers.tolist() == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers[0] * itemsize == first <= start
    assert stop <= first + len(numbers) * itemsize
