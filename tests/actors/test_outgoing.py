"""What the offers say is done on the ledger in order, also when its disk refuses for a while."""

from pathlib import Path

import orjson
import pytest

from actors.call.envelope import envelope
from actors.messages import OfferAnswered, OutcomesCame
from actors.outgoing import Outgoing
from supervision.messages import Identity
from tests.schemas import schemas
from wire.message import OutboundMessage
from wire.store.ledger import Ledger
from wire.store.offer import Accepted, Added, Limits, Offer
from wire.store.outbox import Entry

PUBLISHER = Identity("publisher", None, 3)


class Owner:
    """An outbox with its offers, and what was sent."""

    def __init__(self, ledger: Ledger, limits: Limits | None = None, now: int = 1_000) -> None:
        self.ledger = ledger
        self.sent: list[Offer] = []
        self.outgoing = Outgoing(ledger, limits or Limits(window=10), self.sent.append, lambda: now)

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


def digits(owner: Owner, *caused_ms: int) -> list[Entry]:
    """Digits of one call, pressed at these times, are put into the outbox just now."""
    messages = [
        envelope("v3", "pbx1", "call:1.1", n, "dtmf-received", call_id="1.1", timestamp_ms=5, row_ms=at_ms, data={})
        for n, at_ms in enumerate(caused_ms, 1)
    ]
    with owner.ledger.transaction():
        return owner.ledger.outbox.add(messages, 1_000)


AGED = Limits(window=10, ages={"dtmf-received": 900})


def test_what_is_withheld_is_said_and_counted(ledger: Ledger) -> None:
    """One valid message for the run; whoever withholds the same again says it under the same id."""
    owner = Owner(ledger, AGED)
    digits(owner, 9, 9, 9)
    owner.up()
    [entry] = owner.sent[0].entries
    assert owner.outgoing.withheld == {"dtmf-received": 3}
    assert [each.entry for each in ledger.outbox.listing()] == [entry]
    assert schemas().errors(orjson.loads(entry.message.body)) == []
    assert orjson.loads(entry.message.body)["data"] == {
        "operation": "dtmf-received", "sequences": [[1, 3]], "reason": "older than 0.9 s"
    }  # fmt: skip
    successor = Owner(ledger, AGED)
    successor.up()
    assert successor.sent[0].entries == (entry,)
    assert successor.outgoing.withheld == {}


def test_an_outbox_that_is_made_anew_withholds_what_was_withheld(ledger: Ledger, tmp_path: Path) -> None:
    """Though it was put in just now; what that run names besides comes under another id, so nobody drops it."""
    owner = Owner(ledger, AGED)
    digits(owner, 150, 50)
    owner.up()
    owner.outgoing.offer_answered(OfferAnswered(Accepted(3, 1), OutcomesCame((1,))), 3, 0)
    published, told = (entry.message for offer in owner.sent for entry in offer.entries)
    assert (published.operation, orjson.loads(told.body)["data"]["sequences"]) == ("dtmf-received", [[2, 2]])
    for now, sequences, is_the_same in ((1_050, [[2, 2]], True), (1_051, [[1, 2]], False)):
        anew = Ledger(tmp_path / f"{now}.db")
        anew.open()
        again = Owner(anew, AGED, now)
        digits(again, 150, 50)
        again.up()
        again.outgoing.offer_answered(OfferAnswered(Accepted(3, 1), OutcomesCame((1,))), 3, 0)
        last = again.sent[-1].entries[0].message
        assert (orjson.loads(last.body)["data"]["sequences"], last == told) == (sequences, is_the_same)
        assert (last.message_id == told.message_id) is is_the_same
        anew.close()


def test_nothing_is_said_to_be_withheld_before_that_is_written(ledger: Ledger) -> None:
    """The disk refuses: the offer goes once it does not, with the message in the place of the run."""
    owner = Owner(ledger, AGED)
    digits(owner, 9, 9, 9)
    connection = ledger._connection
    connection.execute("PRAGMA query_only=1")
    owner.up()
    assert owner.sent == []
    assert owner.outgoing.withheld == {}
    assert ledger.outbox.counts().waiting == 3
    connection.execute("PRAGMA query_only=0")
    owner.outgoing.tick(1)
    deadline = owner.outgoing.deadline()
    assert deadline is not None
    owner.outgoing.tick(deadline)
    assert [entry.message.operation for offer in owner.sent for entry in offer.entries] == ["messages-withheld"]
    assert ledger.outbox.counts().waiting == 1


def test_more_than_may_be_parked_waits(ledger: Ledger) -> None:
    """What a former process parked counts too; nothing is lost."""
    owner = Owner(ledger, Limits(window=10, parked=2))
    owner.add("call:1", "call:2", "call:3")
    with ledger.transaction():
        ledger.outbox.park([1], "no queue", 1_000)
    owner.up()
    [offer] = owner.sent
    outcomes = OutcomesCame((), (), tuple((entry.id, "no queue") for entry in offer.entries))
    owner.outgoing.offer_answered(OfferAnswered(Accepted(3, offer.offer), outcomes), 3, 5)
    counts = ledger.outbox.counts()
    assert (counts.waiting, counts.parked, owner.outgoing.held_up) == (1, 2, 1)
