"""What the tests of the fold share."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors import calls
from actors.call import host, replay, world
from actors.call.host import Folded
from actors.call.inputs import Routed
from actors.call.state import Call
from conf.settings import Settings
from tests.actors.bench import Bench
from tests.actors.site import TYPED, Fault, Site
from tests.simulation.disk import Disk, installed
from wire.store.ledger import Ledger
from wire.store.row import Row


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An open one."""
    made = Ledger(tmp_path / "ledger.db")
    made.open()
    yield made
    made.close()


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    disk = Disk(tmp_path, Counter())
    with installed(disk, random.Random(1)):
        made = Bench(tmp_path, disk, *getattr(request, "param", ()))
        yield made
        made.die()
        made.journal.die()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.die()
    made.writer.close()


@pytest.fixture
def in_call(monkeypatch: pytest.MonkeyPatch) -> Fault:
    """Strikes when a call takes an input of a row, wherever it is folded."""
    fault, fold = Fault(*TYPED), host.fold

    def failing(call: Call | None, routed: Routed, server: str, settings: Settings) -> Folded:
        fault.strikes(routed.input.n)
        return fold(call, routed, server, settings)

    monkeypatch.setattr(calls, "fold", failing)
    monkeypatch.setattr(host, "fold", failing)
    return fault


@pytest.fixture
def in_world(monkeypatch: pytest.MonkeyPatch) -> Fault:
    """Strikes when a row is correlated."""
    fault, step = Fault(), world.step

    def failing(before: world.World, row: Row, settings: Settings) -> world.Step:
        fault.strikes(row.n)
        return step(before, row, settings)

    monkeypatch.setattr(world, "step", failing)
    monkeypatch.setattr(replay, "step", failing)
    return fault
