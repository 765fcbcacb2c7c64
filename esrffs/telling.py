"""What a mount tells of itself: one line in the log for each trouble, and a status.

Decided here: what is worth a line, that each is written once, and what the status says.
"""

import errno
import json
import logging
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

_LAST, _TOLD_OF_ONE = 10, 1000  # of the errors that the status tells: how many, characters of each
_TOLD = 10_000  # texts that were logged already and are not logged again
_ORDINARY = frozenset(  # answers, not failures: worth no line in the log
    {errno.ENOENT, errno.EROFS, errno.ENODATA, errno.ESTALE, errno.ENOTDIR, errno.ENAMETOOLONG}
)


class Telling:
    """What went wrong so far; `status` is what the daemon knows of itself."""

    def __init__(self, status: Callable[[], dict[str, object]]) -> None:
        self._status = status
        self._told: dict[int, None] = {}  # by hash, as texts may be long; the oldest first
        self._last: deque[str] = deque(maxlen=_LAST)

    def tell(self, code: int, text: str) -> None:
        """One line in the log for each thing that is wrong, however often it is met."""
        if code in _ORDINARY:
            log.debug("%s: %s", errno.errorcode.get(code, code), text)
        elif (number := hash(text)) not in self._told:
            self._told[number] = None
            self._last.append(text[:_TOLD_OF_ONE])
            log.warning("%s (%s)", text, errno.errorcode.get(code, code))
            while len(self._told) > _TOLD:
                del self._told[next(iter(self._told))]

    def status(self, *, errors: bool, **further: int) -> bytes:
        """As JSON; `errors`: with the last ones, which name files."""
        told: dict[str, object] = {**self._status(), **further}
        if errors:
            told["errors"] = list(self._last)
        return json.dumps(told).encode()
