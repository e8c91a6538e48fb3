"""actors.standing: what becomes of calls of which something was set aside, and of those that end in mid-row."""

import orjson
import pytest

from actors.call import replay, world
from conf.settings import Settings
from tests.actors.site import FRAMES, RECORDING, Fault, Site
from tests.truth import run
from wire.store.row import Row

INPUTS = run.routed(RECORDING, Settings())
CALL = INPUTS[0].call_id
TOLD = [each.input.n for each in INPUTS if each.call_id == CALL]
"""Rows that tell the first call of the recording something."""


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_call_whose_beginning_was_set_aside_says_so(site: Site, in_call: Fault, rows: int, stored: bool) -> None:
    """Each of its messages is `degraded`, in a replay too, and whichever process says it."""
    in_call.rows = set(TOLD[:rows])
    last = max(in_call.rows)
    site.frames(0, last)
    assert len(site.waiting()) == rows
    if stored:
        site.snapshot()
    site.anew()
    site.frames(last, len(FRAMES))
    said = [orjson.loads(message.body) for message in site.published()]
    assert {message["call_id"] for message in said if message["degraded"]} == {CALL}
    assert {message["call_id"] for message in said if not message["degraded"]}.isdisjoint({CALL})
    assert site.calls.states == {}
    site.check()


@pytest.mark.parametrize("suspended", [False, True])
def test_the_rest_of_the_row_that_ends_a_call_does_not_begin_it_anew(
    site: Site, monkeypatch: pytest.MonkeyPatch, suspended: bool
) -> None:
    """Whether it was told of it at once or after it had been suspended."""
    step = world.step

    def repeating(before: world.World, row: Row, settings: Settings) -> world.Step:
        done = step(before, row, settings)
        return done._replace(routed=[*done.routed, *done.routed[-1:]]) if row.n == TOLD[-1] else done

    monkeypatch.setattr(world, "step", repeating)
    monkeypatch.setattr(replay, "step", repeating)
    site.frames(0, TOLD[0])
    if suspended:
        site.folding.suspend(CALL)
    site.frames(TOLD[0], len(FRAMES))
    if suspended:
        site.folding.resume(CALL)
        site.fold()
    of_it = [message.operation for message in site.published() if message.call_id == CALL]
    assert of_it.count("finished-call") == 1
    assert site.calls.states == {}
    site.check()
