"""Whether the source of a mount is still there.

Decided here: what a status says of a source that was removed, replaced or unmounted, and that it
says so within a moment.
"""

import trio

from esrffs.errors import EsrffsError
from esrffs.linux import path_walk
from esrffs.source.root import SourceRoot

_ANSWER_SECONDS = 0.5  # a status does not wait for a silent server


class Presence:
    """Compares a source with what it was when it was mounted."""

    def __init__(self, folders: SourceRoot) -> None:
        self._folders = folders
        status = path_walk.status(folders.root)
        self._identity = status.st_dev, status.st_ino

    def __repr__(self) -> str:
        return f"<Presence of {self._folders.root}>"

    async def error_text(self) -> str | None:
        """Why what was mounted cannot be reached any more, if so."""
        root, single = self._folders.root, self._folders.single_file
        with trio.move_on_after(_ANSWER_SECONDS):
            try:
                status = await self._folders.status(single or "", now=True)
            except EsrffsError as error:
                return f"{root}: the source is gone ({error})"
            if single is None and (status.st_dev, status.st_ino) != self._identity:
                return f"{root}: is not the folder that was mounted; is its disk unmounted?"
            return None
        return f"{root}: the disk or file server of the source gives no answer"
