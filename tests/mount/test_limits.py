"""Each limit: below it all is as ever; above it EFBIG, in words that name file and option."""

import contextlib
import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.errnos import errno_of
from tests.support.marks import needs_fuse
from tests.support.mounts import Mounted, MountFactory
from tests.support.processes import workers
from tests.support.programs import wait_for
from tests.support.stopwatch import Stopwatch

pytestmark = needs_fuse


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def told(mounted: Mounted, pattern: str) -> int:
    return sum(re.search(pattern, line) is not None for line in mounted.warnings)


@pytest.mark.parametrize("filtered", ["gzip", None])
def test_a_chunk(mount: MountFactory, source: Path, filtered: str | None) -> None:
    with h5py.File(source / "a.h5", "w") as file:
        for name, rows in (("small", 1000), ("large", 1100)):
            data = np.arange(rows * 128, dtype="i8").reshape(rows, 128)
            file.create_dataset(name, data=data, chunks=(rows, 128), compression=filtered)
        text = "x" * 1_000_000  # one element of 4 MB in its array
        file["words"] = np.array([text], dtype=h5py.string_dtype())
    mounted = mount(source, "-o", "chunk_limit=1")
    assert np.load(mounted / "a.h5/small.npy")[-1, -1] == 127_999
    for name, size in (("large", "1.1"), ("words", "3.8")):
        assert errno_of((mounted / f"a.h5/{name}.npy").read_bytes) == errno.EFBIG
        assert (mounted / f"a.h5/{name}.npy").stat().st_size > 1 << 20
        text = os.getxattr(mounted / f"a.h5/{name}.npy", "user.esrffs.error").decode()
        assert text == f"a.h5: /{name}: a chunk of {size} MiB is not decoded (chunk_limit=1)"
    mounted.expect(r"a\.h5.*chunk_limit")
    assert told(mounted, "chunk_limit") == 2


def test_a_stored_chunk_that_says_it_is_larger(mount: MountFactory, source: Path) -> None:
    """What is stored may exceed the limit where what it decodes to does not."""
    with h5py.File(source / "a.h5", "w") as file:
        data = file.create_dataset("x", (1000,), "u1", chunks=(1000,), compression="gzip")
        data.id.write_direct_chunk((0,), bytes(2 << 20))
    mounted = mount(source, "-o", "chunk_limit=1")
    mounted.expect(r"a\.h5: /x: a chunk of 2\.0 MiB .*chunk_limit=1")
    assert errno_of((mounted / "a.h5/x.npy").read_bytes) == errno.EFBIG


def test_json(mount: MountFactory, source: Path) -> None:
    with h5py.File(source / "a.h5", "w", libver="latest") as file:
        for name, count in (("few", 1000), ("many", 200_000)):
            data = file.create_dataset(name, (1,), h5py.vlen_dtype("i8"))
            data[0] = np.arange(count)
        for number in range(40):
            file.attrs[f"a{number}"] = np.arange(5000)
    mounted = mount(source, "-o", "json_limit=1")
    assert json.loads((mounted / "a.h5/few.json").read_text()) == [list(range(1000))]
    for name, address in (("many.json", "/many"), ("attrs.json", "/")):
        assert errno_of((mounted / "a.h5" / name).read_bytes) == errno.EFBIG
        assert told(mounted, rf"a\.h5: {address}: [\d.]+ MiB are too much .*json_limit=1") == 1
    mounted.expect("json_limit")


def test_json_of_a_hundred_megabytes(mount: MountFactory, source: Path) -> None:
    with h5py.File(source / "a.h5", "w") as file:
        data = file.create_dataset("x", (20,), h5py.vlen_dtype("i8"))
        for row in range(20):
            data[row] = np.arange(10**17, 10**17 + 210_000)
        file["y"] = [1, 2]
    mounted = mount(source)
    mounted.expect("a.h5")
    entry = next(name for name in os.listdir(mounted / "a.h5") if name.startswith("x"))
    assert errno_of((mounted / "a.h5" / entry).read_bytes) in {errno.EFBIG, errno.EIO}
    assert told(mounted, r"a\.h5: .*(json|memory)_limit") == 1
    assert np.load(mounted / "a.h5/y.npy").tolist() == [1, 2]
    assert mounted.status["workers"]["lost"] == 0


