"""The offer protocol: order, credit, windows, failures, memory; by hand."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.wire.store.terms import LIMITS, since, tell
from wire.message import OutboundMessage
from wire.store.offer import (
    Accepted,
    Added,
    Command,
    Confirmed,
    Delete,
    Failed,
    Limits,
    Load,
    Loaded,
    Offer,
    Park,
    PublisherDown,
    PublisherUp,
    Returned,
    Tick,
    Unparked,
    Withhold,
)
from wire.store.offers import Offers
from wire.store.outbox import Entry

Make = Callable[..., OutboundMessage]


@pytest.fixture
def offers() -> Offers:
    """With a Publisher of generation 1, and an outbox that was found empty."""
    offers = Offers(LIMITS)
    assert offers.handle(PublisherUp(1), 0) == [Load(0, 8, LIMITS.bytes)]
    assert offers.handle(Loaded(0, ()), 0) == []
    return offers


@pytest.fixture
def entry(message: Make) -> Callable[[int, str], Entry]:
    return lambda id, call: Entry(id, message(f"call:{call}", id))


Entries = Callable[[int, str], Entry]


def added(entry: Entries, calls: str, first: int = 1) -> Added:
    """One message for each letter, which names its call."""
    return Added(tuple(entry(id, call) for id, call in enumerate(calls, first)))


def offered(commands: list[Command]) -> list[int]:
    """The ids of the one Offer that was made."""
    (offer,) = commands
    assert isinstance(offer, Offer)
    return [each.id for each in offer.entries]


def test_one_message_of_a_lane_is_in_flight(offers: Offers, entry: Entries) -> None:
    """The second message of a call goes when the first is confirmed; other calls do not wait for it."""
    assert offered(offers.handle(added(entry, "aab"), 0)) == [1, 3]
    assert offers.handle(Accepted(1, 1), 1) == []
    assert offers.handle(Confirmed((3,)), 2) == [Delete((3,))]
    assert offers.handle(Confirmed((1,)), 3) == [Delete((1,)), Offer(1, 2, (entry(2, "a"),))]
    assert (offers.in_flight, offers.held) == (1, 1)


def test_lanes_differ_by_form(offers: Offers, message: Make) -> None:
    """The legacy form of a call is a lane of its own."""
    both = (Entry(1, message("call:a")), Entry(2, message("call:a", form="legacy")))
    assert offered(offers.handle(Added(both), 0)) == [1, 2]


def test_the_window_counts_lanes(offers: Offers, entry: Entries) -> None:
    """No more lanes than the window are in flight; a confirmation lets the next in line go."""
    assert offered(offers.handle(added(entry, "abcde"), 0)) == [1, 2, 3]
    assert offers.handle(Accepted(1, 1), 0) == []
    assert offers.handle(Confirmed((2, 3)), 0) == [Delete((2, 3)), Offer(1, 2, (entry(4, "d"), entry(5, "e")))]


def test_credit_of_one(offers: Offers, entry: Entries) -> None:
    """Nothing is offered until the last offer was accepted, even if all of it is confirmed already."""
    assert offered(offers.handle(added(entry, "a"), 0)) == [1]
    assert offers.handle(added(entry, "b", 2), 1) == []
    assert offers.handle(Accepted(1, 7), 2) == []
    assert offers.handle(Accepted(2, 1), 2) == []
    assert offers.handle(Confirmed((1,)), 2) == [Delete((1,))]
    assert offered(offers.handle(Accepted(1, 1), 3)) == [2]


def test_an_offer_is_bounded_in_bytes(message: Make) -> None:
    """An offer ends with the message that fills its bytes; a large one goes alone."""
    offers = Offers(Limits(offer_bytes=100))
    offers.handle(PublisherUp(1), 0)
    offers.handle(Loaded(0, ()), 0)
    entries = tuple(
        Entry(id, message(f"call:{id}", body=b"x" * size)) for id, size in ((1, 60), (2, 60), (3, 500), (4, 1))
    )
    assert offered(offers.handle(Added(entries), 0)) == [1, 2]
    assert offered(offers.handle(Accepted(1, 1), 0)) == [3]
    assert offered(offers.handle(Accepted(1, 2), 0)) == [4]


def test_an_unanswered_offer_goes_again(offers: Offers, entry: Entries) -> None:
    """After its limit an offer is sent again under its number, without what was confirmed meanwhile."""
    first = offers.handle(added(entry, "ab"), 0)
    assert offers.deadline() == 100
    assert offers.handle(Tick(), 99) == []
    assert offers.handle(Tick(), 100) == first
    assert offers.handle(Confirmed((1,)), 150) == [Delete((1,))]
    assert offers.deadline() == 200
    assert offers.handle(Tick(), 200) == [Offer(1, 1, (entry(2, "b"),))]
    assert offers.handle(Confirmed((2,)), 210) == [Delete((2,))]
    assert offers.handle(added(entry, "c", 3), 220) == []
    assert offers.handle(Tick(), 300) == [Offer(1, 2, (entry(3, "c"),))]


def test_a_lost_answer_is_asked_for_again(offers: Offers, entry: Entries) -> None:
    """A message accepted but never answered for is offered again after confirm_ms, with its lane's order kept."""
    offers.handle(added(entry, "aa"), 0)
    assert offers.handle(Accepted(1, 1), 1) == []
    assert offers.deadline() == 1000
    assert offers.handle(Tick(), 1000) == [Offer(1, 2, (entry(1, "a"),))]


