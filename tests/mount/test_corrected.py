"""`corrected/` through a mount: every convention of the contract, to the bit, read in every way."""

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.support.corrected_scans import SCANS, Expected, identical
from tests.support.flat_field import same
from tests.support.mounts import Mounted, drop_caches, mount_factory
from tests.support.npy import npy_bytes


class Corrected:
    """All scans below one mount."""

    def __init__(self, mounted: Mounted, expected: dict[str, Expected]) -> None:
        self.mounted = mounted
        self.expected = expected

    def all(self) -> Iterator[tuple[Path, np.ndarray]]:
        for scan, arrays in self.expected.items():
            for path, array in arrays.items():
                yield self.mounted / f"{scan}/{path}", array


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corrected]:
    source = tmp_path_factory.mktemp("scans")
    expected = {}
    for scan in SCANS:
        (source / scan.__name__).mkdir()
        expected[scan.__name__] = scan(source / scan.__name__)
    factory = mount_factory(tmp_path_factory.mktemp("mount"))
    yield Corrected(next(factory)(source), expected)
    next(factory, None)


def forget(path: Path) -> None:
    """Let the kernel ask again."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.parametrize("scan", [scan.__name__ for scan in SCANS])
def test_every_convention(corrected: Corrected, scan: str) -> None:
    for path, array in corrected.expected[scan].items():
        shown = corrected.mounted / f"{scan}/{path}"
        assert shown.name in os.listdir(shown.parent)
        assert shown.stat().st_size == len(npy_bytes(array))
        assert identical(shown.read_bytes(), array), path
        told = json.loads((shown.parent / "attrs.json").read_text())
        assert told["formula"] == "(raw - dark) / (flat - dark)"
        results = {f"{name}.npy" for name in told["results"]}
        assert results == {p.name for p in shown.parent.iterdir()} - {
            "attrs.json",
            "rotation_angle.npy",
            "frame_index.npy",
        }


def test_nothing_else_is_corrected(corrected: Corrected) -> None:
    shown = [
        Path(folder)
        for folder, names, _ in os.walk(corrected.mounted.path)
        if Path(folder).name.startswith("corrected") and "attrs.json" in os.listdir(folder)
    ]
    assert sorted(shown) == sorted({path.parent for path, _ in corrected.all()})


def test_any_range(corrected: Corrected) -> None:
    rng = np.random.default_rng(0)
    for path, array in corrected.all():
        whole = path.read_bytes()
        assert identical(whole, array)
        with open(path, "rb") as file:
            for _ in range(8):
                start, count = (int(n) for n in rng.integers(0, len(whole), 2))
                assert os.pread(file.fileno(), count, start) == whole[start : start + count]


def test_random_ranges_that_were_not_read_before(corrected: Corrected, tmp_path: Path) -> None:
    """Each by a handle of its own, past the kernel's cache."""
    rng = np.random.default_rng(1)
    paths = [(path, array) for path, array in corrected.all() if array.ndim == 3]
    if os.geteuid() == 0:  # others have only `forget`
        drop_caches(1)
    for path, array in paths:
        forget(path)
        content = npy_bytes(array)
        for _ in range(4):
            start = int(rng.integers(0, len(content))) | 1
            count = int(rng.integers(1, 5000))
            part = subprocess.run(
                ["dd", f"if={path}", "bs=1", f"skip={start}", f"count={count}", "status=none"],
                capture_output=True,
                check=True,
            ).stdout
            first = max(start, 128)
            wanted = np.frombuffer(content, np.uint8)[start : start + count]
            made = np.frombuffer(part, np.uint8)
            assert made.shape == wanted.shape
            if array.dtype == np.float32:  # whole pixels, for the NaN among them
                skip = -(first - start) % 4 if first > start else -start % 4
                length = (len(part) - skip) // 4 * 4
                a, b = (bytes(x)[skip : skip + length] for x in (made, wanted))
                assert same(np.frombuffer(a, np.float32), np.frombuffer(b, np.float32))


def test_eight_readers_at_once(corrected: Corrected) -> None:
    with ThreadPoolExecutor(8) as pool:
        for path, array in corrected.all():
            if array.ndim == 3:
                forget(path)
                contents = list(pool.map(lambda _, path=path: path.read_bytes(), range(8)))
                assert all(identical(content, array) for content in contents), path
    path, array = next((p, a) for p, a in corrected.all() if "large" in str(p))
    forget(path)
    readers = [subprocess.Popen(["cat", path], stdout=subprocess.PIPE) for _ in range(8)]
    assert all(identical(reader.communicate()[0], array) for reader in readers)


def test_mapped(corrected: Corrected) -> None:
    for path, array in corrected.all():
        mapped = np.load(path, mmap_mode="r")
        assert mapped.shape == array.shape
        assert mapped.dtype == array.dtype
        last = np.ascontiguousarray(mapped[-1])
        if array.dtype == np.float32:
            assert same(last.reshape(-1), array[-1].reshape(-1))
        del mapped


def test_nothing_was_logged_but_that_a_series_ends(corrected: Corrected) -> None:
    told = [
        line for line in corrected.mounted.warnings if "ended/x#.edf: not all of it" not in line
    ]
    assert told == []
    corrected.mounted.expect("ended/x#.edf: not all of it is shown")
