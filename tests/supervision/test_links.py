"""supervision.links: deaths, parents and orphans, with real processes."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from supervision import links
from tests.daemon import ROOT

LIMIT = 60.0
"""Seconds after which something that ought to happen at once is taken for never."""


def readable(fileno: int, seconds: float = LIMIT) -> bool:
    return bool(select.select([fileno], [], [], seconds)[0])


@contextmanager
def program(text: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program with links imported; it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import os, sys, time\nfrom supervision import links\n{text}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> list[int]:
    """The numbers of the next line."""
    assert process.stdout is not None
    assert readable(process.stdout.fileno())
    return [int(word) for word in process.stdout.readline().split()]


def test_a_pidfd_is_readable_when_its_process_has_ended() -> None:
    """Not before, and even if nobody has waited for it."""
    with program("sys.stdin.read()") as process:
        fileno = links.open_pidfd(process.pid)
        assert fileno is not None
        assert not readable(fileno, 0)
        process.kill()
        assert readable(fileno)
        links.close_pidfd(fileno)


def test_a_process_that_is_not_there_has_no_pidfd() -> None:
    """open_pidfd says None."""
    process = subprocess.Popen(["true"])
    process.wait()
    assert links.open_pidfd(process.pid) is None


def test_inherited_pidfds_are_closed() -> None:
    """A new process closes those of its supervisor, and only them."""
    text = """
fileno = links.open_pidfd(os.getpid())
other = os.eventfd(0)
if os.fork() == 0:
    links.close_inherited_pidfds()
    print(int(os.path.exists(f"/proc/self/fd/{fileno}")), int(os.path.exists(f"/proc/self/fd/{other}")), flush=True)
    os._exit(0)
os.wait()
print(int(os.path.exists(f"/proc/self/fd/{fileno}")), flush=True)
"""
    with program(text) as process:
        assert said(process) == [0, 1]
        assert said(process) == [1]


def test_a_child_dies_with_its_parent() -> None:
    """SIGKILL to the parent ends a child that asked for it, which nobody else told to."""
    text = """
if (child := os.fork()) == 0:
    links.die_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(1000)
os.wait()
"""
    with program(text) as process:
        [child] = said(process)
        fileno = links.open_pidfd(child)
        assert fileno is not None
        process.kill()
        assert readable(fileno)
        links.close_pidfd(fileno)


LATE_CHILD = """
if os.fork() == 0:
    os.write(1, f"{os.getpid()}\\n".encode())
    os.read(0, 1)
    links.die_with_parent()
    os.write(1, b"0\\n")
    time.sleep(1000)
time.sleep(1000)
"""
"""Asks only when told to."""


def test_a_child_whose_parent_ended_before_it_asked_dies_too() -> None:
    """There is no moment in which a parent's death goes unnoticed."""
    with program(LATE_CHILD) as process:
        [child] = said(process)
        fileno = links.open_pidfd(child)
        assert fileno is not None
        assert process.stdin is not None
        process.kill()
        process.wait()
        process.stdin.write("go")
        process.stdin.flush()
        assert readable(fileno)
        links.close_pidfd(fileno)


def test_a_child_that_a_subreaper_adopted_dies_too() -> None:
    """Whoever took it in is not its parent: arimond adopts what Thespian's Admin leaves behind."""
    text = """
links.become_subreaper()
if (parent := os.fork()) == 0:
    if os.fork() == 0:
        sys.stdin.readline()
        links.die_with_parent()
        time.sleep(1000)
    os._exit(0)
os.waitpid(parent, 0)
[orphan] = links.children_of(os.getpid())
print(orphan, flush=True)
print(os.waitpid(orphan, 0)[1], flush=True)
"""
    with program(text) as process:
        said(process)
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        assert said(process) == [signal.SIGKILL]


def test_a_child_whose_parent_lives_lives() -> None:
    """However late it asks."""
    with program(LATE_CHILD) as process:
        said(process)
        assert process.stdin is not None
        process.stdin.write("go")
        process.stdin.flush()
        assert said(process) == [0]


def test_orphans_come_to_the_subreaper() -> None:
    """A grandchild whose parent has ended, in a session of its own, becomes our child, and can be waited for."""
    text = """
links.become_subreaper()
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        print(os.getpid(), flush=True)
        time.sleep(1000)
    os._exit(0)
os.wait()
sys.stdin.readline()
print(*links.children_of(os.getpid()), flush=True)
[orphan] = links.children_of(os.getpid())
links.kill_group(orphan)
fileno = links.open_pidfd(orphan)
import select
select.select([fileno], [], [])
links.reap({orphan})
print(*links.children_of(os.getpid()), flush=True)
links.reap(set())
print(len(links.children_of(os.getpid())), flush=True)
"""
    with program(text) as process:
        [orphan] = said(process)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert said(process) == [orphan]
        assert said(process) == [orphan], "one that another will wait for is left to it"
        assert said(process) == [0]


def test_killing_what_has_gone_is_no_fault() -> None:
    """It is what was wanted."""
    process = subprocess.Popen(["true"], process_group=0)
    process.wait()
    links.kill_process(process.pid)
    links.kill_group(process.pid)


def test_a_group_is_killed_whole() -> None:
    """Every process of it, and no other."""
    text = """
for _ in range(3):
    if os.fork() == 0:
        time.sleep(1000)
print(*links.children_of(os.getpid()), flush=True)
time.sleep(1000)
"""
    with program(f"os.setpgid(0, 0)\n{text}") as process:
        children = said(process)
        assert len(children) == 3
        filenos = [fileno for pid in children if (fileno := links.open_pidfd(pid)) is not None]
        assert len(filenos) == 3
        links.kill_group(process.pid)
        assert process.wait(LIMIT) == -signal.SIGKILL
        for fileno in filenos:
            assert readable(fileno)
            links.close_pidfd(fileno)