def test_failed_goes_again_before_its_lane(offers: Offers, entry: Entries) -> None:
    """A nacked message goes again at once, then after growing delays up to a limit; success resets them."""
    offers.handle(added(entry, "aa"), 0)
    now, waits = 0, []
    for number in range(1, 7):
        assert offers.handle(Accepted(1, number), now) == []
        commands = offers.handle(Failed(1, (1,)), now)
        failed = now
        if not commands:
            due = offers.deadline()
            assert due is not None
            assert offers.handle(Tick(), due - 1) == []
            now = due
            commands = offers.handle(Tick(), now)
        assert offered(commands) == [1]
        waits.append(now - failed)
    assert waits == [0, 10, 20, 40, 40, 40]
    offers.handle(Accepted(1, 7), now)
    assert offers.handle(Confirmed((1,)), now) == [Delete((1,)), Offer(1, 8, (entry(2, "a"),))]
    offers.handle(Accepted(1, 8), now)
    assert offered(offers.handle(Failed(1, (2,)), now)) == [2]


def test_returned_is_parked_and_blocks_nothing(offers: Offers, entry: Entries) -> None:
    """An unroutable message is parked, and its lane goes on with the next."""
    offers.handle(added(entry, "aa"), 0)
    offers.handle(Accepted(1, 1), 0)
    assert offers.handle(Returned(1, (1,), "NO_ROUTE"), 1) == [Park((1,), "NO_ROUTE"), Offer(1, 2, (entry(2, "a"),))]


def test_parked_ones_go_in_sequence_when_unparked(offers: Offers, entry: Entries) -> None:
    """Unparked messages are loaded by id and go in order, before what their lane has waiting."""
    offers.handle(added(entry, "aaaa"), 0)
    offers.handle(Accepted(1, 1), 0)
    offers.handle(Returned(1, (1,), "x"), 0)
    offers.handle(Accepted(1, 2), 0)
    offers.handle(Returned(1, (2,), "x"), 0)  # 3 is in flight now, 4 waits
    assert offers.handle(Unparked((1, 2)), 1) == [Load(0, 6, LIMITS.bytes - 4)]
    assert offers.handle(Loaded(0, tuple(entry(id, "a") for id in (1, 2, 3, 4))), 1) == [Load(4, 4, LIMITS.bytes - 8)]
    offers.handle(Loaded(4, ()), 1)
    order, number = [3], 3
    while offers.held:
        offers.handle(Accepted(1, number), 2)
        commands = offers.handle(Confirmed((order[-1],)), 2)
        order += offered(commands[1:]) if commands[1:] else []
        number += 1
    assert order == [3, 1, 2, 4]


