"""The index of several mounts that write to it at the same time."""

import multiprocessing
from pathlib import Path

from esrffs.source.index_file import IndexFile


def key(number: int) -> bytes:
    return b"%016d" % number


def _write(home: str, start: int) -> None:
    index = IndexFile(home)
    for number in range(start, start + 50):
        index.put({key(number): b"%d" % number})
        assert index.get([key(number)]) == {key(number): b"%d" % number}
    index.close()


def test_several_mounts_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(str(tmp_path), 1000 * n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    index = IndexFile(str(tmp_path))
    assert index.count() == 200
    index.close()
