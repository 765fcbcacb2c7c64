"""One mount by pyfuse3: mounted, served, unmounted.

Does not: choose the options of the mount, or look at its mount point (`cli/daemon` does).
"""

import contextlib
import os
from collections.abc import Callable, Iterator

import pyfuse3

from esrffs.errors import MountError
from esrffs.fuse import pyfuse3_polling
from esrffs.fuse.filesystem import Filesystem
from esrffs.fuse.pyfuse3_adapter import Pyfuse3Operations

_MIN_TASKS = 4  # tasks of trio that wait for requests


class Session:
    """A filesystem at its mount point; there can be one in a process.

    `options`: words for mount(8) and fusermount3(1), each "name" or "name=value", in ASCII.
    `busy` tells whether the processors have something better to do than to wait for a request.
    MountError with the words of libfuse where the mount point cannot be mounted.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        mountpoint: str,
        options: set[str],
        busy: Callable[[], bool],
    ) -> None:
        self._mountpoint = mountpoint
        self._operations = Pyfuse3Operations(filesystem)
        self._busy = busy
        with _stderr_text() as text:
            try:
                pyfuse3.init(self._operations, mountpoint, options)
            except RuntimeError as error:
                raise MountError(f"{mountpoint}: {text().strip() or error}") from None

    def __repr__(self) -> str:
        return f"<Session at {self._mountpoint}>"

    async def main(self) -> None:
        """Answer requests until the mount is unmounted."""
        pyfuse3_polling.install_in_pyfuse3(self._busy)
        await pyfuse3.main(min_tasks=_MIN_TASKS)

    async def wait_until_mounted(self) -> None:
        """Return when the kernel has sent its first request: from then on the mount answers."""
        await self._operations.started.wait()

    def close(self) -> None:
        """Unmount, if it is still mounted."""
        pyfuse3.close(unmount=True)


@contextlib.contextmanager
def _stderr_text() -> Iterator[Callable[[], str]]:
    """What libfuse and fusermount3 print on stderr meanwhile, for our own error text."""
    kept = os.dup(2)
    with open(os.memfd_create("stderr"), "r+b") as file:
        os.dup2(file.fileno(), 2)

        def text() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield text
        finally:
            os.dup2(kept, 2)
            os.close(kept)
