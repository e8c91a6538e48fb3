"""supervision.system: the boot of Thespian's system, in a process of its own."""

import os
import subprocess
import sys
import textwrap

from tests.daemon import ROOT

SLOW = textwrap.dedent(
    """
    import os, sys, time
    from pathlib import Path
    from supervision.system import ActorHost

    leave = sys.exit

    def late(status):
        # The process between us and the Admin leads a session; the Admin is ready long before that ends.
        time.sleep(1.0)
        leave(status)

    sys.exit = late
    host = ActorHost()
    print(Path(f"/proc/{host.admin_pid}/cmdline").read_text()[:14], flush=True)
    print(os.getpgid(host.admin_pid) == host.group != host.admin_pid, flush=True)
    sys.exit = leave
    host.shutdown()
    host.kill()
    """
)


def test_what_is_between_us_and_the_admin_is_not_taken_for_it() -> None:
    """Though it is our child, and under load still there when the Admin has answered."""
    done = subprocess.run(
        [sys.executable, "-c", SLOW],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["MultiProcAdmin", "True"], done.stderr
