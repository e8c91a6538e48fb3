"""actors.standing: what becomes of calls of which something was set aside, and of those that end in mid-row."""

import orjson
import pytest

from actors.call import replay, world
from actors.call.inputs import ChannelEnded, ChannelJoined
from conf.settings import Settings
from tests.actors.site import FRAMES, RECORDING, Fault, Site
from tests.truth import run
from wire.store.row import Kind, Row

INPUTS = run.routed(RECORDING, Settings())
CALL = INPUTS[0].call_id
TOLD = [each.input.n for each in INPUTS if each.call_id == CALL]
"""Rows that tell the first call of the recording something."""
JOINED = [each.input.n for each in INPUTS if type(each.input.body) is ChannelJoined]
ENDED = [each.input.n for each in INPUTS if type(each.input.body) is ChannelEnded]


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_call_whose_beginning_was_set_aside_says_so(
    site: Site, in_call: Fault, rows: int, dropped: bool, stored: bool
) -> None:
    """Each of its messages is `degraded`: in a replay too, whichever process says it, also if the row is dropped."""
    in_call.rows = set(TOLD[:rows])
    last = max(in_call.rows)
    site.frames(0, last)
    assert len(site.waiting()) == rows
    for n in in_call.rows if dropped else ():
        site.order(n, "drop")
    site.fold()
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


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("n", JOINED)
def test_a_call_that_never_heard_of_a_channel_ends_when_the_pbx_has_none_of_it(
    site: Site, in_call: Fault, n: int, after: bool
) -> None:
    """And says `degraded`, also if it was the first that it was to be told; a redrive has nothing more to end."""
    in_call.rows = {n}
    site.frames(0, n)
    for begin in range(n, len(FRAMES)):
        site.frames(begin, begin + 1)  # an input may be held back for some rows
        if len(waiting := site.waiting()) == 1:
            break
    [aside] = waiting
    in_call.mend()
    if not after:
        site.order(aside.row.n)
    site.frames(begin + 1, len(FRAMES))
    if after:
        site.order(aside.row.n)
        site.fold()
    assert site.calls.states == {} == site.replay.calls
    bodies = [orjson.loads(each.body) for each in site.published() if each.call_id == aside.call_id]
    assert all(body["degraded"] for body in bodies if body["operation"]["type"] == "finished-call")
    site.check()


def test_a_call_that_ended_too_early_is_known_when_the_newest_snapshot_is_unreadable(
    site: Site, in_call: Fault
) -> None:
    """The rest of its channels would begin it anew, and nothing would ever end it."""
    in_call.rows = {JOINED[1]}
    while not site.folding._standing.over:
        assert site.count < len(FRAMES)
        site.frames(site.count, site.count + 1)
    for each in site.waiting():
        site.order(each.row.n, "drop")
    site.fold()
    site.snapshot(1)
    for frame in FRAMES[site.count - 1 :]:
        site.row(Kind.FRAME, frame)
    site.fold()
    site.snapshot(1)
    site.spoil_snapshot()
    site.anew()
    assert site.log.told == ["switchboard.snapshot_refused"]
    assert site.calls.states == {} == site.replay.calls
    site.snapshot()
    assert site.ledger.marks.all() == {}
    site.check()


def test_a_call_that_hears_of_none_of_its_channels_says_nothing(site: Site, in_call: Fault) -> None:
    """Not even that it was answered: nothing of it would be told to have ended."""
    in_call.rows = set(JOINED)
    site.frames(0, len(FRAMES))
    assert site.calls.states == {} == site.replay.calls
    assert site.waiting()
    assert site.replay.counts["unexpected:no-leg"] > 0
    assert site.published() == []
    site.check()


def test_a_call_that_could_not_take_its_end_waits_for_a_redrive(site: Site, in_call: Fault) -> None:
    """Nor the end that is made in its place: what was set aside is all that can still be told."""
    in_call.rows = {ENDED[-1]}
    site.frames(0, len(FRAMES))
    assert len(site.calls.states) == 1
    in_call.mend()
    site.order(site.waiting()[0].row.n)
    site.fold()
    assert site.told()[-1] == "finished-call"
    assert site.calls.states == {} == site.replay.calls
    site.check()
