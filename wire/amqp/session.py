"""The connection to the broker, as a machine: `transition(session, event) -> (session, effects)`.

No socket, clock, random source or logger; every event carries its time. `wire.amqp.link` moves the bytes, performs the
effects and calls back. **Every change of the connection's state is made here**, and nothing here is fatal: whatever the
broker does ends in UP, or in BACKING_OFF with a line that says what happened and how to mend it.

    IDLE → DIALLING → START → TUNE → OPEN → CHANNEL → CONFIRM → EXCHANGES → UP ⇄ BLOCKED
              ↑                  (any of them, on any trouble)                  │
              └──────────────────────── BACKING_OFF ←───────────────────────────┘        Close: → CLOSING → CLOSED

There is one way out of trouble: hang up, fail what is in flight, back off, dial again. A new channel on the old
connection would save a handshake of some 10 ms, and would need the very broker that has just not answered.

| the broker …                             | what happens                                                              |
|------------------------------------------|---------------------------------------------------------------------------|
| is away, refuses, cannot be resolved     | BACKING_OFF                                                               |
| is killed, closes the socket             | in flight FAILED; BACKING_OFF, first retry at once                        |
| shuts down (320)                         | the same, with its words                                                  |
| is silent for two heartbeats             | the same: a dead link without FIN                                         |
| never answers while we connect           | BACKING_OFF after `connect_timeout`                                       |
| blocks (connection.blocked)              | BLOCKED: what is in flight stays, its confirm clock stops; new is FAILED  |
| unblocks                                 | UP; the confirm clock starts again                                        |
| accepts and never confirms               | after `confirm_timeout`: in flight FAILED, connection anew                |
| nacks / returns as unroutable            | FAILED / RETURNED for that message; the connection stays (wire.amqp.link) |
| refuses user, password, vhost            | BACKING_OFF; the reason names the setting                                 |
| has the exchange as another type (406)   | BACKING_OFF; the reason names the exchange                                |
| forbids to declare or publish (403)      | in flight FAILED; BACKING_OFF                                             |
| lost the exchange (404 at a publish)     | in flight FAILED; reconnecting declares it anew                           |
| speaks something else                    | BACKING_OFF                                                               |

`attempt` goes back to 0 when the broker has settled a message on the new connection or has kept it for
`STEADY_MS`, not when the connection is made: a broker that accepts us and closes the channel at each publish would
else be dialled in a tight loop.

Source: AMQP 0-9-1 specification, section 1.4 (connection class); https://www.rabbitmq.com/docs/connection-blocked.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from pamqp import commands as amqp
from pamqp.base import Frame

from wire.backoff import Backoff
from wire.sink import Phase, SinkState

STEADY_MS = 30_000
"""A connection this old has proven itself, though nothing was published on it."""
CLOSE_MS = 1_000
"""How long the broker may take to answer our good-bye."""
FRAME_MAX = 131_072
"""Largest frame we ask for, bytes: RabbitMQ's own default."""


class Step(StrEnum):
    """Where the connection is; the awaiting ones are named after what they ask for."""

    IDLE = "idle"
    DIALLING = "dialling"
    START = "start"
    TUNE = "tune"
    OPEN = "open"
    CHANNEL = "channel"
    CONFIRM = "confirm"
    EXCHANGES = "exchanges"
    UP = "up"
    BLOCKED = "blocked"
    BACKING_OFF = "backing_off"
    CLOSING = "closing"
    CLOSED = "closed"


CONNECTING = frozenset({Step.DIALLING, Step.START, Step.TUNE, Step.OPEN, Step.CHANNEL, Step.CONFIRM, Step.EXCHANGES})
"""Steps that must end in UP within `connect_timeout`."""
TALKING = CONNECTING - {Step.DIALLING} | {Step.UP, Step.BLOCKED, Step.CLOSING}
"""Steps in which there is a socket."""


