"""Publisher: what the product does around its sink, with the simulation's broker behind that."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from actors.carriage import Cargo, Owed
from actors.messages import (
    OutcomesCame,
    SinkChanged,
)
from supervision.messages import Identity, Peer, Place
from tests.simulation.broker import Sink
from tests.simulation.machine import Machine, latest
from tests.simulation.places import SWITCHBOARD
from wire.amqp import session as amqp_session
from wire.backoff import Backoff
from wire.sink import Outcome, SinkState
from wire.store.offer import Offer
from wire.store.outbox import Entry

if TYPE_CHECKING:
    from tests.simulation.lab import Lab


ANSWER_WAIT_MS = 5
"""The answer to an offer waits so long for the first outcomes (the product's)."""


class PublisherMachine(Machine):
    """The one way out."""

    def __init__(self, lab: "Lab", identity: Identity) -> None:
        super().__init__(lab, identity)
        self._luck = lab.luck(f"publisher {identity.generation}")
        self._cargo = Cargo()
        self._owed = Owed()
        self._owner: Identity | None = None
        retry = lab.settings.rabbitmq.retry
        policy = amqp_session.Policy(
            where="broker:5672",
            username="guest",
            vhost="/",
            exchanges=("arimon.calls",),
            backoff=Backoff(retry.minimum, retry.maximum),
            connect_timeout_ms=2000,
            confirm_timeout_ms=round(lab.settings.publisher.confirm_timeout * 1000),
            heartbeat_s=10,
        )
        self.sink = Sink(lab, self._luck, policy, self._outcomes_came, self._state_is, self.do)

    def start(self) -> None:
        self.open_line("outcomes", SWITCHBOARD, OutcomesCame.and_then)
        self.open_line("sink", SWITCHBOARD, latest)
        self.sink.begin()

    def die(self) -> None:
        self.sink.die()

    def stop(self) -> None:
        self.sink.close()
        self.leave()

    def peers_changed(self) -> None:
        now = self.peers.get(SWITCHBOARD)
        if now is not None and now != self._owner:
            self._owner = now
            self._owed.owner_is(now)
            self.say("sink", SinkChanged(self.sink.state))

    def receive_Offer(self, message: Offer, sender: Peer) -> None:
        if message.generation == self.identity.generation and self._owed.offered(sender.identity, message):
            self.later(1, lambda: self._publish(sender.identity.place, message.offer, message.entries))

    def _publish(self, owner: Place, offer: int, entries: Sequence[Entry]) -> None:
        self._cargo.take(owner, entries)
        self.lab.most("messages at the publisher", len(self._cargo))
        self.sink.publish([entry.message for entry in entries])
        self.later(ANSWER_WAIT_MS, lambda: self._answer_due(owner, offer))

    def _answer_due(self, owner: Place, offer: int) -> None:
        if (answer := self._owed.due(owner, offer)) is not None:
            self.tell(owner, answer)

    def _outcomes_came(self, outcomes: Sequence[Outcome]) -> None:
        for owner, came in self._cargo.settle(outcomes).items():
            self.later(1, lambda owner=owner, came=came: self._batch(owner, came))  # type: ignore[misc]

    def _batch(self, owner: Place, came: OutcomesCame) -> None:
        if (answer := self._owed.answer(owner, came)) is not None:
            self.tell(owner, answer)
        else:
            self.say("outcomes", came)

    def _state_is(self, state: SinkState) -> None:
        self.say("sink", SinkChanged(state))
