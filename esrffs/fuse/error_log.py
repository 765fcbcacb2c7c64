"""The errors of a mount: one line in the log for each, and the last ones for `esrffs --status`.

Does not: keep the errors of objects of data files (`source/error_registry`).  Only internal errors,
which no object knows of, are kept here, by the path of the node that was asked.
"""

import errno
import json
import logging
import os
from collections import deque

from esrffs.encoders import xattrs
from esrffs.tree.nodes import Node, Path

log = logging.getLogger(__name__)

MAX_STATUS_ERRORS = 100  # the last errors, which the status lists
MAX_ERROR_CHARS = 1000  # of each error in the status
MAX_LOGGED = 10_000  # different texts that are remembered, so as to be logged once
EXPECTED_ERRNOS = frozenset(  # ordinary answers: logged at debug level only
    {errno.ENOENT, errno.EROFS, errno.ENODATA, errno.ESTALE, errno.ENOTDIR, errno.ENAMETOOLONG}
)


class ErrorLog:
    """The errors since the mount began."""

    def __init__(self) -> None:
        self._internal: dict[Path, str] = {}  # internal errors, by the path of the node
        self._logged: dict[int, None] = {}  # hashes of texts, which may be long; the oldest first
        self._last: deque[str] = deque(maxlen=MAX_STATUS_ERRORS)
        self._count = 0  # of all that were logged

    def record(self, code: int, text: str) -> None:
        """Log an error, once for each text however often it is met; `code` is its errno."""
        if code in EXPECTED_ERRNOS:
            log.debug("%s: %s", errno.errorcode.get(code, code), text)
        elif (number := hash(text)) not in self._logged:
            self._logged[number] = None
            self._count += 1
            self._last.append(text[:MAX_ERROR_CHARS])
            log.warning("%s (%s)", text, errno.errorcode.get(code, code))
            while len(self._logged) > MAX_LOGGED:
                del self._logged[next(iter(self._logged))]

    def note(self, node: Node | None, request: str, text: str) -> None:
        """Log an internal error of this request, and keep it for the node."""
        path = () if node is None else node.path
        self.record(errno.EIO, f"{os.fsdecode(b'/'.join(path)) or '/'}: {request} failed: {text}")
        self._internal[path] = text
        while len(self._internal) > MAX_LOGGED:
            del self._internal[next(iter(self._internal))]

    def error_text(self, node: Node) -> xattrs.Xattrs:
        """The extended attribute `user.esrffs.error` of a node, if anything went wrong with it."""
        texts = [text for text in (node.error_text(), *self._internal_errors(node)) if text]
        return {xattrs.ERROR: xattrs.fit("\n".join(dict.fromkeys(texts)))} if texts else {}

    def _internal_errors(self, node: Node) -> list[str]:
        """Internal errors of this node; for the directory of a data file, of all nodes in it."""
        if not self._internal:
            return []
        depth = len(node.path)
        if getattr(node, "root", None) != node.path:
            return [self._internal[node.path]] if node.path in self._internal else []
        return [text for path, text in self._internal.items() if path[:depth] == node.path]

    def status(self, status: dict[str, object], *, errors: bool) -> bytes:
        """The value of `user.esrffs.status`: this record as JSON.

        `errors`: with the last errors (which name files), as many as an extended attribute can
        hold, and with `error_count`, the number of all that were logged.
        """
        if not errors:
            return json.dumps(status).encode()
        last = list(self._last)
        record = {**status, "error_count": self._count, "errors": last}
        while len(content := json.dumps(record).encode()) > xattrs.VALUE_MAX and last:
            del last[: 1 + len(last) // 10]
        return content
