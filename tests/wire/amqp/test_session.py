"""The machine of the broker connection: no socket, no loop, no sleep; whole (state, effects)."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as amqp
from pamqp.base import Frame

from wire.amqp import session as machine
from wire.amqp.session import (
    Announce,
    Beat,
    Close,
    Dial,
    Dialled,
    Effect,
    FailInFlight,
    Greet,
    HangUp,
    Login,
    Lost,
    MethodReceived,
    Policy,
    RestartConfirmClock,
    Session,
    Settled,
    Start,
    Step,
    Tick,
    UnexpectedMethod,
    Write,
    transition,
)
from wire.backoff import Backoff
from wire.sink import Phase, SinkState

POLICY = Policy(
    where="broker:5672",
    username="arimon",
    vhost="/calls",
    exchanges=("arimon.calls", "arimon.legacy"),
    backoff=Backoff(0.5, 30.0),
    connect_timeout_ms=5_000,
    confirm_timeout_ms=30_000,
    heartbeat_s=10,
)
UP = Session(POLICY, Step.UP, attempt=0, since_ms=1_000, heartbeat_ms=10_000)
T = 100_000


def said(method: Frame, draw: float = 0.5) -> MethodReceived:
    """The broker said this, at T."""
    return MethodReceived(T, 0, method, draw)


def tick(now_ms: int = T, *, heard: int = 0, said: int = 0, waiting: int = 0, draw: float = 0.5) -> Tick:
    """A tick; `heard`, `said` and `waiting` are how long ago, ms."""
    return Tick(now_ms, now_ms - heard, now_ms - said, waiting, draw)


def trouble(why: str, until_ms: int, attempt: int) -> tuple[Effect, ...]:
    """What every trouble does."""
    return HangUp(), Announce(SinkState(Phase.BACKING_OFF, why, attempt, until_ms)), FailInFlight(why)


def test_the_way_up() -> None:
    """Each answer of the broker brings the next question, and the last one CONNECTED."""
    session, effects = transition(Session(POLICY), Start(T))
    assert effects == (Announce(SinkState(Phase.CONNECTING, attempt=1)), Dial())
    dialling = replace(Session(POLICY), step=Step.DIALLING, attempt=1, since_ms=T)
    assert session == dialling
    session, effects = transition(session, Dialled(T))
    assert (session, effects) == (replace(dialling, step=Step.START), (Greet(),))
    session, effects = transition(session, said(amqp.Connection.Start()))
    assert (session, effects) == (replace(dialling, step=Step.TUNE), (Login(),))
    session, effects = transition(session, said(amqp.Connection.Tune(2047, 131_072, 60)))
    tuned = replace(dialling, step=Step.OPEN, frame_max=131_072, heartbeat_ms=10_000)
    assert session == tuned
    assert effects == (Write(0, amqp.Connection.TuneOk(1, 131_072, 10)), Write(0, amqp.Connection.Open("/calls")))
    session, effects = transition(session, said(amqp.Connection.OpenOk()))
    assert (session, effects) == (replace(tuned, step=Step.CHANNEL), (Write(1, amqp.Channel.Open()),))
    session, effects = transition(session, said(amqp.Channel.OpenOk()))
    assert (session, effects) == (replace(tuned, step=Step.CONFIRM), (Write(1, amqp.Confirm.Select()),))
    session, effects = transition(session, said(amqp.Confirm.SelectOk()))
    declaring = replace(tuned, step=Step.EXCHANGES, undeclared=("arimon.calls", "arimon.legacy"))
    assert session == declaring
    assert effects == (Write(1, amqp.Exchange.Declare(0, "arimon.calls", "topic", durable=True)),)
    session, effects = transition(session, said(amqp.Exchange.DeclareOk()))
    assert session == replace(declaring, undeclared=("arimon.legacy",))
    assert effects == (Write(1, amqp.Exchange.Declare(0, "arimon.legacy", "topic", durable=True)),)
    session, effects = transition(session, said(amqp.Exchange.DeclareOk()))
    assert session == replace(tuned, step=Step.UP)
    assert effects == (Announce(SinkState(Phase.CONNECTED, attempt=1)),)


@pytest.mark.parametrize(
    ("frame_max", "heartbeat", "expected"),
    [(0, 0, (131_072, 10)), (4096, 5, (4096, 5)), (999_999, 600, (131_072, 10))],
)
def test_tuning_takes_the_smaller(frame_max: int, heartbeat: int, expected: tuple[int, int]) -> None:
    """0 of the broker is no limit; a heartbeat is always on, for a silent link must be noticed."""
    session = replace(Session(POLICY), step=Step.TUNE)
    session, effects = transition(session, said(amqp.Connection.Tune(0, frame_max, heartbeat)))
    assert (session.frame_max, session.heartbeat_ms) == (expected[0], expected[1] * 1000)
    assert effects[0] == Write(0, amqp.Connection.TuneOk(1, *expected))


def test_a_lost_connection_is_dialled_again_at_once() -> None:
    """The first retry waits for nothing."""
    session, effects = transition(UP, Lost(T, "reset by peer", 0.9))
    why = "broker:5672: reset by peer"
    # A session that had proven itself: attempt 0 becomes 1 with this dialling.
    assert effects == (*trouble(why, T, 0), Announce(SinkState(Phase.CONNECTING, why, 1)), Dial())
    assert session.step is Step.DIALLING


def test_a_refusal_waits_longer_each_time() -> None:
    """The n-th retry waits up to minimum·2^(n-2), drawn with full jitter, at most the maximum."""
    session, delays = Session(POLICY), []
    session, _ = transition(session, Start(T))
    now = T
    for _ in range(12):
        session, effects = transition(session, Lost(now, "connection refused", 0.5))
        if session.step is Step.BACKING_OFF:
            delays.append(session.until_ms - now)
            assert transition(session, tick(session.until_ms - 1)) == (session, ())
            now = session.until_ms
            session, effects = transition(session, tick(now))
        else:
            delays.append(0)
        assert effects[-1] == Dial()
    assert delays == [0, 250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000, 15000, 15000]


def test_ten_minutes_without_a_broker() -> None:
    """A ten-minute outage: attempts go on to the end, none is the last, and the broker's return is found in 30 s."""
    session, effects = transition(UP, Lost(0, "killed", 0.0))
    dials, now = [0], 0
    while now < 600_000:
        now += 100
        if session.step is Step.DIALLING:
            session, effects = transition(session, Lost(now, "connection refused", 0.99))
        else:
            session, effects = transition(session, tick(now))
        dials += [now] * effects.count(Dial())
    assert len(dials) > 20
    gaps = [later - earlier for earlier, later in pairwise(dials)]
    assert max(gaps) <= 30_200
    assert dials[-1] > 570_000
    assert session.attempt == len(dials)


