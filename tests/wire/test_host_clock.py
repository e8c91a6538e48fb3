"""wire/host_clock.py: when, and by how much, somebody set the host's clock."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from wire import host_clock
from wire.host_clock import HostClock


class Host:
    """Two clocks, and what befalls them."""

    def __init__(self) -> None:
        self.wall_ms = 1_000_000
        self.boot_ms = 5_000
        self.pauses: Iterator[int] = iter(())
        """How long the process is held up before each reading of the second clock, milliseconds."""

    def wall(self) -> int:
        return self.wall_ms

    def boot(self) -> int:
        self.passes(next(self.pauses, 0))
        return self.boot_ms

    def passes(self, ms: int) -> None:
        self.wall_ms += ms
        self.boot_ms += ms


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def watched(host: Host) -> HostClock:
    return HostClock(host.wall, host.boot)


def test_time_that_passes_sets_no_clock(host: Host, watched: HostClock) -> None:
    """Both clocks go on alike."""
    assert watched.ahead_ms == 995_000
    host.passes(86_400_000)
    assert not watched.was_set(host.wall_ms)
    assert watched.ahead_ms == 995_000


@pytest.mark.parametrize("ms", [-3_600_000, -500, 500, 3_600_000])
def test_a_clock_that_is_set_is_noticed_once(host: Host, watched: HostClock, ms: int) -> None:
    """And by how much."""
    host.wall_ms += ms
    assert watched.was_set(host.wall_ms)
    assert watched.ahead_ms == 995_000 + ms
    assert not watched.was_set(host.wall_ms)


def test_steps_too_small_to_be_noticed_add_up(host: Host, watched: HostClock) -> None:
    """The clock is held against what was told of it last."""
    noticed = []
    for _ in range(5):
        host.wall_ms -= 40
        noticed.append(watched.was_set(host.wall_ms))
    assert noticed == [False, False, True, False, False]
    assert watched.ahead_ms == 995_000 - 120


def test_a_pause_between_two_readings_sets_no_clock(host: Host, watched: HostClock) -> None:
    """The process was held up: the reading that was least disturbed counts."""
    host.pauses = iter([700, 0, 800, 0, 0])
    assert not watched.was_set(host.wall_ms)
    assert watched.ahead_ms == 995_000


def test_the_kernels_own_clocks() -> None:
    """What is ahead is when this host booted; its boot has a name that stays."""
    clock = HostClock()
    assert not clock.was_set(host_clock.now_ms())
    assert abs(host_clock.now_ms() - host_clock.boot_ms() - clock.ahead_ms) < host_clock.SET_MS
    assert host_clock.boot_id() == host_clock.boot_id() is not None


def test_a_host_that_does_not_name_its_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc nobody knows."""

    def nowhere(_path: Any) -> NoReturn:
        raise OSError

    monkeypatch.setattr(Path, "read_text", nowhere)
    assert host_clock.boot_id() is None
