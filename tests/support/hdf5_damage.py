"""Files of the corpus cut short or with bytes flipped, each read by a process of its own.

Run as a module with the folder of the corpus.  Every value must be as it was, or an `EsrffsError`
must say why not.  A process that HDF5 crashes, or keeps busy for too long, is what workers are
for, and only counted.
"""

import json
import os
import random
import re
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np

from esrffs.errors import EsrffsError
from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.model import BrokenInfo, DatasetInfo, GroupInfo, JsonInfo
from tests.support.reader_contract import whole

TRIALS = 60
SECONDS = 10
NAMES = ("layouts.h5", "latest.h5", "strings.h5", "compounds.h5", "attributes.h5", "sequences.h5")


def values(path: Path) -> dict[str, object]:
    """Everything in the root group: arrays, texts, and attributes; errors where there are any."""
    found: dict[str, object] = {}
    try:
        reader = Hdf5Reader(str(path), None)
        infos = reader.listing("").members
    except EsrffsError as error:
        check_sentence(str(error))
        return {"": error}
    for info in infos:
        try:
            if isinstance(info, BrokenInfo):
                check_sentence(info.reason, f"/{info.name}: ")
            elif isinstance(info, DatasetInfo) and info.layout is not None:
                small = np.prod(info.shape, dtype=float) * info.dtype.itemsize < 1e8
                found[info.name] = reader.read(info.address, whole(info)) if small else None
                told = json.loads(reader.attributes(info.address))
                for text in told.get("__error__", {}).values():
                    check_sentence(text)
            elif isinstance(info, JsonInfo):
                found[info.name] = reader.text(info.address)
            elif isinstance(info, GroupInfo):
                reader.listing(info.address)
        except EsrffsError as error:
            check_sentence(str(error), info.address)
            found[info.name] = error
    reader.close()
    return found


_BARE = re.compile(  # what h5py, libhdf5 and Python say, without a sentence around it
    r"^(Unable to|Can't|Unspecified|No |Object |Invalid|Not a |Inappropriate|Wrong|Dataset )"
    r"|^\[Errno|Error: |object has no attribute|out of range|unpack|codec can't"
)


def check_sentence(text: str, beginning: str = "") -> None:
    """No error of a library reaches a user as it is."""
    assert text.startswith(beginning), text
    words = text.partition(": ")[2] if text.startswith("/") else text
    assert len(words.split()) > 3, text
    assert not _BARE.search(words), text


def damaged(content: bytes, random_: random.Random) -> tuple[bytes, bool]:
    """The file cut short (True), or with a few bytes changed."""
    if random_.random() < 0.4:
        return content[: random_.randrange(len(content))], True
    changed = bytearray(content)
    for _ in range(random_.randint(1, 4)):
        changed[random_.randrange(len(changed))] = random_.randrange(256)
    return bytes(changed), False


def same(one: object, two: object) -> bool:
    if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
        return one.dtype == two.dtype and one.tobytes() == two.tobytes()
    return one == two


def trial(path: Path, content: bytes, sound: dict[str, object], seed: int) -> int:
    """In a child process: 0 if all is well, 1 if something was made up or escaped."""
    bad, cut = damaged(content, random.Random(seed))
    path.write_bytes(bad)
    try:
        got = values(path)
    except BaseException:
        traceback.print_exc()
        return 1
    if cut:  # flipped bytes may well be values; lost ones must not be replaced
        for name, value in got.items():
            if not isinstance(value, EsrffsError) and not same(value, sound.get(name)):
                print(f"{name}: {value!r} was {sound.get(name)!r}")
                return 1
    return 0


def main(folder: Path) -> int:
    failures = crashes = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in NAMES:
            content, sound = (folder / name).read_bytes(), values(folder / name)
            for seed in range(TRIALS):
                sys.stdout.flush()
                child = os.fork()
                if child == 0:
                    import resource
                    import signal

                    signal.alarm(SECONDS)
                    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
                    code = trial(Path(scratch) / name, content, sound, seed)
                    sys.stdout.flush()
                    os._exit(code)
                _, status = os.waitpid(child, 0)
                if os.WIFSIGNALED(status):
                    crashes += 1
                elif status:
                    print(f"^ {name}, seed {seed}", flush=True)
                    failures += 1
            shutil.rmtree(scratch)
            Path(scratch).mkdir()
    print(f"{failures} failures, {crashes} crashes of the library")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
