"""The bytes of an array as a worker sends them."""

import numpy as np

from esrffs.workers.server import raw_bytes


def test_a_copy_of_records_has_their_padding() -> None:
    dtype = np.dtype([("a", "u1"), ("b", "<f8"), ("c", "<u2")], align=True)
    raw = np.arange(20 * dtype.itemsize, dtype=np.uint8)
    array = raw.view(dtype).reshape(4, 5)[:, 1:3]
    wanted = raw.reshape(4, 5, -1)[:, 1:3].tobytes()
    assert raw_bytes(array).tobytes() == wanted
