"""How the HDF5 file of an image is made: property lists, and the Python object behind it.

The file is the plainest that libhdf5 writes, so that HDF5 1.8 reads it: the creation order of all
links is tracked, there are no time stamps, and no data are allocated whose place is given later.
"""

import io

from esrffs.formats.hdf5.library import h5d, h5f, h5p, h5s, h5t

_TRACKED = h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED


class SparseFile(io.BytesIO):
    """A file that goes on, with zeros, behind its content."""

    def __init__(self, content: bytes, end: int) -> None:
        super().__init__(content)
        self._end = end

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_END:
            return super().seek(self._end + offset)
        return super().seek(offset, whence)

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        read = super().readinto(buffer)
        buffer[read:] = bytes(len(buffer) - read)
        return len(buffer)


def file_access(content: io.BytesIO, low: int = h5f.LIBVER_EARLIEST) -> h5p.PropFAID:
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_libver_bounds(low, h5f.LIBVER_LATEST)
    access.set_fileobj_driver(_driver(), content)
    return access


def _driver() -> int:
    from h5py import h5fd

    return int(h5fd.fileobj_driver)


def create_file(content: io.BytesIO, newer: bool) -> h5f.FileID:
    plist = h5p.create(h5p.FILE_CREATE)
    plist.set_link_creation_order(_TRACKED)
    plist.set_obj_track_times(False)
    access = file_access(content, h5f.LIBVER_V18 if newer else h5f.LIBVER_EARLIEST)
    return h5f.create(b"view", h5f.ACC_TRUNC, plist, access)


def group_properties(attribute_order: int) -> h5p.PropGCID:
    plist = h5p.create(h5p.GROUP_CREATE)
    plist.set_link_creation_order(_TRACKED)
    plist.set_obj_track_times(False)
    plist.set_attr_creation_order(attribute_order)
    return plist


def dataset_properties(attribute_order: int, late: bool) -> h5p.PropDCID:
    """`late`: no place is allocated, so that one can be given."""
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_layout(h5d.CONTIGUOUS)
    plist.set_alloc_time(h5d.ALLOC_TIME_LATE if late else h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5d.FILL_TIME_NEVER if late else h5d.FILL_TIME_IFSET)
    plist.set_obj_track_times(False)
    plist.set_attr_creation_order(attribute_order)
    return plist


def link_properties(utf8: bool) -> h5p.PropLCID:
    plist = h5p.create(h5p.LINK_CREATE)
    plist.set_char_encoding(h5t.CSET_UTF8 if utf8 else h5t.CSET_ASCII)
    return plist


def dataspace(dims: tuple[int, ...] | None) -> h5s.SpaceID:
    if dims is None:
        return h5s.create(h5s.NULL)
    return h5s.create_simple(dims) if dims else h5s.create(h5s.SCALAR)
