"""The link to one PBX's event WebSocket, as a pure machine: `transition(rules, state, event, now, luck)`.

Theory of operation. The link is always in one of the states below and never gives up: whatever happens, there is a
timer or an open attempt that leads on, until `Stop`. Every transition lives in `MOVES`; what is not there leaves the
state as it is and is reported (`Unforeseen`). No clock, socket, randomness or logger: the time is an argument
(monotonic seconds), so is the luck that jitter needs, and a timer is a command that comes back as an event.

    Disconnected ──Start──→ Connecting ──Opened──→ Connected ──Closed, or silent for dead_after──→ BackingOff
                                │  ↑                   │        or Deaf
                                │  ↑                   └──NameTaken──→ Replaced
                             Refused └──────Tick──────── BackingOff, Replaced
                                └──→ BackingOff                                    any ──Stop──→ Stopped

**Retrying.** Exponential with full jitter (wire.backoff), the first retry after a loss at once. What only an operator
can mend (wire.ari.errors.NEEDS_OPERATOR) is retried too, at the slow end of the same scale, so that a PBX under a wrong
password is not hammered and a mended one is found within half a minute. The count of attempts starts again only after
the link was up for `healthy_after`: a link that flaps keeps backing off.

**Silence.** Any byte from the PBX counts as life, not only whole messages or pongs, so a PBX that is slow, or sends
one huge event over a thin line, is alive. After a third of `dead_after` without a byte a ping goes out, after two
thirds another, and after `dead_after` the link is dead. Asterisk answers pings but sends none. If our own process was
stopped (SIGSTOP, a suspended machine), the tick comes late and says nothing about the PBX: it gets one more ping and
another third before it is judged.

**Deaf.** A link can live and bring no event: Asterisk loses an application whose former WebSocket ends just after the
new one began. Pings show nothing of it; whoever looks at the PBX sees it (actors.connection). Connecting anew helps.

**Replaced.** ARI gives an application name to whoever connected last; the former owner's socket stays open and silent
for ever. Taking the name back at once would start a fight in which both lose events, so we wait `replaced_retry`,
twice as long after each time, up to an hour; only an hour of unbroken possession makes us forget. (Less would let two
programs with this same policy take turns for ever.)

**Answered late.** A PBX that was halted takes up what waits at its door when it goes on: attempts of ours too that had
asked and were given up, and of which nobody reads any more. Each may take the name from the link that we have by then.
So that many replacements are a loss like any other, within `LATE_SECONDS` after a link came up; only the next one says
that somebody else is there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

from wire.ari.errors import NEEDS_OPERATOR, Fault
from wire.backoff import Backoff

REPLACED_CEILING = 3600.0
"""Longest wait after ApplicationReplaced, and the possession after which the count starts again, seconds."""

LATE_SECONDS = 60.0
"""For so long after a link-up the name may be taken by an attempt of ours that was given up before, seconds. A PBX that
answers at all answers what waits within moments, but what the network lost may be sent again only a minute later."""

LATE_MOST = 10
"""Most attempts that may be answered late: Asterisk lets no more connections wait."""


class Down(StrEnum):
    """Why a link that was up is not any more."""

    CLOSED = "closed"
    """The PBX said goodbye (a close frame)."""
    LOST = "lost"
    """The connection broke without one: a crash, a network, or a client cut off for reading too slowly."""
    DEAD = "dead"
    """No byte for `dead_after`, pings included."""
    DEAF = "deaf"
    """Bytes came, but no event, though looks at the PBX show that channels came or went."""
    REPLACED = "replaced"
    """Our application's name went to another connection: another client's, or one of ours that was given up."""
    OVERSIZED = "oversized"
    """A message larger than `max_frame_bytes`."""
    BROKEN = "broken"
    """Bytes that are no WebSocket frames."""
    STOPPED = "stopped"
    """We were told to stop."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the machine needs of the settings; seconds."""

    backoff: Backoff
    dead_after: float
    replaced_retry: float
    healthy_after: float = 30.0
    """A link up for this long forgets its failed attempts."""


