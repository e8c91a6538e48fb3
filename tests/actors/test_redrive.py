"""What was set aside is applied once more, or dropped, where the journal has an order for it, once, whatever dies."""

from typing import Any

import orjson
import pytest

from actors import calls
from actors.call import decoding, host, redrive
from actors.call.events import ChannelDtmfReceived
from actors.call.host import Folded
from actors.call.inputs import CallInput, ChannelJoined, Routed
from actors.call.state import Call
from conf.settings import Settings
from conf.validation import validated
from tests.actors.site import FRAMES, SERVER, TYPED, Fault, Site
from wire.store.errors import StoreUnusable
from wire.store.row import Kind, Row


def test_an_active_call_takes_it_as_a_late_event(site: Site, in_call: Fault) -> None:
    """It says what the event says, under the next number; the entry has left the quarantine."""
    first = TYPED[0]
    site.frames(0, first)
    assert [each.row.n for each in site.waiting()] == [first]
    assert "dtmf-received" not in site.told()
    in_call.mend()
    site.order(first)
    site.fold()
    assert site.told()[-1] == "dtmf-received"
    assert site.waiting() == []
    site.frames(first, len(FRAMES))
    # The digit is in the account of the call, which says that something of it was set aside.
    finished = [orjson.loads(each.body) for each in site.published() if each.operation == "finished-call"]
    assert any(each["degraded"] and each["data"]["dtmf"] for each in finished)
    site.check()


def test_of_a_call_that_has_ended_it_is_said_what_it_was_not_told(site: Site, in_call: Fault) -> None:
    """`call-amended`, under the next number of its stream, also when everything else of it is forgotten."""
    site.frames(0, len(FRAMES))
    assert {each.row.n for each in site.waiting()} == set(TYPED)
    in_call.mend()
    for n in TYPED:
        site.snapshot()
        site.anew()
        site.order(n)
        site.fold()
    assert site.waiting() == []
    amended = [orjson.loads(each.body) for each in site.published() if each.operation == "call-amended"]
    assert [each["data"]["row"] for each in amended] == TYPED
    [event] = amended[0]["data"]["amends"]["events"]
    assert event["type"] == "ChannelDtmfReceived"
    assert event["digit"] in FRAMES[TYPED[0] - 1].decode()
    site.check()
    site.snapshot()
    # Of whom nothing waits the mark goes, as that of any call that has ended.
    assert site.ledger.marks.all() == {}


def test_what_fails_again_stays(site: Site, in_call: Fault) -> None:
    """It shows how often it was tried; a later order may succeed."""
    first = TYPED[0]
    site.frames(0, first)
    site.order(first)
    site.fold()
    [kept] = site.waiting()
    assert (kept.attempts, kept.error) == (1, "ZeroDivisionError: on purpose")
    assert site.ledger.quarantine.progress(kept.order_id or "").error == kept.error
    in_call.mend()
    site.order(first)
    site.frames(first, len(FRAMES))
    assert site.waiting() == []
    site.check()


