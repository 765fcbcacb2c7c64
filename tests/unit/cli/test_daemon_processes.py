"""Which processes are taken for the daemon of a mount."""

import os

from esrffs.cli import daemon_processes
from esrffs.linux.mountinfo import Mount

MOUNT = Mount("/there", "fuse.esrffs", "/source", "0:99", 7, f"rw,user_id={os.geteuid()}")


def test_a_told_number_is_believed_only_of_a_daemon() -> None:
    for told in (1, os.getpid(), -1, 2**70, "1", True, None, [1]):
        assert daemon_processes.daemons(MOUNT, told) == []
