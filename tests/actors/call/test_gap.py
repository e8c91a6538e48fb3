"""The account of a gap: whatever began in it unseen is adopted, whoever tells of it first."""

from collections.abc import Callable
from typing import Any

import pytest

from actors.call.decoding import milliseconds
from actors.call.events import Channel
from actors.call.gap import Account, Gap
from tests.telling import DOWN, SECOND, UP, Told, call_under_way, frame, look, stamp
from wire.store.row import Kind


def test_a_call_is_in_one_place_of_an_account() -> None:
    """Adopted or ended, it is not corrected as well, whatever is noted first; and it is named once."""
    gap = Gap(1, 2, "lost").noted(Account((), ("a", "b"), (), 2, None)).noted(Account(("a",), (), ("c",), 3, 7))
    gap = gap.noted(Account(("a",), ("a", "c"), (), 1, 9))
    assert gap == Gap(1, 2, "lost", ("a",), ("b",), ("c",), inferred=6, oldest_ms=7)


def after_a_gap(told: Told) -> Told:
    """Nothing was under way; a gap from 11 s to 20 s."""
    told.row(1, 10 * SECOND, Kind.LINK_UP, UP)
    told.row(2, 11 * SECOND, Kind.LINK_DOWN, DOWN)
    return told.row(3, 20 * SECOND, Kind.LINK_UP, UP)


def held(at_ms: int, channel: Channel) -> dict[str, Any]:
    """An event of a channel's mid-life."""
    return frame("ChannelHold", at_ms, channel)


def accounts(told: Told) -> list[tuple[list[str], list[str], list[str], int]]:
    """What was told of each gap."""
    return [(gap["adopted"], gap["corrected"], gap["ended"], gap["inferred"]) for gap in told.gaps]


def test_a_call_that_speaks_before_the_first_look_is_adopted(told: Told, channel: Callable[..., Channel]) -> None:
    """It is, as one that the look finds; what the look tells of it besides is no correction. Its begin is its own."""
    caller = channel("a", created=stamp(15 * SECOND), state="Up", app="Read")
    after_a_gap(told)
    told.row(4, 20_050, Kind.FRAME, held(20_050, caller))
    now = caller._replace(app="Echo")
    told.row(5, 20_100, Kind.SNAPSHOT, look(20_100, [now]))
    told.row(6, 23_000, Kind.SNAPSHOT, look(23_000, [now], nth=2))
    assert accounts(told) == [(["a"], [], [], 2)]
    [received] = told.said("received-call", "a")
    assert (received["recovered"], milliseconds(received["timestamp"])) == (True, 15_000)


def test_a_call_that_is_only_seen_to_end_is_adopted(told: Told, channel: Callable[..., Channel]) -> None:
    """No look shows it any more. Its begin was not seen, its end was."""
    caller = channel("a", created=stamp(15 * SECOND), state="Up", app="Echo")
    after_a_gap(told)
    told.row(4, 20_050, Kind.FRAME, frame("ChannelDestroyed", 20_050, caller, cause=16, cause_txt=""))
    told.row(5, 20_100, Kind.SNAPSHOT, look(20_100, []))
    told.row(6, 23_000, Kind.SNAPSHOT, look(23_000, [], nth=2))
    assert accounts(told) == [(["a"], [], [], 1)]
    assert [one["recovered"] for one in told.messages if one["call_id"] == "a"] == [True, False]


def test_a_call_that_begins_after_the_link_up_is_not_adopted(told: Told, channel: Callable[..., Channel]) -> None:
    """Its ChannelCreated came: nothing of it is in the account, and nothing of it was recovered."""
    caller = channel("a", created=stamp(20_040), app="")
    after_a_gap(told)
    told.row(4, 20_050, Kind.FRAME, frame("ChannelCreated", 20_050, caller))
    told.row(5, 20_060, Kind.FRAME, held(20_060, caller))
    told.row(6, 20_100, Kind.SNAPSHOT, look(20_100, [caller]))
    told.row(7, 23_000, Kind.SNAPSHOT, look(23_000, [caller], nth=2))
    assert accounts(told) == [([], [], [], 0)]
    assert not any(one["recovered"] for one in told.said("received-call"))


