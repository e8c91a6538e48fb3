"""Boot and end of the actor system: signed frames, loopback, a free port, `fork`.

Thespian's Admin is double-forked under setsid, so no parent can kill it; what can is its process group, which all
processes of the system share. `ActorHost.kill` uses it, and the subreaper sees to it that nothing is left behind.
"""

import logging
import os
import select
import socket
import time
from datetime import timedelta
from typing import Any

from thespian.actors import ActorAddress, ActorSystem
from thespian.system.utilis import thesplog_control

from supervision import frames, links, polling

_BOOT_LIMIT = timedelta(seconds=10)


class ActorHost:
    """The process side of one Thespian system on `multiprocTCPBase`: what `arimond` holds of it."""

    def __init__(self) -> None:
        """Boot the system.

        Raises:
            thespian.actors.ActorSystemFailure: it did not come up.
        """
        # thesplog writes to a file in the shared temporary directory by default; our own reports say more.
        thesplog_control(logging.CRITICAL, False, 0)
        self.frames = frames.install()
        polling.install()
        links.become_subreaper()
        before = set(links.children_of(os.getpid()))
        self._system = ActorSystem(
            "multiprocTCPBase",
            # From Python 3.14 `fork` is not the default any more, and the key travels by fork.
            capabilities={"Admin Port": _free_port(), "Process Startup Method": "fork"},
            logDefs={"version": 1, "disable_existing_loggers": False},
            transientUnique=True,
        )
        self.admin_pid = _adopted(before, _BOOT_LIMIT.total_seconds())
        """Pid of Thespian's Admin."""
        self.group = os.getpgid(self.admin_pid)
        """Process group of the whole system."""

    def create(self, actor: type | str) -> ActorAddress:
        """Start a top-level actor, whose parent is Thespian's Admin."""
        return self._system.createActor(actor)

    def ask(self, address: ActorAddress, message: Any, seconds: float) -> Any:
        """Send a message and wait for the next answer; None if there is none in time."""
        return self._system.ask(address, message, timedelta(seconds=seconds))

    def tell(self, address: ActorAddress, message: Any) -> None:
        """Send a message."""
        self._system.tell(address, message)

    def listen(self, seconds: float) -> Any:
        """The next message to us; None if there is none in time."""
        return self._system.listen(timedelta(seconds=seconds))

    def shutdown(self) -> None:
        """Thespian's own shutdown: after Root has stopped there is only the Admin left to end."""
        self._system.shutdown()

    def kill(self) -> None:
        """End every process of the system at once."""
        links.kill_group(self.group)


def _adopted(before: set[int], seconds: float) -> int:
    """Pid of the Admin: the one new child, once the process between us and it has ended.

    That one begins a session and forks the Admin, which may well be ready before it has ended. Until then it is the
    Admin's parent, and our child.

    Args:
        before: our children before the boot.
        seconds: how long to wait at most.

    Raises:
        RuntimeError: there is no such child.
    """
    until = time.monotonic() + seconds
    while True:
        links.reap(keep=before)
        new = [pid for pid in links.children_of(os.getpid()) if pid not in before]
        between = [pid for pid in new if _leads(pid)]
        left = until - time.monotonic()
        if len(new) == 1 and not between:
            return new[0]
        if not between or left <= 0:
            raise RuntimeError(f"expected Thespian's Admin as the one new child, found {new}")
        if (ends := links.open_pidfd(between[0])) is not None:
            select.select([ends], [], [], left)
            links.close_pidfd(ends)


def _leads(pid: int) -> bool:
    """Whether a process leads its process group, or is of ours still: the Admin does neither."""
    return os.getpgid(pid) in (pid, os.getpgrp())


def _free_port() -> int:
    # A second system on the same Admin Port would silently attach to the first.
    with socket.socket() as probe:
        probe.bind((frames.LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