def test_all_that_a_row_told_a_call_is_applied_or_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row gives a call several inputs: what follows the one that failed is lost with it, and so it comes back."""
    fold, mended, failures = host.fold, list[bool](), list[Any]()

    def failing(call: Call | None, routed: Routed, server: str, settings: Settings) -> Folded:
        # The second of the inputs of a row that gives three.
        if not mended and type(routed.input.body).__name__ == "Dial":
            failures.append(routed)
            raise ZeroDivisionError
        return fold(call, routed, server, settings)

    monkeypatch.setattr(calls, "fold", failing)
    monkeypatch.setattr(host, "fold", failing)
    site.frames(0, TYPED[0])
    n = failures[0].input.n
    [kept] = site.ledger.quarantine.find(n)
    site.anew()  # what was set aside is left out from where it failed on, and only that
    state = site.calls.states[kept.call_id or ""]
    assert state == site.replay.calls[kept.call_id or ""]
    site.order(n)
    site.fold()
    assert site.calls.states[kept.call_id or ""] == state
    mended.append(True)
    for each in site.waiting():
        site.order(each.row.n)
    site.frames(TYPED[0], len(FRAMES))
    assert site.waiting() == []
    assert site.calls.states == site.replay.calls == {}
    site.check()


def test_what_was_applied_is_known_when_the_only_snapshot_is_unreadable(site: Site, in_call: Fault) -> None:
    """All is folded again then, the order too: the call would lack what it was told, and say nothing of it."""
    first = TYPED[0]
    site.frames(0, first)
    in_call.mend()
    site.order(first)
    site.fold()
    site.snapshot(1)
    site.spoil_snapshot()
    site.anew()
    assert site.log.told == ["switchboard.snapshot_refused"]
    site.frames(first, len(FRAMES))
    site.check()


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("snapshots", [False, True])
def test_whatever_dies_it_is_applied_once(site: Site, in_call: Fault, ended: bool, snapshots: bool) -> None:
    """A process that dies at any row, before or after it: the messages are those of one that lives."""
    first = TYPED[0]
    site.frames(0, len(FRAMES) if ended else first)
    in_call.mend()
    for n in (first, *TYPED[1:]) if ended else (first,):
        site.anew()
        site.order(n)
        site.anew()
        site.folding.fold(lambda: True)
        site.anew()
        if snapshots:
            site.snapshot()
    for begin in range(first, 0 if ended else len(FRAMES)):
        site.frames(begin, begin + 1)
        site.anew()
    site.fold()
    assert site.waiting() == []
    assert site.log.told == []
    site.check()


@pytest.mark.parametrize("refused", [0, 1])
def test_a_disk_that_refuses_costs_nothing(
    site: Site, in_call: Fault, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    """Whether it refuses to say what was set aside, or to commit what came of it."""
    site.frames(0, TYPED[0])
    in_call.mend()
    site.order(TYPED[0])

    def refuse(*_: Any, **__: Any) -> Any:
        raise StoreUnusable(site.ledger.path, "disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(*[(site.ledger.quarantine, "find"), (site.ledger, "transaction")][refused], refuse)
        for _ in range(3):
            with pytest.raises(StoreUnusable):
                site.folding.fold(lambda: True)
    site.fold()
    assert site.told().count("dtmf-received") == 1
    site.check()


def test_a_frame_that_nobody_could_take_is_applied_to_the_world(site: Site, in_world: Fault) -> None:
    """As it is now: the channel lives, so its call takes a late event."""
    in_world.rows = {TYPED[0]}
    site.frames(0, TYPED[0])
    [kept] = site.waiting()
    assert (kept.call_id, kept.stage) == (None, "correlate")
    site.order(TYPED[0])
    site.fold()
    assert site.waiting() == []
    assert site.told()[-1] == "dtmf-received"
    site.anew()
    site.frames(TYPED[0], len(FRAMES))
    site.check()


def test_what_it_cannot_tell_a_call_is_set_aside_for_the_call(site: Site, in_world: Fault, in_call: Fault) -> None:
    """The frame is applied, the call cannot take it: of that there is an entry of its own, also after a restart."""
    in_world.rows = {TYPED[0]}
    site.frames(0, TYPED[0])
    in_world.mend()
    site.order(TYPED[0])
    site.fold()
    [kept] = site.waiting()
    assert (kept.stage, kept.row.n) == ("call", TYPED[0])
    site.anew()
    in_call.mend()
    site.order(TYPED[0])
    site.fold()
    assert site.waiting() == []
    site.anew()
    site.frames(TYPED[0], len(FRAMES))
    site.check()


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        (Kind.FRAME, b"{", "not-json"),
        (Kind.FRAME, FRAMES[TYPED[0] - 1], "it concerns no channel and no call that is known any more"),
        (Kind.LINK_DOWN, b"{}", "a row of kind link-down was true at its time only"),
    ],
)
def test_what_cannot_be_applied_says_why(site: Site, in_world: Fault, kind: Kind, body: bytes, why: str) -> None:
    """And stays; nothing begins by it."""
    in_world.rows = {1}
    site.row(kind, body)
    site.fold()
    in_world.mend()
    site.order(1)
    site.fold()
    [kept] = site.waiting()
    assert why in kept.error
    assert kept.attempts == 1
    assert site.published() == []


def test_a_redrive_that_kills_the_process_is_given_up(
    site: Site, in_world: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As any row that does; what it was to apply stays in quarantine, and everything goes on."""
    in_world.rows = {TYPED[0]}
    site.frames(0, TYPED[0])

    class Death(BaseException):
        pass

    def die(*_: Any) -> Any:
        raise Death

    deaths = 0
    with monkeypatch.context() as patched:
        patched.setattr(redrive, "late", die)
        with pytest.raises(Death):
            site.order(TYPED[0])
        while site.waiting()[0].attempts == 0:
            assert deaths < 10
            try:
                site.fold()
            except Death:
                deaths += 1
                site.anew()
        site.anew()
        site.frames(TYPED[0], TYPED[0] + 3)
    [kept] = site.waiting()
    assert "died" in kept.error
    assert deaths > 2


