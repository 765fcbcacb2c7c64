"""Importing this loads all readers, and uses each of them once: for the fork server.

Decided here: what reader processes need not do, because they begin as copies of a process that did.
That process ends after the daemon, also after one that was killed, and leaves nothing behind.
"""

import atexit
import gc
import os
from contextlib import suppress
from multiprocessing import forkserver

from esrffs.formats.warm_up import warm_up


def _remove_socket() -> None:
    """The place at which new processes were asked for, and the folder that was made for it."""
    own = forkserver._forkserver  # noqa: SLF001  # no public way; a test tells when it changes
    place = getattr(own, "_forkserver_address", None)
    if isinstance(place, str) and place.startswith("/"):
        with suppress(OSError):
            os.unlink(place)
            os.rmdir(os.path.dirname(place))


atexit.register(_remove_socket)
warm_up()
gc.collect()
gc.freeze()  # the collector writes to what it looks at: pages that could have stayed shared