def test_a_new_generation_gets_all_again(offers: Offers, entry: Entries) -> None:
    """What was in flight is offered to the successor; the old one's failures mean nothing, its confirmations do."""
    offers.handle(added(entry, "abb"), 0)
    assert offered(offers.handle(PublisherUp(2), 5)) == [1, 2]
    assert offers.handle(Failed(1, (1,)), 6) == []
    assert offers.handle(Returned(1, (1,), "x"), 6) == []
    assert offers.handle(Accepted(1, 1), 6) == []
    assert offers.handle(Confirmed((2,)), 7) == [Delete((2,))]
    assert offered(offers.handle(Accepted(2, 2), 8)) == [3]


def test_without_a_publisher_nothing_is_offered(offers: Offers, entry: Entries) -> None:
    """Down: no offers, no timers; confirmations count; up again in the same generation, what is in flight stays so."""
    offers.handle(added(entry, "aab"), 0)
    offers.handle(Accepted(1, 1), 0)
    assert offers.handle(PublisherDown(), 1) == []
    assert offers.deadline() is None
    assert offers.handle(Tick(), 99_999) == []
    assert offers.handle(Confirmed((1,)), 99_999) == [Delete((1,))]
    assert offers.handle(Failed(1, (3,)), 99_999) == []
    assert offered(offers.handle(PublisherUp(1), 99_999)) == [2, 3]


def test_what_is_not_held_is_not_deleted(offers: Offers, entry: Entries) -> None:
    """A confirmation said twice, or of an unknown id, does nothing."""
    offers.handle(added(entry, "a"), 0)
    assert offers.handle(Confirmed((1, 1, 77)), 0) == [Delete((1,))]
    assert offers.handle(Confirmed((1,)), 0) == []
    assert offers.handle(Failed(1, (1, 77)), 0) == []


def test_memory_is_bounded_and_refilled(offers: Offers, entry: Entries) -> None:
    """What does not fit stays in the outbox, and is loaded in order when half of the memory is free."""
    assert offered(offers.handle(added(entry, "abcdefghijkl"), 0)) == [1, 2, 3]
    assert offers.held == 8
    assert offers.handle(added(entry, "m", 13), 0) == []
    assert offers.held == 8
    offers.handle(Accepted(1, 1), 0)
    offers.handle(Confirmed((1, 2, 3)), 0)
    commands = offers.handle(Accepted(1, 2), 0)
    assert commands == []
    commands = offers.handle(Confirmed((4,)), 0)
    assert commands[:2] == [Delete((4,)), Load(8, 4, LIMITS.bytes - 8)]
    offers.handle(Loaded(8, tuple(entry(id, "x") for id in range(9, 13))), 0)
    assert offers.held == 8


def test_what_is_added_while_loading_is_not_forgotten(entry: Entries) -> None:
    """A message that was added after the outbox had looked is loaded by another look."""
    offers = Offers(LIMITS)
    offers.handle(PublisherUp(1), 0)
    assert offers.handle(added(entry, "a"), 0) == []
    assert offers.handle(Loaded(0, ()), 0) == [Load(0, 8, LIMITS.bytes)]
    commands = offers.handle(Loaded(0, (entry(1, "a"),)), 0)
    assert commands == [Load(1, 7, LIMITS.bytes - 2), Offer(1, 1, (entry(1, "a"),))]


def test_an_answer_to_an_outdated_load_is_passed_over(offers: Offers, entry: Entries) -> None:
    """When the mark moved back while a load was under way, its answer is not taken."""
    offers.handle(added(entry, "abcdefghijkl"), 0)
    offers.handle(Accepted(1, 1), 0)
    offers.handle(Confirmed((1, 2, 3)), 0)
    offers.handle(Accepted(1, 2), 0)
    assert Load(8, 4, LIMITS.bytes - 8) in offers.handle(Confirmed((4,)), 0)
    assert Load(1, 4, LIMITS.bytes - 8) in offers.handle(Unparked((2,)), 0)
    held = offers.held
    offers.handle(Loaded(8, (entry(9, "i"),)), 0)
    assert offers.held == held


