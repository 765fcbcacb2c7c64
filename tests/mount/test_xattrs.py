"""Extended attributes, as getfattr and the kernel meet them."""

import ast
import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from fabio.edfimage import EdfImage

from esrffs.encoders import xattrs
from tests.support.errnos import errno_of
from tests.support.mounts import Mounted, MountFactory
from tests.support.stopwatch import Stopwatch

COMPOUND = np.dtype([("a", "<f8"), ("b", "i2", (2,))])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    with h5py.File(folder / "data.h5", "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        entry.attrs["esrffs.path"] = "not ours"
        flat = entry.create_dataset("flat", data=np.zeros((3, 4)))
        flat.attrs["units"] = "µm"
        flat.attrs["bytes"] = np.bytes_(b"old")
        flat.attrs["count"] = 7
        flat.attrs["step"] = np.float32(0.25)
        flat.attrs["large"] = np.uint64(2**64 - 1)
        flat.attrs["on"] = True
        flat.attrs["nan"] = np.nan
        flat.attrs["none"] = h5py.Empty("f4")
        flat.attrs["text"] = ""
        flat.attrs["vector"] = [1, 2]
        flat.attrs["esrffs.dtype"] = "not ours"
        flat.attrs["n" * 250] = "longest"
        flat.attrs["n" * 251] = "too long"
        entry.create_dataset("bare", data=np.zeros(2, COMPOUND))
        packed = hdf5plugin.Bitshuffle(cname="lz4")
        entry.create_dataset("packed", data=np.zeros((4, 6), "u2"), chunks=(2, 3), **packed)
        entry.create_dataset(
            "gzip",
            data=np.zeros((4, 6)),
            chunks=(2, 6),
            shuffle=True,
            compression="gzip",
            compression_opts=4,
        )
        entry.create_dataset("cells", data=np.zeros(9), chunks=(4,))
        entry["link"] = h5py.SoftLink("/entry/flat")
        entry.create_dataset("scalar", data=1)
    with h5py.File(folder / "large.h5", "w", libver="latest") as file:
        fits = file.create_dataset("fits", data=0)
        fits.attrs["v"] = "x" * xattrs.VALUE_MAX
        fits.attrs["w"] = "x" * (xattrs.VALUE_MAX + 1)
        many = file.create_dataset("many", data=0)
        for number in range(400):
            many.attrs[f"{number:0200d}"] = number
    sub = folder / "sub"
    sub.mkdir()
    EdfImage(np.zeros((2, 3), "<u2"), header={"title": "one"}).write(str(sub / "image.edf"))
    (folder / "scan.dat").write_text("#F x\n\n#S 1 ascan\n#N 2\n#L a  b\n1 2\n3 4\n\n")
    (folder / "notes.txt").write_text("notes")
    (folder / "cut.h5").write_bytes((folder / "data.h5").read_bytes()[:1500])
    return folder


@pytest.fixture
def mounted(folder: Path, mount: MountFactory) -> Mounted:
    made = mount(folder)
    made.expect("cut.h5")
    return made


def told(path: Path) -> dict[str, bytes]:
    """All that is listed, without `user.`."""
    return {name.removeprefix("user."): os.getxattr(path, name) for name in os.listxattr(path)}


def test_what_a_dataset_is(mounted: Mounted) -> None:
    entry = mounted / "data.h5/entry"
    for name in ("flat", "bare", "packed", "gzip", "cells", "scalar"):
        found = told(entry / f"{name}.npy")
        array = np.load(entry / f"{name}.npy")
        assert found["esrffs.path"] == f"/entry/{name}".encode()
        assert found["esrffs.source"] == b"data.h5"
        assert json.loads(found["esrffs.shape"]) == list(array.shape)
        text = found["esrffs.dtype"].decode()
        assert np.dtype(ast.literal_eval(text) if text[0] == "[" else text) == array.dtype
        with h5py.File(mounted.source / "data.h5") as file:
            chunks = file["entry"][name].chunks
        assert ("esrffs.chunks" in found) is (chunks is not None)
        assert ("esrffs.filters" in found) is (chunks is not None)
        if chunks:
            assert json.loads(found["esrffs.chunks"]) == list(chunks)
    assert told(entry / "link.npy") == told(entry / "flat.npy")


def test_filters_are_those_of_h5py(mounted: Mounted) -> None:
    for name in ("packed", "gzip", "cells"):
        path = mounted / f"data.h5/entry/{name}.npy"
        found = json.loads(os.getxattr(path, "user.esrffs.filters"))
        with h5py.File(mounted.source / "data.h5") as file:
            plist = file["entry"][name].id.get_create_plist()
            filters = [plist.get_filter(n) for n in range(plist.get_nfilters())]
        assert [(one["id"], tuple(one["values"])) for one in found] == [
            (code, values) for code, _, values, _ in filters
        ]
        for one, (_, _, _, long) in zip(found, filters, strict=True):
            assert long.decode().startswith(one["name"]), "as the library itself calls it"


def test_attributes_of_a_dataset(mounted: Mounted) -> None:
    found = told(mounted / "data.h5/entry/flat.npy")
    theirs = {name: value for name, value in found.items() if not name.startswith("esrffs.")}
    assert theirs == {
        "units": "µm".encode(),
        "bytes": b"old",
        "count": b"7",
        "step": b"0.25",
        "large": b"18446744073709551615",
        "on": b"true",
        "nan": b"null",
        "none": b"null",
        "text": b"",
        "n" * 250: b"longest",
    }
    assert found["esrffs.dtype"] == b"<f8"
    assert set(told(mounted / "data.h5/entry/bare.npy")) == {
        f"esrffs.{name}" for name in ("path", "source", "dtype", "shape")
    }


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (7, b"7"),
        (np.uint64(2**64 - 1), b"18446744073709551615"),
        (np.array(0.1, ">f8"), b"0.1"),
        (np.float32(0.25), b"0.25"),
        (np.nan, b"null"),
        (1 - 2j, b"[1.0, -2.0]"),
        (True, b"true"),
        ([3.5], b"3.5"),
        ("ascan θ 0 1", "ascan θ 0 1".encode()),
        ("", b""),
        (np.bytes_(b"caf\xe9"), "café".encode()),
        ("x" * xattrs.VALUE_MAX, b"x" * xattrs.VALUE_MAX),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_one_value_is_shown(
    tmp_path: Path, mount: MountFactory, stored: object, shown: bytes
) -> None:
    (tmp_path / "source").mkdir()
    with h5py.File(tmp_path / "source/a.h5", "w") as file:
        file["x"] = stored
    assert told(mount(tmp_path / "source") / "a.h5/x.npy")["esrffs.value"] == shown


def test_several_values_are_not_shown_and_a_broken_one_is_none(
    tmp_path: Path, mount: MountFactory
) -> None:
    (tmp_path / "source").mkdir()
    with h5py.File(tmp_path / "source/a.h5", "w") as file:
        file["two"] = [1, 2]
        file["none"] = np.zeros((0,))
        file["long"] = "x" * (xattrs.VALUE_MAX + 1)
        file["compound"] = np.zeros((), COMPOUND)
        file.create_dataset("lost", (1,), "<i4", external=[("nowhere.raw", 0, 4)])
    mounted = mount(tmp_path / "source")
    mounted.expect("nowhere.raw")
    for name in ("two", "none", "long", "compound", "lost"):
        assert (
            errno_of(os.getxattr, mounted / f"a.h5/{name}.npy", "user.esrffs.value")
            == errno.ENODATA
        ), name


def test_attributes_of_groups(mounted: Mounted) -> None:
    where = {"esrffs.source": b"data.h5"}
    assert told(mounted / "data.h5") == {**where, "esrffs.path": b"/"}, "as long as none looks in"
    assert os.getxattr(mounted / "data.h5", "user.default") == b"entry"
    os.listdir(mounted / "data.h5")
    assert told(mounted / "data.h5") == {
        **where,
        "esrffs.path": b"/",
        "esrffs.views": b"h5",  # once somebody has looked in
        "default": b"entry",
    }
    assert told(mounted / "data.h5/entry") == {
        **where,
        "esrffs.path": b"/entry",
        "NX_class": b"NXentry",
    }


def test_other_formats(mounted: Mounted) -> None:
    image = "scan_0/instrument/detector_0/data"
    found = told(mounted / f"sub/image.edf/{image}.npy")
    assert found["esrffs.path"] == b"/" + image.encode()
    assert found["esrffs.source"] == b"sub/image.edf"
    assert (found["esrffs.dtype"], found["esrffs.shape"]) == (b"<u2", b"[2, 3]")
    found = told(mounted / "scan.dat/1.1/measurement/a.npy")
    assert found["esrffs.path"] == b"/1.1/measurement/a"
    assert (found["esrffs.dtype"], found["esrffs.shape"]) == (b"<f8", b"[2]")
    assert told(mounted / "scan.dat/1.1")["esrffs.path"] == b"/1.1"
    assert told(mounted / "sub") == told(mounted / "notes.txt") == {}


@pytest.mark.parametrize("name", ["data.h5", "scan.dat", "sub/image.edf"])
def test_a_file_that_is_the_source(folder: Path, mount: MountFactory, name: str) -> None:
    mounted = mount(folder / name)
    mounted.expect("nothing to correct")  # of a dataset that is called flat
    for path in (path for path in mounted.path.rglob("*.npy") if not path.is_symlink()):
        found = told(path)
        assert found["esrffs.source"].decode() == Path(name).name
        inner = found["esrffs.path"].decode()
        assert inner == f"/{path.relative_to(mounted.path)}".removesuffix(".npy")


def test_what_there_is_not(mounted: Mounted) -> None:
    for name in ("data.h5", "data.h5/entry/flat.npy", "notes.txt", "sub", "scan.dat"):
        for unknown in ("user.nothing", "user.esrffs.nothing", "user.esrffs.error", "user."):
            assert errno_of(os.getxattr, mounted / name, unknown) in (
                errno.ENODATA,
                errno.EINVAL,
            ), unknown
        assert errno_of(os.getxattr, mounted / name, "security.selinux") in (
            errno.ENODATA,
            errno.EOPNOTSUPP,
        )


def test_a_damaged_file_says_so_as_soon_as_it_was_looked_into(mounted: Mounted) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        os.listdir(mounted / "cut.h5")
    found = told(mounted / "cut.h5")
    assert b"cut.h5" in found["esrffs.error"]
    assert found["esrffs.source"] == b"cut.h5"


def test_as_large_as_the_kernel_takes(mounted: Mounted) -> None:
    found = told(mounted / "large.h5/fits.npy")
    assert found["v"] == b"x" * xattrs.VALUE_MAX
    assert "w" not in found
    names = os.listxattr(mounted / "large.h5/many.npy")
    assert xattrs.LIST_MAX - 206 <= sum(len(name) + 1 for name in names) <= xattrs.LIST_MAX
    left_out = next(n for n in range(400) if f"user.{n:0200d}" not in names)
    value = os.getxattr(mounted / "large.h5/many.npy", f"user.{left_out:0200d}")
    assert int(value) == left_out, "though it is not listed"


@pytest.mark.skipif(not shutil.which("getfattr"), reason="there is no getfattr (package attr)")
def test_getfattr(mounted: Mounted) -> None:
    path = mounted / "data.h5/entry/flat.npy"
    done = subprocess.run(["getfattr", "-d", path], capture_output=True, text=True, check=True)
    assert done.stderr == "" or "Removing leading '/'" in done.stderr
    assert 'user.esrffs.shape="[3, 4]"\n' in done.stdout
    assert 'user.count="7"\n' in done.stdout


def test_of_corrected_images(tmp_path: Path, mount: MountFactory) -> None:
    with h5py.File(tmp_path / "tomo.h5", "w") as file:
        entry = file.create_group("entry")
        entry["data"] = np.ones((5, 2, 3), "u2")
        for name in ("dark", "flat"):
            entry[f"{name}/0000"] = np.full((2, 3), 1 + (name == "flat"), "u2")
        detector = file.create_group("nx/instrument/detector")
        file["nx/definition"] = "NXtomo"
        detector["data"] = np.ones((4, 2, 3), "u2")
        detector["image_key"] = [2, 1, 0, 0]
        file["nx/sample/rotation_angle"] = np.arange(4.0)
    corrected = mount(tmp_path / "tomo.h5") / "entry/corrected"
    assert told(corrected / "data.npy") == {
        "esrffs.path": b"/entry/data",
        "esrffs.source": b"tomo.h5",
        "esrffs.views": b"tif:tifs:edf:edfs:pngs",
        "esrffs.dtype": b"<f4",
        "esrffs.shape": b"[5, 2, 3]",
    }
    assert told(corrected / "attrs.json") == {}
    angles = corrected.parents[1] / "nx/corrected/rotation_angle.npy"
    assert told(angles)["esrffs.dtype"] == b"<f8"
    assert json.loads(told(angles)["esrffs.shape"]) == [2]
    assert told(angles)["esrffs.path"] == b"/nx/instrument/detector/data"


def test_a_listing_asks_no_reader_for_them(tmp_path: Path, mount: MountFactory) -> None:
    """What `ls -l` asks of each file is answered at once, be there a thousand data files."""
    for number in range(300):
        with h5py.File(tmp_path / f"{number:04}.h5", "w") as file:
            file.attrs["NX_class"] = "NXroot"
    mounted = mount(tmp_path)
    names = os.listdir(mounted.path)
    before = mounted.status["cache"]["misses"]
    watch = Stopwatch()
    for name in names:
        for unknown in ("security.selinux", "system.posix_acl_access", "security.capability"):
            with pytest.raises(OSError):  # which one depends on the kernel
                os.getxattr(mounted / name, unknown)
        os.listxattr(mounted / name)  # as coreutils 9.6 does
    assert mounted.status["cache"]["misses"] == before
    assert watch.seconds < 5


def test_other_namespaces_are_not_supported(tmp_path: Path, mount: MountFactory) -> None:
    """Then `ls -l` asks once; were they just not there, it would ask twice for every file."""
    (tmp_path / "a").write_text("")
    mounted = mount(tmp_path)
    assert errno_of(os.getxattr, mounted / "a", "security.esrffs") == errno.EOPNOTSUPP
    assert errno_of(os.getxattr, mounted / "a", "user.esrffs.other") == errno.ENODATA
