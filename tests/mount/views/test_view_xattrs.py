"""`user.esrffs.views` of groups that nobody has looked into yet."""

import os
from pathlib import Path

import fabio
import numpy as np

from tests.support.mounts import MountFactory


def test_groups_of_spec_files_and_images_name_their_views(
    tmp_path: Path, mount: MountFactory
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/s.dat").write_text("#F x\n#E 1\n\n#S 1 x\n#N 1\n#L th\n1\n2\n")
    image = fabio.edfimage.EdfImage(np.zeros((3, 4), "u2"), {"motor_mne": "a", "motor_pos": "1"})
    image.write(str(tmp_path / "source/i.edf"))
    mounted = mount(tmp_path / "source")
    for name, views in (
        ("s.dat/1.1/measurement", b"csv:h5"),
        ("s.dat", b"h5"),
        ("i.edf/scan_0/instrument/positioners", b"csv:h5"),
        ("i.edf", b"h5"),
    ):
        assert os.getxattr(mounted / name, "user.esrffs.views") == views, name
