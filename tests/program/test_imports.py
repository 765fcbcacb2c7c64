"""What a process does not import until it needs it."""

import resource
import subprocess
import sys

import pytest

from tests.support.programs import run


def test_no_format_library_is_loaded() -> None:
    program = """
import sys
from esrffs.formats.detect import detect_format
for head in (b"{\\nByteOrder = LowByteFirst ;\\n}\\n", b"\\x89HDF\\r\\n\\x1a\\n", b"any text"):
    detect_format(lambda offset, count: head[offset : offset + count], len(head), "a.edf")
print([name for name in ("h5py", "silx", "fabio") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["--workers"], 2),
        (["/", "/nowhere/at/all"], 1),
        (["-u", "/nowhere/at/all"], 1),
    ],
    ids=["help", "version", "usage", "no mount point", "unmount"],
)
def test_nothing_heavy_is_imported_where_nothing_is_mounted(words: list[str], status: int) -> None:
    code = f"""if True:
        import sys
        from esrffs.cli.main import main
        assert main({words!r}) == {status}
        heavy = set("numpy h5py trio trio_parallel pyfuse3 silx fabio imagecodecs".split())
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(sys.executable, "-c", code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert bool(done.stderr) is bool(status)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 0.3, "seconds of the processor, however busy the machine"
