"""Files that are not what they should be, made by code and seed, and sound ones with their oracle.

Three kinds: *malformed* HDF5 files, in which the fields behind a signature of the format are set
to what they must not be; *damaged* files, as disks and copies damage them; and *mutants* of
`tests.faults.fuzz`.  The same numbers make the same files.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from tests.faults import fuzz
from tests.support.hdf5_corpus import WRITERS
from tests.support.npy import npy_bytes

_SIGNATURES = re.compile(
    rb"\x89HDF\r\n\x1a\n|TREE|SNOD|HEAP|GCOL|OHDR|OCHK|FRHP|FHDB|FHIB|FSHD|BTHD|BTLF|BTIN|SMTB"
    rb"|FADB|FAHD|EAHD|EAIB|EASB|EADB"
)
_EXTREMES = (b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f", b"\x01\0\0\0\0\0\0\x80", b"\0\0\0\x80")


def sound(folder: Path, number: int) -> dict[str, bytes]:
    """Write the sound file of this number; what stands in it, by path beneath the folder.

    Every fifth is a Spec file, every fifth an EDF.
    """
    chance = np.random.default_rng(number)
    if number % 5 == 3:
        name = f"good{number}.dat"
        values = chance.integers(0, 1000, 20)
        head = "#F f\n#E 1\n#D Thu Feb 11 09:54:35 2016\n\n#S 1 ascan x 0 1 19 1\n#N 2\n#L x  y\n"
        lines = "".join(f"{row} {value}\n" for row, value in enumerate(values))
        (folder / name).write_text(f"{head}{lines}\n")
        return {f"{name}/1.1/measurement/y.npy": npy_bytes(values.astype("f8"))}
    if number % 5 == 4:
        name = f"good{number}.edf"
        image = chance.integers(0, 60_000, (30, 40), dtype="u2")
        head = "{\nHeaderID = EH:000001:000000:000000 ;\nImage = 1 ;\nByteOrder = LowByteFirst ;\n"
        head += "DataType = UnsignedShort ;\nDim_1 = 40 ;\nDim_2 = 30 ;\nSize = 2400 ;\n"
        (folder / name).write_bytes((head.ljust(1022) + "}\n").encode() + image.tobytes())
        return {f"{name}/scan_0/instrument/detector_0/data.npy": npy_bytes(image)}
    name = f"good{number}.h5"
    plain, packed = chance.random((20, 30)), chance.integers(0, 99, (40, 500), dtype="u2")
    words = np.array([f"{number} {i}" for i in range(50)])
    with h5py.File(folder / name, "w", libver="latest" if number % 2 else "earliest") as file:
        file["plain"] = plain
        file.create_dataset("packed", data=packed, chunks=(8, 500), compression="gzip")
        file["words"] = words.astype(h5py.string_dtype())
    arrays = {"plain": plain, "packed": packed, "words": words}
    return {f"{name}/{key}.npy": npy_bytes(array) for key, array in arrays.items()}


def damaged(whole: bytes, seed: int = 5) -> dict[str, bytes]:
    """This content cut short, zeroed, flipped, without its head, with more behind it."""
    chance = random.Random(seed)
    flipped = bytearray(whole)
    for _ in range(3):
        flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
    return {
        **{f"cut{share}": whole[: len(whole) * share // 100] for share in (10, 50, 90)},
        "short": whole[:-1],
        "zeroed": whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2),
        "headless": whole[512:],
        "garbage": whole + chance.randbytes(1000),
        "flipped": bytes(flipped),
    }


def malformed(content: bytes, seed: int) -> bytes:
    """An HDF5 file some of whose structures say what they must not.

    Fields within 64 bytes behind a signature become extreme, or point to a structure there is
    already, so that trees and headers lead in circles.
    """
    chance = random.Random(seed)
    data = bytearray(content)
    places = [match.start() for match in _SIGNATURES.finditer(content)]
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.choice(places) + chance.randrange(4, 64)
        circle = chance.choice(places).to_bytes(8, "little")
        value = chance.choice((*_EXTREMES, circle, circle))
        data[at : at + len(value)] = value
    return bytes(data[: len(content)])


def corpus(folder: Path) -> list[bytes]:
    """The sound HDF5 files that `malformed` is applied to: one of each kind."""
    folder.mkdir(exist_ok=True)
    names = sorted(WRITERS.keys() - {"thousands", "empty", "external"})
    return [WRITERS[name](folder).read_bytes() for name in names]


def fill(
    folder: Path, scratch: Path, counts: tuple[int, int, int, int]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Write so many sound, malformed and damaged files, and mutants, into the folder.

    Yields the name of each, with what stands in it if it is sound.
    """
    good, bad, hurt, mutants = counts
    originals = []
    for number in range(good):
        expected = sound(folder, number)
        name = next(iter(expected)).partition("/")[0]
        originals.append(folder / name)
        yield name, expected
    models = corpus(scratch / "corpus")
    for seed in range(bad):
        name = f"malformed{seed:04}.h5"
        (folder / name).write_bytes(malformed(models[seed % len(models)], seed))
        yield name, {}
    for number in range(-(-hurt // 8)):
        original = originals[number % len(originals)]
        for way, content in damaged(original.read_bytes(), number).items():
            name = f"{way}{number:03}{original.suffix}"
            (folder / name).write_bytes(content)
            yield name, {}
    for seed in range(mutants):
        format_ = list(fuzz.MAKE)[seed % len(fuzz.MAKE)]
        model = scratch / f"{seed // 3 % 2}{fuzz.SUFFIX[format_]}"
        if not model.exists():
            fuzz.MAKE[format_](model)
        name = f"mutant{seed:05}x{fuzz.SUFFIX[format_]}"  # x: they are no series
        (folder / name).write_bytes(fuzz.mutant(model.read_bytes(), seed))
        yield name, {}
