"""The ledger of what is in flight on one connection."""

from hypothesis import given
from hypothesis import strategies as st

from wire.amqp.flights import Flights
from wire.sink import Outcome, Verdict


def flights(count: int) -> Flights:
    """Messages m1, m2 … sent at 1.0, 2.0 … seconds."""
    ledger = Flights()
    for number in range(1, count + 1):
        ledger.send(f"m{number}", float(number))
    return ledger


def test_an_ack_confirms_one() -> None:
    """The tag is the count of sends; the time is from sending to the ack."""
    ledger = flights(3)
    assert list(ledger.settle(2, False, True, 5.0)) == [Outcome("m2", Verdict.CONFIRMED, "", 3.0)]
    assert len(ledger) == 2
    assert "m2" not in ledger
    assert "m1" in ledger


def test_multiple_means_all_up_to_the_tag() -> None:
    """`multiple` settles in the order of sending, and tag 0 everything."""
    ledger = flights(5)
    assert [outcome.message_id for outcome in ledger.settle(3, True, True, 9.0)] == ["m1", "m2", "m3"]
    assert [outcome.message_id for outcome in ledger.settle(0, True, True, 9.0)] == ["m4", "m5"]


def test_a_return_before_the_ack_is_returned() -> None:
    """Basic.Return names the message, the ack that follows ends it; others are not touched."""
    ledger = flights(2)
    ledger.returned("m1", "NO_ROUTE")
    assert list(ledger.settle(2, True, True, 4.0)) == [
        Outcome("m1", Verdict.RETURNED, "NO_ROUTE", 3.0),
        Outcome("m2", Verdict.CONFIRMED, "", 2.0),
    ]


def test_a_nack_is_failed_even_if_returned() -> None:
    """Who nacks promises nothing."""
    ledger = flights(1)
    ledger.returned("m1", "NO_ROUTE")
    (outcome,) = ledger.settle(1, False, False, 4.0)
    assert outcome.verdict is Verdict.FAILED
    ledger.send("m1", 5.0)
    (outcome,) = ledger.settle(2, False, True, 6.0)
    assert outcome.verdict is Verdict.CONFIRMED


def test_an_unknown_tag_settles_nothing() -> None:
    """A second ack, or one for a tag never sent, is nothing."""
    ledger = flights(1)
    assert list(ledger.settle(7, False, True, 2.0)) == []
    assert len(list(ledger.settle(1, False, True, 2.0))) == 1
    assert list(ledger.settle(1, False, True, 2.0)) == []
    ledger.returned("m1", "too late")


def test_a_lost_connection_fails_all() -> None:
    """Everything in flight gets FAILED, in the order of sending, and the ledger is empty."""
    ledger = flights(2)
    assert list(ledger.fail_all("gone", 4.0)) == [
        Outcome("m1", Verdict.FAILED, "gone", 3.0),
        Outcome("m2", Verdict.FAILED, "gone", 2.0),
    ]
    assert len(ledger) == 0
    assert "m1" not in ledger


def test_waiting_is_the_oldest_ones_time_while_not_blocked() -> None:
    """The clock of confirms starts at sending, or when the broker was last unblocked."""
    ledger = flights(2)
    assert ledger.waiting(11.0) == 10.0
    list(ledger.settle(1, False, True, 11.0))
    assert ledger.waiting(11.0) == 9.0
    ledger.restart_clock(10.0)
    assert ledger.waiting(11.0) == 1.0
    list(ledger.settle(2, False, True, 11.0))
    assert ledger.waiting(11.0) == 0.0


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.booleans()), max_size=30))
def test_every_message_gets_exactly_one_outcome(answers: list[tuple[int, bool, bool]]) -> None:
    """Whatever a broker answers and however often: one outcome each."""
    ledger = flights(10)
    outcomes = [outcome for tag, many, ack in answers for outcome in ledger.settle(tag, many, ack, 20.0)]
    outcomes += ledger.fail_all("end", 20.0)
    assert sorted(outcome.message_id for outcome in outcomes) == sorted(f"m{number}" for number in range(1, 11))
