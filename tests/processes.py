"""What tests do to processes."""

import os
import signal
import time
from pathlib import Path


def halt(pid: int) -> None:
    """SIGSTOP, and wait until it has stopped: the threads of a process stop one by one, each when it gets the CPU.

    Raises:
        TimeoutError: not within 60 s.
    """
    os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + 60.0
    while any(not _stopped(thread) for thread in Path(f"/proc/{pid}/task").iterdir()):
        if time.monotonic() > until:
            raise TimeoutError(f"process {pid} does not stop")
        time.sleep(0.001)


def _stopped(thread: Path) -> bool:
    try:
        state = (thread / "stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "TZX"