def resident(mounted: Mounted) -> int:
    """The most that the daemon ever had, in MiB."""
    status = Path(f"/proc/{mounted.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) >> 10


def test_names_of_large_attributes(mount: MountFactory, source: Path) -> None:
    """The daemon parses no JSON of 20 MB, which would be 400 MB of objects, and stand still."""
    with h5py.File(source / "a.h5", "w", libver="latest") as file:
        data = file.create_dataset("x", data=1)
        data.attrs["large"] = np.full((1_000_000, 1), 10, "i1")
        data.attrs["units"] = "mm"
    mounted = mount(source)
    path = mounted / "a.h5/x.npy"
    assert "user.units" in os.listxattr(path)
    assert os.getxattr(path, "user.units") == b"mm"
    assert "user.large" not in os.listxattr(path)
    assert resident(mounted) < 100


def test_texts_that_stay_open(mount: MountFactory, source: Path) -> None:
    """The cache bounds what they take, also where nobody closes them."""
    for number in range(30):
        with h5py.File(source / f"a{number}.h5", "w", libver="latest") as file:
            data = file.create_dataset("x", data=number)
            data.attrs["large"] = np.full(1_500_000, 10 + number, "i1")
    mounted = mount(source, "-o", "cache_size=16")
    shown = [mounted / f"a{number}.h5/x.attrs.json" for number in range(30)]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(path, "rb", buffering=0)) for path in shown]
        assert resident(mounted) < 150
        for number in (0, 29, 13):
            os.posix_fadvise(files[number].fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            told = json.loads(b"".join(iter(lambda n=number: files[n].read(1 << 20), b"")))
            assert told["large"] == [10 + number] * 1_500_000
        assert resident(mounted) < 150


def test_children(mount: MountFactory, source: Path) -> None:
    with h5py.File(source / "a.h5", "w") as file:
        for number in range(101):
            file.create_group(f"many/{number}")
            file.create_group(f"few/{number // 2}/{number}")
    for number in range(101):
        (source / "many").mkdir(exist_ok=True)
        (source / f"many/{number}").touch()
    scan = "#S {0} ascan x 0 1 1 1\n#D Thu Feb 11 09:54:35 2016\n#N 2\n#L x  y\n0 1\n1 2\n\n"
    scans = "".join(map(scan.format, range(1, 102)))
    (source / "many.dat").write_text(f"#F many.dat\n#E 1\n\n{scans}")
    mounted = mount(source, "-o", "children_limit=100")
    assert len(os.listdir(mounted / "a.h5/few")) == 51
    for path, text in (
        ("a.h5/many", "a.h5: /many: 101 entries"),
        ("many", "many: 101 entries"),
        ("many.dat", "many.dat: /: 101 entries"),
    ):
        assert errno_of(os.listdir, mounted / path) == errno.EFBIG
        assert told(mounted, f" WARNING {text} are too many .*children_limit=100") == 1
    mounted.expect("children_limit")


def test_a_hundred_thousand_children(mount: MountFactory, source: Path) -> None:
    with h5py.File(source / "a.h5", "w", libver="latest") as file:
        for number in range(100_000):
            file.create_group(f"{number:06}")
    mounted = mount(source)
    assert sorted(os.listdir(mounted / "a.h5")) == [f"{number:06}" for number in range(100_000)]


def test_what_declares_a_hundred_gigabytes_is_looked_at_in_no_time(
    mount: MountFactory, source: Path
) -> None:
    for number in range(5):
        with h5py.File(source / f"a{number}.h5", "w") as file:
            file.create_dataset("x", (100 << 30,), "u1", chunks=(1 << 20,), compression="gzip")
            file.create_dataset("y", (100 << 30,), "u1")  # contiguous, nothing written
            file.create_dataset("w", (1000, 300), ">f4", fillvalue=-1.5)
            file.create_dataset("z", (1 << 60,), "u1", chunks=(1 << 20,))
    mounted = mount(source)
    os.listdir(mounted / "a0.h5")  # a reader has loaded its libraries
    times = []
    for number in range(1, 5):
        watch = Stopwatch()
        subprocess.run(["ls", "-l", mounted / f"a{number}.h5"], check=True, capture_output=True)
        times.append(watch.seconds)
    assert min(times) < 0.1
    np.testing.assert_array_equal(np.load(mounted / "a0.h5/w.npy"), np.full((1000, 300), -1.5))
    with open(mounted / "a0.h5/z.npy", "rb") as shown:
        assert os.pread(shown.fileno(), 10, 1 << 59) == bytes(10)
    with open(mounted / "a0.h5/y.npy", "rb") as shown:
        watch = Stopwatch()
        for at in range(0, 256 << 20, 1 << 20):  # far below the speed of a mount
            assert os.pread(shown.fileno(), 1 << 20, (50 << 30) + at).count(0) == 1 << 20
        assert watch.seconds < 3


def test_open_files_are_raised_and_lowered(mount: MountFactory, source: Path) -> None:
    def of(mounted: Mounted) -> tuple[int, int]:
        return resource.prlimit(mounted.process.pid, resource.RLIMIT_NOFILE)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        assert of(mount(source)) == (hard, hard)
        assert of(mount(source, "-o", "open_files=300")) == (300, hard)
        assert of(mount(source, "-o", "open_files=99999999")) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("frames", [True, False])
def test_virtual_datasets_of_more_files_than_can_be_open(
    mount: MountFactory, source: Path, frames: bool
) -> None:
    """Bytes that are right, or an error: never fill values."""
    count = 700
    shape = (count, 4, 8) if frames else (count * 3,)
    layout = h5py.VirtualLayout(shape, "i4")
    expected = np.empty(shape, "i4")
    (source / "parts").mkdir()
    for number in range(count):
        part = np.full(shape[1:] if frames else (3,), number + 1, "i4")
        with h5py.File(source / f"parts/{number:05}.h5", "w") as file:
            file["x"] = part
        where = number if frames else slice(number * 3, number * 3 + 3)
        layout[where] = h5py.VirtualSource(f"parts/{number:05}.h5", "x", part.shape)
        expected[where] = part
    with h5py.File(source / "all.h5", "w") as file:
        file.create_virtual_dataset("v", layout, fillvalue=0)
    mounted = mount(source, "-o", "open_files=128")
    program = "import sys, numpy; a = numpy.load(sys.argv[1]); print(a.sum(), (a == 0).sum())"
    command = [sys.executable, "-c", program, mounted / "all.h5/v.npy"]
    readers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outcomes = [(*reader.communicate(timeout=120), reader.returncode) for reader in readers]
    right = f"{expected.sum()} 0\n"
    for out, err, code in outcomes:
        assert out == right or (code and "OSError" in err), (out, err)
    assert right in [out for out, _, _ in outcomes]
    mounted.expect(r"all\.h5")
    assert mounted.process.poll() is None


def test_more_handles_than_descriptors(mount: MountFactory, source: Path) -> None:
    """Some opens fail, and say so; nothing else does, and all is well once they are closed."""
    for number in range(4):
        with h5py.File(source / f"a{number}.h5", "w") as file:
            file["x"] = np.arange(1000) + number
            file["words"] = np.array([str(number)] * 9, dtype=h5py.string_dtype())
    mounted = mount(source, "-o", "open_files=128")
    mounted.expect(r"(EMFILE|EIO)")
    held: list[int] = []
    codes = set()
    for number in range(300):
        try:
            held.append(os.open(mounted / f"a{number % 4}.h5/x.npy", os.O_RDONLY))
        except OSError as error:
            codes.add(error.errno)
    assert 50 < len(held) < 128
    assert codes <= {errno.EMFILE, errno.EIO}
    for pid in workers(mounted):  # new ones cannot be had now
        os.kill(pid, signal.SIGKILL)
    for number in range(4):
        os.utime(source / f"a{number}.h5")
        code = errno_of((mounted / f"a{number}.h5/words.npy").read_bytes)
        assert code in {0, errno.EMFILE, errno.EIO, errno.ESTALE}
    for descriptor in held:
        os.close(descriptor)
    wait_for(lambda: errno_of((mounted / "a0.h5/words.npy").read_bytes) == 0, 5)
    for number in range(4):
        os.utime(source / f"a{number}.h5")
        assert np.load(mounted / f"a{number}.h5/words.npy").tolist() == [str(number)] * 9
        assert np.load(mounted / f"a{number}.h5/x.npy")[0] == number


def test_sigterm_with_all_descriptors_used_up(mount: MountFactory, source: Path) -> None:
    """To unmount needs none, nor do the readers to end, also those that are just being started."""
    with h5py.File(source / "a.h5", "w") as file:
        file["x"] = np.arange(1000)
        file["words"] = np.array(["a", "b"], dtype=h5py.string_dtype())
    mounted = mount(source, "-o", "open_files=128")
    mounted.expect(r"(EMFILE|EIO)")
    held: list[int] = []
    with contextlib.suppress(OSError):
        while len(held) < 200:
            held.append(os.open(mounted / "a.h5/x.npy", os.O_RDONLY))
    try:
        assert len(held) < 128
        for pid in workers(mounted):
            os.kill(pid, signal.SIGKILL)
        errno_of((mounted / "a.h5/words.npy").read_bytes)
        os.kill(mounted.process.pid, signal.SIGTERM)
        wait_for(lambda: mounted.process.poll() is not None, 5)
    finally:
        for descriptor in held:
            with contextlib.suppress(OSError):  # the mount is not there any more
                os.close(descriptor)
    assert not os.path.ismount(mounted.path)
