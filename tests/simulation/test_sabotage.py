"""The checker finds what it is there to find: a good run, spoilt on purpose, fails; and so does a spoilt product."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from unittest import mock

import orjson
import pytest

from actors.call import clocks, recovery
from actors.call import gap as gaps
from actors.call.envelope import rfc3339
from actors.call.watch import Watch
from actors.messages import OutcomesCame
from actors.outgoing import Outgoing
from actors.standing import Standing
from tests.simulation import checker
from tests.simulation.clock import Moment
from tests.simulation.faults import Fault
from tests.simulation.lab import BEGIN_MS, run
from tests.simulation.places import PBX
from tests.simulation.result import Result
from tests.simulation.shrink import shortest
from wire.ari.hearing import Hearing
from wire.ari.session import Down
from wire.store.journal import JournalWriter
from wire.store.quarantine import Quarantine
from wire.store.row import Kind, Row

GOOD = 4
CUT = Fault(1, 6_000, "link-cut", (Down.LOST,))
BAD = [Fault(2, at, kind, given) for at, kind, given in ((4_000, "broker-nack", (9,)), (9_000, "broker-forget", (3,)))]


@pytest.fixture(scope="module")
def good() -> Result:
    """A run with a gap, in which nothing is wrong."""
    result = run(GOOD, [CUT])
    assert not result.wrong
    assert len(result.received) > 15
    return result


def judged(result: Result, received: Sequence[bytes] | None = None, rows: Sequence[Row] | None = None) -> list[str]:
    """The verdict on a run that was spoilt."""
    return checker.verdict(
        result.received if received is None else received,
        result.rows if rows is None else rows,
        result.replayed,
        result.links,
        PBX,
    )


def changed(body: bytes, **values: object) -> bytes:
    """A message with other fields."""
    return orjson.dumps(orjson.loads(body) | values)


def test_a_good_run_is_called_good(good: Result) -> None:
    """And copies under one id do no harm."""
    assert judged(good) == []
    assert judged(good, [body for body in good.received for _ in range(2)]) == []


def test_every_single_message_that_is_dropped_is_missed(good: Result) -> None:
    """Whichever it is, the last of its stream too."""
    for index in range(len(good.received)):
        assert judged(good, good.received[:index] + good.received[index + 1 :])


def test_two_messages_that_are_swapped_are_noticed(good: Result) -> None:
    """Any two neighbours of one stream."""
    streams: dict[str, list[int]] = {}
    for index, body in enumerate(good.received):
        streams.setdefault(orjson.loads(body)["stream"], []).append(index)
    swapped = 0
    for places in streams.values():
        for one, other in pairwise(places):
            received = list(good.received)
            received[one], received[other] = received[other], received[one]
            assert any("out of order" in sentence for sentence in judged(good, received))
            swapped += 1
    assert swapped > 5


def test_a_new_id_is_noticed(good: Result) -> None:
    """A message under another id than a replay gives is another message."""
    received = [changed(good.received[0], message_id="01a20275-0000-7000-8000-000000000000"), *good.received[1:]]
    assert any("message_id" in sentence for sentence in judged(good, received))


def test_a_double_under_a_second_id_is_noticed(good: Result) -> None:
    """A consumer that drops ids it has seen would take it for news."""
    second = changed(good.received[-1], message_id="01a20275-0000-7000-8000-000000000000")
    assert any("2 message ids" in sentence for sentence in judged(good, [*good.received, second]))


def test_one_id_with_two_contents_is_noticed(good: Result) -> None:
    """Of which a consumer would drop one."""
    second = changed(good.received[-1], degraded=True)
    assert any("two contents" in sentence for sentence in judged(good, [*good.received, second]))


def test_a_gap_that_is_hidden_is_noticed(good: Result) -> None:
    """A `monitoring-gap` that never came, though nothing of its stream is missed, if it can be asked for."""
    streams, _ = checker.consumed(good.received)
    assert checker.told(streams, good.rows, PBX) == []
    own = f"pbx:{PBX}"
    streams[own] = [each for each in streams[own] if each["operation"]["type"] != "monitoring-gap"]
    assert any("no monitoring-gap" in sentence for sentence in checker.told(streams, good.rows, PBX))
    assert checker.told(streams, good.rows, PBX, unsaid=[row for row in good.rows if row.kind == Kind.LINK_DOWN]) == []


def test_a_ledger_made_good_in_part_in_silence_is_noticed() -> None:
    """The journal has lost its beginning to retention, and the host its ledger: then a gap must say so."""
    schedule = [Fault(1, 14_000, "power", ("no-ledger", 0))]
    told = run(14, schedule)
    assert told.happened["log.switchboard.rebuilt_in_part"] == 1
    assert not told.wrong
    with mock.patch.object(Standing, "miss"):
        [sentence] = run(14, schedule).wrong
    assert "for a lost ledger, and no monitoring-gap says so" in sentence


def test_marks_that_stay_for_ever_are_noticed() -> None:
    """Of calls that ended in rows that a power cut took, or that nobody heard of since."""
    schedule = [Fault(1, 9_000, "power", ("journal", 0))]
    assert not run(1, schedule).wrong
    with mock.patch.object(Standing, "fade"):
        wrong = run(1, schedule).wrong
    assert wrong
    assert all("how far it came is never forgotten" in sentence for sentence in wrong)


def test_entries_that_stay_for_ever_are_noticed() -> None:
    """What was redriven before a power cut: it bears the name of a journal that is not written any more."""
    schedule = [Fault(1, 2_000, "bug", ("call", 1, "mend", 2_000, 0)), Fault(2, 10_000, "power", ("ledger", 0))]
    told = run(1, schedule)
    assert told.happened["redrive.ordered"] == 1
    assert not told.wrong
    with mock.patch.object(Quarantine, "forget"):
        assert run(1, schedule).wrong == ("1 settled entries of the quarantine are never forgotten",)


def test_a_gap_of_which_the_journal_knows_nothing_is_noticed() -> None:
    """What happened on the PBX while nobody listened must be told, also if no row says that the link was down."""
    blind = run(GOOD, [Fault(1, 6_000, "link-stall", ())])
    assert not blind.wrong
    streams, _ = checker.consumed(blind.received)
    rows = [row for row in blind.rows if row.kind != Kind.LINK_DOWN]
    own = f"pbx:{PBX}"
    streams[own] = [each for each in streams[own] if each["operation"]["type"] != "monitoring-gap"]
    assert checker.told(streams, rows, PBX) == []
    assert any("was not seen" in sentence for sentence in checker.unseen(streams, rows, blind.events, blind.told, PBX))


def test_what_happened_by_a_clock_that_was_set_must_be_covered() -> None:
    """Unless no row tells of it: the clock was set again too soon, or went back while the host was down, late."""
    own = f"pbx:{PBX}"
    gap = {"operation": {"type": "monitoring-gap"}, "data": {"from": rfc3339(BEGIN_MS), "to": rfc3339(BEGIN_MS + 100)}}
    first, second = Row(1, 0, Kind.LINK_UP, b"1"), Row(9, 0, Kind.LINK_UP, b"2")
    begun, other = Row(2, 0, Kind.CLOCK, b"3"), Row(3, 0, Kind.CLOCK, b"4")
    before = {first: Moment(1, 0, 0, BEGIN_MS - 10)}
    back, same = Moment(5, 1, 0, BEGIN_MS - 5_000), {second: Moment(20, 1, 0, BEGIN_MS + 90)}
    late, anew = Moment(6, 0, 0, BEGIN_MS + 5_000), {second: Moment(20, 2, 1, BEGIN_MS + 90)}

    def judged(at: Moment, told: dict[Row, Moment]) -> bool:
        return bool(checker.unseen({own: [gap]}, [*told], [(at, b"{}", False)], told, PBX))

    assert judged(back, before | same)
    assert not judged(back, before | anew)
    assert judged(back, before | anew | {begun: Moment(5, 1, 0, 0)})
    assert not judged(late, before | anew)
    assert judged(late, before | anew | {other: Moment(7, 0, 0, 0)})
    assert judged(late, before | same)
    assert judged(late, before | anew | {second: Moment(20, 2, 1, BEGIN_MS + 5_001)})
    assert not judged(late._replace(wall=BEGIN_MS + 50), before | same)


def test_an_account_that_names_other_calls_is_noticed() -> None:
    """A call that began unseen must be adopted by a gap, and one that was seen to begin must not."""
    frames = [orjson.dumps({"type": "ChannelCreated", "channel": {"id": each}}) for each in ("seen", "unseen")]
    happened = [(Moment(7, 0, 0, 7), frame, False) for frame in frames]
    rows = [Row(1, 7, Kind.FRAME, frames[0])]

    def judged_by(*adopted: str) -> list[str]:
        gap = {"operation": {"type": "monitoring-gap"}, "data": {"adopted": adopted}}
        streams: checker.Streams = {f"pbx:{PBX}": [gap], "call:seen": [{}], "call:unseen": [{}]}
        return checker.adopted(streams, rows, happened, PBX, aside=False)

    assert judged_by("unseen") == []
    assert any("no monitoring-gap has adopted it" in sentence for sentence in judged_by())
    assert any("was seen" in sentence for sentence in judged_by("unseen", "seen"))


def test_only_what_was_returned_may_be_late(good: Result) -> None:
    """And what was parked and redriven has an order of its own."""
    streams, _ = checker.consumed(good.received)
    stream, messages = max(streams.items(), key=lambda item: len(item[1]))
    one, *others = messages
    two, *rest = others
    late = {stream: [*rest, one, two]}
    both = {one["message_id"], two["message_id"]}
    assert checker.in_order(late, both, both) == []
    assert checker.in_order(late, {one["message_id"]})
    swapped = {stream: [*rest, two, one]}
    assert checker.in_order(swapped, both, both)
    assert checker.in_order(swapped, both, {one["message_id"]}) == []


def test_what_is_withheld_must_be_named(good: Result) -> None:
    """By its sequence and its operation; then nothing is missing, whether it came all the same or not."""
    place, body = next((at, each) for at, each in enumerate(good.received) if b'"ringing-call"' in each)
    message = orjson.loads(body)
    own = message["sequence"]

    def said(first: int, last: int, operation: str) -> bytes:
        data = {"operation": operation, "sequences": [[first, last]], "reason": "older than 1 s"}
        identity = "01a20275-0000-7000-8000-000000000000"
        return changed(body, message_id=identity, operation={"type": "messages-withheld"}, data=data)

    def with_it(*instead: bytes) -> list[bytes]:
        return [*good.received[:place], *instead, *good.received[place + 1 :]]

    assert judged(good, with_it(said(own, own, "ringing-call"))) == []
    assert judged(good, with_it(body, said(own, own, "ringing-call"))) == []
    assert judged(good, with_it(said(own, own, "answered-call")))
    assert judged(good, with_it(said(own + 1, own + 1, "ringing-call")))


def test_what_was_returned_and_is_withheld_may_be_late(good: Result) -> None:
    """And only that: also where rows are gone, so that no replay says what was withheld."""
    streams, _ = checker.consumed(good.received)
    first, *others = next(told for name, told in streams.items() if name.startswith("call:") and len(told) > 2)
    data = {"operation": first["operation"]["type"], "sequences": [[1, 1]], "reason": "older than 1 s"}
    said = first | {"message_id": "1", "operation": {"type": "messages-withheld"}, "data": data}
    bodies = [orjson.dumps(each) for each in (*others, said)]
    for damage in (checker.Damage.NONE, checker.Damage.JOURNAL):
        for came_back in (first, others[0]):
            returned = {came_back["message_id"]: orjson.dumps(came_back)}
            wrong = checker.verdict(bodies, good.rows, good.replayed, good.links, PBX, returned, damage)
            assert any("out of order" in sentence for sentence in wrong) is (came_back is not first)


def test_what_was_withheld_may_come_late_if_the_clock_was_set_back(good: Result) -> None:
    """And only then, once."""
    streams, _ = checker.consumed(good.received)
    stream, messages = next((name, told) for name, told in streams.items() if len(told) > 2)
    first, *others = messages
    data = {"operation": first["operation"]["type"], "sequences": [[1, 1]], "reason": "older than 1 s"}
    said = first | {"message_id": "1", "operation": {"type": "messages-withheld"}, "data": data}
    for late in ([said, *others, first], [first, said, *others]):
        found, wrong = checker.with_withheld({stream: late}, streams, set_back=True)
        assert (found, wrong) == ({stream: messages}, [])
    found, _ = checker.with_withheld({stream: [said, *others, first]}, streams)
    assert checker.in_order(found)
    found, _ = checker.with_withheld({stream: [*others, first]}, streams, set_back=True)
    assert checker.in_order(found)


def test_a_call_without_an_end_is_noticed(good: Result) -> None:
    """Also if a replay gives no end either; an amendment may follow it."""
    streams, _ = checker.consumed(good.received)
    assert checker.ended(streams) == []
    stream, messages = next((name, told) for name, told in streams.items() if name.startswith("call:"))
    amendment = messages[-1] | {"sequence": len(messages) + 1, "operation": {"type": "call-amended"}}
    assert checker.ended({stream: [*messages, amendment]}) == []
    assert checker.ended({stream: messages[:-1]})
    assert checker.ended({stream: [*messages, messages[-1] | {"sequence": len(messages) + 1}]})


def test_frames_that_vanish_are_noticed(good: Result) -> None:
    """A frame that was sent and is neither journalled nor in a hole that the journal tells of."""
    frames = [row.n for row in good.rows if row.kind == Kind.FRAME]
    for n in frames[:: max(1, len(frames) // 20)]:
        spoilt = [row for row in good.rows if row.n != n]
        following = next((row for row in good.rows if row.n > n), None)
        if following is not None and following.kind == Kind.FRAME:
            assert checker.received(good.links, spoilt)
    without_link_rows = [row for row in good.rows if row.kind not in (Kind.LINK_DOWN, Kind.LINK_UP)]
    assert checker.received(good.links, without_link_rows)


def test_a_last_link_of_which_nothing_is_left_must_be_told(good: Result) -> None:
    """A `lost` row behind its link-up stands for all its frames; without one they are missed."""
    up = max(row.n for row in good.rows if row.kind == Kind.LINK_UP)
    left = [row for row in good.rows if row.n <= up]
    sentence = f"link {len(good.links)}: none of its {len(good.links[-1].sent)} frames is journalled"
    assert checker.received(good.links, left) == [sentence]
    assert checker.received(good.links, [*left, Row(up + 1, 0, Kind.LOST, b"{}")]) == []
    hole_before = [row if row.n != up - 1 else Row(up - 1, 0, Kind.LOST, b"{}") for row in left]
    assert sentence in checker.received(good.links, hole_before)


def test_a_hole_is_excused_only_where_its_last_copy_was_destroyed(good: Result) -> None:
    """By damage to journal and ledger both, and only if it had been returned; else it is noticed."""
    streams: dict[str, list[bytes]] = {}
    for body in good.received:
        streams.setdefault(orjson.loads(body)["stream"], []).append(body)
    gone = next(bodies[0] for bodies in streams.values() if len(bodies) > 1)
    received = [body for body in good.received if body != gone]
    for damage in checker.Damage:
        for returned in (False, True):
            came_back = {"any": gone} if returned else checker.NOTHING
            wrong = checker.verdict(received, good.rows, good.replayed, good.links, PBX, came_back, damage)
            noticed = any("are missing" in sentence for sentence in wrong)
            assert noticed is not (returned and damage is checker.Damage.BOTH)


_outcomes_came = Outgoing.outcomes_came
_commit = JournalWriter._commit
_closed = Watch.closed
_due = recovery._Diff.due


def _take_failures_for_confirms(self: Outgoing, outcomes: OutcomesCame, generation: int, now: int) -> None:
    told = OutcomesCame(outcomes.confirmed + outcomes.failed, (), outcomes.returned)
    _outcomes_came(self, told, generation, now)


def _never_doubt(self: JournalWriter, rows: list[Any]) -> None:
    self._in_doubt = False
    _commit(self, rows)


def _hush_what_was_killed(watch: Watch) -> tuple[Watch, list[gaps.Gap]]:
    watch, told = _closed(watch)
    return watch, [gap for gap in told if gap.reason != gaps.KILLED]


def _end_nothing_unseen(self: Any, before: Any, settled: bool) -> Any:
    _ended, adopted, corrected = _due(self, before, settled)
    return frozenset(), adopted, corrected


DEAF = [Fault(1, 4_000, "link-deaf", ())]
SPOILT: dict[str, tuple[Any, str, Any, list[Fault]]] = {
    "a nacked message counts as confirmed": (Outgoing, "outcomes_came", _take_failures_for_confirms, BAD),
    "a commit in doubt is done again": (
        JournalWriter,
        "_commit",
        _never_doubt,
        [Fault(1, 2_000, "disk", ("journal", "doubt", 8_000))],
    ),
    "what was redriven is applied again": (
        Quarantine,
        "settle",
        lambda *_: None,
        [Fault(at, at * 1_500, "bug", ("call", 3, "mend", 2_500, 0)) for at in range(1, 7)],
    ),
    "a call that lost something begins anew": (
        Standing,
        "_degrade",
        lambda self, call_id: self.calls.states.pop(call_id, None),
        [Fault(at, at * 1_500, "bug", ("call", 3, "leave", 1, 0)) for at in range(1, 7)],
    ),
    "the gap of a Connection that was killed is not told": (
        Watch,
        "closed",
        _hush_what_was_killed,
        [Fault(at, at * 2_000, "crash", ("connection",)) for at in range(1, 7)],
    ),
    "how the host's clock was set within a gap is forgotten": (
        clocks,
        "earliest",
        lambda _clocks: None,
        [
            fault
            for at in range(1, 6)
            for fault in (
                Fault(at, at * 3_000, "disk", ("journal", "full", 700)),
                Fault(at, at * 3_000 + 100, "clock", (-500,)),
                Fault(at, at * 3_000 + 600, "crash", ("connection",)),
            )
        ],
    ),
    "a deaf link is not given up": (Hearing, "judged", lambda *_: None, DEAF),
    "the gap of a deaf link begins with the last byte": (Hearing, "heard_ms", lambda *_: None, DEAF),
    "the gap of a Connection that was killed when its link was suspect begins with the last byte": (
        Hearing,
        "heard_ms",
        lambda *_: None,
        [*DEAF, Fault(2, 29_960, "crash", ("connection",))],  # just after a look
    ),
    "a call that ended unseen goes on for ever": (
        recovery._Diff,
        "due",
        _end_nothing_unseen,
        [Fault(at, at * 2_000, "link-cut", (Down.LOST,)) for at in range(1, 7)],
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_product_fails(name: str) -> None:
    """A fault put into the product is found by a run, and not only by its own tests."""
    owner, method, spoilt, schedule = SPOILT[name]
    assert not any(run(seed, schedule).wrong for seed in range(1, 6))
    with mock.patch.object(owner, method, spoilt):
        assert any(run(seed, schedule).wrong for seed in range(1, 6))


def test_the_shortest_schedule_is_found() -> None:
    """Of many lines, the two that it takes are left."""
    schedule = [Fault(number, number, "crash", ("publisher",)) for number in range(1, 31)]

    def fails(part: Sequence[Fault]) -> bool:
        return {7, 23} <= {fault.number for fault in part}

    assert [fault.number for fault in shortest(schedule, fails)] == [7, 23]
