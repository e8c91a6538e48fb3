"""What the kernel knows of processes: their death, their parent's death, their orphans.

Thespian's first exit notice is not a death (a process was seen alive two seconds after it), so a death here is one
thing only: the process's pidfd is readable. And a process dies with its supervisor, because the kernel kills it
(PR_SET_PDEATHSIG), not because somebody remembered to.
"""

import contextlib
import ctypes
import errno
import os
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}, {value}): {os.strerror(code)}")


_forker = 0
"""Pid of the process that forked last: in a new process, its parent's, whoever adopts it."""


def _remember_forker() -> None:
    global _forker
    _forker = os.getpid()


# Before the fork, in whatever process it happens (Thespian's Admin forks Root): what the child could ask for itself is
# who its parent is by then, and that may be whoever adopted it.
os.register_at_fork(before=_remember_forker)


def die_with_parent() -> None:
    """In a process made by a fork: have the kernel kill it when its parent ends; if it has ended already, end now.

    The signal follows the parent's *thread* that forked: supervisors fork from their only thread.

    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != _forker:
        # It died before the line above: the signal was for nobody.
        os.kill(os.getpid(), signal.SIGKILL)


def become_subreaper() -> None:
    """Have orphaned descendants become children of this process: Thespian's Admin is double-forked under setsid.

    Source: prctl(2), PR_SET_CHILD_SUBREAPER.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def kill_process(pid: int) -> None:
    """SIGKILL to one process; that it is gone already is what was wanted."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill(pidfd: int) -> None:
    """SIGKILL to the process of a pidfd: to that one or to nobody, where a pid may have become somebody else's.

    Source: pidfd_send_signal(2).
    """
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def kill_group(group: int) -> None:
    """SIGKILL to a whole process group; that it is gone already is what was wanted."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


_open_pidfds: set[int] = set()


def open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None if there is no such process any more.

    Source: pidfd_open(2); close-on-exec is set by the kernel.
    """
    try:
        fileno = os.pidfd_open(pid)
    except OSError as problem:
        if problem.errno == errno.ESRCH:
            return None
        raise
    _open_pidfds.add(fileno)
    return fileno


def close_pidfd(fileno: int) -> None:
    """Close what `open_pidfd` opened."""
    _open_pidfds.discard(fileno)
    os.close(fileno)


def close_inherited_pidfds() -> None:
    """In a new process: close its supervisor's pidfds, which came with the fork and are none of its business."""
    while _open_pidfds:
        os.close(_open_pidfds.pop())


def children_of(pid: int) -> list[int]:
    """Pids of the direct children of a process, dead ones that nobody has waited for included."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.extend(int(word) for word in task.read_text().split())
    return found


def reap(keep: set[int]) -> None:
    """Wait for every dead child of this process, but not for those in `keep`, whose owner will."""
    for pid in children_of(os.getpid()):
        if pid not in keep:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
