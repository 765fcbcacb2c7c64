"""No tests: scans after every convention, and what the contract says of them, in plain numpy."""

from collections.abc import Callable
from pathlib import Path

import fabio.edfimage
import h5py
import hdf5plugin
import numpy as np

from tests.support.flat_field import f32, formula, mean, median, same
from tests.support.npy import npy_bytes

SHAPE = (13, 17)
Expected = dict[str, np.ndarray]  # by the path of the .npy below the folder of the scan


def counts(seed: object, *lead: int, dtype: str = "<u2", shape: tuple[int, ...] = SHAPE):
    """Counts of which some raw are dark, and some flat equal to dark, for 0/0 and x/0."""
    rng = np.random.default_rng(sum(map(ord, str(seed))))
    top = min(60000, np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 60000)
    return rng.integers(0, top, (*lead, *shape)).astype(dtype)


def edf(path: Path, frames: np.ndarray) -> None:
    stack = frames if frames.ndim == 3 else frames[np.newaxis]
    image = fabio.edfimage.EdfImage(data=stack[0], header={})
    for frame in stack[1:]:
        image.append_frame(data=frame, header={})
    image.write(str(path))


# --- data files


def training(folder: Path) -> Expected:
    """A group for each dtype: images by number, two flats, one dark."""
    expected = {}
    with h5py.File(folder / "training.h5", "w") as file:
        for dtype in ("u1", "<u2", "<u4", "<i4", "<f4", ">u2", ">f4", "<f8", "<i8", "<f2"):
            name = dtype.replace("<", "l").replace(">", "b")
            group = file.create_group(name)
            wide = dtype if dtype != "<f2" else "u1"
            one, two, dark = counts(dtype, 3, dtype=wide).astype(dtype)
            group["flatfield/0000"], group["flatfield/0500"], group["dark/0000"] = one, two, dark
            for at in (0, 100, 333, 500, 700):
                raw = counts((dtype, at), dtype=wide).astype(dtype)
                group[f"data/{at:04d}"] = raw
                made = formula(raw, dark, (one, two), (0.0, 500.0), at)
                expected[f"training.h5/{name}/corrected/{at:04d}.npy"] = made
    return expected


def stacks(folder: Path) -> Expected:
    """Stacks of raw, flats and darks; groups that hold a `data`; other names; a single image."""
    expected = {}
    with h5py.File(folder / "stacks.h5", "w") as file:
        raw, flats, darks = counts(1, 5), counts(2, 4), counts(3, 3)
        file["a/projections"], file["a/flats"], file["a/darks"] = raw, flats, darks
        expected["stacks.h5/a/corrected/projections.npy"] = formula(
            raw, mean(darks), [median(flats)]
        )
        file["b/raw/data"], file["b/flat/data"], file["b/background/data"] = raw, flats, darks
        expected["stacks.h5/b/corrected/data.npy"] = formula(raw, mean(darks), [median(flats)])
        file["c/data"], file["c/flat"], file["c/dark"] = raw[0], flats[0], darks[0]
        expected["stacks.h5/c/corrected/data.npy"] = formula(raw[0], darks[0], flats[:1])
        for k in (0, 3):  # runs of flats in a group, raw of several names
            file[f"d/flat/{k}"] = counts((4, k), 3)
        file["d/dark/one"], file["d/dark/two"] = darks[:2], darks[2]
        file["d/data/x"], file["d/data/y"] = raw, raw[::-1]
        runs = [median(counts((4, k), 3)) for k in (0, 3)]
        for name, stack in (("x", raw), ("y", raw[::-1])):
            made = formula(stack, mean(darks), runs, (0.0, 3.0))
            expected[f"stacks.h5/d/corrected/{name}.npy"] = made
        file["e/dark/data"] = darks
        for at in (0, 2, 4):
            file[f"e/flat_{at:03d}/data"] = counts((5, at), 2)
        file["e/scan/data"] = raw
        runs = [median(counts((5, at), 2)) for at in (0, 2, 4)]
        expected["stacks.h5/e/corrected/data.npy"] = formula(raw, mean(darks), runs, (0, 2, 4))
        exchange = file.create_group("exchange")
        exchange["data"], exchange["data_white"], exchange["data_dark"] = raw, flats, darks
        expected["stacks.h5/exchange/corrected/data.npy"] = formula(
            raw, mean(darks), [median(flats)]
        )
    return expected