# Events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Begin; once."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class Dialled:
    """The socket is connected, TLS included."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class Lost:
    """No socket: dialling failed, or it broke, or what came from it is not AMQP."""

    now_ms: int
    why: str
    """One line, as `connection refused`."""
    draw: float
    """Random, in [0, 1): the jitter of the delay."""


@dataclass(frozen=True, slots=True)
class MethodReceived:
    """The broker sent a method; Basic.Ack, Nack and Return never come here."""

    now_ms: int
    channel: int
    method: Frame
    draw: float


@dataclass(frozen=True, slots=True)
class Settled:
    """The first message on this connection got its ack or nack."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes; sent a few times a second."""

    now_ms: int
    heard_ms: int
    """When the last byte came."""
    said_ms: int
    """When the last byte went."""
    waiting_ms: int
    """How long the oldest message in flight has waited for its confirm."""
    draw: float


@dataclass(frozen=True, slots=True)
class Close:
    """Say good-bye; what is in flight has had its time."""

    now_ms: int


Event = Start | Dialled | Lost | MethodReceived | Settled | Tick | Close


# Effects ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect a socket; answer with Dialled or Lost."""


@dataclass(frozen=True, slots=True)
class Greet:
    """Write AMQP's protocol header."""


@dataclass(frozen=True, slots=True)
class Login:
    """Write Connection.StartOk with the credentials, which this machine never sees."""


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """Write a method on a channel. Equal if its parts are, which pamqp's methods do not say of themselves."""

    channel: int
    method: Frame

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Write) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((self.channel, self.method.name))

    def _parts(self) -> tuple[int, str, dict[str, object]]:
        return self.channel, self.method.name, dict(self.method)


@dataclass(frozen=True, slots=True)
class Beat:
    """Write a heartbeat."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """Drop the socket, or the attempt to get one; hear nothing of it any more."""


@dataclass(frozen=True, slots=True)
class FailInFlight:
    """Give every message in flight the verdict FAILED."""

    why: str


@dataclass(frozen=True, slots=True)
class RestartConfirmClock:
    """The time until now does not count as waiting for confirms."""


@dataclass(frozen=True, slots=True)
class Announce:
    """The state as others see it; times on the machine's clock."""

    state: SinkState


@dataclass(frozen=True, slots=True)
class UnexpectedMethod:
    """The broker said something that has no meaning here; ignored and counted."""

    step: Step
    method: str


Effect = Dial | Greet | Login | Write | Beat | HangUp | FailInFlight | RestartConfirmClock | Announce | UnexpectedMethod


# State ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Policy:
    """What does not change while the process lives."""

    where: str
    """`host:port`, for reasons."""
    username: str
    vhost: str
    exchanges: tuple[str, ...]
    """Durable topic exchanges to declare, in this order."""
    backoff: Backoff
    connect_timeout_ms: int
    confirm_timeout_ms: int
    heartbeat_s: int


@dataclass(frozen=True, slots=True)
class Session:
    """The state of the machine."""

    policy: Policy
    step: Step = Step.IDLE
    attempt: int = 0
    """Attempts to connect since the broker last proved itself."""
    since_ms: int = 0
    """When this step began; for the steps of CONNECTING, when the dialling began."""
    until_ms: int = 0
    """End of the backing off."""
    frame_max: int = FRAME_MAX
    heartbeat_ms: int = 0
    """As agreed with the broker; 0 is off."""
    undeclared: tuple[str, ...] = ()
    """Exchanges that the broker has not yet declared; the first is being asked for."""
    reason: str = ""
    """Why it is not UP, or was not until now."""


