"""wire/ari/session.py: every move as data, no socket and no clock."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.ari.errors import NEEDS_OPERATOR, Fault
from wire.ari.session import (
    LATE_MOST,
    LATE_SECONDS,
    MOVES,
    REPLACED_CEILING,
    AnnounceDown,
    AnnounceUp,
    BackingOff,
    CancelTimer,
    Close,
    Closed,
    Command,
    Connected,
    Connecting,
    Deaf,
    Disconnected,
    Down,
    Event,
    Heard,
    Late,
    NameTaken,
    Open,
    Opened,
    Refused,
    Replaced,
    Rules,
    SendPing,
    SetTimer,
    Start,
    State,
    Stop,
    Stopped,
    Tick,
    Unforeseen,
    described,
    transition,
)
from wire.backoff import Backoff

RULES = Rules(Backoff(0.5, 30.0), dead_after=9.0, replaced_retry=60.0, healthy_after=30.0)
UP = Connected(since=100.0, attempt=0, takeovers=0, heard=100.0, pings=0, due=103.0)


def step(state: State, event: Event, now: float, luck: float = 0.5) -> tuple[State, tuple[Command, ...]]:
    return transition(RULES, state, event, now, luck)


def test_it_opens_at_once() -> None:
    """The first try waits for nothing."""
    assert step(Disconnected(), Start(), 5.0) == (Connecting(5.0, 0, 0), (Open(),))


def test_up_is_announced_before_the_first_timer() -> None:
    """An opened link is up, and listened to from then on."""
    assert step(Connecting(99.0, 0, 0), Opened(), 100.0) == (UP, (AnnounceUp(), SetTimer(103.0)))


def test_first_retry_comes_at_once() -> None:
    """After a loss there is no delay before the first retry."""
    state, commands = step(UP, Closed(Down.LOST, "gone"), 200.0)
    assert state == BackingOff(200.0, 1, 0, 200.0, Down.LOST, "gone")
    assert commands == (AnnounceDown(Down.LOST, "gone"), SetTimer(200.0))
    assert step(state, Tick(), 200.0) == (Connecting(200.0, 1, 0), (Open(),))


def test_retries_slow_down_with_full_jitter_and_never_end() -> None:
    """Refusal upon refusal: at once, then up to 0.5, 1, 2 … 30 s, for ever."""
    state: State = Connecting(0.0, 0, 0)
    delays = []
    for _ in range(2000):
        state, _ = step(state, Refused(Fault.UNREACHABLE, "no"), 0.0, luck=1.0)
        assert isinstance(state, BackingOff)
        delays.append(state.until)
        state, commands = step(state, Tick(), 0.0)
        assert commands == (Open(),)
    assert delays[:9] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert delays[-1] == 30.0
    lucky, _ = step(Connecting(0.0, 8, 0), Refused(Fault.UNREACHABLE, "no"), 0.0, luck=0.0)
    assert isinstance(lucky, BackingOff)
    assert lucky.until == 0.0


@pytest.mark.parametrize("fault", sorted(NEEDS_OPERATOR))
def test_what_an_operator_must_mend_is_retried_slowly_from_the_first_time(fault: Fault) -> None:
    """A wrong password costs the PBX two requests a minute, not two a second."""
    for luck, delay in ((0.0, 15.0), (1.0, 30.0)):
        state, commands = step(Connecting(0.0, 0, 0), Refused(fault, "no"), 0.0, luck)
        assert state == BackingOff(0.0, 1, 0, delay, fault, "no")
        assert commands == (SetTimer(delay),)


def test_a_flapping_link_keeps_backing_off() -> None:
    """Attempts are counted on until the link was up for healthy_after."""
    flapping = replace(UP, attempt=4)
    short, _ = step(flapping, Closed(Down.LOST, ""), 129.9)
    assert isinstance(short, BackingOff)
    assert short.attempt == 5
    healthy, _ = step(flapping, Closed(Down.LOST, ""), 130.0)
    assert isinstance(healthy, BackingOff)
    assert healthy.attempt == 1


def test_a_deaf_link_is_closed_and_made_anew() -> None:
    """Politely, since the PBX is there; at once, as after any loss."""
    state, commands = step(UP, Deaf("why"), 200.0)
    assert state == BackingOff(200.0, 1, 0, 200.0, Down.DEAF, "why")
    assert commands == (Close(politely=True), AnnounceDown(Down.DEAF, "why"), SetTimer(200.0))


def test_two_pings_before_a_silent_link_is_dead() -> None:
    """Pings at a third and two thirds of dead_after; dead at dead_after, and closed without a goodbye."""
    one, commands = step(UP, Tick(), 103.0)
    assert (one, commands) == (replace(UP, pings=1, due=106.0), (SendPing(), SetTimer(106.0)))
    two, commands = step(one, Tick(), 106.0)
    assert (two, commands) == (replace(UP, pings=2, due=109.0), (SendPing(), SetTimer(109.0)))
    dead, commands = step(two, Tick(), 109.0)
    detail = "no byte for 9.0 s, pings included"
    assert dead == BackingOff(109.0, 1, 0, 109.0, Down.DEAD, detail)
    assert commands == (Close(politely=False), AnnounceDown(Down.DEAD, detail), SetTimer(109.0))


def test_any_byte_is_life() -> None:
    """A byte just before the end starts the wait anew."""
    nearly = replace(UP, pings=2, due=109.0)
    alive, commands = step(nearly, Heard(108.9), 109.0)
    assert (alive, commands) == (replace(nearly, heard=108.9, pings=0), ())
    again, commands = step(alive, Tick(), 109.0)
    assert commands == (SetTimer(111.9),)
    assert isinstance(again, Connected)


def test_old_news_change_nothing() -> None:
    """A Heard that is older than what is known does not turn time back."""
    pinged = replace(UP, heard=105.0, pings=1)
    assert step(pinged, Heard(104.0), 106.0) == (pinged, ())


def test_a_process_that_slept_judges_nobody() -> None:
    """When the tick is late, it was we who were away: one more ping and another third, then it counts."""
    slept = replace(UP, pings=2, due=109.0)
    awake, commands = step(slept, Tick(), 500.0)
    assert (awake, commands) == (replace(slept, due=503.0), (SendPing(), SetTimer(503.0)))
    dead, _ = step(awake, Tick(), 503.0)
    assert isinstance(dead, BackingOff)
    assert dead.why is Down.DEAD


def test_replaced_is_a_loud_disconnect_and_no_fight() -> None:
    """The name is left to the other for replaced_retry, twice as long each time, an hour at most."""
    state: State = UP
    waits = []
    for _ in range(9):
        now = 200.0
        state, commands = step(state, NameTaken(), now)
        assert isinstance(state, Replaced)
        close, down, timer = commands
        assert close == Close(politely=True)
        assert isinstance(down, AnnounceDown)
        assert down.why is Down.REPLACED
        assert timer == SetTimer(state.until)
        waits.append(state.until - now)
        state, commands = step(state, Tick(), state.until)
        assert commands == (Open(),)
        state, _ = step(state, Opened(), 190.0)
    assert waits == [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0, 3600.0]


def test_an_hour_of_possession_forgets_the_takeovers() -> None:
    """Less would let two programs with the same policy take turns for ever."""
    owner = replace(UP, takeovers=5)
    early, _ = step(owner, NameTaken(), 100.0 + REPLACED_CEILING - 1)
    assert isinstance(early, Replaced)
    assert early.takeovers == 6
    late, _ = step(owner, NameTaken(), 100.0 + REPLACED_CEILING)
    assert isinstance(late, Replaced)
    assert late.takeovers == 1


def unanswered(times: int) -> State:
    """A link that is up at 100.0 after so many attempts were given up unanswered."""
    state: State = Connecting(0.0, 0, 0)
    for _ in range(times):
        state, _ = step(state, Refused(Fault.TIMEOUT, "no answer", unanswered=True), 90.0)
        state, _ = step(state, Tick(), 95.0)
    state, _ = step(state, Opened(), 100.0)
    return state


def test_a_late_answer_to_an_attempt_of_ours_is_a_loss_like_any_other() -> None:
    """The name went to the attempt that was given up: closed, said truthfully, and made anew as after any loss."""
    state = unanswered(1)
    assert isinstance(state, Connected)
    assert state.late == Late(1, 100.0 + LATE_SECONDS)
    lost, (close, down, timer) = step(state, NameTaken(), 101.0, luck=0.5)
    assert isinstance(lost, BackingOff)
    assert (lost.attempt, lost.takeovers, lost.why) == (2, 0, Down.REPLACED)
    assert (lost.until, lost.late.count) == (101.25, 0)
    assert close == Close(politely=True)
    assert down == AnnounceDown(Down.REPLACED, lost.detail)
    assert "answered late" in lost.detail
    assert "another client" not in lost.detail
    assert timer == SetTimer(101.25)


@pytest.mark.parametrize("times", [0, 1, 3])
def test_each_attempt_explains_one_replacement(times: int) -> None:
    """The next one says that another client is there, which is left alone."""
    state = unanswered(times)
    for _ in range(times):
        state, _ = step(state, NameTaken(), 101.0)
        assert isinstance(state, BackingOff)
        state, _ = step(state, Tick(), 101.0)
        state, _ = step(state, Opened(), 101.0)
    state, (_, down, timer) = step(state, NameTaken(), 102.0)
    assert state == Replaced(102.0, 1, 162.0)
    assert timer == SetTimer(162.0)
    assert isinstance(down, AnnounceDown)
    assert "another client" in down.detail


def test_an_attempt_explains_nothing_later_than_its_answer_may_come() -> None:
    """That time begins with the first link after it, however long it waited for one, and not again with the next."""
    up = unanswered(2)
    soon, _ = step(up, NameTaken(), 100.0 + LATE_SECONDS - 1)
    assert isinstance(soon, BackingOff)
    late, _ = step(up, NameTaken(), 100.0 + LATE_SECONDS)
    assert isinstance(late, Replaced)
    again: State = up
    for event in (Closed(Down.LOST, ""), Tick(), Opened()):
        again, _ = step(again, event, 150.0)
    assert isinstance(again, Connected)
    assert again.late == Late(2, 100.0 + LATE_SECONDS)
    late, _ = step(again, NameTaken(), 100.0 + LATE_SECONDS)
    assert isinstance(late, Replaced)


def test_only_so_many_attempts_may_be_answered_late_as_the_pbx_lets_wait() -> None:
    """Days of unanswered attempts are no reason to fight with another client for days."""
    state = unanswered(3 * LATE_MOST)
    assert isinstance(state, Connected)
    assert state.late.count == LATE_MOST


def test_only_an_attempt_that_had_asked_may_be_answered_late() -> None:
    """A refusal is an answer, and who was never asked answers nothing."""
    state: State = Connecting(0.0, 0, 0)
    for fault in Fault:
        state, _ = step(Connecting(0.0, 0, 0), Refused(fault, ""), 1.0)
        assert isinstance(state, BackingOff)
        assert state.late == Late()


@pytest.mark.parametrize(
    ("state", "commands"),
    [
        (Disconnected(), (CancelTimer(),)),
        (Connecting(0.0, 0, 0), (CancelTimer(), Close(politely=False))),
        (
            UP,
            (
                CancelTimer(),
                Close(politely=True),
                AnnounceDown(Down.STOPPED, "arimon stops watching this PBX"),
            ),
        ),
        (BackingOff(0.0, 1, 0, 9.0, Fault.TIMEOUT, ""), (CancelTimer(),)),
        (Replaced(0.0, 1, 60.0), (CancelTimer(),)),
        (Stopped(), ()),
    ],
)
def test_stop_ends_every_state(state: State, commands: tuple[Command, ...]) -> None:
    """Down is announced only where up was."""
    assert step(state, Stop(), 101.0) == (Stopped(), commands)


def test_what_has_no_meaning_is_reported_and_changes_nothing() -> None:
    """An Opened while backing off."""
    waiting = BackingOff(0.0, 1, 0, 9.0, Fault.TIMEOUT, "")
    assert step(waiting, Opened(), 1.0) == (waiting, (Unforeseen(waiting, Opened()),))


def test_the_table_names_only_states_and_events() -> None:
    """Every key of MOVES is one of the State and Event types, and every state can be left or is the end."""
    states, events = set(get_args(State)), set(get_args(Event))
    assert {state for state, _ in MOVES} == states
    assert {event for _, event in MOVES} == events


def test_described_speaks_wall_clock() -> None:
    """Monotonic seconds become Unix milliseconds, reasons become words."""
    shown = described(BackingOff(90.0, 3, 0, 110.0, Fault.TLS, "why"), 100.0, 1_000_000)
    assert (shown.name, shown.since_ms, shown.until_ms) == ("backing_off", 990_000, 1_010_000)
    assert (shown.attempt, shown.why, shown.detail) == (3, "tls", "why")
    assert described(UP, 100.0, 1_000_000).since_ms == 1_000_000
    assert described(Replaced(100.0, 2, 160.0), 100.0, 0).why == "replaced"
    assert described(Stopped(), 100.0, 0).since_ms is None


EVENTS = st.one_of(
    st.just(Opened()),
    st.builds(Refused, st.sampled_from(Fault), st.just(""), st.booleans()),
    st.floats(0, 50).map(Heard),
    st.just(NameTaken()),
    st.just(Deaf("")),
    st.sampled_from([Down.CLOSED, Down.LOST, Down.BROKEN]).map(lambda why: Closed(why, "")),
    st.just(Tick()),
)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 20), st.floats(0, 1, exclude_max=True))))
def test_it_never_gives_up_and_never_lies(story: list[tuple[Event, float, float]]) -> None:
    """Whatever comes: up and down alternate, and every living state has a timer or an attempt that leads on."""
    state, commands = step(Disconnected(), Start(), 0.0)
    now, up, timer, opening = 0.0, False, False, True
    for event, later, luck in story:
        now += later
        if isinstance(event, Opened | Refused) and not opening:
            continue  # nobody asked
        if isinstance(event, Tick):
            if not timer:
                continue
            timer = False
        if isinstance(event, Opened | Refused):
            opening = False
        state, commands = step(state, event, now, luck)
        for command in commands:
            match command:
                case AnnounceUp():
                    assert not up
                    up = True
                case AnnounceDown():
                    assert up
                    up = False
                case SetTimer(at):
                    assert at >= now or isinstance(state, Connected)
                    timer = True
                case Open():
                    opening = True
        assert timer or opening
        assert up == isinstance(state, Connected)