def test_lanes_are_forgotten(offers: Offers, entry: Entries) -> None:
    """A lane with nothing to do takes no memory."""
    offers.handle(added(entry, "aab"), 0)
    offers.handle(Confirmed((1, 3)), 0)
    offers.handle(Confirmed((2,)), 0)
    offers.handle(Accepted(1, 1), 0)
    assert (len(offers._lanes), offers.held, offers._bytes) == (0, 0, 0)


# --- the age policy ---------------------------------------------------------------------------------------------------

AGED = replace(LIMITS, ages={"old": 50})


Aged = Callable[[str, str], tuple[Entry, ...]]


@pytest.fixture
def aged(message: Make) -> Aged:
    """Messages of one lane, all caused at 0, `o` and `p` for such as may be withheld; numbered from 1."""
    operations = {"o": "old", "p": "also old", "k": "kept"}
    return lambda stream, letters: tuple(
        Entry(id, message(stream, id, operation=operations[letter])._replace(timestamp_ms=0))
        for id, letter in enumerate(letters, 1)
    )


def given(commands: list[Command]) -> list[tuple[int, str, bytes]]:
    return [
        (each.message.sequence, each.message.operation, each.message.body)
        for command in commands
        if isinstance(command, Offer)
        for each in command.entries
    ]


def confirm_all(offers: Offers, commands: list[Command], at_ms: int) -> list[tuple[int, str]]:
    """Confirm whatever is offered, until nothing is; what it was."""
    told: list[tuple[int, str]] = []
    for number in range(1, 100):
        found = given(commands)
        if not found:
            return told
        told += [(sequence, operation) for sequence, operation, _body in found]
        commands = offers.handle(Accepted(1, number), 0, at_ms)
        commands += offers.handle(Confirmed(tuple(sequence for sequence, *_ in found)), 0, at_ms)
    raise AssertionError("it never ends")


def test_what_is_too_old_when_its_turn_comes_makes_place_for_what_says_so(aged: Aged) -> None:
    """One message for a run, in the last one's place, written before it is offered; what follows it follows."""
    offers = Offers(AGED, tell, since)
    offers.handle(PublisherUp(1), 0, 0)
    offers.handle(Loaded(0, ()), 0, 0)
    offers.handle(PublisherDown(), 0, 0)
    entries = aged("call:1", "koook")
    offers.handle(Added(entries), 0, 0)
    commands = offers.handle(PublisherUp(1), 0, 51)
    assert given(commands) == [(1, "kept", entries[0].message.body)]
    offers.handle(Accepted(1, 1), 0, 51)
    commands = offers.handle(Confirmed((1,)), 0, 51)
    told = Entry(4, tell([each.message for each in entries[1:4]], 50))
    assert commands[1:] == [Withhold((2, 3), told, "old"), Offer(1, 2, (told,))]
    offers.handle(Accepted(1, 2), 0, 51)
    assert given(offers.handle(Confirmed((4,)), 0, 51)) == [(5, "kept", entries[4].message.body)]


def test_what_is_not_too_old_is_published(aged: Aged) -> None:
    """To the millisecond; and without a policy whatever its age."""
    for limits, at_ms in ((AGED, 50), (LIMITS, 1 << 40)):
        offers = Offers(limits, tell, since)
        offers.handle(PublisherUp(1), 0, 0)
        offers.handle(Loaded(0, aged("call:1", "o")), 0, at_ms)
        assert [each.message.operation for each in offers._lanes[("v3", "pbx1", "call:1")].queue] == []
        assert offers.in_flight == 1


