"""What OTP's `sys` module knows of every process, for actors: messages counted and traced, and the state made plain.

Every process actor (actors.base) and every actor embedded in a Switchboard (actors.calls) has a `Debug` and answers the
same questions with it: `get_state`, `statistics`, `trace`, `traced`; suspending is the base's business. Nothing of this
is an actor's own code.

As in OTP a trace is of messages in and out, and it slows down whom it watches. Unlike there it always has a maximum and
then stops by itself; so it does when nobody has fetched anything for a while.
"""

import dataclasses
import time
from collections import Counter, deque
from collections.abc import Mapping
from enum import Enum
from typing import Any

from pyrsistent import PClass, PMap

from actors.call.discreet import call_shown
from actors.call.events import ChannelDtmfReceived
from actors.call.state import Call
from actors.messages import StreamAnswered, Streamed
from conf.settings import Section
from supervision.messages import Answer, Letter, Query
from wire import log

MOST_TRACED = 10_000
"""Messages that one trace may be asked for."""
_UNREAD = 30.0
"""Seconds after which a trace that nobody fetches is over."""
_TEXT = 500
"""Characters shown of one message, or one value of a state."""
_WIDE = 200
"""Items shown of one container."""
_DEEP = 8
_VALUES = 20_000
"""Values shown of one state."""
_OURS = ("actors.", "supervision.", "wire.")


