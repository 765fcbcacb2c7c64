"""Chunks as HDF5 stores them, made by hand."""

import zlib


def zeros(rows: int, width: int) -> bytes:
    """A deflate stream of so many bytes, made of one row; its checksum is wrong."""
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(width)) + packer.flush(zlib.Z_FULL_FLUSH)
    row = packer.compress(bytes(width)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + (rows - 1) * row + packer.flush()