def transition(session: Session, event: Event) -> tuple[Session, tuple[Effect, ...]]:
    """The only way from one state to the next."""
    match event:
        case MethodReceived():
            return _method(session, event)
        case Tick():
            return _tick(session, event)
        case Lost(now_ms, why, draw) if session.step is Step.CLOSING:
            return _closed(session)
        case Lost(now_ms, why, draw) if session.step in CONNECTING or session.step in TALKING:
            return _trouble(session, now_ms, f"{session.policy.where}: {why}", draw)
        case Start(now_ms) if session.step is Step.IDLE:
            return _dial(session, now_ms)
        case Dialled() if session.step is Step.DIALLING:
            return replace(session, step=Step.START), (Greet(),)
        case Settled() if session.step in (Step.UP, Step.BLOCKED):
            return _proven(session)
        case Close(now_ms):
            return _close(session, now_ms)
    return session, ()


# Getting there and away -------------------------------------------------------------------------------------------


def _dial(session: Session, now_ms: int) -> tuple[Session, tuple[Effect, ...]]:
    session = replace(session, step=Step.DIALLING, attempt=session.attempt + 1, since_ms=now_ms, undeclared=())
    return session, (_announce(session), Dial())


def _trouble(session: Session, now_ms: int, why: str, draw: float) -> tuple[Session, tuple[Effect, ...]]:
    """Hang up, fail what is in flight, and wait for the next attempt (or make it, when its turn is now)."""
    delay_ms = round(session.policy.backoff.delay(max(1, session.attempt), lambda: draw) * 1000)
    session = replace(session, step=Step.BACKING_OFF, since_ms=now_ms, until_ms=now_ms + delay_ms, reason=why)
    effects: tuple[Effect, ...] = (HangUp(), _announce(session), FailInFlight(why))
    if delay_ms:
        return session, effects
    session, dialling = _dial(session, now_ms)
    return session, effects + dialling


def _proven(session: Session) -> tuple[Session, tuple[Effect, ...]]:
    if not session.attempt:
        return session, ()
    session = replace(session, attempt=0, reason=session.reason if session.step is Step.BLOCKED else "")
    return session, (_announce(session),)


def _close(session: Session, now_ms: int) -> tuple[Session, tuple[Effect, ...]]:
    if session.step in (Step.CLOSING, Step.CLOSED):
        return session, ()
    if session.step not in (Step.UP, Step.BLOCKED):
        return _closed(session)
    bye = amqp.Connection.Close(reply_code=200, reply_text="closed", class_id=0, method_id=0)
    session = replace(session, step=Step.CLOSING, since_ms=now_ms, reason="closing")
    return session, (_announce(session), Write(0, bye))


def _closed(session: Session) -> tuple[Session, tuple[Effect, ...]]:
    session = replace(session, step=Step.CLOSED, attempt=0, reason="closed")
    return session, (HangUp(), _announce(session), FailInFlight("closed"))


def _tick(session: Session, tick: Tick) -> tuple[Session, tuple[Effect, ...]]:
    now_ms, policy = tick.now_ms, session.policy
    where = policy.where
    if session.step is Step.BACKING_OFF:
        return _dial(session, now_ms) if now_ms >= session.until_ms else (session, ())
    if session.step is Step.CLOSING:
        return _closed(session) if now_ms - session.since_ms >= CLOSE_MS else (session, ())
    if session.step in CONNECTING:
        if now_ms - session.since_ms < policy.connect_timeout_ms:
            return session, ()
        why = f"{where}: no answer ({session.step}) within {policy.connect_timeout_ms / 1000:g} s"
        return _trouble(session, now_ms, why, tick.draw)
    if session.step not in (Step.UP, Step.BLOCKED):
        return session, ()
    silent_ms = now_ms - tick.heard_ms
    if session.heartbeat_ms and silent_ms >= 2 * session.heartbeat_ms:
        return _trouble(session, now_ms, f"{where}: not a byte from the broker for {silent_ms / 1000:.0f} s", tick.draw)
    if session.step is Step.UP and tick.waiting_ms >= policy.confirm_timeout_ms:
        why = f"{where}: the broker accepted messages and confirmed none for {tick.waiting_ms / 1000:.0f} s"
        return _trouble(session, now_ms, why, tick.draw)
    effects: tuple[Effect, ...] = ()
    if session.step is Step.UP and not tick.waiting_ms and now_ms - session.since_ms >= STEADY_MS:
        session, effects = _proven(session)
    if session.heartbeat_ms and now_ms - tick.said_ms >= session.heartbeat_ms // 2:
        effects += (Beat(),)
    return session, effects