class Debug:
    """Counters of an actor, and its trace while there is one."""

    __slots__ = ("received", "sent", "since_ms", "trace")

    def __init__(self) -> None:
        self.since_ms = time.time_ns() // 1_000_000
        self.received: Counter[str] = Counter()
        """Messages taken, by class."""
        self.sent: Counter[str] = Counter()
        """Messages sent, by class."""
        self.trace: Trace | None = None

    def came(self, body: object, author: object) -> None:
        """A message was taken from the mailbox."""
        self.received[type(body).__name__] += 1
        if self.trace is not None:
            self.trace.add("in", body, author)

    def went(self, body: object, to: object) -> None:
        """A message was sent."""
        self.sent[type(body).__name__] += 1
        if self.trace is not None:
            self.trace.add("out", body, to)

    def start_trace(self, most: int) -> None:
        """Trace so many messages from now on, in place of any earlier trace; 0 ends it."""
        self.trace = Trace(min(most, MOST_TRACED), time.monotonic()) if most else None

    def traced(self) -> dict[str, Any]:
        """What was traced since the last time, and whether that is all there will be."""
        if self.trace is None:
            return {"records": [], "over": True}
        records, over = self.trace.take(time.monotonic())
        if over:
            self.trace = None
        return {"records": records, "over": over}

    def end(self) -> None:
        """The actor has ended: what was traced of it can still be fetched."""
        if self.trace is not None:
            self.trace.end()

    def answer(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Answer one of these questions by name; None if it is none of them."""
        match name, arguments:
            case "statistics", _:
                return self.statistics()
            case "trace", {"most": int(most)}:
                self.start_trace(most)
                return True
            case "traced", _:
                return self.traced()
        return None

    def statistics(self) -> dict[str, Any]:
        """The counters."""
        return {"since_ms": self.since_ms, "received": dict(self.received), "sent": dict(self.sent)}


class Trace:
    """Some messages of an actor, in order."""

    def __init__(self, most: int, now: float) -> None:
        """
        Args:
            most: after so many messages it is over.
            now: seconds, monotonic.
        """
        self._left = most
        self._records: deque[dict[str, Any]] = deque()
        self._read_at = now

    def add(self, way: str, body: object, other: object) -> None:
        """A message went in or out."""
        if _is_noise(body):
            return
        if self._left and time.monotonic() - self._read_at < _UNREAD:
            self._left -= 1
            self._records.append(
                {"at_ms": time.time_ns() // 1_000_000, "way": way, "other": str(other), "message": brief(body)}
            )

    def end(self) -> None:
        """Nothing will follow."""
        self._left = 0

    def take(self, now: float) -> tuple[list[dict[str, Any]], bool]:
        """What came since the last time, and whether nothing will follow."""
        self._read_at = now
        records = list(self._records)
        self._records.clear()
        return records, self._left == 0


def _is_noise(body: object) -> bool:
    """Whether a message is the trace's own, or the vitals that every process sends once a second."""
    match body:
        case Streamed(line="vitals") | StreamAnswered(line="vitals") | Query(name="trace" | "traced" | "ask_within"):
            return True
        case Answer(value={"records": _} | True):
            return True
    return False


def inside(message: Any, which: str, address: object) -> tuple[Any, Any]:
    """What a message is about, and whom it came from or goes to, in the words of the tree where it has any.

    Args:
        message: as it is on the wire.
        which: field of a Letter that names the other side.
        address: the other side's, for other messages.
    """
    return (message.body, getattr(message, which)) if isinstance(message, Letter) else (message, address)


def brief(value: object, most: int = _TEXT) -> str:
    """A value in so many characters, secrets masked, whatever its own text does."""
    try:
        text = repr(value)
    except Exception as problem:  # noqa: BLE001  # of a half-changed state anything may raise, and it is shown all the same
        text = f"<{type(value).__name__} that cannot be shown: {type(problem).__name__}>"
    return _cut(text, most)


def _cut(text: str, most: int) -> str:
    """The begin of a text, secrets masked, without looking through all of a huge one."""
    return str(log.mask(text[: 4 * most]))[:most]


def brief_state(attributes: Mapping[str, object], most: int) -> str:
    """A state in so many characters, secrets masked; for the last words of an actor, so it never raises."""
    try:
        return str(shown(attributes))[:most]
    except Exception as problem:  # noqa: BLE001  # a half-changed state may raise anything
        return f"(the state cannot be shown: {problem!r})"


def shown(attributes: Mapping[str, object]) -> dict[str, Any]:
    """A state as plain data: what JSON can hold, names of fields kept, size bounded; secrets and digits masked.

    Args:
        attributes: of an actor, by name.
    """
    plain: dict[str, Any] = log.mask(_Picture().of(dict(attributes), 0))
    return plain


class _Picture:
    """Draws one state."""

    def __init__(self) -> None:
        self._left = _VALUES

    def of(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if value is None or (isinstance(value, bool | int | float) and not isinstance(value, Enum)):
            return value
        if isinstance(value, Enum):
            return str(value.value)
        if isinstance(value, str):
            # Masked before it is cut: half a secret is none that could be found.
            return value if len(value) <= _TEXT else _cut(value, _TEXT)
        if isinstance(value, Section):
            return "(as configured)"
        if type(value).__module__.startswith("structlog."):
            return "(a logger)"
        if depth >= _DEEP or self._left <= 0:
            return f"… {type(value).__name__}"
        if isinstance(value, bytes):
            # Raw events hold what messages mask.
            return f"({len(value)} bytes)"
        if isinstance(value, ChannelDtmfReceived):
            # Whether conf masks it depends on its call.
            value = value._replace(digit="*")
        elif isinstance(value, Call):
            value = call_shown(value)
        if isinstance(value, Mapping | PMap):
            return self._fields(value, depth)
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return self._fields(value._asdict(), depth)
        if isinstance(value, list | tuple | set | frozenset | deque):
            # Copied in one step: another thread may be at it.
            items = list(value)
            return [self.of(each, depth + 1) for each in items[:_WIDE]] + _more(len(items))
        if isinstance(value, PClass):
            fields: Mapping[str, object] = value._pclass_fields  # type: ignore[attr-defined]  # pyrsistent's own annotations
            return self._fields({name: getattr(value, name, None) for name in fields}, depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = (each.name for each in dataclasses.fields(value))
            return self._fields({name: getattr(value, name, None) for name in names}, depth)
        if type(value).__module__.startswith(_OURS) and hasattr(value, "__dict__"):
            return self._fields(vars(value), depth)
        return brief(value)

    def _fields(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        items = list(value.items())
        fields = {str(key)[:_TEXT]: self.of(each, depth + 1) for key, each in items[:_WIDE]}
        if len(items) > _WIDE:
            fields["…"] = f"and {len(items) - _WIDE} more"
        return fields


def _more(count: int) -> list[str]:
    return [f"… and {count - _WIDE} more"] if count > _WIDE else []
