"""What the Publisher remembers of messages on their way."""

import pytest

from actors.carriage import Cargo, Owed
from actors.messages import OfferAnswered, OutcomesCame
from supervision.messages import Identity, Place
from wire.message import OutboundMessage
from wire.sink import Outcome, Verdict
from wire.store.offer import Accepted, Offer
from wire.store.outbox import Entry

ONE, OTHER = Place("switchboard", "pbx1"), Place("switchboard", "pbx2")
FIRST, SECOND = Identity("switchboard", "pbx1", 1), Identity("switchboard", "pbx1", 2)


def entry(id: int, message_id: str) -> Entry:
    return Entry(id, OutboundMessage(message_id, "v3", "pbx1", "call:1", 1, "x", None, 0, "call.pbx1.x", b"{}"))


def test_outcomes_go_to_their_owners_in_the_terms_of_their_outboxes() -> None:
    """By owner and by kind; what cannot be sent counts as returned."""
    cargo = Cargo()
    cargo.take(ONE, [entry(1, "a"), entry(2, "b")])
    cargo.take(OTHER, [entry(1, "c"), entry(2, "d")])
    verdicts = (Verdict.CONFIRMED, Verdict.FAILED, Verdict.RETURNED, Verdict.REFUSED)
    outcomes = [Outcome(name, verdict, "why", 0.0) for name, verdict in zip("abcd", verdicts, strict=True)]
    assert cargo.settle(outcomes) == {
        ONE: OutcomesCame((1,), (2,), ()),
        OTHER: OutcomesCame((), (), ((1, "why"), (2, "why"))),
    }
    assert len(cargo) == 0


def test_who_offered_a_message_last_hears_of_it() -> None:
    """An owner that lost its outbox has another number for the same message."""
    cargo = Cargo()
    cargo.take(ONE, [entry(7, "a")])
    cargo.take(ONE, [entry(1, "a")])
    assert cargo.settle([Outcome("a", Verdict.CONFIRMED, "", 0.0)]) == {ONE: OutcomesCame((1,))}


def test_an_offer_is_answered_once_with_outcomes_or_without() -> None:
    """Whichever comes first; an answer that is due for an older offer is none."""
    owed = Owed()
    assert owed.offered(FIRST, Offer(1, 5, ()))
    assert owed.due(ONE, 4) is None
    outcomes = OutcomesCame((1,))
    assert owed.answer(ONE, outcomes) == OfferAnswered(Accepted(1, 5), outcomes)
    assert owed.due(ONE, 5) is None
    assert owed.answer(ONE, outcomes) is None
    assert owed.offered(FIRST, Offer(1, 6, ()))
    assert owed.due(ONE, 6) == Accepted(1, 6)


def test_an_owner_that_is_a_new_process_waits_for_nothing() -> None:
    """Nor does it know of the offer that its predecessor made."""
    owed = Owed()
    assert owed.offered(FIRST, Offer(1, 5, ()))
    owed.owner_is(SECOND)
    assert owed.due(ONE, 5) is None


@pytest.mark.parametrize("told", [False, True])
def test_an_offer_of_a_former_process_is_not_taken(told: bool) -> None:
    """It came late: its successor, known from the directory or from its own offer, may have withheld the message."""
    owed = Owed()
    assert owed.offered(FIRST, Offer(1, 5, ()))
    if told:
        owed.owner_is(SECOND)
    else:
        assert owed.offered(SECOND, Offer(1, 1, ()))
    assert not owed.offered(FIRST, Offer(1, 6, ()))
    assert owed.due(ONE, 6) is None
    assert owed.due(ONE, 1) == (None if told else Accepted(1, 1))
