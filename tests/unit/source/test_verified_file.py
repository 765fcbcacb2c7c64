"""One handle's view of a file: the bytes of the state that was opened, or StaleError."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from esrffs.errors import DamagedError, StaleError
from esrffs.model import Generation
from esrffs.source.executor import SourceExecutor
from esrffs.source.verified_file import VerifiedFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(100_000))
    return path


def view(path: Path, *watched: int) -> VerifiedFile:
    opened = VerifiedFile(os.open(path, os.O_RDONLY), Generation.of(os.stat(path)), "file")
    opened.add_samples(watched)
    return opened


def read(opened: VerifiedFile, offset: int, count: int) -> bytes:
    return bytes(trio.run(opened.read, offset, count))


def test_any_range_of_a_file_at_rest(file: Path) -> None:
    content = file.read_bytes()
    opened = view(file)
    for offset, count in ((0, 1), (0, 100_000), (99_999, 1), (5, 0), (1234, 50_000)):
        assert read(opened, offset, count) == content[offset : offset + count]
    opened.close()


@pytest.mark.parametrize("again", [0, 50_000])
def test_a_later_sample_does_not_excuse_a_rewrite(file: Path, again: int) -> None:
    """A second array of a file that was opened once, and rewritten longer before it was sampled."""
    opened = view(file, 0)
    file.write_bytes(os.urandom(200_000))
    with pytest.raises(StaleError):
        opened.add_samples([again])
    with pytest.raises(StaleError):
        read(opened, 0, 10)
    opened.close()


def test_a_later_sample_of_a_file_that_grew(file: Path) -> None:
    content = file.read_bytes()
    opened = view(file, 0)
    with file.open("ab") as more:
        more.write(b"more")
    opened.add_samples([50_000])
    assert read(opened, 0, 100_000) == content
    opened.close()


def test_past_the_end_is_an_error_that_says_where(file: Path) -> None:
    opened = view(file)
    with pytest.raises(DamagedError, match=r"file: ends at byte 100000, 1 bytes too early"):
        read(opened, 99_990, 11)
    assert len(trio.run(opened.read_at_most, 99_990, 50)) == 10
    opened.close()


@pytest.mark.parametrize("cached", [True, False])
def test_a_thread_is_needed_for_what_is_not_cached_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    """The end of a file is none: each small file that is passed through would take one."""
    threads: list[object] = []
    in_thread = SourceExecutor.run_in_thread

    async def counted(self: SourceExecutor, work: Callable[[], int]) -> int:
        threads.append(work)
        return await in_thread(self, work)

    def of_the_cache(self: VerifiedFile, buffer: memoryview, offset: int) -> int:
        return os.preadv(opened._descriptor, [buffer], offset) if cached else 0

    monkeypatch.setattr(SourceExecutor, "run_in_thread", counted)
    monkeypatch.setattr(VerifiedFile, "_read_cached", of_the_cache)
    opened = view(file)
    content = file.read_bytes()
    assert bytes(trio.run(opened.read_at_most, 90_000, 20_000)) == content[90_000:]
    assert len(threads) == (not cached)
    assert bytes(trio.run(opened.read_at_most, 100_000, 20_000)) == b""
    assert len(threads) == (not cached)
    opened.close()


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(os.urandom(1000))


def rewrite_longer(path: Path) -> None:
    path.write_bytes(os.urandom(200_000))


def rewrite_same_size(path: Path) -> None:
    path.write_bytes(os.urandom(100_000))


def cut(path: Path) -> None:
    os.truncate(path, 50_000)


@pytest.mark.parametrize("change", [rewrite_longer, rewrite_same_size, cut])
def test_what_was_rewritten_is_stale(file: Path, change: Callable[[Path], None]) -> None:
    opened = view(file, 0, 50_000, 99_000)
    read(opened, 0, 10)
    change(file)
    for _ in range(2):
        with pytest.raises(StaleError):
            read(opened, 0, 10)
    opened.close()


def test_what_only_grew_keeps_serving(file: Path) -> None:
    content = file.read_bytes()
    opened = view(file, 0, 50_000, 99_936)
    for _ in range(3):
        grow(file)
        assert read(opened, 0, 100_000) == content
    rewrite_longer(file)
    with pytest.raises(StaleError):
        read(opened, 0, 10)
    opened.close()


def test_growth_of_what_is_not_watched_may_be_anything(file: Path) -> None:
    opened = view(file)
    grow(file)
    with pytest.raises(StaleError):
        read(opened, 0, 10)
    opened.close()


def test_replaced_by_another_file_the_old_one_is_read_on(file: Path) -> None:
    content = file.read_bytes()
    opened = view(file)
    file.with_name("new").write_bytes(b"new")
    os.replace(file.with_name("new"), file)
    assert read(opened, 0, 100_000) == content  # though its ctime changed with its links
    opened.close()


def test_changed_between_listing_and_open(file: Path) -> None:
    generation = Generation.of(os.stat(file))
    grow(file)
    with pytest.raises(StaleError, match="changed since it was listed"):
        VerifiedFile(os.open(file, os.O_RDONLY), generation, "file")


def test_a_descriptor_is_not_closed_under_its_reader(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = view(file)
    content = file.read_bytes()
    monkeypatch.setattr(opened, "_read_cached", lambda buffer, offset: 0)  # so a thread must

    async def main() -> None:
        async def reader() -> None:
            assert bytes(await opened.read(0, 100_000)) == content

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            while not opened._readers:
                await trio.lowlevel.checkpoint()
            opened.close()
            os.fstat(opened._descriptor)

    trio.run(main)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened._descriptor)