def layouts(folder: Path) -> Expected:
    """The same scan however its stack is stored."""
    raw, (one, two), dark = counts("raw", 9), counts("flat", 2), counts("dark")
    made = formula(raw, dark, (one, two), (0.0, 8.0))

    def store(group: h5py.Group, name: str) -> str:
        group["flat/0"], group["flat/8"], group["dark"] = one, two, dark
        return f"layouts.h5{group.name}/corrected/{name}.npy"

    expected = {}
    with h5py.File(folder / "layouts.h5", "w") as file:
        for name, options in {
            "gzip": {"chunks": (1, *SHAPE), "compression": "gzip", "shuffle": True},
            "cubes": {"chunks": (2, 5, 4), "compression": "gzip"},
            "bitshuffle": {"chunks": (2, *SHAPE), **hdf5plugin.Bitshuffle()},
            "zstd": {"chunks": (1, *SHAPE), **hdf5plugin.Zstd()},
            "plain": {"chunks": (1, *SHAPE)},
            "contiguous": {},
        }.items():
            group = file.create_group(name)
            group.create_dataset("data", data=raw, **options)
            expected[store(group, "data")] = made
        file["soft/data"] = h5py.SoftLink("/gzip/data")
        expected[store(file["soft"], "data")] = made
        for part in range(3):
            with h5py.File(folder / f"part{part}.h5", "w") as other:
                other.create_dataset("e/m/data", data=raw[3 * part :][:3], **hdf5plugin.LZ4())
        layout = h5py.VirtualLayout(raw.shape, raw.dtype)
        for part in range(3):
            source = h5py.VirtualSource(f"part{part}.h5", "e/m/data", (3, *SHAPE))
            layout[3 * part : 3 * part + 3] = source
        file.create_virtual_dataset("virtual/data", layout, fillvalue=7)
        expected[store(file["virtual"], "data")] = made
        with h5py.File(folder / "far.h5", "w") as other:
            other.create_dataset("deep/stack", data=raw, chunks=(1, *SHAPE), compression="gzip")
            other["deep/images/0"], other["deep/images/3"] = raw[0], raw[3]
            other["bright/0"], other["bright/8"] = one, two
        file["external/data"] = h5py.ExternalLink("far.h5", "/deep/stack")
        expected[store(file["external"], "data")] = made
        file["group/data"] = h5py.ExternalLink("far.h5", "/deep/images")
        file["group/flat"] = h5py.ExternalLink("far.h5", "/bright")
        file["group/dark"] = dark
        for k in (0, 3):
            expected[f"layouts.h5/group/corrected/{k}.npy"] = made[k]
    return expected


KEYS = [2, 2, 1, 1, 1, 0, 0, 3, 0, 1, 1, 0, 0, 2, 1, 1, 1, 0, 0]


def nxtomo(folder: Path) -> Expected:
    expected = {}
    keys = np.array(KEYS)
    data = counts("tomo", len(keys))
    angles = np.linspace(0, 180, len(keys))
    dark = mean(data[0:2])
    flats, at = [median(data[a:b]) for a, b in ((2, 5), (9, 11), (14, 17))], (2, 9, 14)
    with h5py.File(folder / "tomo.nx", "w") as file:
        for name, last in (("control", -1), ("plain", 0)):
            entry = file.create_group(name)
            entry["definition"] = "NXtomo"
            entry.create_dataset("instrument/detector/data", data=data, chunks=(4, 6, 7))
            entry["instrument/detector/image_key"] = keys
            if last:
                control = keys.copy()
                control[-1] = last
                entry["instrument/detector/image_key_control"] = control
            entry["sample/rotation_angle"] = angles
            entry["data/data"] = h5py.SoftLink(f"/{name}/instrument/detector/data")
            index = np.flatnonzero(keys == 0)[: len(keys) if not last else -1]
            where = f"tomo.nx/{name}/corrected"
            expected[f"{where}/data.npy"] = formula(data[index], dark, flats, at, index)
            expected[f"{where}/rotation_angle.npy"] = angles[index]
            expected[f"{where}/frame_index.npy"] = index.astype(np.int64)
    return expected


def bliss(folder: Path) -> Expected:
    """By title and by image_key: darks, flats, projections, flats, static images."""
    scans = [
        ("tomo:fullturn", None, 0),
        ("dark images", 2, 2),
        ("reference images 1", 1, 3),
        ("projections 0 180", 0, 6),
        ("ref 2", 1, 2),
        ("static images", -1, 2),
    ]
    expected = {}
    for typed in (False, True):
        name = f"bliss{int(typed)}.h5"
        with h5py.File(folder / name, "w") as file:
            for number, (title, key, frames) in enumerate(scans, 1):
                scan = file.create_group(f"{number}.1")
                scan["title"] = title if not typed or key is None else f"ct {number}"
                if typed and key is not None:
                    scan["technique/image_key"] = key
                if frames:
                    scan["instrument/pco/data"] = counts(("bliss", number), frames)
                    scan["measurement/pco"] = h5py.SoftLink(f"/{number}.1/instrument/pco/data")
        run = {number: counts(("bliss", number), scans[number - 1][2]) for number in range(2, 7)}
        flats = [median(run[3]), median(run[5])]
        expected[f"{name}/4.1/corrected/data.npy"] = formula(
            run[4], mean(run[2]), flats, (2.0, 11.0), range(5, 11)
        )
    return expected


