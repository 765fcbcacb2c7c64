"""Seeded mutants of data files against the readers, each in a process of its own.

    python -m tests.faults.fuzz --seed 1 --count 1000 [--format hdf5|spec|image] [--file FILE]

A mutant is told by format and seed alone.  A mutant that kills, stalls or swells its reader is
printed (the program copes with those, but they are worth knowing); one that lets out anything but
an `EsrffsError` is a defect, and the exit status says so.  `test_commands.py` keeps the ones found.
"""

import argparse
import multiprocessing
import os
import random
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np

from esrffs.errors import EsrffsError
from esrffs.formats import detect, readers
from esrffs.model import Box, DatasetInfo, Format, GroupInfo, JsonInfo, Reader

T = TypeVar("T")
DEADLINE = 10.0  # seconds for all of one file
MEMORY = 2 << 30
SUFFIX: dict[Format, str] = {"hdf5": ".h5", "spec": ".dat", "image": ".edf"}


def hdf5(path: Path) -> None:
    with h5py.File(path, "w", libver="latest" if path.stem == "1" else "earliest") as file:
        file.attrs["title"] = "a file"
        group = file.create_group("entry")
        group.attrs["vlen"] = np.array(["x", "yy"], dtype=h5py.string_dtype())
        group["image"] = np.arange(200.0).reshape(10, 20)
        group.create_dataset("packed", data=np.arange(5000), chunks=(100,), compression="gzip")
        group.create_dataset("sums", data=np.arange(500), chunks=(100,), fletcher32=True)
        group["words"] = np.array(["a", "bc"] * 20, dtype=h5py.string_dtype())
        group["pairs"] = np.zeros(5, [("a", "i4"), ("b", "f8", 3), ("c", "S4")])
        group["ragged"] = np.zeros(0, h5py.vlen_dtype("i4"))
        group["reference"] = np.array([file["entry"].ref], h5py.ref_dtype)
        group["soft"] = h5py.SoftLink("/entry/image")
        layout = h5py.VirtualLayout((10, 20), "f8")
        layout[:] = h5py.VirtualSource(".", "entry/image", (10, 20))
        group.create_virtual_dataset("virtual", layout)


def spec(path: Path) -> None:
    lines = ["#F file", "#E 1", "#D Thu Feb 11 09:54:35 2016", "#O0 alpha  beta", ""]
    for number in range(1, 6):
        lines += [f"#S {number} ascan x 0 1 9 1", "#D Thu Feb 11 09:54:35 2016", "#T 1  (Seconds)"]
        lines += ["#P0 1.5 2.5", "#@MCA 4C", "#@CHANN 4 0 3 1", "#N 3", "#L x  Epoch  det"]
        for row in range(10):
            lines += [f"{row} {1455180875 + row} {row * number}", "@A 1 2 3 4"]
        lines.append("")
    path.write_text("\n".join(lines))


def image_file(path: Path) -> None:
    with path.open("wb") as file:
        for number in range(3):
            head = f"{{\nEDF_DataBlockID = {number}.Image.Psd ;\nImage = {number} ;\n"
            head += "ByteOrder = LowByteFirst ;\nDataType = UnsignedShort ;\nDim_1 = 20 ;\n"
            head += "Dim_2 = 10 ;\nSize = 400 ;\nmotor_mne = a b ;\nmotor_pos = 1 2 ;\n"
            file.write((head.ljust(1022) + "}\n").encode())
            file.write(np.arange(200, dtype="<u2").tobytes())


MAKE: dict[Format, Callable[[Path], None]] = {"hdf5": hdf5, "spec": spec, "image": image_file}


