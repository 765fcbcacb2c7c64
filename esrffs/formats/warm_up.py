"""Read a small sample file of each format, so that the first request is not slow.

Libraries do much at their first use: imports inside functions, tables, registered types.  This
happens in the fork server, once for all workers.  Each new worker reads the samples again, which
touches the pages that become private when it writes to them.  The sample files are temporary.
"""

import atexit
import functools
import io
import os
import shutil
import tempfile
from contextlib import suppress

import numpy as np
import tifffile

from esrffs.errors import EsrffsError
from esrffs.formats.hdf5.library import h5py
from esrffs.formats.images.tiff_segments import load_codecs
from esrffs.formats.readers import open_reader
from esrffs.model import Box, DatasetInfo, Format, GroupInfo, Reader

FORMATS: dict[str, Format] = {
    "hdf5": "hdf5",
    "image": "image",
    "spec": "spec",
    "tiff": "image",  # read by another library
}
_PREFIX = "esrffs-samples-"
_GROUPS = 24  # groups of one file that are read: each sample has fewer


def warm_up() -> None:
    """Read the samples as a request would.  Errors are ignored: a request will meet them again."""
    load_codecs()
    for kind in FORMATS:
        with suppress(EsrffsError, OSError):
            _read(kind)


def _read(kind: str) -> None:
    reader = open_reader(FORMATS[kind], os.path.join(_folder(), kind), None)
    try:
        _walk(reader)
    finally:
        reader.close()


@functools.cache
def _folder() -> str:
    """The folder with the samples, made by the fork server for all workers.

    libhdf5 needs a file on disk.  The folder is removed when the fork server ends; folders of fork
    servers that were killed are removed here.
    """
    for entry in os.scandir(tempfile.gettempdir()):
        pid = entry.name.removeprefix(_PREFIX).partition("-")[0]
        with suppress(OSError):
            left = entry.name.startswith(_PREFIX) and not os.path.exists(f"/proc/{pid}")
            if left and entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                shutil.rmtree(entry.path, ignore_errors=True)
    maker = os.getpid()
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{maker}-")

    def remove() -> None:
        if os.getpid() == maker:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    for kind in FORMATS:
        with open(os.path.join(folder, kind), "wb") as file:
            file.write(sample(kind))
    return folder


def _walk(reader: Reader) -> None:
    waiting = [""]
    for _ in range(_GROUPS):
        if not waiting:
            return
        for member in reader.listing(waiting.pop(0)).members:
            match member:
                case GroupInfo():
                    waiting.append(member.address)
                case DatasetInfo():
                    reader.read(member.address, Box((0,) * len(member.shape), member.shape))


@functools.cache
def sample(kind: str) -> bytes:
    """The content of a small file of this kind."""
    return {"hdf5": _hdf5, "image": _edf, "spec": _spec, "tiff": _tiff}[kind]()


def _hdf5() -> bytes:
    with h5py.File("sample", "w", driver="core", backing_store=False) as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        entry["title"] = "sample"
        frames = np.arange(64, dtype=np.uint16).reshape(4, 4, 4)
        entry["contiguous"] = frames
        entry["contiguous"].attrs.update({"units": "counts", "scale": 0.5, "offsets": [1, 2]})
        entry.create_dataset("chunked", data=frames, chunks=(1, 4, 4), compression="gzip")
        entry["link"] = h5py.SoftLink("contiguous")
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _edf() -> bytes:
    told = "Dim_1 = 4 ;\nDim_2 = 4 ;\nDataType = UnsignedShort ;\nByteOrder = LowByteFirst ;\n"
    told += "Size = 32 ;\nmotor_pos = 1.5 ;\nmotor_mne = phi ;\n"
    header = ("{\n" + told).ljust(510).encode() + b"}\n"
    return 2 * (header + bytes(32))


def _tiff() -> bytes:
    file = io.BytesIO()
    frames = np.arange(32, dtype=np.uint16).reshape(2, 4, 4)
    tifffile.imwrite(file, frames, photometric="minisblack", compression="lzw", predictor=True)
    return file.getvalue()


def _spec() -> bytes:
    head = "#F sample\n#E 1000000000\n#D Sat Sep 08 21:46:40 2001\n#O0 phi\n\n"
    scan = "#S {} ascan phi 0 1 1 1\n#D Sat Sep 08 21:46:40 2001\n#P0 0\n#N 2\n#L phi  counter\n"
    return (head + scan.format(1) + "0 1\n1 2\n\n" + scan.format(2) + "0 1\n").encode()
