"""Many directories of a mount that are open at once."""

import os
from pathlib import Path

from tests.support.mounts import MountFactory


def test_many_open_directories_of_a_mount(mount: MountFactory, tmp_path: Path) -> None:
    source = tmp_path / "many"
    source.mkdir()
    for number in range(5_000):
        (source / f"{number:04}").touch()
    mounted = mount(source)
    expected = sorted(path.name for path in source.iterdir())
    scans = [os.scandir(mounted.path) for _ in range(40)]
    try:
        heads = [[next(scan).name for _ in range(10)] for scan in scans]
        for scan, head in zip(scans[::13], heads[::13], strict=True):
            assert sorted(head + [entry.name for entry in scan]) == expected
    finally:
        for scan in scans:
            scan.close()
    status = Path(f"/proc/{mounted.process.pid}/status").read_text()
    assert int(status.split("VmHWM:")[1].split()[0]) >> 10 < 200, "MiB"
