"""What a host of calls does, whoever it is: the Switchboard's actors, or `replay` with a plain dict.

A host keeps one `Call` per call_id. It creates it at the first `Routed`, gives each `Routed` to `fold`, keeps the state
that comes back, hands the messages on, and forgets the call when `ended`.

An input at which `fold` raises is a bug of ours. Since everything is pure, it would raise again: the host keeps the
state that it had before, calls `degrade` on it, has the row quarantined, and goes on with the next.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from actors.call.account import over
from actors.call.effects import Effect, Ended, Publish, Unexpected
from actors.call.envelope import FORMS, envelope
from actors.call.inputs import CallInput, ChannelEnded, ChannelMoved, Routed
from actors.call.state import Call
from actors.call.transition import transition
from conf.settings import Settings
from wire.message import OutboundMessage

ENDS = frozenset({ChannelEnded, ChannelMoved})
"""Inputs with which a call may be over for the PBX."""


class Folded(NamedTuple):
    """What one input made of a call."""

    call: Call
    """The state after it."""
    messages: tuple[OutboundMessage, ...]
    """To be published, in this order."""
    unexpected: tuple[Unexpected, ...]
    """To be counted and logged."""
    ended: bool
    """The call is over; drop it."""


def fold(call: Call | None, routed: Routed, server: str, settings: Settings) -> Folded:
    """Give one input to its call.

    Args:
        call: the call's state; None if this is its first input.
        routed: the input.
        server: the PBX's name in conf.
        settings: what is configured.

    Returns:
        The new state and what is to be done.

    Raises:
        Exception: a bug of ours; the input is to be set aside, see `degrade`.
    """
    if call is None:
        call = Call.new(routed.call_id, server, settings)
    after, effects = transition(call, routed.input)
    if not effects:
        quiet: Folded = _new(Folded, (after, (), (), False))
        return quiet
    folded: Folded = _new(Folded, (after, *spoken(effects, routed, server, settings)))
    return folded


def spoken(
    effects: Sequence[Effect], routed: Routed, server: str, settings: Settings
) -> tuple[tuple[OutboundMessage, ...], tuple[Unexpected, ...], bool]:
    """Make of a call's effects what its host does with them.

    Args:
        effects: the effects.
        routed: the input that had them.
        server: the PBX's name in conf.
        settings: what is configured.

    Returns:
        The last three of `Folded`.
    """
    row_ms = routed.input.at_ms
    call_id = routed.call_id
    stream = f"call:{call_id}"
    forms = FORMS[settings.publisher.form]
    messages: list[OutboundMessage] = []
    unexpected: list[Unexpected] = []
    ended = False
    for effect in effects:
        if isinstance(effect, Publish):
            for form in forms:
                messages.append(
                    envelope(
                        form,
                        server,
                        stream,
                        effect.sequence,
                        effect.operation,
                        call_id=call_id,
                        timestamp_ms=effect.timestamp_ms,
                        row_ms=row_ms,
                        data=effect.data,
                        recovered=effect.recovered,
                        degraded=effect.degraded,
                    )
                )
        elif isinstance(effect, Unexpected):
            unexpected.append(effect)
        else:
            assert isinstance(effect, Ended)
            ended = True
    return tuple(messages), tuple(unexpected), ended


_new: Callable[..., Any] = tuple.__new__
"""Makes a named tuple of its fields at half the cost of calling its class."""


def degrade(call: Call) -> Call:
    """Mark a call of which an input was set aside: from here on its messages say `degraded`."""
    return call if call.degraded else call.set(life=call.life._replace(degraded=True))


def overdue(call: Call, n: int, at_ms: int) -> list[Routed]:
    """What is left to tell a call that is over for the PBX, and does not know it: something of it was set aside.

    Args:
        call: its state.
        n: the row that ended it.
        at_ms: when that happened, Unix milliseconds.

    Returns:
        The end of every leg that still lives for it, as of one whose end nobody saw.
    """
    left = [key for key, leg in call.legs.items() if not over(leg)]
    left += sorted(call.life.uncounted)
    return [
        Routed(call.call_id, CallInput(n, at_ms, ChannelEnded(key, None, "", None), recovered=True)) for key in left
    ]


def amended(
    call_id: str,
    sequence: int,
    *,
    server: str,
    settings: Settings,
    reason: str,
    row: int,
    amends: dict[str, Any],
    timestamp_ms: int,
    row_ms: int,
) -> tuple[OutboundMessage, ...]:
    """Say what came too late for a call that has ended: `call-amended`.

    Args:
        call_id: the ended call.
        sequence: the next of its stream.
        server: the PBX's name in conf.
        settings: what is configured.
        reason: why this was not in the call's account.
        row: the row that was redriven.
        amends: what it says, free in form.
        timestamp_ms: when the PBX says that it happened.
        row_ms: time of the row that orders the redrive.

    Returns:
        One message per configured form.
    """
    return tuple(
        envelope(
            form,
            server,
            f"call:{call_id}",
            sequence,
            "call-amended",
            call_id=call_id,
            timestamp_ms=timestamp_ms,
            row_ms=row_ms,
            data={"reason": reason, "row": row, "amends": amends},
            degraded=True,
        )
        for form in FORMS[settings.publisher.form]
    )
