"""What a mount tells of itself: one line in the log for each trouble, and a status.

Decided here: what is worth a line, that each is written once, and what the status says.
"""

import errno
import json
import logging
import os
from collections import deque

from esrffs.encoders import xattrs
from esrffs.tree.nodes import Node, Path

log = logging.getLogger(__name__)

MAX_STATUS_ERRORS = 100  # that the status tells, the last ones
MAX_ERROR_CHARS = 1000  # of each of them
MAX_LOGGED = 10_000  # texts that were logged already and are not logged again
EXPECTED_ERRNOS = frozenset(  # answers, not failures: worth no line in the log
    {errno.ENOENT, errno.EROFS, errno.ENODATA, errno.ESTALE, errno.ENOTDIR, errno.ENAMETOOLONG}
)


class ErrorLog:
    """What went wrong so far."""

    def __init__(self) -> None:
        self._noted: dict[Path, str] = {}  # mistakes of ours, at the objects where they were met
        self._told: dict[int, None] = {}  # by hash, as texts may be long; the oldest first
        self._last: deque[str] = deque(maxlen=MAX_STATUS_ERRORS)
        self._count = 0  # of those that were told

    def record(self, code: int, text: str) -> None:
        """One line in the log for each thing that is wrong, however often it is met."""
        if code in EXPECTED_ERRNOS:
            log.debug("%s: %s", errno.errorcode.get(code, code), text)
        elif (number := hash(text)) not in self._told:
            self._told[number] = None
            self._count += 1
            self._last.append(text[:MAX_ERROR_CHARS])
            log.warning("%s (%s)", text, errno.errorcode.get(code, code))
            while len(self._told) > MAX_LOGGED:
                del self._told[next(iter(self._told))]

    def note(self, node: Node | None, request: str, text: str) -> None:
        """A mistake of ours, which no object knows of: told like any other error."""
        path = () if node is None else node.path
        self.record(errno.EIO, f"{os.fsdecode(b'/'.join(path)) or '/'}: {request} failed: {text}")
        self._noted[path] = text
        while len(self._noted) > MAX_LOGGED:
            del self._noted[next(iter(self._noted))]

    def error_text(self, node: Node) -> xattrs.Xattrs:
        """What is wrong with an object, mistakes of ours included, as an extended attribute."""
        texts = [text for text in (node.error_text(), *self._notes(node)) if text]
        return {xattrs.ERROR: xattrs.fit("\n".join(dict.fromkeys(texts)))} if texts else {}

    def _notes(self, node: Node) -> list[str]:
        """Of this object; of a data file: of all in it."""
        if not self._noted:
            return []
        depth = len(node.path)
        if getattr(node, "root", None) != node.path:
            return [self._noted[node.path]] if node.path in self._noted else []
        return [text for path, text in self._noted.items() if path[:depth] == node.path]

    def status(self, status: dict[str, object], *, errors: bool) -> bytes:
        """As JSON; `errors`: with the last ones, which name files, as many as a value holds.

        `error_count` is of all, told or not.
        """
        if not errors:
            return json.dumps(status).encode()
        last = list(self._last)
        told = {**status, "error_count": self._count, "errors": last}
        while len(content := json.dumps(told).encode()) > xattrs.VALUE_MAX and last:
            del last[: 1 + len(last) // 10]
        return content
