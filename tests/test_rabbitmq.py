"""The broker that tests use: it must be as private as it says, or tests disturb each other and the machine."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from select import select
from shutil import rmtree

import pytest

from tests.rabbitmq import RabbitMQ


def _listening_on() -> dict[str, str]:
    """Address by socket inode, of every listening TCP socket; addresses as the kernel's hex."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[9]: row[1].split(":")[0] for row in rows if row[3] == "0A"}


def test_it_listens_on_loopback_only(rabbitmq: RabbitMQ) -> None:
    """Broker, distribution and epmd: 127.0.0.1 and ::1, nothing else."""
    addresses = _listening_on()
    mine = set()
    for pid in rabbitmq.pids():
        for link in Path(f"/proc/{pid}/fd").iterdir():
            inode = os.readlink(link).removeprefix("socket:[").removesuffix("]")
            if inode in addresses:
                mine.add(addresses[inode])
    assert "0100007F" in mine
    assert mine <= {"0100007F", "00000000000000000000000001000000"}


PROGRAM = """
import sys
from tests.rabbitmq import RabbitMQ
broker = RabbitMQ()
broker.start()
print(broker.folder, *broker.pids(), flush=True)
sys.stdin.read()
broker.close()
"""


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_it_leaves_nothing(end: str) -> None:
    """close() ends broker and epmd and deletes their files; they do not outlive a test process that was killed."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=os.getcwd()
    )
    assert program.stdin is not None
    assert program.stdout is not None
    with program.stdin, program.stdout:
        folder, *pids = program.stdout.readline().split()
        watches = [os.pidfd_open(int(pid)) for pid in pids]
        assert len(pids) == 2
        if end == "killed":
            program.send_signal(signal.SIGKILL)
        else:
            program.stdin.close()
        program.wait(100)
    for watch in watches:
        assert select([watch], [], [], 100.0)[0], "a process is left"
        os.close(watch)
    assert Path(folder).exists() == (end == "killed")  # nobody was there to delete them
    rmtree(folder, ignore_errors=True)