@pytest.mark.parametrize("step", sorted(machine.CONNECTING))
def test_every_step_of_connecting_has_the_same_limit(step: Step) -> None:
    """No answer within connect_timeout of dialling: trouble, wherever it hangs."""
    session = replace(UP, step=step, attempt=2, since_ms=T - 4_999)
    assert transition(session, tick()) == (session, ())
    session = replace(session, since_ms=T - 5_000)
    why = f"broker:5672: no answer ({step}) within 5 s"
    assert transition(session, tick()) == (
        replace(session, step=Step.BACKING_OFF, since_ms=T, until_ms=T + 250, reason=why),
        trouble(why, T + 250, 2),
    )


def test_overdue_confirms_are_trouble() -> None:
    """Accepted and never confirmed: in flight FAILED and connected anew; a ms before it is nothing."""
    assert transition(UP, tick(waiting=29_999)) == (UP, ())
    session, effects = transition(UP, tick(waiting=30_000))
    why = "broker:5672: the broker accepted messages and confirmed none for 30 s"
    assert effects[:3] == trouble(why, T, 0)
    assert session.step is Step.DIALLING


def test_silence_for_two_heartbeats_is_trouble() -> None:
    """Not a byte for twice the agreed time, blocked or not, and the link is dead."""
    for session in (UP, replace(UP, step=Step.BLOCKED)):
        assert transition(session, tick(heard=19_999)) == (session, ())
        after, effects = transition(session, tick(heard=20_000))
        assert effects[:3] == trouble("broker:5672: not a byte from the broker for 20 s", T, 0)
        assert after.step is Step.DIALLING


def test_we_beat_when_we_were_quiet() -> None:
    """A heartbeat goes out when nothing did for half its time."""
    assert transition(UP, tick(said=4_999)) == (UP, ())
    assert transition(UP, tick(said=5_000)) == (UP, (Beat(),))