def test_a_run_is_of_one_operation_and_without_a_hole(message: Make) -> None:
    """Another operation begins another; so does a sequence that is parked, and will come."""
    limits = replace(AGED, ages={"old": 50, "also old": 20})
    offers = Offers(limits, tell, since)
    offers.handle(PublisherUp(1), 0, 0)
    kinds = [(1, "old"), (2, "also old"), (3, "also old"), (5, "also old"), (6, "old")]
    entries = tuple(Entry(n, message("call:1", n, operation=kind)._replace(timestamp_ms=0)) for n, kind in kinds)
    offers.handle(Loaded(0, ()), 0, 51)
    commands = offers.handle(Added(entries), 0, 51)
    bodies: list[bytes] = []
    for number in range(1, 6):
        found = given(commands)
        bodies += [body for *_, body in found]
        offers.handle(Accepted(1, number), 0, 51)
        commands = offers.handle(Confirmed(tuple(sequence for sequence, *_ in found)), 0, 51)
    assert bodies == [b"1-1 50", b"2-3 20", b"5-5 20", b"6-6 50"]


def test_a_run_that_goes_on_on_disk_is_told_once(aged: Aged) -> None:
    """Its lane waits for what is loaded next."""
    offers = Offers(AGED, tell, since)
    entries = aged("call:1", "ooooook")
    assert offers.handle(PublisherUp(1), 0, 99) == [Load(0, 8, AGED.bytes)]
    commands = offers.handle(Loaded(0, entries[:3]), 0, 99)
    assert commands == [Load(3, 5, AGED.bytes - sum(len(each.message.body) for each in entries[:3]))]
    commands = offers.handle(Loaded(3, entries[3:]), 0, 99)
    assert confirm_all(offers, commands, 99) == [(6, "messages-withheld"), (7, "kept")]


def test_runs_that_fill_the_memory_are_told_as_far_as_they_are_known(aged: Aged) -> None:
    """Nothing more could be loaded, and nothing would ever go."""
    offers = Offers(AGED, tell, since)
    entries = aged("call:1", "oooooooooooo")
    offers.handle(PublisherUp(1), 0, 99)
    commands = offers.handle(Loaded(0, entries[:8]), 0, 99)
    assert [command.count for command in commands if isinstance(command, Withhold)] == [8]
    assert given(commands) == [(8, "messages-withheld", b"1-8 50")]
    assert Load(8, 7, AGED.bytes - len(b"1-8 50")) in offers.handle(Accepted(1, 1), 0, 99)


# --- the bound of the parked ------------------------------------------------------------------------------------------


def test_beyond_the_bound_a_stream_waits_at_what_came_back(entry: Entries) -> None:
    """It is tried again as slowly as any failure; nothing of it is parked or passed over, other streams go on."""
    offers = Offers(replace(LIMITS, parked=2))
    offers.handle(PublisherUp(1), 0)
    offers.handle(Loaded(0, (), parked=1), 0)
    offers.handle(added(entry, "aab"), 0)
    offers.handle(Accepted(1, 1), 0)
    assert offers.handle(Returned(1, (3,), "no queue"), 0) == [Park((3,), "no queue")]
    assert offers.handle(Returned(1, (1,), "no queue"), 0) == []
    assert (offers.held, offers.held_up, offers.deadline()) == (2, 1, 40)
    offers.handle(added(entry, "c", 4), 0)
    offers.handle(Accepted(1, 2), 0)
    offers.handle(Confirmed((4,)), 0)
    assert given(offers.handle(Tick(), 40)) == given([Offer(1, 3, (entry(1, "a"),))])
    offers.handle(Accepted(1, 3), 40)
    offers.handle(Confirmed((1,)), 40)
    assert offers.held_up == 0


def test_what_is_unparked_makes_room(entry: Entries) -> None:
    """And what waits is parked at its next return."""
    offers = Offers(replace(LIMITS, parked=1))
    offers.handle(PublisherUp(1), 0)
    offers.handle(Loaded(0, (), parked=1), 0)
    offers.handle(added(entry, "a", 2), 0)
    offers.handle(Accepted(1, 1), 0)
    assert offers.handle(Returned(1, (2,), "no queue"), 0) == []
    offers.handle(Unparked((1,)), 0)
    offers.handle(Tick(), 40)
    assert Park((2,), "no queue") in offers.handle(Returned(1, (2,), "no queue"), 40)
    assert offers.held_up == 0