# --- states -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Late:
    """Attempts of ours that were given up unanswered, and may be answered yet."""

    count: int = 0
    until: float | None = None
    """When it is too late for that; None: no link was up since."""

    def at(self, now: float) -> "Late":
        """Those of which that is true now."""
        return self if self.until is None or now < self.until else Late()


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Not started."""

    name: ClassVar[str] = "disconnected"


@dataclass(frozen=True, slots=True)
class Connecting:
    name: ClassVar[str] = "connecting"
    since: float
    attempt: int
    """Retries since the link was last healthy; 0 is the very first try."""
    takeovers: int
    """Times that the name was taken since it was last ours for an hour."""
    late: Late = Late()


@dataclass(frozen=True, slots=True)
class Connected:
    name: ClassVar[str] = "connected"
    since: float
    attempt: int
    takeovers: int
    heard: float
    """When the last byte came."""
    pings: int
    """Pings sent since then."""
    due: float
    """When the next tick was asked for."""
    late: Late = Late()


@dataclass(frozen=True, slots=True)
class BackingOff:
    name: ClassVar[str] = "backing_off"
    since: float
    attempt: int
    """Number of the retry that comes next."""
    takeovers: int
    until: float
    why: Fault | Down
    detail: str
    late: Late = Late()


@dataclass(frozen=True, slots=True)
class Replaced:
    name: ClassVar[str] = "replaced"
    since: float
    takeovers: int
    until: float


@dataclass(frozen=True, slots=True)
class Stopped:
    name: ClassVar[str] = "stopped"


State = Disconnected | Connecting | Connected | BackingOff | Replaced | Stopped


@dataclass(frozen=True, slots=True)
class Described:
    """A state for other processes and people: wall-clock times, no types of this module."""

    name: str
    """Of the state: disconnected, connecting, connected, backing_off, replaced, stopped."""
    since_ms: int | None
    """When it was entered, Unix milliseconds."""
    until_ms: int | None
    """When the next attempt is made, where one is waited for."""
    attempt: int
    """Retries since the link was last healthy."""
    why: str
    """One word for why it is not connected: a `Fault` or a `Down`; empty while there is nothing to say."""
    detail: str
    """The same in a sentence."""


def described(state: State, now: float, now_ms: int) -> Described:
    """The state in other words.

    Args:
        state: as it is.
        now: monotonic seconds, of the same clock as the state's.
        now_ms: the same moment in Unix milliseconds.
    """

    def wall(moment: float) -> int:
        return now_ms + round((moment - now) * 1000)

    match state:
        case Connecting() | Connected():
            return Described(state.name, wall(state.since), None, state.attempt, "", "")
        case BackingOff():
            since, until = wall(state.since), wall(state.until)
            return Described(state.name, since, until, state.attempt, state.why.value, state.detail)
        case Replaced():
            detail = "another client uses our application's name"
            return Described(
                state.name, wall(state.since), wall(state.until), state.takeovers, Down.REPLACED.value, detail
            )
        case Disconnected() | Stopped():
            return Described(state.name, None, None, 0, "", "")


# --- events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Begin."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The WebSocket is open."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The attempt to open it failed."""

    fault: Fault
    detail: str
    unanswered: bool = False
    """It was given up after it had asked: the PBX may answer it yet."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Bytes came; told lazily, at the latest before a tick."""

    at: float
    """When the last of them came."""


@dataclass(frozen=True, slots=True)
class NameTaken:
    """ApplicationReplaced came."""


@dataclass(frozen=True, slots=True)
class Deaf:
    """Things happen at the PBX of which the link tells nothing."""

    detail: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The open WebSocket ended."""

    why: Down
    detail: str


@dataclass(frozen=True, slots=True)
class Tick:
    """The last timer asked for is due."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End for good."""


