"""What the offers say is done on the ledger in order, also when its disk refuses for a while."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.messages import OfferAnswered, OutcomesCame
from actors.outgoing import Outgoing
from supervision.messages import Identity
from wire.message import OutboundMessage
from wire.store.ledger import Ledger
from wire.store.offers import Accepted, Added, Limits, Offer

PUBLISHER = Identity("publisher", None, 3)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.db")
    made.open()
    yield made
    made.close()


class Owner:
    """An outbox with its offers, and what was sent."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.sent: list[Offer] = []
        self.outgoing = Outgoing(ledger, Limits(window=10), self.sent.append, lambda: 1_000)

    def add(self, *streams: str) -> None:
        messages = [
            OutboundMessage(f"id {stream}", "v3", "pbx1", stream, 1, "received-call", None, 0, "call.pbx1.x", b"{}")
            for stream in streams
        ]
        with self.ledger.transaction():
            entries = self.ledger.outbox.add(messages, 1_000)
        self.outgoing.handle(Added(tuple(entries)), 0)

    def up(self, publisher: Identity = PUBLISHER) -> None:
        self.outgoing.sink_is(publisher, True)
        self.outgoing.publisher_is(publisher, 0)


@pytest.fixture
def owner(ledger: Ledger) -> Owner:
    return Owner(ledger)


def test_what_is_confirmed_is_deleted_and_what_came_back_is_parked(owner: Owner) -> None:
    """And nothing is left in flight."""
    owner.up()
    owner.add("call:1", "call:2")
    (offer,) = owner.sent
    first, second = (entry.id for entry in offer.entries)
    outcomes = OutcomesCame((first,), (), ((second, "no queue"),))
    owner.outgoing.offer_answered(OfferAnswered(Accepted(3, offer.offer), outcomes), 3, 5)
    counts = owner.ledger.outbox.counts()
    assert (counts.waiting, counts.parked, owner.outgoing.in_flight) == (0, 1, 0)


def test_nothing_is_offered_to_a_publisher_that_takes_no_messages(owner: Owner) -> None:
    """Nor to one that is gone; its successor is offered what that one had."""
    owner.add("call:1")
    owner.outgoing.sink_is(PUBLISHER, False)
    owner.outgoing.publisher_is(PUBLISHER, 0)
    assert owner.sent == []
    owner.up()
    assert [offer.generation for offer in owner.sent] == [3]
    successor = PUBLISHER._replace(generation=4)
    owner.up(successor)
    assert [offer.generation for offer in owner.sent] == [3, 4]
    assert owner.outgoing.taker == successor


def test_late_words_of_a_former_publisher_are_not_believed(owner: Owner) -> None:
    """Its successor goes on being offered to."""
    owner.up()
    owner.outgoing.sink_is(PUBLISHER._replace(generation=2), False)
    owner.outgoing.publisher_is(PUBLISHER, 0)
    assert owner.outgoing.taker == PUBLISHER


def test_what_the_disk_refuses_waits_and_is_done_with_the_next_attempt(owner: Owner) -> None:
    """Confirmed messages that could not be deleted are deleted once the disk takes it, and offered to nobody."""
    owner.up()
    owner.add("call:1")
    connection = owner.ledger._connection
    connection.execute("PRAGMA query_only=1")
    owner.outgoing.outcomes_came(OutcomesCame((owner.sent[0].entries[0].id,)), 3, 5)
    assert owner.outgoing.refused is not None
    assert owner.outgoing.unwritten == 1
    assert owner.ledger.outbox.counts().waiting == 1
    connection.execute("PRAGMA query_only=0")
    owner.outgoing.tick(6)
    assert owner.outgoing.unwritten == 0
    assert owner.ledger.outbox.counts().waiting == 0