# What the broker says ---------------------------------------------------------------------------------------------


def _method(session: Session, event: MethodReceived) -> tuple[Session, tuple[Effect, ...]]:
    method = event.method
    if session.step in TALKING:
        if isinstance(method, amqp.Connection.Close):
            session, effects = _told_to_leave(session, event, method.reply_code or 0, method.reply_text or "")
            return session, (Write(0, amqp.Connection.CloseOk()), *effects)
        if isinstance(method, amqp.Channel.Close) and session.step is not Step.CLOSING:
            # No Channel.CloseOk: the whole connection goes.
            return _told_to_leave(session, event, method.reply_code or 0, method.reply_text or "")
        handle = ANSWERS.get((session.step, type(method)))
        if handle is not None:
            return handle(session, event)
        if session.step is Step.CLOSING:
            return session, ()
    return session, (UnexpectedMethod(session.step, method.name),)


def _told_to_leave(session: Session, event: MethodReceived, code: int, text: str) -> tuple[Session, tuple[Effect, ...]]:
    if session.step is Step.CLOSING:
        return _closed(session)
    return _trouble(session, event.now_ms, explain(session, code, text), event.draw)


def _started(session: Session, event: MethodReceived) -> tuple[Session, tuple[Effect, ...]]:
    return replace(session, step=Step.TUNE), (Login(),)


def _tuned(session: Session, event: MethodReceived) -> tuple[Session, tuple[Effect, ...]]:
    tune = event.method
    assert isinstance(tune, amqp.Connection.Tune)
    # 0 means "no limit" of a frame, and "no heartbeat of mine"; ours is kept then: we want to notice a dead link.
    frame_max = min(tune.frame_max or FRAME_MAX, FRAME_MAX)
    heartbeat_s = min(tune.heartbeat or session.policy.heartbeat_s, session.policy.heartbeat_s)
    session = replace(session, step=Step.OPEN, frame_max=frame_max, heartbeat_ms=heartbeat_s * 1000)
    ok = amqp.Connection.TuneOk(channel_max=1, frame_max=frame_max, heartbeat=heartbeat_s)
    return session, (Write(0, ok), Write(0, amqp.Connection.Open(virtual_host=session.policy.vhost)))


def _opened(session: Session, event: MethodReceived) -> tuple[Session, tuple[Effect, ...]]:
    return replace(session, step=Step.CHANNEL), (Write(1, amqp.Channel.Open()),)


def _channel_opened(session: Session, event: MethodReceived) -> tuple[Session, tuple[Effect, ...]]:
    return replace(session, step=Step.CONFIRM), (Write(1, amqp.Confirm.Select()),)


def _confirming(session: Session, event: MethodReceived) -> tuple[Session, tuple[Effect, ...]]:
    return _declare(replace(session, step=Step.EXCHANGES, undeclared=session.policy.exchanges), event.now_ms)


def _declared(session: Session, event: MethodReceived) -> tuple[Session, tuple[Effect, ...]]:
    return _declare(replace(session, undeclared=session.undeclared[1:]), event.now_ms)


def _declare(session: Session, now_ms: int) -> tuple[Session, tuple[Effect, ...]]:
    if session.undeclared:
        name = session.undeclared[0]
        return session, (Write(1, amqp.Exchange.Declare(exchange=name, exchange_type="topic", durable=True)),)
    session = replace(session, step=Step.UP, since_ms=now_ms)
    return session, (_announce(session),)