Event = Start | Opened | Refused | Heard | NameTaken | Deaf | Closed | Tick | Stop


# --- commands ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Open:
    """Open the WebSocket; answer Opened or Refused."""


@dataclass(frozen=True, slots=True)
class Close:
    """Give the WebSocket (or the attempt to open it) up; nothing more may come from it."""

    politely: bool
    """Send a close frame first; of no use to a dead peer."""


@dataclass(frozen=True, slots=True)
class SendPing:
    """Send a WebSocket ping."""


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Give a Tick at `at`; replaces the timer set before."""

    at: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """No Tick any more."""


@dataclass(frozen=True, slots=True)
class AnnounceUp:
    """Events flow from here on."""


@dataclass(frozen=True, slots=True)
class AnnounceDown:
    """No events flow any more."""

    why: Down
    detail: str


@dataclass(frozen=True, slots=True)
class Unforeseen:
    """This event has no meaning in this state; the state stays."""

    state: State
    event: Event


Command = Open | Close | SendPing | SetTimer | CancelTimer | AnnounceUp | AnnounceDown | Unforeseen

Result = tuple[State, tuple[Command, ...]]


def transition(rules: Rules, state: State, event: Event, now: float, luck: float) -> Result:
    """One step.

    Args:
        rules: constant for the life of the link.
        state: as it is.
        event: what happened.
        now: monotonic seconds.
        luck: uniform in [0, 1), for jitter.

    Returns:
        the state as it is now, and what to do, in this order.
    """
    move = MOVES.get((type(state), type(event)))
    if move is None:
        return state, (Unforeseen(state, event),)
    return move(rules, state, event, now, luck)


# Each move takes (rules, state, event, now, luck); the table below guarantees the types of state and event.


def _start(rules: Rules, state: Disconnected, event: Start, now: float, luck: float) -> Result:
    return Connecting(now, attempt=0, takeovers=0), (Open(),)


def _opened(rules: Rules, state: Connecting, event: Opened, now: float, luck: float) -> Result:
    due = now + rules.dead_after / 3
    late = state.late
    if late.count and late.until is None:
        late = Late(late.count, now + LATE_SECONDS)
    up = Connected(now, state.attempt, state.takeovers, heard=now, pings=0, due=due, late=late)
    return up, (AnnounceUp(), SetTimer(due))


def _refused(rules: Rules, state: Connecting, event: Refused, now: float, luck: float) -> Result:
    attempt = state.attempt + 1
    if event.fault in NEEDS_OPERATOR:
        # Between half of the maximum and all of it: slow from the first time, but still spread.
        delay = rules.backoff.maximum * (0.5 + luck / 2)
    else:
        delay = rules.backoff.delay(attempt, lambda: luck)
    until = now + delay
    late = state.late.at(now)
    if event.unanswered:
        late = Late(min(late.count + 1, LATE_MOST))
    return BackingOff(now, attempt, state.takeovers, until, event.fault, event.detail, late), (SetTimer(until),)


def _retry(rules: Rules, state: BackingOff, event: Tick, now: float, luck: float) -> Result:
    return Connecting(now, state.attempt, state.takeovers, state.late), (Open(),)


def _take_back(rules: Rules, state: Replaced, event: Tick, now: float, luck: float) -> Result:
    return Connecting(now, attempt=0, takeovers=state.takeovers), (Open(),)


def _heard(rules: Rules, state: Connected, event: Heard, now: float, luck: float) -> Result:
    return replace(state, heard=max(state.heard, event.at), pings=0 if event.at > state.heard else state.pings), ()


def _listen(rules: Rules, state: Connected, event: Tick, now: float, luck: float) -> Result:
    third = rules.dead_after / 3
    quiet = now - state.heard
    if quiet < third:
        due = state.heard + third
        return replace(state, due=due), (SetTimer(due),)
    if state.pings < 2 or now - state.due > third:
        # Either it is time for a ping, or this tick is so late that it was we who slept.
        planned = state.heard + third * (state.pings + 2)
        due = planned if planned > now else now + third
        return replace(state, pings=min(state.pings + 1, 2), due=due), (SendPing(), SetTimer(due))
    detail = f"no byte for {quiet:.1f} s, pings included"
    return _down(rules, state, Down.DEAD, detail, now, luck, Close(politely=False))


def _closed(rules: Rules, state: Connected, event: Closed, now: float, luck: float) -> Result:
    return _down(rules, state, event.why, event.detail, now, luck)


def _deaf(rules: Rules, state: Connected, event: Deaf, now: float, luck: float) -> Result:
    return _down(rules, state, Down.DEAF, event.detail, now, luck, Close(politely=True))


def _down(rules: Rules, state: Connected, why: Down, detail: str, now: float, luck: float, *first: Command) -> Result:
    attempt = 1 if now - state.since >= rules.healthy_after else state.attempt + 1
    takeovers = _remembered(state, now)
    until = now + rules.backoff.delay(attempt, lambda: luck)
    return (
        BackingOff(now, attempt, takeovers, until, why, detail, state.late.at(now)),
        (*first, AnnounceDown(why, detail), SetTimer(until)),
    )


def _name_taken(rules: Rules, state: Connected, event: NameTaken, now: float, luck: float) -> Result:
    late = state.late.at(now)
    if late.count:
        detail = (
            "this PBX gave our application's name to another connection: as it seems to an attempt of ours that was "
            "given up, and that it has answered late; connecting anew"
        )
        explained = replace(state, late=replace(late, count=late.count - 1))
        return _down(rules, explained, Down.REPLACED, detail, now, luck, Close(politely=True))
    takeovers = _remembered(state, now) + 1
    wait = min(rules.replaced_retry * 2.0 ** min(takeovers - 1, 60), max(REPLACED_CEILING, rules.replaced_retry))
    until = now + wait
    detail = (
        f"another client connected to this PBX under our application's name; the name is taken back in {wait:.0f} s: "
        "give every client an `app` of its own"
    )
    return (
        Replaced(now, takeovers, until),
        (Close(politely=True), AnnounceDown(Down.REPLACED, detail), SetTimer(until)),
    )


def _remembered(state: Connected, now: float) -> int:
    return 0 if now - state.since >= REPLACED_CEILING else state.takeovers


def _stop_idle(rules: Rules, state: State, event: Stop, now: float, luck: float) -> Result:
    return Stopped(), (CancelTimer(),)


def _stop_connecting(rules: Rules, state: Connecting, event: Stop, now: float, luck: float) -> Result:
    return Stopped(), (CancelTimer(), Close(politely=False))


def _stop_connected(rules: Rules, state: Connected, event: Stop, now: float, luck: float) -> Result:
    down = AnnounceDown(Down.STOPPED, "arimon stops watching this PBX")
    return Stopped(), (CancelTimer(), Close(politely=True), down)


def _again(rules: Rules, state: Stopped, event: Stop, now: float, luck: float) -> Result:
    return state, ()


_Move = Callable[..., Result]

MOVES: dict[tuple[type, type], _Move] = {
    (Disconnected, Start): _start,
    (Disconnected, Stop): _stop_idle,
    (Connecting, Opened): _opened,
    (Connecting, Refused): _refused,
    (Connecting, Stop): _stop_connecting,
    (Connected, Heard): _heard,
    (Connected, Tick): _listen,
    (Connected, NameTaken): _name_taken,
    (Connected, Deaf): _deaf,
    (Connected, Closed): _closed,
    (Connected, Stop): _stop_connected,
    (BackingOff, Tick): _retry,
    (BackingOff, Stop): _stop_idle,
    (Replaced, Tick): _take_back,
    (Replaced, Stop): _stop_idle,
    (Stopped, Stop): _again,
}
"""Every legal move: (state, event) → what happens."""
