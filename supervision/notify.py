"""systemd's notification protocol: ready, watchdog, stopping. Does nothing where systemd is not.

Source: sd_notify(3).
"""

import os
import socket


def notify(*lines: str) -> None:
    """Tell systemd something, as `READY=1` or `STATUS=draining`."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as pipe:
        try:
            pipe.connect(address)
            pipe.sendall("\n".join(lines).encode())
        except OSError:
            # Whoever asked to be told does not listen any more; that is no reason to stop working.
            return
