"""The headers of EDF views: counters, motors and header keys of the source.

Of EDF files and other images these are the keys of each frame, as they are written there; of Spec
files the scan to which an array belongs (`formats/spec/edf_header`).  Arrays of HDF5 files
and of `corrected/` have none.

Does not: decide how a header is spelled (`encoders/edf`).
"""

import logging
from dataclasses import dataclass

from esrffs.cache import CacheKey
from esrffs.encoders.edf import Header
from esrffs.errors import DamagedError, TooLargeError
from esrffs.tree.files import NpyFile

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HeadersKey(CacheKey[tuple[Header, ...]]):
    """The headers of the array at this address; of Spec files, of the scan."""

    version: bytes
    address: str


async def frame_headers(array: object, frames: int) -> tuple[Header, ...]:
    """One header for each of the `frames` frames of the array.

    () where the source has none, where there is not one for each frame, or where they would be
    too large (`encoders/edf`).  Headers that are damaged are () too, and
    `user.esrffs.error` of the array says so; other errors are raised.
    """
    if not isinstance(array, NpyFile) or array.source.subject.format == "hdf5":
        return ()
    source, address = array.source, array.info.address
    if source.subject.format == "spec":
        address = "/" + address.split("/")[1]  # all arrays of a scan have one header

    async def make() -> tuple[Header, ...]:
        try:
            return await source.frame_headers(address)
        except (DamagedError, TooLargeError) as error:
            log.warning("%s; its EDF views have no further keys in their headers", error)
            array.record_error(str(error))
            return ()

    key = HeadersKey(source.version, address)
    made = await array.context.cache.get_or_compute(key, make, nbytes=_nbytes)
    return made if len(made) == frames else ()


def _nbytes(headers: tuple[Header, ...]) -> int:
    """Memory that these headers take, about."""
    return 100 + sum(200 + len(key) + len(value) for header in headers for key, value in header)
