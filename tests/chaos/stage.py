"""A daemon under load with a saboteur in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.daemon import Daemon, Simulator, load
from tests.spine.tools import wait_for_messages


class Stage:
    """A simulator and a daemon.

    Args:
        folder: for both.
        faults: where the saboteur looks (`faults` of conftest.py).
        settings: the daemon's, as `Daemon` takes them.
    """

    def __init__(self, folder: Path, faults: Path, **settings: Any) -> None:
        self.faults = faults
        self.simulator = Simulator(folder / "simulator", *load(rate=200, lanes=8))
        self.daemon = Daemon(folder / "daemon", [self.simulator.pbx()], **settings)
        self.daemon.module = "tests.chaos.saboteur"

    def running(self) -> Iterator[Self]:
        """For a fixture: start, wait until messages flow, and leave nothing at the end."""
        try:
            self.daemon.start()
            wait_for_messages(self.daemon)
            yield self
        finally:
            self.daemon.end()
            self.simulator.end()
