"""Importing this module imports all readers and uses each of them once.  For the fork server.

Worker processes are forked from the fork server, so they need not do this again.  The fork server
ends after the daemon, even if that was killed, and removes its socket.
"""

import atexit
import gc
import os
from contextlib import suppress
from multiprocessing import forkserver

from esrffs.formats.warm_up import warm_up


def _remove_socket() -> None:
    """Remove the socket of the fork server, and the folder that was made for it."""
    own = forkserver._forkserver  # noqa: SLF001  # no public way; a test tells when it changes
    place = getattr(own, "_forkserver_address", None)
    if isinstance(place, str) and place.startswith("/"):
        with suppress(OSError):
            os.unlink(place)
            os.rmdir(os.path.dirname(place))


atexit.register(_remove_socket)
warm_up()
gc.collect()
gc.freeze()  # the garbage collector writes to the objects it visits: their pages stay shared so
