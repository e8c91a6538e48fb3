"""What the Publisher remembers of messages on their way: whose they are, and which offers still want an answer.

No actor, clock or socket. An instance of each class belongs to one thread: `Cargo` to the sink's loop, `Owed` to the
actor. Used by the Publisher and by the simulation.
"""

from collections.abc import Iterable, Sequence

from actors.messages import OfferAnswered, OutcomesCame
from supervision.messages import Identity, Place
from wire.sink import Outcome, Verdict
from wire.store.offer import Accepted, Offer
from wire.store.outbox import Entry


class Cargo:
    """Messages given to the sink that have no outcome yet."""

    def __init__(self) -> None:
        self._owners: dict[str, tuple[Place, int]] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def take(self, owner: Place, entries: Iterable[Entry]) -> None:
        """Messages are about to be given to the sink.

        The same offer may come twice, and so may a message after a failure that was none; the sink knows ids, and the
        last who offered a message hears of it.
        """
        for entry in entries:
            self._owners[entry.message.message_id] = (owner, entry.id)

    def settle(self, outcomes: Sequence[Outcome]) -> dict[Place, OutcomesCame]:
        """The sink has said what became of messages. Returns it by owner, in the terms of their outboxes."""
        by_owner: dict[Place, tuple[list[int], list[int], list[tuple[int, str]]]] = {}
        for message_id, verdict, detail, _seconds in outcomes:
            owner, entry = self._owners.pop(message_id)
            confirmed, failed, returned = by_owner.setdefault(owner, ([], [], []))
            if verdict is Verdict.CONFIRMED:
                confirmed.append(entry)
            elif verdict is Verdict.FAILED:
                failed.append(entry)
            else:
                returned.append((entry, detail))
        return {
            owner: OutcomesCame(tuple(confirmed), tuple(failed), tuple(returned))
            for owner, (confirmed, failed, returned) in by_owner.items()
        }


class Owed:
    """Offers that have no answer yet; at most one of each owner."""

    def __init__(self) -> None:
        self._answers: dict[Place, Accepted] = {}
        self._generations: dict[Place, int] = {}

    def owner_is(self, owner: Identity) -> None:
        """Who stands in an owner's place now; a new process waits for no answer."""
        if owner.generation > self._generations.get(owner.place, 0):
            self._generations[owner.place] = owner.generation
            self._answers.pop(owner.place, None)

    def offered(self, owner: Identity, offer: Offer) -> bool:
        """An offer came. False if it is the late word of a former process: its successor may have decided otherwise
        meanwhile, and withheld what is offered."""
        self.owner_is(owner)
        if owner.generation < self._generations[owner.place]:
            return False
        self._answers[owner.place] = Accepted(offer.generation, offer.offer)
        return True

    def due(self, owner: Place, offer: int) -> Accepted | None:
        """The answer to this offer has waited long enough. Returns it, if it is still owed."""
        owed = self._answers.get(owner)
        if owed is None or owed.offer != offer:
            return None
        return self._answers.pop(owner)

    def answer(self, owner: Place, outcomes: OutcomesCame) -> OfferAnswered | None:
        """Outcomes came: the offer's answer goes with them. None if there is none to give."""
        owed = self._answers.pop(owner, None)
        return None if owed is None else OfferAnswered(owed, outcomes)