def test_blocked_and_unblocked() -> None:
    """Blocked: nothing is failed and confirms may take for ever; unblocked: their clock starts again."""
    session, effects = transition(UP, said(amqp.Connection.Blocked("low on disk")))
    why = "broker:5672: the broker is blocked (low on disk); it takes messages again when it has memory and disk"
    assert (session, effects) == (
        replace(UP, step=Step.BLOCKED, reason=why),
        (Announce(SinkState(Phase.BLOCKED, why)),),
    )
    assert transition(session, tick(waiting=9_999_999)) == (session, ())
    assert transition(session, said(amqp.Connection.Unblocked())) == (
        UP,
        (RestartConfirmClock(), Announce(SinkState(Phase.CONNECTED))),
    )


def test_attempts_are_forgotten_when_the_broker_settles_a_message() -> None:
    """Not when it connects: else a broker that closes the channel at each publish is dialled in a tight loop."""
    session = replace(UP, attempt=3, reason="it was away")
    assert transition(session, Settled(T)) == (UP, (Announce(SinkState(Phase.CONNECTED)),))
    assert transition(UP, Settled(T)) == (UP, ())


def test_attempts_are_forgotten_when_the_connection_is_old() -> None:
    """Without traffic half a minute is proof enough; with a message that waits for its confirm it is not."""
    session = replace(UP, attempt=3, reason="it was away", since_ms=T - machine.STEADY_MS)
    assert transition(session, tick(waiting=1)) == (session, ())
    assert transition(session, tick()) == (
        replace(session, attempt=0, reason=""),
        (Announce(SinkState(Phase.CONNECTED)),),
    )


def test_a_publish_that_always_closes_the_channel_backs_off() -> None:
    """Connect, publish, be thrown out: each round waits longer, though every connection succeeds."""
    session, delays = UP, []
    for _ in range(6):
        session, _ = transition(session, said(amqp.Channel.Close(403, "ACCESS_REFUSED - no", 60, 40)))
        delays.append(session.until_ms - T if session.step is Step.BACKING_OFF else 0)
        session = replace(session, step=Step.UP, since_ms=T, attempt=session.attempt + bool(delays[-1]))
    assert delays == [0, 0, 250, 500, 1000, 2000]


REFUSALS = [
    (Step.TUNE, 403, "ACCESS_REFUSED - Login was refused", "check rabbitmq.username ('arimon') and rabbitmq.password"),
    (Step.OPEN, 530, "NOT_ALLOWED - vhost /calls not found", "rabbitmqctl add_vhost /calls"),
    (Step.OPEN, 530, "NOT_ALLOWED - access refused for user", "rabbitmqctl set_permissions -p /calls arimon"),
    (Step.EXCHANGES, 403, "ACCESS_REFUSED - configure access", "'arimon' needs configure and write permission"),
    (Step.EXCHANGES, 406, "PRECONDITION_FAILED - inequivalent arg", "delete the exchange 'arimon.calls'"),
    (Step.UP, 404, "NOT_FOUND - no exchange 'arimon.calls'", "NOT_FOUND - no exchange 'arimon.calls'"),
    (Step.UP, 320, "CONNECTION_FORCED - broker forced\nclosure", "CONNECTION_FORCED - broker forced closure (320)"),
]


@pytest.mark.parametrize(("step", "code", "text", "expected"), REFUSALS)
@pytest.mark.parametrize("kind", [amqp.Channel.Close, amqp.Connection.Close])
def test_a_refusal_says_what_to_do(
    kind: type[amqp.Channel.Close | amqp.Connection.Close], step: Step, code: int, text: str, expected: str
) -> None:
    """Whatever is closed, in whatever step: backing off, one line with the broker's words and the cure."""
    session = replace(UP, step=step, attempt=3, undeclared=("arimon.calls",))
    after, effects = transition(session, said(kind(code, text, 0, 0)))
    assert after.step is Step.BACKING_OFF
    assert after.reason.startswith("broker:5672: ")
    assert expected in after.reason
    assert "\n" not in after.reason
    answer = (Write(0, amqp.Connection.CloseOk()),) if kind is amqp.Connection.Close else ()
    assert effects == (*answer, *trouble(after.reason, T + 500, 3))