def test_a_call_of_which_only_a_younger_leg_is_seen_is_adopted(told: Told, channel: Callable[..., Channel]) -> None:
    """The leg began before our eyes, and its linkedid names the caller, who did not: the look finds that one."""
    calling = channel("a", created=stamp(15 * SECOND), state="Up", app="Dial", linkedid="a")
    called = channel("b", created=stamp(20_040), state="Down", app="AppDial", linkedid="a", exten="")
    after_a_gap(told)
    told.row(4, 20_050, Kind.FRAME, frame("ChannelCreated", 20_050, called._replace(app="")))
    told.row(5, 20_100, Kind.SNAPSHOT, look(20_100, [calling, called]))
    told.row(6, 23_000, Kind.SNAPSHOT, look(23_000, [calling, called], nth=2))
    [(adopted, corrected, _, _)] = accounts(told)
    assert (adopted, corrected) == (["a"], [])
    [received] = told.said("received-call", "a")
    assert (received["recovered"], milliseconds(received["timestamp"])) == (True, 15_000)


def test_a_leg_that_began_unseen_corrects_the_call_that_it_joins(
    told: Told, caller: Channel, channel: Callable[..., Channel]
) -> None:
    """The call was known before the gap, and has changed in it."""
    call_under_way(told, caller)
    leg = channel("b", created=stamp(18 * SECOND), state="Up", app="AppDial", exten="", linkedid="a")
    told.row(7, 17 * SECOND, Kind.LINK_DOWN, DOWN)
    told.row(8, 20 * SECOND, Kind.LINK_UP, UP)
    told.row(9, 20_050, Kind.FRAME, held(20_050, leg))
    told.row(10, 20_060, Kind.FRAME, held(20_060, caller))
    told.row(11, 20_100, Kind.SNAPSHOT, look(20_100, [caller, leg]))
    told.row(12, 23_000, Kind.SNAPSHOT, look(23_000, [caller, leg], nth=2))
    [(adopted, corrected, ended, inferred)] = accounts(told)
    assert (adopted, corrected, ended, inferred > 0) == ([], ["a"], [], True)


def test_a_call_that_spoke_before_the_link_was_lost_again(told: Told, channel: Callable[..., Channel]) -> None:
    """No look came between: the gap in which it began has adopted it, and the next one corrects it."""
    caller = channel("a", created=stamp(15 * SECOND), state="Up", app="Read")
    after_a_gap(told)
    told.row(4, 20_050, Kind.FRAME, held(20_050, caller))
    told.row(5, 20_060, Kind.LINK_DOWN, DOWN)
    told.row(6, 22_000, Kind.LINK_UP, UP)
    now = caller._replace(app="Echo")
    told.row(7, 22_100, Kind.SNAPSHOT, look(22_100, [now]))
    told.row(8, 25_000, Kind.SNAPSHOT, look(25_000, [now], nth=2))
    assert accounts(told) == [(["a"], [], [], 1), ([], ["a"], [], 1)]


@pytest.mark.parametrize("looks", [0, 2])
def test_a_call_from_before_the_very_first_link_up_that_speaks(told: Told, caller: Channel, looks: int) -> None:
    """The gap before it is told, as if a look had found it, and begins with it; also if no look ever comes."""
    told.row(1, 20 * SECOND, Kind.LINK_UP, UP)
    told.row(2, 20_050, Kind.FRAME, held(20_050, caller))
    for nth in range(looks):
        told.row(3 + nth, (21 + 3 * nth) * SECOND, Kind.SNAPSHOT, look((21 + 3 * nth) * SECOND, [caller]))
    told.row(5, 30 * SECOND, Kind.LINK_DOWN, DOWN)
    [gap] = told.gaps
    assert (gap["reason"], gap["adopted"]) == ("started", ["a"])
    assert (milliseconds(gap["from"]), milliseconds(gap["to"])) == (11 * SECOND, 20 * SECOND)


def test_a_dry_run_takes_a_call_for_adopted_that_spoke_before_it(told: Told, channel: Callable[..., Channel]) -> None:
    """The operator's look comes to what the account of the gap says, tried or done."""
    caller = channel("a", created=stamp(15 * SECOND), state="Up", app="Read")
    after_a_gap(told)
    told.row(4, 20_050, Kind.FRAME, held(20_050, caller))
    body = look(20_100, [caller._replace(app="Echo")], id="mine", purpose="operator")
    for n, is_dry in enumerate((True, False), 5):
        told.row(n, 20_100, Kind.SNAPSHOT, body | {"dry_run": is_dry})
        outcome = told.run.world.watch.outcome
        assert outcome is not None
        assert (outcome.adopted, outcome.corrected, outcome.ended) == (("a",), (), ())
