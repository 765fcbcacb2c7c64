"""A source with files outside of it, which no test must be able to read, and ways to name them."""

import os
import stat
import threading
from pathlib import Path

import h5py
import numpy as np

SECRET = b"the secret".ljust(512, b"!")


def secret_source(place: Path) -> Path:
    """`source/data.h5` with the numbers 0 … 9, and outside of it `secret.raw` and `secret.h5`."""
    folder = place / "source"
    folder.mkdir()
    with h5py.File(folder / "data.h5", "w") as file:
        file["x"] = np.arange(10)
    with h5py.File(place / "secret.h5", "w") as file:
        file["x"] = np.frombuffer(SECRET, "u1")
        file["words"] = np.array([SECRET.decode()], dtype=h5py.string_dtype())
    (place / "secret.raw").write_bytes(SECRET)
    (place / "mnt").mkdir()
    return folder


def everything(path: Path) -> bytes:
    """All that can be had below a directory: names, link texts, contents, extended attributes."""
    found = []
    for folder, names, files in os.walk(path):
        for name in [*names, *files]:
            one = Path(folder, name)
            found.append(os.fsencode(name))
            try:
                found += [
                    os.getxattr(one, name, follow_symlinks=False) for name in os.listxattr(one)
                ]
                found.append(os.fsencode(os.readlink(one)) if one.is_symlink() else b"")
                if stat.S_ISREG(one.stat().st_mode):
                    found.append(one.read_bytes())
            except OSError:
                continue
    return b"\n".join(found)


def edf(**more: object) -> bytes:
    """The header of an image of 512 bytes."""
    known = {"HeaderID": "EH:000001:000000:000000", "Image": 1, "ByteOrder": "LowByteFirst"}
    known |= {"DataType": "UnsignedByte", "Dim_1": 16, "Dim_2": 32, "Size": 512, **more}
    text = "{\n" + "".join(f"{key} = {value} ;\n" for key, value in known.items())
    return (text.ljust(1022) + "}\n").encode()


def attacks(folder: Path, secret: str, raw: str) -> list[str]:
    """Fill `attack.h5` with all ways to name other files; returns the files to be read."""
    with h5py.File(folder / "attack.h5", "w") as file:
        file["external"] = h5py.ExternalLink(secret, "/x")
        file["group"] = h5py.ExternalLink(secret, "/")
        file["soft"] = h5py.SoftLink("/external")
        layout = h5py.VirtualLayout((512,), "u1")
        layout[:] = h5py.VirtualSource(secret, "x", (512,))
        file.create_virtual_dataset("virtual", layout)
        part = h5py.VirtualLayout((512,), "u1")
        part[:256] = h5py.VirtualSource(secret, "x", (512,))[:256]
        file.create_virtual_dataset("part", part)
        frames = h5py.VirtualLayout((4, 128), "u1")
        frames[:] = h5py.VirtualSource(secret, "x", (4, 128))
        file.create_virtual_dataset("frames", frames)
        words = h5py.VirtualLayout((1,), h5py.string_dtype())
        words[:] = h5py.VirtualSource(secret, "words", (1,))
        file.create_virtual_dataset("strings", words)
        file.create_dataset("raw", (512,), "u1", external=[(raw, 0, 512)])
    with h5py.File(folder / "second.h5", "w") as file:  # one step further
        layout = h5py.VirtualLayout((512,), "u1")
        layout[:] = h5py.VirtualSource("attack.h5", "virtual", (512,))
        file.create_virtual_dataset("chained", layout)
        file["far"] = h5py.ExternalLink("attack.h5", "/external")
    (folder / "attack.edf").write_bytes(
        edf(EDF_BinaryFileName=raw, EDF_BinaryFilePosition=0, EDF_BinaryFileSize=512)
    )
    names = ("virtual.npy", "part.npy", "frames.npy", "strings", "raw.npy")
    return [*(f"attack.h5/{name}" for name in names), "second.h5/chained.npy"]


def swapping(path: Path, one: str, other: str, end: threading.Event) -> threading.Thread:
    """A thread that makes `path` a link to one, then to the other, and so on."""

    def swap() -> None:
        turn = 0
        spare = path.with_name(path.name + ".new")
        while not end.is_set():
            turn += 1
            spare.symlink_to((one, other)[turn % 2])
            os.replace(spare, path)

    thread = threading.Thread(target=swap)
    thread.start()
    return thread
