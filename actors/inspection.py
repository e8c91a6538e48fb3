"""What arimon-ctl shows of calls and gaps: states as plain data. Pure."""

from collections.abc import Sequence
from enum import Enum
from typing import Any

from pyrsistent import PMap

from actors.call import account
from actors.call import gap as gaps
from actors.call.discreet import call_shown
from actors.call.state import Call, Phase
from wire.control.api import CallSummary, Gap

_DEEPEST = 8
"""Levels of a state that are shown; no state of ours is deeper."""


def gap_row(server: str, gap: gaps.Gap) -> Gap:
    """A gap whose beginning is known."""
    assert gap.from_ms is not None
    return {
        "pbx": server,
        "from_ms": gap.from_ms,
        "to_ms": gap.to_ms,
        "reason": gap.reason,
        "adopted": list(gap.adopted),
        "corrected": list(gap.corrected),
        "ended": list(gap.ended),
        "inferred": gap.inferred,
        "rows_lost": gap.rows_lost,
    }


def call_summary(call: Call, server: str, generation: int) -> CallSummary:
    """One line about a call."""
    legs = list(call.legs.values())
    alive = [leg for leg in legs if leg.phase not in (Phase.ENDED, Phase.MOVED)]
    root = account.oldest(call)
    return {
        "call_id": call.call_id,
        "pbx": server,
        "state": _state(alive),
        "origin": account.origin(call)[0] or None,
        "destiny": account.destiny(call),
        "since_ms": account.started_ms(call) if legs else 0,
        "answered_ms": None if root is None else root.answered_ms,
        "legs": len(alive),
        "generation": generation,
        "degraded": call.degraded,
    }


def _state(alive: list[Any]) -> str:
    """In one word: what the liveliest leg that is no caller does."""
    if any(leg.reached for leg in alive):
        return "talking"
    if any(leg.phase is Phase.RINGING and leg.origin != "caller" for leg in alive):
        return "ringing"
    if any(leg.phase is Phase.UP for leg in alive):
        return "answered"
    return "calling" if alive else "ending"


def plain(value: Any, depth: int = 0) -> Any:
    """A state as plain data: what JSON can hold, with the names of its fields."""
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return value.value
    if depth >= _DEEPEST:
        return repr(value)
    if hasattr(value, "_asdict"):
        return {name: plain(each, depth + 1) for name, each in value._asdict().items()}
    if isinstance(value, dict | PMap):
        return {str(key): plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [plain(each, depth + 1) for each in value]
    return str(value)


def call_state(call: Call) -> dict[str, Any]:
    """A call's whole state, but for its configuration; digits masked as in its messages."""
    fields: dict[str, Any] = call_shown(call).serialize()
    return {name: plain(value) for name, value in fields.items() if name != "rules"}