# --- folders


def images(folder: Path) -> Expected:
    """Flats before and after, three darks, a series, an image by itself, one of another kind."""
    expected, dark = {}, counts("darks", 3)
    for k, frame in enumerate(dark):
        edf(folder / f"dark_{k}.edf", frame)
    flats = counts("flats", 2)
    edf(folder / "flat_0000.edf", flats[0])
    edf(folder / "flat_0010.edf", flats[1])
    numbers = (0, 1, 5, 10, 12)
    for number in numbers:
        edf(folder / f"bone_{number:04d}.edf", counts(number))
    edf(folder / "alone.edf", counts("alone", dtype="<u4"))
    edf(folder / "small.edf", np.ones((3, 3), "u2"))
    (folder / "notes.txt").write_text("not an image\n")

    def made(raw: np.ndarray, at: object) -> np.ndarray:
        return formula(raw, mean(dark), flats, (0.0, 10.0), at)

    stack = np.stack([counts(number) for number in numbers])
    expected["corrected/bone_####.npy"] = made(stack, numbers)
    for number in numbers:
        expected[f"corrected/bone_{number:04d}.npy"] = made(counts(number), number)
    expected["corrected/alone.npy"] = made(counts("alone", dtype="<u4"), 0)
    return expected


def ended(folder: Path) -> Expected:
    """A series ends where an image has another shape; those after it stand alone."""
    edf(folder / "dark.edf", counts("dark"))
    edf(folder / "flat.edf", counts("flat"))
    stack = np.stack([counts(k) for k in range(5)])
    for k, frame in enumerate(stack):
        edf(folder / f"x{k}.edf", frame if k != 3 else frame[1:])
    made = formula(stack, counts("dark"), [counts("flat")])
    return {"corrected/x#.npy": made[:3]} | {f"corrected/x{k}.npy": made[k] for k in (0, 1, 2, 4)}


def multiframe(folder: Path) -> Expected:
    """All of a role in one file each; raw big-endian floats."""
    raw, flats, darks = counts("mf", 4).astype("<i4"), counts("mff", 5), counts("mfd", 2)
    edf(folder / "scan.edf", raw)
    edf(folder / "flat.edf", flats)
    edf(folder / "dark.edf", darks)
    big = counts("big", dtype="<f4")
    header = (
        "{\nHeaderID = EH:000001:000000:000000 ;\nImage = 1 ;\nByteOrder = HighByteFirst ;\n"
        f"DataType = FloatValue ;\nDim_1 = {SHAPE[1]} ;\nDim_2 = {SHAPE[0]} ;\n"
        f"Size = {big.nbytes} ;\n"
    )
    content = header.ljust(510).encode() + b"}\n" + big.astype(">f4").tobytes()
    (folder / "big.edf").write_bytes(content)
    return {
        "corrected/scan.npy": formula(raw, mean(darks), [median(flats)]),
        "corrected/big.npy": formula(big, mean(darks), [median(flats)]),
    }


def id19(folder: Path) -> Expected:
    """Of old: two runs of refs, an accumulated dark, projections and images after them."""
    dark = counts("d") * np.uint32(3)
    edf(folder / "darkend0000.edf", dark.astype("u4"))
    for at in (0, 6):
        for k in range(3):
            edf(folder / f"ref{k:04d}_{at:04d}.edf", counts((at, k)))
    stack = np.stack([counts(("bone", k)) for k in range(8)])
    for k, frame in enumerate(stack):
        edf(folder / f"bone{k:04d}.edf", frame)
    (folder / "bone.info").write_text("TOMO_N= 6\nREF_ON= 6\nREF_N= 3\nDARK_N= 20\n")
    flats = [np.median(f32(np.stack([counts((at, k)) for k in range(3)])), axis=0) for at in (0, 6)]
    made = formula(stack, f32(dark.astype("u4")) / np.float32(20), flats, (0.0, 6.0))
    expected = {"corrected/bone####.npy": made}
    return expected | {f"corrected/bone{k:04d}.npy": made[k] for k in range(8)}


def id19_reduced(folder: Path) -> Expected:
    """`dark.edf` and `refHST` serve before what they were made from."""
    dark, one, two = counts("dd"), counts("h0", dtype="<f4"), counts("h1", dtype="<f4")
    edf(folder / "dark.edf", dark)
    edf(folder / "darkend0000.edf", dark.astype("u4") * 20)
    edf(folder / "refHST0000.edf", one)
    edf(folder / "refHST0004.edf", two)
    edf(folder / "ref0000_0004.edf", dark)
    stack = np.stack([counts(("b", k)) for k in range(5)])
    for k, frame in enumerate(stack):
        edf(folder / f"wood{k:04d}.edf", frame)
    return {"corrected/wood####.npy": formula(stack, dark, (one, two), (0.0, 4.0))}


