"""publisher.form: what consumers of v2.7 read, by way of the whole daemon."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon, Simulator, assert_complete, replayed
from tests.spine.tools import CALM, finish, wait_for_messages


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    made = Simulator(tmp_path / "simulator", "--rate", "200", "--lanes", "8", "--loop", "forever", "--mix", "ordinary")
    yield made
    made.end()


@pytest.mark.parametrize("form", ["legacy", "both"])
def test_every_message_in_the_form_that_was_chosen(tmp_path: Path, simulator: Simulator, form: str) -> None:
    """The file holds what replay gives for this form, each message once."""
    daemon = Daemon(tmp_path / "daemon", [simulator.pbx()], publisher={"form": form}, supervision=CALM)
    try:
        daemon.start()
        wait_for_messages(daemon)
        finish(daemon, simulator)
    finally:
        daemon.end()
    lines = daemon.messages()
    assert len(lines) == len(set(lines))
    old, new = [line for line in lines if b'"payload"' in line], [line for line in lines if b'"schema"' in line]
    assert len(old) + len(new) == len(lines)
    expected = replayed(daemon.exported(), daemon.settings)
    assert sorted(old) == sorted(line for line in expected if b'"payload"' in line)
    assert all(json.loads(line).keys() == {"operation", "payload"} for line in old)
    assert_complete(new, [line for line in expected if b'"schema"' in line], prefix="")
    assert bool(new) == (form == "both")
