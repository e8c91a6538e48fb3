"""The order to stop, SIGTERM or SIGINT, at whatever moment it comes.

The handler sets a flag, wakes who waits, and raises nothing: what a handler raises within a fork's hook, a weakref's
callback or a `__del__` Python prints and forgets, and the order would be lost. Who starts something looks at the flag
before and after.

This is there before all else is imported, so it imports next to nothing itself.
"""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ORDERS = (signal.SIGTERM, signal.SIGINT)


class ToldToStop(Exception):
    """Told to stop while there is nothing to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.strsignal(number))
        self.number = number
        """The signal that came first."""


class Signals:
    """SIGTERM and SIGINT, as a flag and something to wait for; one at a time in a process, in its main thread."""

    def __init__(self) -> None:
        self.hurry = False
        """Do not wait for an orderly stop: a second Ctrl-C."""
        self._first: int | None = None
        self._at_once = False
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._former = {number: signal.signal(number, self._received) for number in ORDERS}
        # bin/arimond holds SIGINT back until here.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ORDERS)

    def close(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    @property
    def stop(self) -> bool:
        """Stop in order."""
        return self._first is not None

    def check(self) -> None:
        """Before something is started, and after.

        Raises:
            ToldToStop: it is not to be.
        """
        if self._first is not None:
            raise ToldToStop(self._first)

    def wait(self, seconds: float, filenos: list[int]) -> None:
        """Wait for a signal, or one of the descriptors, at most so long."""
        select.select([self._read, *filenos], [], [], seconds)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """For a step that may block for ever (a file that is a pipe) and leaves nothing behind: a signal breaks it off.

        Raises:
            ToldToStop: before, meanwhile; after, if what was raised meanwhile was lost.
        """
        self._at_once = True
        try:
            self.check()
            yield
        finally:
            self._at_once = False
        self.check()

    def _received(self, number: int, _frame: FrameType | None) -> None:
        self.hurry |= self.stop and number == signal.SIGINT
        if self._first is None:
            self._first = number
        # As full of signals as a pipe can be: whoever waits is awake.
        with suppress(BlockingIOError):
            os.write(self._write, b"\0")
        if self._at_once:
            self.check()
