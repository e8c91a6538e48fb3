"""Publisher: carries messages from every outbox to the sink, and outcomes back. It holds nothing durable.

    owner ──Offer──→ Publisher ──publish──→ sink
    owner ←─OfferAnswered── Publisher ←─outcomes── sink      accepted, with the first outcomes
    owner ←─OutcomesCame─── Publisher ←─outcomes── sink      what comes later, coalesced

A message between two process actors costs each of them about half a millisecond of CPU, so an offer's answer waits a
moment for the first outcomes: most offers then cost two messages instead of four.

A broker that is away is a state of the sink (wire.sink), told to all owners; it costs no restart.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from actors.base import latest
from actors.carriage import Cargo, Owed
from actors.messages import OutcomesCame, SinkChanged
from actors.rate import Rate
from actors.worker import WorkerActor
from conf.settings import Settings
from supervision.messages import Identity, Peer, Place, Start
from wire.amqp.link import AmqpSink
from wire.file_sink import FileSink
from wire.metrics import names
from wire.sink import Outcome, Phase, Sink, SinkState, Verdict
from wire.store.offer import Offer
from wire.store.outbox import Entry

_RECENT = 2000
"""Messages remembered for whoever looks on."""
_ANSWER_WAIT = 0.005
"""Seconds that the answer to an offer waits for the first outcomes."""
_DRAIN_SHARE = 0.6
"""Share of the time that a stop may take in which what is in flight may still be confirmed."""


class PublisherActor(WorkerActor):
    """The one way out."""

    role = "publisher"

    def start(self, start: Start) -> None:
        self._settings = start.settings
        self._cargo = Cargo()
        self._owners: dict[Place, Identity] = {}
        self._owed = Owed()
        self._recent: deque[bytes] = deque(maxlen=_RECENT)
        self._rate = Rate()
        self._state_since_ms = time.time_ns() // 1_000_000
        self._sink = self._make_sink(start.settings)
        self._published = self.metrics.counter(names.MESSAGES_PUBLISHED)
        self._latency = self.metrics.histogram(names.PUBLISH_LATENCY)
        self._verdicts = {
            Verdict.CONFIRMED: self.metrics.counter(names.MESSAGES_CONFIRMED),
            Verdict.RETURNED: self.metrics.counter(names.MESSAGES_RETURNED),
            Verdict.REFUSED: self.metrics.counter(names.MESSAGES_RETURNED),
            Verdict.FAILED: self.metrics.counter(names.MESSAGES_FAILED),
        }
        self.run_loop()

    def stop(self) -> None:
        self.in_loop(self._sink.close(self._settings.supervision.shutdown * _DRAIN_SHARE))

    def details(self) -> dict[str, Any]:
        confirmed = self._verdicts[Verdict.CONFIRMED].value
        return {
            "sink": self._settings.publisher.sink,
            "state": asdict(self._sink.state),
            "in_flight": self._sink.in_flight,
            "published": int(self._published.value),
            "confirmed": int(confirmed),
            "returned": int(self._verdicts[Verdict.RETURNED].value),
            "state_since_ms": self._state_since_ms,
            "messages_per_second": self._rate.look(confirmed, time.monotonic()),
            "failed": int(self._verdicts[Verdict.FAILED].value),
        }

    def measure(self) -> None:
        self.metrics.gauge(names.MESSAGES_IN_FLIGHT).set(self._sink.in_flight)

    def peers_changed(self) -> None:
        # An owner that is new, or a new process, has not heard how the sink is.
        for place, identity in list(self._owners.items()):
            if (now := self.peer(place)) is not None and now != identity:
                self._owners[place] = now
                self._owed.owner_is(now)
                self.say(f"sink {place}", SinkChanged(self._sink.state))
        for pbx in self._settings.pbx:
            place = Place("switchboard", pbx.name)
            if place not in self._owners and (now := self.peer(place)) is not None:
                self._owners[place] = now
                self._owed.owner_is(now)
                self.open_line(f"outcomes {place}", place, OutcomesCame.and_then)
                self.open_line(f"sink {place}", place, latest)
                self.say(f"sink {place}", SinkChanged(self._sink.state))

    def _make_sink(self, settings: Settings) -> Sink:
        if settings.publisher.sink == "file":
            return FileSink(settings, on_outcomes=self._outcomes_came, on_state=self.bridge.post)
        return AmqpSink(settings, on_outcomes=self._outcomes_came, on_state=self.bridge.post)

    # --- in the loop's thread -----------------------------------------------------------------------------------------

    async def main(self) -> None:
        await self._sink.run()

    def _publish(self, owner: Place, offer: int, entries: Sequence[Entry]) -> None:
        self._cargo.take(owner, entries)
        self._published.add(len(entries))
        self._recent.extend(entry.message.body for entry in entries)
        self._sink.publish([entry.message for entry in entries])
        asyncio.get_running_loop().call_later(_ANSWER_WAIT, self.bridge.post, _AnswerDue(owner, offer))

    def _outcomes_came(self, outcomes: Sequence[Outcome]) -> None:
        for _message_id, verdict, _detail, seconds in outcomes:
            self._verdicts[verdict].add()
            if verdict is Verdict.CONFIRMED:
                self._latency.observe(seconds)
        for owner, came in self._cargo.settle(outcomes).items():
            self.bridge.post(_Batch(owner, came))

    # --- in the actor -------------------------------------------------------------------------------------------------

    def receive_Offer(self, message: Offer, sender: Peer) -> None:
        if message.generation == self.identity.generation and self._owed.offered(sender.identity, message):
            self.bridge.call(self._publish, sender.identity.place, message.offer, message.entries)

    def from_loop__AnswerDue(self, due: "_AnswerDue") -> None:
        if (answer := self._owed.due(due.owner, due.offer)) is not None:
            self.tell(due.owner, answer)

    def from_loop__Batch(self, batch: "_Batch") -> None:
        if (answer := self._owed.answer(batch.owner, batch.outcomes)) is not None:
            self.tell(batch.owner, answer)
        else:
            self.say(f"outcomes {batch.owner}", batch.outcomes)

    def from_loop_SinkState(self, state: SinkState) -> None:
        self.metrics.gauge(names.SINK_CONNECTED).set(1 if state.takes_messages else 0)
        self.metrics.gauge(names.SINK_BLOCKED).set(1 if state.phase is Phase.BLOCKED else 0)
        self._state_since_ms = time.time_ns() // 1_000_000
        for owner in self._owners:
            self.say(f"sink {owner}", SinkChanged(state))

    def query_recent(self, count: int) -> list[str]:
        """The last messages given to the sink, oldest first."""
        return [body.decode() for body in list(self._recent)[-count:]]

    def query_given(self, after: int | None) -> dict[str, Any]:
        """Messages given to the sink since the one with this number (None: from now on), as far as remembered.

        `last` is the number to ask with next, of this `generation`; `missed` counts those that are not remembered any
        more.
        """
        recent, last = list(self._recent), int(self._published.value)
        wanted = 0 if after is None or after > last else last - after
        return {
            "generation": self.identity.generation,
            "last": last,
            "missed": max(0, wanted - len(recent)),
            "bodies": [body.decode() for body in recent[len(recent) - min(wanted, len(recent)) :]],
        }


@dataclass(frozen=True, slots=True)
class _Batch:
    """Outcomes of one owner, on their way from the loop to the actor."""

    owner: Place
    outcomes: OutcomesCame


@dataclass(frozen=True, slots=True)
class _AnswerDue:
    """The answer to an offer has waited long enough."""

    owner: Place
    offer: int
