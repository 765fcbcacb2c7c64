"""What systemd is told of a service: that it is ready, alive, about to end.

Decided here: the messages of sd_notify(3), which are datagrams to the socket that the environment
names.  Without one nothing is sent.
"""

import contextlib
import math
import os
import socket


def notify(text: str) -> None:
    """Send this state, `READY=1` for one; whatever stands in the way must not end the mount."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # in the abstract namespace
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), address)


def watchdog_period() -> float:
    """Seconds between two signs of life, half of what systemd waits for; inf if it does not wait.

    As sd_watchdog_enabled(3) has it.
    """
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return math.inf
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 2e6 if text.isdecimal() and int(text) else math.inf