def test_what_was_dropped_is_not_folded_again(site: Site, monkeypatch: pytest.MonkeyPatch, in_world: Fault) -> None:
    """A row that killed the process would do it at every restart."""
    in_world.rows = {TYPED[0]}
    site.frames(0, TYPED[0])
    site.order(TYPED[0], "drop")
    site.fold()
    assert site.waiting() == []
    in_world.mend()
    told = site.told()
    site.anew()
    site.frames(TYPED[0], TYPED[0] + 1)
    assert "dtmf-received" not in told
    assert site.told()[: len(told)] == told
    assert site.log.told == []


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("ended", [False, True])
def test_of_two_orders_the_first_counts(site: Site, in_call: Fault, ended: bool, dies: bool) -> None:
    """Of a row that is dropped a redrive tells nothing, and what was applied cannot be dropped; in a replay too."""
    site.frames(0, len(FRAMES) if ended else TYPED[1])
    in_call.mend()
    for n, orders in zip(TYPED, (["drop", "redrive", "drop"], ["redrive", "drop"]), strict=False):
        for command in orders:
            site.order(n, command)  # type: ignore[arg-type]
    if dies:
        while site.folding.fold(lambda: True) is not None:
            site.anew()
    site.fold()
    assert not {each.row.n for each in site.waiting()} & set(TYPED[:2])
    assert site.told().count("call-amended" if ended else "dtmf-received") == 1
    if not ended:
        site.frames(TYPED[1], len(FRAMES))
    site.check()


def test_a_ledger_that_is_lost_drops_again(site: Site, in_call: Fault) -> None:
    """The order is a row of the journal: whoever folds it anew finds it there."""
    site.frames(0, len(FRAMES))
    for n in TYPED:
        site.order(n, "drop")
    site.fold()
    told = site.told()
    site.die()
    for path in site.folder.glob("ledger.db*"):
        path.unlink()
    site.begin()
    assert site.waiting() == []
    site.fold()
    assert site.waiting() == []
    assert site.told() == told
    site.check()


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("mended", [False, True])
def test_a_call_that_waits_for_its_end_ends_when_that_is_dropped(
    site: Site, in_call: Fault, mended: bool, stored: bool
) -> None:
    """As one whose end nobody saw, or without a word if it cannot take that either; a restart knows of it."""
    first, last = TYPED[0], len(FRAMES)
    in_call.rows = {first, *range(last - 5, last + 3)}
    site.frames(0, last)
    [call_id] = site.calls.states
    aside = [each.row.n for each in site.waiting() if each.call_id == call_id]
    for n in aside:
        assert call_id in site.calls.states
        if mended and n == aside[-1]:
            in_call.mend()
        site.order(n, "drop")
        if stored:
            site.snapshot()
        site.fold()
    for _ in range(2):
        assert site.calls.states == {} == site.replay.calls
        site.anew()
    finished = [each for each in site.published() if each.call_id == call_id and each.operation == "finished-call"]
    assert len(finished) == mended
    assert (site.replay.counts["unexpected:call-given-up"] == 1) is not mended
    site.check()


@pytest.mark.parametrize("stored", [False, True])
def test_a_call_whose_end_is_dropped_ends_when_the_last_that_waits_is_applied(
    site: Site, in_call: Fault, stored: bool
) -> None:
    """When it was over for the PBX, not when that row came; a restart knows of it."""
    last = len(FRAMES)
    in_call.rows = {TYPED[-1], *range(last - 5, last + 3)}
    site.frames(0, last)
    [call_id] = site.calls.states
    first, *ends = [each.row.n for each in site.waiting() if each.call_id == call_id]
    for n in ends:
        site.order(n, "drop")
    site.fold()
    assert call_id in site.calls.states
    if stored:
        site.snapshot()
    site.anew()
    in_call.mend()
    site.order(first)
    site.fold()
    for _ in range(2):
        assert site.calls.states == {} == site.replay.calls
        site.anew()
    assert site.waiting() == []
    *_, digit, finished = [orjson.loads(each.body) for each in site.published() if each.call_id == call_id]
    assert (digit["operation"]["type"], finished["operation"]["type"]) == ("dtmf-received", "finished-call")
    assert {leg["ended_at"] >= digit["timestamp"] for leg in finished["data"]["legs"]} == {True}
    site.check()


