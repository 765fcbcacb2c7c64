"""Spec files through a real mount: what is not regular in them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.mounts import MountFactory

HEAD = "#F s\n#E 1600000000\n#D Sun Sep 13 14:26:40 2020\n#O0 th\n\n"
SCAN = "#S 1 ascan th 10 12 2 1\n#C offsets:\n1.5 2.5 3.5 4.5\n#N 3\n#L th det mon\n"
PASSED = {
    "note.txt": "#F is the key for fax",
    "just_begun.dat": "#F /data/just_begun.dat",
    "macintosh.dat": (HEAD + SCAN).replace("\n", "\r"),
}


def test_odd_files(tmp_path: Path, mount: MountFactory) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.dat").write_text(HEAD + SCAN + "10 1 2\n11 foo 4\n12 5 6\n")
    (source / "a.mca").write_text(HEAD + "#S 1 mca\n#@CHANN 3 0 2 1\n@A 1 2 3")
    for name, text in PASSED.items():
        (source / name).write_bytes(text.encode())
    mounted = mount(source)
    mounted.expect(r"det: line 12 .* is not a number")
    root = mounted.path
    for name, text in PASSED.items():
        assert (root / name).read_bytes() == text.encode()
    scan = root / "a.dat" / "1.1"
    assert np.load(scan / "measurement" / "th.npy").tolist() == [10, 11, 12]
    assert np.load(scan / "measurement" / "mon.npy").tolist() == [2, 4, 6]
    assert "line 8 of the file" in json.loads((scan / "attrs.json").read_text())["left_out"]
    with pytest.raises(OSError, match="Input/output error"):
        np.load(scan / "measurement" / "det.npy")
    reason = os.getxattr(scan / "measurement" / "det.npy", "user.esrffs.error").decode()
    assert "line 12 ('11 foo 4'): 'foo' is not a number" in reason
    assert np.load(root / "a.mca/1.1/measurement/mca_0/data.npy").tolist() == [[1, 2, 3]]