def configured(folder: Path) -> Expected:
    """The three examples of the documentation."""
    raw, flats, darks = counts("c", 6), counts("cf", 4), counts("cd", 2)
    with h5py.File(folder / "scan.h5", "w") as file:
        file["entry/data"] = np.concatenate([darks, flats, raw])
    with h5py.File(folder / "after.h5", "w") as file:
        file["entry/data"] = counts("after", 3)
    edf(folder / "wood.edf", raw[0])
    edf(folder / "beam.edf", flats[0])
    edf(folder / "closed.edf", darks[0])
    (folder / ".esrffs.toml").write_text(
        """
        [[corrected]]
        raw = "wood.edf"
        flat = "beam.edf"
        dark = "closed.edf"

        [[corrected]]
        name = "bone"
        raw = "scan.h5::/entry/data[6:12]"
        at = 0
        dark = "scan.h5::/entry/data[0:2]"
        flat = [
            { from = "scan.h5::/entry/data[2:6]", at = 0 },
            { from = "after.h5::/entry/data", at = 4 },
        ]

        [[corrected]]
        name = "nearest"
        raw = "scan.h5::/entry/data[6:12]"
        dark = "scan.h5::/entry/data[0:2]"
        dark_reduction = "median"
        dark_n = 2
        flat = { from = "scan.h5::/entry/data[2:6]", at = 0 }
        flat_reduction = "mean"
        nan = 5.0
        """
    )
    after = median(counts("after", 3))
    nearest = formula(raw, median(darks) / np.float32(2), [mean(flats)])
    nearest[~np.isfinite(nearest)] = 5
    return {
        "corrected/wood.npy": formula(raw[0], darks[0], flats[:1]),
        "corrected/bone.npy": formula(raw, mean(darks), (median(flats), after), (0.0, 4.0)),
        "corrected/nearest.npy": nearest,
    }


def clashes(folder: Path) -> Expected:
    """A real group, a real dataset and a child called `corrected`; a raw image called `attrs`."""
    raw, flat, dark = counts("k", 2), counts("kf"), counts("kd")
    expected = {}
    with h5py.File(folder / "clash.h5", "w") as file:
        for name in ("group", "dataset"):
            file[f"{name}/data/attrs"], file[f"{name}/data/attrs.json"] = raw
            file[f"{name}/flat"], file[f"{name}/dark"] = flat, dark
            for k, child in enumerate(("attrs", "attrs.json")):
                shown = "corrected~1" if name == "group" else "corrected"
                expected[f"clash.h5/{name}/{shown}/{child}.npy"] = formula(raw[k], dark, [flat])
        file["group/corrected/x"] = 1
        file["dataset/corrected"] = 2
    return expected


def folder_clash(folder: Path) -> Expected:
    (folder / "corrected").mkdir()
    for name in ("dark", "flat", "image"):
        edf(folder / f"{name}.edf", counts(name))
    edf(folder / "corrected" / "image.edf", counts("other"))
    return {"corrected~1/image.npy": formula(counts("image"), counts("dark"), [counts("flat")])}


def large(folder: Path) -> Expected:
    """Frames larger than a block, and blocks of several frames."""
    shape = (1100, 1201)
    raw, flats = counts("L", 3, shape=shape), counts("LF", 2, shape=shape)
    dark = counts("LD", shape=shape) // np.uint16(8)
    with h5py.File(folder / "large.h5", "w") as file:
        file.create_dataset("data", data=raw, chunks=(1, 550, 1201), **hdf5plugin.Bitshuffle())
        file["flat/0"], file["flat/2"], file["dark"] = flats[0], flats[1], dark
    return {"large.h5/corrected/data.npy": formula(raw, dark, flats, (0.0, 2.0))}


SCANS: tuple[Callable[[Path], Expected], ...] = (
    training, stacks, layouts, nxtomo, bliss, images, ended, multiframe, id19,
    id19_reduced, configured, clashes, folder_clash, large,
)  # fmt: skip


def identical(content: bytes, array: np.ndarray) -> bool:
    """The bytes that numpy would save, where a NaN may be any NaN."""
    wanted = npy_bytes(array)
    if array.dtype != np.float32:
        return content == wanted
    start = len(wanted) - array.nbytes
    made = np.frombuffer(content[start:], np.float32)
    return content[:start] == wanted[:start] and same(made, array.reshape(-1))
