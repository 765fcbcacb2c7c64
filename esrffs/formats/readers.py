"""Open the reader of a data file.  The library of a format is imported when it is needed."""

from collections.abc import Mapping

from esrffs.formats.hdf5.image import Hdf5Image, ImageLimits
from esrffs.model import Format, Generation, Reader


def open_reader(format_: Format, path: str, confine: str | None) -> Reader:
    """An open reader of this file, in a worker process.

    Links to files outside the folder `confine` are refused (None: all are allowed).  Raises
    EsrffsError.
    """
    if format_ == "hdf5":
        from esrffs.formats.hdf5.reader import Hdf5Reader

        return Hdf5Reader(path, confine)
    if format_ == "spec":
        from esrffs.formats.spec.reader import SpecReader

        return SpecReader(path, confine)
    from esrffs.formats.images.reader import ImageFileReader

    return ImageFileReader(path, confine)


def open_series(
    paths: tuple[str, ...], generations: tuple[Generation, ...], heads: Mapping[int, bytes]
) -> Reader:
    """An open reader of image files that are one stack, in this order.

    `heads` are the first bytes of some of the files, by number, which were read when the files were
    in these generations.
    """
    from esrffs.formats.images.series import ImageSeriesReader

    return ImageSeriesReader(paths, generations, heads)


def hdf5_image(reader: Reader, address: str, folder: str | None, limits: ImageLimits) -> Hdf5Image:
    """The group as an HDF5 file.  External links may lead to files in `folder` only."""
    from esrffs.formats.hdf5.image_reader import reader_image
    from esrffs.formats.hdf5.reader import Hdf5Reader

    if isinstance(reader, Hdf5Reader):
        return reader.image(address, folder, limits)
    return reader_image(reader, address, limits)
