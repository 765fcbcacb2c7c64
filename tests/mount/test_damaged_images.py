"""What is damaged in an image costs itself, in a mount and in corrected images."""

import bz2
import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.support.damaged_images import edf_blocks, numbers, series, spoil
from tests.support.damaged_pages import check
from tests.support.image_files import edf, image
from tests.support.mounts import MountFactory

IMAGE = "scan_0/instrument/detector_0/data.npy"


def test_mounted(mount: MountFactory, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    stack = numbers((12, 64, 128))
    expected = {}
    for name, options in (
        ("strips.tif", {"compression": "zlib", "rowsperstrip": 32}),
        ("tiles.tif", {"compression": "lzw", "tile": (32, 64)}),
    ):
        tifffile.imwrite(source / name, stack, photometric="minisblack", metadata=None, **options)
        bad = np.zeros(stack.shape, bool)
        spoil(source / name, 5, 1)
        if name == "strips.tif":
            bad[5, 32:] = True
        else:
            bad[5, :32, 64:] = True
        expected[name] = stack, bad
    edf_blocks(source / "blocks.edf", stack, bad=5)
    bad = np.zeros(stack.shape, bool)
    bad[5] = True
    expected["blocks.edf"] = stack, bad
    series(source, "tif", stack, 5)
    bad = np.zeros(stack.shape, bool)
    bad[5, 20:40] = True
    expected["se_##.tif"] = stack, bad
    series(source, "cbf", stack, 5)
    bad = np.zeros(stack.shape, bool)
    bad[5] = True
    expected["se_##.cbf"] = stack.astype("i4"), bad
    mounted = mount(source)
    mounted.expect(r"(strips|tiles|se_##)\.tif: |blocks\.edf: frame 5: |se_##\.cbf: ")
    for name, (array, lost) in expected.items():
        check(mounted / name / IMAGE, array, lost)
    error = os.getxattr(mounted / "se_##.tif", "user.esrffs.error").decode()
    assert error == (
        "se_##.tif: se_05.tif (frame 5): its strip 1 is damaged: it cannot be unpacked"
    )
    error = os.getxattr(mounted / "se_##.cbf" / IMAGE, "user.esrffs.error").decode()
    assert error.startswith("se_##.cbf: se_05.cbf (frame 5): ")


def test_corrected(mount: MountFactory, tmp_path: Path) -> None:
    """One of twenty raw images costs its own corrected image, and its frame of the stack."""
    source = tmp_path / "source"
    source.mkdir()
    stack = numbers((20, 64, 128)) + 400
    for path in series(source, "tif", stack, 7):
        shutil.move(path, source / f"s_00{path[-6:]}")
    flat, dark = numbers((64, 128)) + 900, numbers((64, 128)) % 90
    tifffile.imwrite(source / "flat.tif", flat)
    tifffile.imwrite(source / "dark.tif", dark)
    bottom = flat.astype("f4") - dark
    expected = (stack.astype("f4") - dark) / bottom
    bad = np.zeros(stack.shape, bool)
    bad[7, 20:40] = True
    mounted = mount(source)
    mounted.expect(r"s_####\.tif: s_0007\.tif \(frame 7\): its strip 1 is damaged")
    for number in (*range(6, 9), *range(20)):
        path = mounted / f"corrected/s_{number:04d}.npy"
        if number == 7:
            check(path, expected[7], bad[7])
        else:
            np.testing.assert_array_equal(np.load(path), expected[number])
    check(mounted / "corrected/s_####.npy", expected, bad)
    for name in ("s_0007", "s_####"):
        error = os.getxattr(mounted / f"corrected/{name}.npy", "user.esrffs.error").decode()
        assert "s_0007.tif (frame 7): its strip 1 is damaged: it cannot be unpacked" in error


@pytest.mark.parametrize("suffix", ["gz", "bz2"])
def test_packed_images_of_which_nothing_can_be_had(
    suffix: str, mount: MountFactory, tmp_path: Path
) -> None:
    """They say so, and are not taken for files of another kind."""
    source = tmp_path / "source"
    source.mkdir()
    edf(tmp_path / "a.edf", image(0))
    packed = bytearray({"gz": gzip, "bz2": bz2}[suffix].compress((tmp_path / "a.edf").read_bytes()))
    packed[12:30] = b"\xff" * 18
    for name in ("a.edf", "a.log"):
        (source / f"{name}.{suffix}").write_bytes(packed)
    mounted = mount(source)
    mounted.expect(rf"a\.edf\.{suffix}: the file: its packed data are damaged: .*\(EIO\)$")
    with pytest.raises(OSError, match="Input/output"):
        os.listdir(mounted / f"a.edf.{suffix}")
    error = os.getxattr(mounted / f"a.edf.{suffix}", "user.esrffs.error").decode()
    assert "its packed data are damaged" in error
    assert (mounted / f"a.log.{suffix}").read_bytes() == packed
