"""A row that was set aside is applied once more, or forgotten, because an operator ordered it. Pure.

The order is a row of the journal, `{"command": "redrive" | "drop", "id": str, "uuid": str, "n": int}`, and takes effect
where it stands there, in the daemon (`actors.folding`) as in `replay`. It names the row set aside and holds nothing of
it: both keep what they set aside. What is applied, and to whom:

- What a call could not take is told to it again, if it is active: a late event. If it has ended, nobody can say any
  more what would have been different: `call-amended` says what it was not told.
- A frame that could not be decoded or correlated, or that killed the process, is applied to the world as it is now, if
  it concerns anything that is known there. It may begin nothing: of a channel that lives an audit has told long ago.
- Anything else (a link that came or went, a look at the PBX) was true at its time only.

All of an entry is applied, or nothing, and then it stays where it is (`NotApplied`).

What is dropped is never applied any more. A call that is over for the PBX, and lives on only because its end is among
what was set aside, ends when nothing of it waits any more, be the last of it dropped or applied: as one whose end
nobody saw, or, if it cannot take that either, without a word (`given_up`).
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import orjson

from actors.call import decoding, events
from actors.call.discreet import routed_shown
from actors.call.effects import Unexpected
from actors.call.envelope import rfc3339
from actors.call.host import amended
from actors.call.inputs import Routed
from actors.call.register import Correlation
from actors.call.world import Step, World, step_event
from conf.settings import Settings
from wire.message import OutboundMessage
from wire.store.row import Kind, Row

Command = Literal["redrive", "drop"]


class Order(NamedTuple):
    """An operator's order."""

    id: str
    """Names it, for whoever waits for its outcome."""
    uuid: str
    """Journal of the row that was set aside."""
    n: int
    """That row."""
    command: Command = "redrive"


class NotApplied(Exception):
    """What was set aside stays so."""


def command(order: Order) -> dict[str, Any]:
    """An order, as its row has it."""
    return order._asdict()


def ordered(row: Row) -> Order | None:
    """The order that a row is; None if it is none."""
    if row.kind != Kind.OPERATOR:
        return None
    try:
        told = orjson.loads(row.body)
    except orjson.JSONDecodeError:
        return None
    match told:
        case {"command": "redrive" | "drop" as what, "id": str(id), "uuid": str(uuid), "n": int(n)}:
            return Order(id, uuid, n, what)
    return None


def late(world: World, row: Row, settings: Settings) -> Step:
    """Apply a frame that nobody could take to the world as it is now.

    Args:
        world: the state before it.
        row: the row that was set aside.
        settings: what is configured.

    Returns:
        The state after it, and what came of it.

    Raises:
        NotApplied: it cannot be, or concerns nothing that is known.
        Exception: a bug of ours.
    """
    if row.kind != Kind.FRAME:
        raise NotApplied(f"a row of kind {row.kind} was true at its time only; an audit tells what is true now")
    try:
        event = decoding.decode(row)
    except decoding.DecodeError as error:
        raise NotApplied(f"{error.reason}: {error.detail}") from None
    if event is None:
        raise NotApplied("the model has no use for this event")
    done = step_event(world, row.n, event, settings)
    before, after = world.correlation, done.world.correlation
    if after.counter != before.counter or (not done.routed and _known(before) == _known(after)):
        raise NotApplied("it concerns no channel and no call that is known any more")
    return done


def _known(state: Correlation) -> tuple[object, ...]:
    """All but the memory of what came twice."""
    return state[:-1]


def has_ended(world: World, call_id: str) -> bool:
    """Whether a call that has no state is over, and not yet to begin."""
    return call_id not in world.correlation.calls


def ended_ms(world: World, row: Row, call_id: str) -> int:
    """When a call that is over was so for the PBX, Unix milliseconds; if that is forgotten, when we had a row of it."""
    correlation = world.correlation
    return correlation.gone.get(call_id) or correlation.gone_before.get(call_id) or row.at_ms


def pending(world: World) -> frozenset[str]:
    """Calls that are yet to begin, if they do: a pending channel gives its id to the call that it begins."""
    groups = world.correlation.groups
    return frozenset(member for leader, group in groups.items() for member in (leader, *group.members))


def too_late(routed: Routed) -> Unexpected:
    """Report an input for a call that has ended already."""
    kind = type(routed.input.body).__name__
    return Unexpected("call-is-over", kind, routed.call_id, "it ended without having been told of all its channels")


def given_up(call_id: str) -> Unexpected:
    """Report a call that is over and can take no end."""
    return Unexpected(
        "call-given-up", "ChannelEnded", call_id, "it took no end, and what was set aside of it is dropped"
    )


def amendment(
    inputs: Sequence[Routed], sequence: int, row: Row, server: str, settings: Settings
) -> tuple[OutboundMessage, ...]:
    """Say what a call that has ended was not told.

    Args:
        inputs: of the call.
        sequence: the next of its stream.
        row: the redrive.
        server: the PBX's name in conf.
        settings: what is configured.

    Returns:
        A `call-amended` in each configured form.
    """
    first = inputs[0]
    told = [_told(routed_shown(each, None, settings), settings.call.bounds.text) for each in inputs]
    return amended(
        first.call_id,
        sequence,
        server=server,
        settings=settings,
        reason="redrive",
        row=first.input.n,
        amends={"events": told},
        timestamp_ms=first.input.at_ms,
        row_ms=row.at_ms,
    )


def _told(routed: Routed, limit: int) -> dict[str, Any]:
    """An input in a few words: its type, its time, its channel, and what plain facts it has."""
    body = routed.input.body
    found: dict[str, Any] = {"type": type(body).__name__, "at": rfc3339(routed.input.at_ms)}
    for name, value in body._asdict().items():
        if name in ("channel", "peer") and isinstance(value, events.Channel):
            found[name] = value.name[:limit]
        elif isinstance(value, str):
            found[name] = value[:limit]
        elif name != "at_ms" and (value is None or isinstance(value, bool | int | float)):
            found[name] = value
    return found
