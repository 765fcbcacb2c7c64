"""A series whose members are symlinks, within the source or out of it; a stack that ends early."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.image_files import edf, image
from tests.support.linked_images import linked_images
from tests.support.mounts import MountFactory


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return linked_images(tmp_path)


def test_series_of_links(source: Path, mount: MountFactory) -> None:
    mounted = mount(source)
    there = mounted / "sorted"
    for run in ("in", "abs", "out"):
        stack = np.load(there / f"{run}_####.edf/scan_0/image/data.npy")
        np.testing.assert_array_equal(stack, [image(number) for number in range(3)])
    assert os.readlink(there / "in_0002.edf") == "../raw/k11.edf"
    np.testing.assert_array_equal(np.load(there / "in_0002.edf/scan_0/image/data.npy"), image(2))
    assert not {"gone_####.edf", "folder_####.edf"} & {*os.listdir(there)}


def test_that_a_stack_ends_early_stands_in_the_log(tmp_path: Path, mount: MountFactory) -> None:
    (tmp_path / "source").mkdir()
    path = edf(tmp_path / "source" / "a.edf", *(image(number) for number in range(4)))
    path.write_bytes(path.read_bytes()[:-9])
    mounted = mount(tmp_path / "source")
    for _ in range(2):
        assert len(np.load(mounted / "a.edf/scan_0/image/data.npy")) == 3
    end = json.loads((mounted / "a.edf/attrs.json").read_text())["end"]
    assert end == "frame 3: the file ends before its data do"
    assert len([line for line in mounted.warnings if end in line]) == 1
    mounted.expect(f"a.edf: not all of it is shown: {end}")
