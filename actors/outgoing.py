"""The way out of an outbox: carries out what the offer machine (wire.store.offers) says, on the owner's ledger.

No actor, clock or socket: offers go to a callback, times are arguments. Used by Switchboard and by the simulation.

A disk that refuses is a state: what was to be written waits here, in order, and goes first with the next attempt. A
confirmed message that could not be deleted would after a restart be published once more, under the same id.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import assert_never

from actors.call.envelope import caused_ms, withheld
from actors.messages import OfferAnswered, OutcomesCame
from supervision.messages import Identity
from wire.store.database import translated
from wire.store.errors import StoreUnusable
from wire.store.ledger import Ledger
from wire.store.offer import (
    Command,
    Confirmed,
    Delete,
    Failed,
    Input,
    Limits,
    Load,
    Loaded,
    Offer,
    Park,
    PublisherDown,
    PublisherUp,
    Returned,
    Tick,
    Withhold,
)
from wire.store.offers import Offers


class Outgoing:
    """One owner's offers and the outbox they come from.

    Args:
        ledger: open; used once the first input comes.
        limits: of the offers.
        send: gives an offer to the Publisher that was last told by `publisher_is`.
        clock: Unix milliseconds.
    """

    def __init__(
        self, ledger: Ledger, limits: Limits, send: Callable[[Offer], object], clock: Callable[[], int]
    ) -> None:
        self._ledger = ledger
        self._offers = Offers(limits, withheld, caused_ms)
        self._send = send
        self._clock = clock
        self._unwritten: deque[Command] = deque()
        self._sink: tuple[Identity, bool] | None = None
        self.taker: Identity | None = None
        """The Publisher that we offer to: the present one, if it takes messages."""
        self.refused: StoreUnusable | None = None
        """Why the disk does not take what is to be written; None while it does."""
        self.withheld: Counter[str] = Counter()
        """Messages withheld by the age policy, by operation."""

    @property
    def in_flight(self) -> int:
        """Messages offered and not yet confirmed, returned or failed."""
        return self._offers.in_flight

    @property
    def held_up(self) -> int:
        """Streams that wait because their message is unroutable, and no more may be parked."""
        return self._offers.held_up

    @property
    def held(self) -> int:
        """Messages in memory."""
        return self._offers.held

    @property
    def unwritten(self) -> int:
        """Commands that wait for the disk."""
        return len(self._unwritten)

    def deadline(self) -> int | None:
        """When `tick` is due, on the clock of its argument; None: not before something else happens."""
        return self._offers.deadline()

    def handle(self, event: Input, now: int) -> None:
        """Something happened.

        Args:
            event: what.
            now: milliseconds of a clock that never goes back.
        """
        events = deque([event])
        while events:
            for command in self._offers.handle(events.popleft(), now, self._clock()):
                if not isinstance(command, Offer):
                    self._unwritten.append(command)
                    continue
                if self._is_withholding():
                    events.extend(self._write())
                # What was withheld is not told before that is written; an offer that is unanswered goes again.
                if not self._is_withholding():
                    self._send(command)
            events.extend(self._write())

    def _is_withholding(self) -> bool:
        return any(isinstance(each, Withhold) for each in self._unwritten)

    def tick(self, now: int) -> None:
        """The deadline has come, or the disk may be asked again."""
        self.handle(Tick(), now)

    def _write(self) -> list[Input]:
        """Do what is to be done on disk, in order. Returns what the outbox answers."""
        answers: list[Input] = []
        try:
            while self._unwritten:
                with translated(self._ledger.path):
                    answers.extend(self._carry_out(self._unwritten[0]))
                self._unwritten.popleft()
        except StoreUnusable as problem:
            self.refused = problem
        else:
            self.refused = None
        return answers

    def _carry_out(self, command: Command) -> list[Input]:
        outbox = self._ledger.outbox
        match command:
            case Load(after_id, rows, max_bytes):
                return [Loaded(after_id, tuple(outbox.load(after_id, rows, max_bytes)), outbox.parked())]
            case Delete(ids):
                with self._ledger.transaction():
                    outbox.confirm(ids)
            case Park(ids, reason):
                with self._ledger.transaction():
                    outbox.park(ids, reason, self._clock())
            case Withhold(ids, told, operation):
                with self._ledger.transaction():
                    outbox.withhold(ids, told)
                self.withheld[operation] += command.count
            case Offer():
                raise AssertionError("offers are not written")
            case _:
                assert_never(command)
        return []

    # --- what the Publisher says --------------------------------------------------------------------------------------

    def sink_is(self, sender: Identity, takes_messages: bool) -> None:
        """A Publisher has said whether its sink takes messages; `publisher_is` follows."""
        # Not the late words of a former process.
        if self._sink is None or sender.generation >= self._sink[0].generation:
            self._sink = (sender, takes_messages)

    def publisher_is(self, publisher: Identity | None, now: int) -> None:
        """Offer to whoever is Publisher now, if it has said that it takes messages; it may say so before Root does."""
        taker = publisher if publisher is not None and self._sink == (publisher, True) else None
        if taker != self.taker:
            self.taker = taker
            self.handle(PublisherDown() if taker is None else PublisherUp(taker.generation), now)

    def outcomes_came(self, outcomes: OutcomesCame, generation: int, now: int) -> None:
        """What became of messages, as the Publisher of this generation knows it."""
        if outcomes.confirmed:
            self.handle(Confirmed(outcomes.confirmed), now)
        if outcomes.failed:
            self.handle(Failed(generation, outcomes.failed), now)
        for entry, reason in outcomes.returned:
            self.handle(Returned(generation, (entry,), reason), now)

    def offer_answered(self, answer: OfferAnswered, generation: int, now: int) -> None:
        """An offer was accepted. The outcomes first: they free the lanes for the offer that follows."""
        self.outcomes_came(answer.outcomes, generation, now)
        self.handle(answer.accepted, now)