def mutant(content: bytes, seed: int) -> bytes:
    """The same one for the same seed: some bytes flipped, moved, cut off or said again."""
    chance = random.Random(seed)
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(data))
        match chance.randrange(7):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                data[at : at + 8] = chance.choice((b"\xff" * 8, b"\0" * 8, b"\0" * 7 + b"\x80"))
            case 3:
                size = chance.randrange(1, 64)
                data[at : at + size] = data[(start := chance.randrange(len(data))) : start + size]
            case 4:
                del data[at : at + chance.randrange(1, 64)]
            case 5:
                data[at:at] = chance.randbytes(chance.randrange(1, 32))
            case 6 if chance.random() < 0.3:
                del data[max(at, 16) :]
    return bytes(data) or b"\0"


def walk(reader: Reader, address: str = "", depth: int = 6) -> None:
    """Ask for all that the mount would: every listing, attribute, text, and the ends of arrays."""
    asked(lambda: reader.attributes(address))
    listing = asked(lambda: reader.listing(address))
    for member in listing.members if listing else ():
        match member:
            case GroupInfo() if depth:
                walk(reader, member.address, depth - 1)
            case DatasetInfo():
                read(reader, member)
            case JsonInfo():
                asked(lambda found=member: reader.text(found.address))


def read(reader: Reader, info: DatasetInfo) -> None:
    asked(lambda: reader.attributes(info.address))
    if getattr(info.layout, "indexed", False):
        asked(lambda: reader.chunk_index(info.address))
    low = tuple(min(n, 4) for n in info.shape)
    for start in ((0,) * len(low), tuple(n - k for n, k in zip(info.shape, low, strict=True))):
        box = Box(start, tuple(a + k for a, k in zip(start, low, strict=True)))
        array = asked(lambda box=box: reader.read(info.address, box))
        assert array is None or (array.shape, array.dtype) == (box.shape, info.dtype)


def asked(ask: Callable[[], T]) -> T | None:
    """The answer; None where it is refused."""
    try:
        return ask()
    except EsrffsError:
        return None


def look(path: Path) -> None:
    """What the daemon and a worker do with a file; any other exception leaves."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        format_ = detect.detect_format(
            lambda offset, count: os.pread(file.fileno(), count, offset), size, path.name
        )
    if format_ is None:
        return
    try:
        reader = readers.open_reader(format_, str(path), None)
    except EsrffsError:
        return
    walk(reader)
    asked(reader.close)


def _child(path: Path, pipe: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        look(path)
    except MemoryError:
        pipe.send("memory")
    except BaseException as error:  # whatever it is, it is the answer
        pipe.send(f"defect: {type(error).__name__}: {error}")
    else:
        pipe.send("fine")


def outcome(path: Path) -> str:
    """What becomes of this file: "fine", "memory", "hangs", "SIGSEGV" …, "defect: …"."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(path, theirs))
    process.start()
    theirs.close()
    try:
        if not ours.poll(DEADLINE):
            return "hangs"
        return str(ours.recv())
    except EOFError:
        process.join()
        return f"dies ({process.exitcode})"
    finally:
        process.kill()
        process.join()
        ours.close()


def run(format_: Format, seed: int, folder: Path, original: bytes | None = None) -> str:
    """The outcome of the mutant that this format and seed tell."""
    path = folder / f"mutant{SUFFIX[format_]}"
    if original is None:
        model = folder / f"{seed % 2}{SUFFIX[format_]}"
        if not model.exists():
            MAKE[format_](model)
        original = model.read_bytes()
    path.write_bytes(mutant(original, seed))
    return outcome(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--format", choices=[*MAKE])
    parser.add_argument("--file", type=Path, help="mutate this one, which is of --format")
    given = parser.parse_args()
    found: Counter[tuple[str, str]] = Counter()
    original = given.file.read_bytes() if given.file else None
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.seed, given.seed + given.count):
            for format_ in [given.format] if given.format else MAKE:
                told = run(format_, seed, Path(folder), original)
                found[format_, told.partition(":")[0]] += 1
                if told != "fine":
                    print(f"{format_} {seed}: {told}", flush=True)
    for (format_, told), number in sorted(found.items()):
        print(f"{format_:8} {told:20} {number:8}")
    return int(any(told == "defect" for _, told in found))


if __name__ == "__main__":
    sys.exit(main())
