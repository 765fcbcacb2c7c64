"""The first bytes of image files, from their recognition until their series is described.

Whether a file is an EDF is told from the bytes with which it begins, and these are mostly its whole
header.  The reader of a series is given them, so that it need not open each file on a file server
once more.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from esrffs.model import Generation

MAX_NBYTES = 64 << 20  # bytes of all heads


class KnownHeads:
    """First bytes by path, each of one generation of the file; the oldest are dropped first.

    Used from several threads.
    """

    def __init__(self, limit: int = MAX_NBYTES) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._heads: OrderedDict[str, tuple[Generation, bytes]] = OrderedDict()
        self._nbytes = 0

    def __repr__(self) -> str:
        return f"<KnownHeads: {self._nbytes} bytes of {len(self._heads)} files>"

    def put(self, path: str, generation: Generation, head: bytes) -> None:
        """Keep the first bytes of the file at this path, read in this generation."""
        with self._lock:
            self._drop(path)
            self._heads[path] = generation, head
            self._nbytes += len(head)
            while self._nbytes > self._limit:
                self._drop(next(iter(self._heads)))

    def take(self, paths: Sequence[str], generations: Sequence[Generation]) -> dict[int, bytes]:
        """The first bytes of these files in these generations, by number, where they are known.

        They are not kept any longer.
        """
        found: dict[int, bytes] = {}
        with self._lock:
            for number, (path, generation) in enumerate(zip(paths, generations, strict=True)):
                known = self._heads.get(path)
                self._drop(path)
                if known is not None and known[0] == generation:
                    found[number] = known[1]
        return found

    def _drop(self, path: str) -> None:
        known = self._heads.pop(path, None)
        if known is not None:
            self._nbytes -= len(known[1])
