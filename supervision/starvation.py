"""How long processes have waited for a CPU: on a full machine who is slow to answer is not hung.

A limit that counts such time kills healthy processes, whose successors then take the CPU that the others lack, and so
on. So limits of answers (liveness probes, silence during a start, Root's answers to arimond) are counted without the
time that who is asked, or who asks, stood ready and did not get a CPU. A stopped process (SIGSTOP) and one that waits
for anything else is not ready: of these all time counts. An endless loop counts by the CPU that it gets.

The kernel adds a wait when it ends, so the one under way is not in the figure; it is short (some time slices).
"""

import contextlib
import os
from pathlib import Path


def waited(pid: int) -> float:
    """How long the threads of a process have waited for a CPU since they began, together; 0 if there are none.

    All threads, because an actor's own may wait for a lock that another holds who waits for a CPU.

    Returns:
        Seconds.

    Source: Linux, Documentation/scheduler/sched-stats.rst, `/proc/<pid>/schedstat`, second figure.
    """
    nanoseconds = 0
    # Processes and threads may end at any moment, also between two looks, at which Path.glob raises.
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                nanoseconds += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[1])
    return nanoseconds / 1e9


class Starved:
    """How long a process and this one have waited for a CPU since some moment."""

    def __init__(self, pid: int) -> None:
        """The moment is now."""
        self._pid = pid
        self._before = self._both()

    def seconds(self) -> float:
        """Since that moment."""
        return max(0.0, self._both() - self._before)  # less: a thread has ended, and its figure with it

    def _both(self) -> float:
        return waited(self._pid) + waited(os.getpid())