def test_good_bye() -> None:
    """Close says so to the broker and ends with its answer, or without it after a second."""
    closing, effects = transition(UP, Close(T))
    assert closing == replace(UP, step=Step.CLOSING, since_ms=T, reason="closing")
    assert effects == (
        Announce(SinkState(Phase.DISCONNECTED, "closing")),
        Write(0, amqp.Connection.Close(200, "closed", 0, 0)),
    )
    closed = replace(closing, step=Step.CLOSED, reason="closed")
    end = (HangUp(), Announce(SinkState(Phase.DISCONNECTED, "closed")), FailInFlight("closed"))
    assert transition(closing, said(amqp.Connection.CloseOk())) == (closed, end)
    assert transition(closing, Lost(T, "gone", 0.5)) == (closed, end)
    assert transition(closing, tick(T + 999)) == (closing, ())
    assert transition(closing, tick(T + 1000)) == (closed, end)
    assert transition(closing, Close(T)) == (closing, ())


@pytest.mark.parametrize("step", sorted(set(Step) - {Step.UP, Step.BLOCKED, Step.CLOSING, Step.CLOSED}))
def test_closing_what_is_not_up_is_immediate(step: Step) -> None:
    """There is nobody to say good-bye to."""
    session, effects = transition(replace(UP, step=step), Close(T))
    assert session.step is Step.CLOSED
    assert effects[0] == HangUp()


@pytest.mark.parametrize("step", sorted(Step))
def test_the_unexpected_changes_nothing_and_is_reported(step: Step) -> None:
    """A method without meaning here is an effect that tells, never an exception."""
    session = replace(UP, step=step)
    after, effects = transition(session, said(amqp.Channel.FlowOk(True)))
    assert after == session
    assert effects == (() if step is Step.CLOSING else (UnexpectedMethod(step, "Channel.FlowOk"),))


@pytest.mark.parametrize("step", [Step.IDLE, Step.BACKING_OFF, Step.CLOSED])
def test_late_words_of_an_old_socket_change_nothing(step: Step) -> None:
    """Lost, Dialled and Settled where there is no socket are ignored."""
    session = replace(UP, step=step, until_ms=T + 1000)
    for event in (Lost(T, "late", 0.5), Dialled(T), Settled(T)):
        assert transition(session, event) == (session, ())


METHODS: list[Frame] = [
    amqp.Connection.Start(),
    amqp.Connection.Tune(1, 131_072, 60),
    amqp.Connection.OpenOk(),
    amqp.Channel.OpenOk(),
    amqp.Confirm.SelectOk(),
    amqp.Exchange.DeclareOk(),
    amqp.Connection.Blocked("low on memory"),
    amqp.Connection.Unblocked(),
    amqp.Channel.Close(404, "NOT_FOUND", 60, 40),
    amqp.Connection.Close(320, "CONNECTION_FORCED", 0, 0),
    amqp.Connection.CloseOk(),
    amqp.Channel.FlowOk(True),
]
ACTS = st.one_of(
    st.sampled_from(METHODS).map(lambda method: MethodReceived(0, 0, method, 0.5)),
    st.sampled_from([Start(0), Dialled(0), Lost(0, "gone", 0.5), Settled(0)]),
    st.builds(Tick, st.just(0), st.just(0), st.just(0), st.sampled_from([0, 40_000]), st.just(0.5)),
    st.just(Close(0)),
)


@given(st.lists(st.tuples(ACTS, st.integers(0, 20_000)), max_size=60))
def test_whatever_happens_the_promises_hold(happenings: list[tuple[machine.Event, int]]) -> None:
    """Any events in any order: one socket at a time, words only on a socket, no message forgotten, no way to hang."""
    session, now, socket, in_flight = Session(POLICY), 0, False, False
    for event, later in happenings:
        now += later
        event = replace(event, now_ms=now)
        if isinstance(event, Tick):
            event = replace(event, heard_ms=now, said_ms=now)
        session, effects = transition(session, event)
        for effect in effects:
            match effect:
                case Dial():
                    assert not socket
                    socket = True
                case HangUp():
                    socket = False
                case Write() | Greet() | Login() | Beat():
                    # What is said in the same breath as a hanging up comes before it.
                    assert socket
                case FailInFlight():
                    in_flight = False
        if session.step is Step.UP:
            in_flight = True  # as if something were published at once
        assert socket == (session.step in machine.TALKING | {Step.DIALLING})
        assert not in_flight or session.step in (Step.UP, Step.BLOCKED, Step.CLOSING)
        if session.step in machine.CONNECTING:
            late = replace(tick(now + POLICY.connect_timeout_ms), draw=0.9)
            assert HangUp() in transition(session, late)[1]
        if session.step is Step.BACKING_OFF:
            assert Dial() in transition(session, tick(now + 30_000))[1]


def test_every_step_has_a_phase() -> None:
    """Others see each step as one of the phases."""
    assert set(machine.PHASES) == set(Step)