def _blocked(session: Session, event: MethodReceived) -> tuple[Session, tuple[Effect, ...]]:
    assert isinstance(event.method, amqp.Connection.Blocked)
    why = (
        f"{session.policy.where}: the broker is blocked ({event.method.reason or 'no reason given'}); "
        "it takes messages again when it has memory and disk"
    )
    session = replace(session, step=Step.BLOCKED, reason=why)
    return session, (_announce(session),)


def _unblocked(session: Session, event: MethodReceived) -> tuple[Session, tuple[Effect, ...]]:
    session = replace(session, step=Step.UP, reason="")
    return session, (RestartConfirmClock(), _announce(session))


def _closed_ok(session: Session, event: MethodReceived) -> tuple[Session, tuple[Effect, ...]]:
    return _closed(session)


ANSWERS: dict[tuple[Step, type[Frame]], Callable[[Session, MethodReceived], tuple[Session, tuple[Effect, ...]]]] = {
    (Step.START, amqp.Connection.Start): _started,
    (Step.TUNE, amqp.Connection.Tune): _tuned,
    (Step.OPEN, amqp.Connection.OpenOk): _opened,
    (Step.CHANNEL, amqp.Channel.OpenOk): _channel_opened,
    (Step.CONFIRM, amqp.Confirm.SelectOk): _confirming,
    (Step.EXCHANGES, amqp.Exchange.DeclareOk): _declared,
    (Step.UP, amqp.Connection.Blocked): _blocked,
    (Step.BLOCKED, amqp.Connection.Blocked): _blocked,
    (Step.BLOCKED, amqp.Connection.Unblocked): _unblocked,
    (Step.CLOSING, amqp.Connection.CloseOk): _closed_ok,
}
"""What the broker may say in each step, but for Connection.Close and Channel.Close, which it may say in every one."""


# For others to read -----------------------------------------------------------------------------------------------

PHASES = {
    Step.IDLE: Phase.DISCONNECTED,
    Step.UP: Phase.CONNECTED,
    Step.BLOCKED: Phase.BLOCKED,
    Step.BACKING_OFF: Phase.BACKING_OFF,
    Step.CLOSING: Phase.DISCONNECTED,
    Step.CLOSED: Phase.DISCONNECTED,
} | dict.fromkeys(CONNECTING, Phase.CONNECTING)


def sink_state(session: Session) -> SinkState:
    """The state in the words that both sinks share; `until_ms` on the machine's clock."""
    backing_off = session.step is Step.BACKING_OFF
    return SinkState(PHASES[session.step], session.reason, session.attempt, session.until_ms if backing_off else None)


def _announce(session: Session) -> Announce:
    return Announce(sink_state(session))


def explain(session: Session, code: int, text: str) -> str:
    """One line on why the broker closed the connection or the channel, and what to do about it.

    Args:
        session: the state in which it did.
        code: AMQP reply code, as 403.
        text: the broker's own words; they carry no secret.
    """
    policy = session.policy
    text = " ".join(text.split())[:300]
    said = f"{policy.where}: {text} ({code})"
    if code == 403 and session.step in (Step.START, Step.TUNE):
        return f"{said}; check rabbitmq.username ({policy.username!r}) and rabbitmq.password"
    if session.step is Step.OPEN and "not found" in text:
        return f"{said}; check rabbitmq.vhost, or: rabbitmqctl add_vhost {policy.vhost}"
    if session.step is Step.OPEN:
        return (
            f"{said}; grant it: rabbitmqctl set_permissions -p {policy.vhost} {policy.username} '^arimon' '^arimon' ''"
        )
    if code == 403:
        return (
            f"{said}; {policy.username!r} needs configure and write permission on {', '.join(policy.exchanges)} "
            f"in vhost {policy.vhost!r} (rabbitmqctl set_permissions)"
        )
    if code == 406 and session.step is Step.EXCHANGES:
        return f"{said}; delete the exchange {session.undeclared[0]!r} or name another in rabbitmq.exchange"
    return said
