"""Messages to systemd: the service is ready, alive, stopping.

They are the datagrams of sd_notify(3), sent to the socket that NOTIFY_SOCKET names.  If it is not
set, nothing is sent.
"""

import contextlib
import math
import os
import socket


def notify(text: str) -> None:
    """Send a state such as `READY=1`.  Errors are ignored: they must not end the mount."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket, see unix(7)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), address)


def watchdog_period() -> float:
    """Seconds between two `WATCHDOG=1` messages; inf if systemd does not expect any.

    It is half of the time-out of the service, as sd_watchdog_enabled(3) recommends.
    """
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return math.inf
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 2e6 if text.isdecimal() and int(text) else math.inf
