"""The journal's doorbell: a named pipe beside it. Whoever commits rows rings; whoever folds them watches.

It carries nothing: the journal is the queue, and a ring only says "look". So there is nothing in it to sign or to
check, rings that nobody has answered yet are one ring, and one too many does no harm. One too few does little: whoever
folds looks by itself when it begins and once a second, so a ring that is lost, or a pipe that is missing (deleted, or
impossible to make on a full disk), delays rows by a second at most and loses none. Both ends look after the pipe once
a second (`mend`): two ends that hold different pipes, since somebody deleted the one in use, meet again at the path.

Why a pipe and no message between actors: measured at 1,000 events/s on two cores, a message as the doorbell costs
Connection 38 % and Switchboard 42 % of a core, the pipe 15 % and 31 % (tests/bench/bench_spine.py): a Thespian message
is two TCP segments, their acknowledgements, and several turns of both select loops.

Source: fifo(7), mkfifo(3).
"""

import contextlib
import os
import stat
from pathlib import Path

from wire import log

_DRAIN = 65_536  # a pipe's default capacity: one read empties it


class Bell:
    """One end of the doorbell; which end is decided by what is called."""

    def __init__(self, path: Path) -> None:
        """Open the pipe, and make it if it is not there. That it cannot be had is no error: see `problem`.

        Args:
            path: the pipe's; of nobody else's use, so what is no pipe there is removed.
        """
        self._path = path
        self._log = log.get("wire.store.bell")
        self.problem: str | None = None
        """Why there is no pipe at the path; None while there is one, and we hold it."""
        # Stands in for the pipe until there is one: it is never readable, and refuses what is written here.
        self.fileno = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable when somebody rang; for a watch. The number stays the same until `close`."""
        self.mend()

    def mend(self) -> None:
        """See that what lies at the path is the pipe that we hold, and make and take one if not. For one thread."""
        try:
            if not self._is_held():
                self._open()
        except OSError as error:
            if self.problem is None:
                self._log.warning("bell.missing", path=str(self._path), error=str(error))
            self.problem = str(error)
        else:
            if self.problem is not None:
                self._log.info("bell.mended", path=str(self._path))
            self.problem = None

    def ring(self) -> None:
        """Say that there is something to look at. From any thread; never waits, never fails."""
        # The pipe is full of rings that nobody has answered yet, or there is none.
        with contextlib.suppress(OSError):
            os.write(self.fileno, b"\0")

    def answer(self) -> bool:
        """Take all rings so far. False if there were none."""
        try:
            return bool(os.read(self.fileno, _DRAIN))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Close this end; the pipe stays. Nobody may ring at this end any more."""
        os.close(self.fileno)

    def _is_held(self) -> bool:
        held = os.fstat(self.fileno)
        with contextlib.suppress(FileNotFoundError):
            there = os.lstat(self._path)
            return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
        return False

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self._path, 0o600)
        if not stat.S_ISFIFO(os.lstat(self._path).st_mode):
            # Of a file, select() says for ever that it is readable.
            self._path.unlink()
            os.mkfifo(self._path, 0o600)
        # For reading and writing: then it never shows its end when the other side closes, and opening never waits.
        opened = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            # In one step and under the same number: another thread may be ringing, and a loop watches the number.
            os.dup2(opened, self.fileno, inheritable=False)
        finally:
            os.close(opened)