@pytest.mark.parametrize("kept", [0, 4])
@pytest.mark.parametrize("mended", [False, True])
def test_a_suspended_call_that_is_over_ends_when_what_waits_is_dropped(
    site: Site, in_call: Fault, mended: bool, kept: int
) -> None:
    """It gets first what was kept for it, and what it cannot take of that waits in its turn; a restart knows of it."""
    last = len(FRAMES)
    in_call.rows = {TYPED[-1], *range(last - 5, last + 20)}
    site.frames(0, last - kept)
    [call_id] = site.calls.states
    site.folding.suspend(call_id)
    site.frames(last - kept, last)
    if mended:
        in_call.mend()
    while waiting := [each.row.n for each in site.waiting() if each.call_id == call_id]:
        assert call_id in site.calls.states
        site.order(waiting[0], "drop")
        site.fold()
    for _ in range(2):
        assert call_id not in site.calls.states
        site.anew()
    assert not site.folding.waiting.counts()
    assert set(site.log.told) == {"switchboard.call_resumed_by_drop"}


def test_a_suspended_call_goes_on_when_it_is_redriven(site: Site, in_call: Fault) -> None:
    """It gets first what was kept for it, and nothing is lost or said twice, also by a death afterwards."""
    first, second = TYPED[:2]
    site.frames(0, first)
    [kept] = site.waiting()
    in_call.mend()
    site.folding.suspend(kept.call_id or "")
    site.frames(first, second)
    site.order(first)
    site.fold()
    assert not site.folding.waiting.counts()
    site.anew()
    site.frames(second, len(FRAMES))
    site.check()
    assert site.log.told == ["switchboard.call_resumed_by_redrive"] * 2


@pytest.mark.parametrize("stored", [False, True])
def test_a_call_that_was_not_told_of_a_channel_does_not_begin_anew(
    site: Site, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    """It ends with the channels that it knows; what still comes for it is counted, also by the next process. What it
    was not told is `call-amended` then."""
    joined, fold = dict[str, int](), host.fold

    def failing(call: Call | None, routed: Routed, server: str, settings: Settings) -> Folded:
        # The second channel of each call.
        if isinstance(routed.input.body, ChannelJoined) and call is not None and call.legs:
            joined.setdefault(routed.call_id, routed.input.n)
        if routed.input.n == joined.get(routed.call_id):
            raise ZeroDivisionError
        return fold(call, routed, server, settings)

    monkeypatch.setattr(calls, "fold", failing)
    monkeypatch.setattr(host, "fold", failing)
    for begin in range(len(FRAMES)):
        site.frames(begin, begin + 1)
        if stored:
            site.snapshot()
        site.anew()
    assert joined
    assert site.calls.states == site.replay.calls == {}
    site.check()
    for n in {each.row.n for each in site.waiting()}:
        site.order(n)
        site.fold()
    assert site.waiting() == []
    assert "call-amended" in site.told()
    site.check()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"command":"drop"}',
        b'{"command":"redrive","id":1,"uuid":"x","n":1}',
        b'{"command":"lose","id":"1","uuid":"x","n":1}',
    ],
)
def test_other_rows_are_no_orders(body: bytes) -> None:
    """Whatever they hold."""
    assert redrive.ordered(Row(1, 1, Kind.OPERATOR, body)) is None
    assert redrive.ordered(Row(1, 1, Kind.FRAME, b'{"command":"redrive","id":"","uuid":"x","n":1}')) is None


@pytest.mark.parametrize(("conf", "digit"), [({}, "5"), ({"mask_dtmf": True}, "*"), ({"mask_dtmf_pattern": "12"}, "*")])
def test_masks_apply_to_what_is_amended(site: Site, conf: dict[str, object], digit: str) -> None:
    """The run of digits before it is not known any more: with any mask the digit is masked."""
    decoded = decoding.decode(Row(1, 1, Kind.FRAME, FRAMES[TYPED[0] - 1]))
    assert isinstance(decoded, ChannelDtmfReceived)
    routed = Routed("1.1", CallInput(7, 5, decoded._replace(digit="5")))
    settings = validated(Settings, {"call": conf})
    [message] = redrive.amendment([routed], 8, Row(9, 9, Kind.OPERATOR, b""), SERVER, settings)
    assert orjson.loads(message.body)["data"]["amends"]["events"][0]["digit"] == digit
