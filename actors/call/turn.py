"""Work on a call: what changes is gathered, input by input, until the new state is asked for."""

from collections.abc import Callable
from typing import Any

from actors.call import account
from actors.call.effects import Effect, Publish, Unexpected
from actors.call.state import Call, Leg, Life


class Turn:
    """The state of a call while it changes. Only this object does: whatever it holds is immutable."""

    __slots__ = ("at", "before", "bounds", "effects", "legs", "life", "recovered", "sequence")

    at: int
    """Time of the input that is taken, Unix milliseconds."""
    recovered: bool
    """It was inferred after a gap."""
    effects: list[Effect]
    """What it causes, in order."""

    def __init__(self, call: Call) -> None:
        self.before = call
        self.life: Life = call.life
        self.legs: dict[str, Leg] = call.legs
        self.sequence: int = call.sequence
        self.bounds = call.identity.rules.bounds

    def done(self) -> Call:
        """The new state."""
        before = self.before
        if self.legs is not before.legs or self.life is not before.life or self.sequence != before.sequence:
            self.before = self.now()
        return self.before

    def now(self) -> Call:
        """The state as it is at this moment."""
        return self.before.lived(self.sequence, self.legs, self.life)

    def say(self, operation: str, data: dict[str, Any], at_ms: int | None = None) -> None:
        """Say something, after `received-call`; nothing of a call that has heard of no channel.

        That one could say neither its begin nor its end.
        """
        if not self.legs:
            self.report("no-leg", operation, self.before.call_id, "what told the call of its channels was set aside")
            return
        if not self.life.announced:
            self.announce()
        self.publish(operation, data, self.at if at_ms is None else at_ms)

    def announce(self) -> None:
        """Say `received-call`, unless it was said."""
        if self.life.announced:
            return
        self.life = self.life._replace(announced=True)
        call = self.now()
        self.publish("received-call", account.received(call), account.started_ms(call), call.life.unseen)

    def publish(self, operation: str, data: dict[str, Any], at_ms: int, unseen: bool = False) -> None:
        self.sequence += 1
        said = (operation, self.sequence, at_ms, data, self.recovered or unseen, self.life.degraded)
        self.effects.append(_new(Publish, said))

    def report(self, what: str, event: str, where: str, detail: str) -> None:
        self.effects.append(Unexpected(what, event, where, detail))

    def put(self, leg: Leg) -> None:
        self.legs = {**self.legs, leg.channel_id: leg}

    def text(self, text: str) -> str:
        """A text of the PBX's, bounded."""
        return text[: self.bounds.text]

    def overflow(self, what: str, where: str) -> None:
        """Something was dropped because of a bound: counted, and said as `degraded`."""
        self.life = self.life._replace(overflow=self.life.overflow + 1, degraded=True)
        if self.life.overflow == 1:
            self.report("overflow", what, where, "a bound of the configuration was reached; the account is incomplete")

    def seconds(self, since_ms: int) -> float:
        return account.seconds(self.at - since_ms)

    def after(self) -> float:
        """Seconds since the call's begin."""
        return account.seconds(self.at - min(leg.started_ms for leg in self.legs.values())) if self.legs else 0.0


_new: Callable[..., Any] = tuple.__new__
"""Makes a named tuple of its fields at half the cost of calling its class."""


def party(leg: Leg) -> str:
    """A party as others name it: by number, else by channel."""
    return leg.number or leg.channel
