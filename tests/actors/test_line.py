"""actors.line: at most one message of a line is unanswered."""

from hypothesis import given
from hypothesis import strategies as st

from actors.line import Line, Sent


def joined(limit: float = 2.0) -> Line[list[int]]:
    return Line(lambda older, newer: older + newer, limit)


def test_the_first_item_goes_at_once() -> None:
    """With its credit unused a line sends what it is given."""
    assert joined().put([1], 0.0) == Sent(1, [1])


def test_what_comes_while_one_is_unanswered_is_merged_into_one() -> None:
    """Two items that wait go as one message when the answer comes."""
    line = joined()
    line.put([1], 0.0)
    assert line.put([2], 0.1) is None
    assert line.put([3], 0.2) is None
    assert line.answered(1, 0.3) == Sent(2, [2, 3])


def test_an_unanswered_message_is_sent_again_after_its_limit() -> None:
    """The same token and item, each time the limit passes."""
    line = joined(limit=2.0)
    line.put([1], 0.0)
    assert line.overdue(1.9) is None
    assert line.overdue(2.0) == Sent(1, [1])
    assert line.overdue(3.0) is None
    assert line.overdue(4.0) == Sent(1, [1])


def test_a_late_second_answer_grants_no_second_credit() -> None:
    """An answer to an older message than the last does nothing."""
    line = joined()
    line.put([1], 0.0)
    line.put([2], 0.0)
    line.answered(1, 0.0)
    line.put([3], 0.0)
    assert line.answered(1, 0.1) is None
    assert line.answered(2, 0.1) == Sent(3, [3])


def test_a_new_process_at_the_other_end_gets_what_the_old_one_never_answered() -> None:
    """Unanswered and waiting items go together, in order, under a new token."""
    line = joined()
    line.put([1], 0.0)
    line.put([2], 0.0)
    assert line.reset(1.0) == Sent(2, [1, 2])


@given(st.lists(st.sampled_from(["put", "answer", "late", "overdue", "reset"]), max_size=60))
def test_nothing_is_lost_and_nothing_reordered_whatever_happens(steps: list[str]) -> None:
    """The last copies of all messages, in token order, hold every item exactly once but for resets, which repeat."""
    line = joined(limit=1.0)
    now, put, accepted, token = 0.0, 0, [], 0
    outstanding: Sent[list[int]] | None = None
    for step in steps:
        now += 0.6
        sent: Sent[list[int]] | None = None
        if step == "put":
            put += 1
            sent = line.put([put], now)
        elif step == "answer" and outstanding is not None:
            accepted.extend(outstanding.item)
            answered, outstanding = outstanding, None
            sent = line.answered(answered.token, now)
        elif step == "late":
            sent = line.answered(token - 1, now)
        elif step == "overdue":
            sent = line.overdue(now)
        elif step == "reset":
            sent, outstanding = line.reset(now), None
        if sent is not None:
            assert outstanding is None or sent == outstanding, "never two unanswered messages"
            outstanding, token = sent, sent.token
    while outstanding is not None:
        accepted.extend(outstanding.item)
        outstanding = line.answered(outstanding.token, now)
    assert accepted == list(range(1, put + 1))
    assert line.idle
