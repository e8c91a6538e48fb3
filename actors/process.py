"""This process as the kernel has it: its signals, its memory."""

import signal


def proportional_memory() -> int:
    """This process's share of memory (PSS), bytes: what a page shared with others costs, divided among them."""
    with open("/proc/self/smaps_rollup", "rb") as rollup:
        for line in rollup:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def own_signals() -> None:
    """Undo what Thespian does with signals in a new process.

    It installs a Python handler on every signal. On the fatal ones that makes a segfault spin at 100 % for ever with no
    exit notice; on SIGTERM it ends the actor behind its supervisor's back. SIGCHLD stays: Thespian waits for its
    children with it.
    """
    for fatal in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT):
        signal.signal(fatal, signal.SIG_DFL)
    # Only the tree stops a process actor; systemd and a terminal's Ctrl-C tell arimond, which tells the tree.
    for told in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(told, signal.SIG_IGN)
