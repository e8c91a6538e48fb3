"""Segments by hand: who is party A, when it is answered, where it ends."""

from collections.abc import Callable
from typing import Any

from actors.call.chain import Row, Segments
from actors.call.events import Bridge, Channel
from actors.call.segments import Fold, unchanged

Make = Callable[..., Channel]


class Tape:
    """Segments, folded one event after the other, and the rows that became complete."""

    def __init__(self, limit: int = 100) -> None:
        self.state = Segments.new()
        self.rows: list[Row] = []
        self.limit = limit
        self.overflow = 0

    def at(self, now: int, what: str, *told: Any) -> None:
        fold = Fold(self.state, self.limit)
        fold.begin(now)
        getattr(fold, what)(*told)
        self.state = fold.done()
        self.rows += fold.rows
        self.overflow += fold.overflow


def bridge(*members: str, kind: str = "basic", technology: str = "simple_bridge") -> Bridge:
    return Bridge("x", technology, kind, "", "", members)


def dialled(tape: Tape, channel: Make) -> None:
    """a dials b, who answers at 20; both are in a bridge from 21 on."""
    tape.at(0, "born", channel("a"), (0, 1))
    tape.at(1, "snapshot", channel("a", app="Dial"), (0, 1), True)
    tape.at(2, "born", channel("b", state="Down", exten="s"), (2, 2))
    tape.at(3, "dial_began", channel("a", app="Dial"), channel("b", state="Down", app="AppDial"))
    tape.at(20, "dial_ended", channel("a", app="Dial"), channel("b", state="Up", app="AppDial"), "ANSWER", True)
    tape.at(20, "snapshot", channel("a", state="Up", app="Dial"), (0, 1))
    tape.at(21, "entered", channel("b", state="Up", app="AppDial"), bridge("b"), (2, 2))
    tape.at(21, "entered", channel("a", state="Up", app="Dial"), bridge("a", "b"), (0, 1))


def test_an_answered_dial(channel: Make) -> None:
    """A is who dialled; answered at A's Up; it ends when either leaves; the dialled one has no segment of its own."""
    tape = Tape()
    dialled(tape, channel)
    tape.at(50, "left", channel("b"), bridge("a"), (2, 2))
    tape.at(51, "left", channel("a"), bridge(), (0, 1))
    tape.at(52, "destroyed", channel("b", state="Up", app="AppDial"), (2, 2), 16)
    tape.at(53, "destroyed", channel("a", state="Up", exten="h"), (0, 1), 16)
    assert tape.rows == [Row("a", "PJSIP/a-1", "PJSIP/b-1", "a", "700", 0, 20, 50, "ANSWERED", "Dial")]
    assert not tape.state.tracks
    assert not tape.state.others


def test_an_unanswered_dial(channel: Make) -> None:
    """Its disposition is the dial's; a dial given up has that of the CDR, NO ANSWER."""
    for status, disposition in (
        ("BUSY", "BUSY"),
        ("CANCEL", "NO ANSWER"),
        ("CONGESTION", "CONGESTION"),
        ("X", "FAILED"),
    ):
        tape = Tape()
        tape.at(0, "born", channel("a", app="Dial"), (0, 1))
        tape.at(2, "born", channel("b", state="Down"), (2, 2))
        tape.at(3, "dial_began", channel("a", app="Dial"), channel("b"))
        tape.at(9, "dial_ended", channel("a", app="Dial"), channel("b"), status, True)
        assert tape.rows == [Row("a", "PJSIP/a-1", "PJSIP/b-1", "a", "700", 0, None, 9, disposition, "Dial")]


def test_alone_in_an_application(channel: Make) -> None:
    """Up without B is a segment too: an IVR, a voicemail."""
    tape = Tape()
    tape.at(0, "born", channel("a"), (0, 1))
    tape.at(5, "snapshot", channel("a", state="Up", app="Read"), (0, 1), True)
    tape.at(30, "destroyed", channel("a", state="Up", exten="h"), (0, 1), 16)
    assert tape.rows == [Row("a", "PJSIP/a-1", None, "a", "700", 0, 5, 30, "ANSWERED", "Read")]


def test_other_dialplan_begins_a_new_segment(channel: Make) -> None:
    """After a failed dial, what the dialplan runs next is a segment of its own."""
    tape = Tape()
    tape.at(0, "born", channel("a", app="Dial"), (0, 1))
    tape.at(2, "born", channel("b", state="Down"), (2, 2))
    tape.at(3, "dial_began", channel("a", app="Dial"), channel("b"))
    tape.at(9, "dial_ended", channel("a", app="Dial"), channel("b"), "NOANSWER", True)
    tape.at(10, "snapshot", channel("a", app="VoiceMail", priority=2), (0, 1), True)
    tape.at(11, "snapshot", channel("a", state="Up", app="VoiceMail", priority=2), (0, 1))
    tape.at(40, "destroyed", channel("a", state="Up", app="VoiceMail", priority=2), (0, 1), 0)
    assert [(row.dst_channel, row.start, row.answer, row.end, row.disposition) for row in tape.rows] == [
        ("PJSIP/b-1", 0, None, 9, "NO ANSWER"),
        (None, 10, 11, 40, "ANSWERED"),
    ]


def test_everybody_in_a_conference_has_everybody(channel: Make) -> None:
    """The elder is A; each pair is a segment, from when they met until one leaves."""
    tape = Tape()
    for now, key in ((0, "a"), (10, "b"), (20, "c")):
        tape.at(now, "born", channel(key, state="Up", app="ConfBridge"), (now, now))
        members = "abc"[: "abc".index(key) + 1]
        tape.at(now + 1, "entered", channel(key, state="Up"), bridge(*members, kind="base"), (now, now))
    tape.at(30, "left", channel("b"), bridge("a", "c", kind="base"), (10, 10))
    tape.at(40, "left", channel("c"), bridge("a", kind="base"), (20, 20))
    tape.at(41, "left", channel("a"), bridge(kind="base"), (0, 0))
    for key, created in (("a", (0, 0)), ("b", (10, 10)), ("c", (20, 20))):
        tape.at(50, "destroyed", channel(key, state="Up"), created, 16)
    pairs = sorted((row.channel[6], row.dst_channel[6] if row.dst_channel else "", row.end) for row in tape.rows)
    assert pairs == [("a", "b", 30), ("a", "c", 40), ("b", "c", 30), ("c", "", 21)]
    assert not tape.state.tracks
    assert not tape.state.others


def test_a_parking_lot_is_a_segment_of_its_own(channel: Make) -> None:
    """Without B, from the lot's enter to its leave; other holding bridges make none."""
    tape = Tape()
    dialled(tape, channel)
    lot = bridge("a", kind="parking", technology="holding_bridge")
    tape.at(50, "left", channel("a"), bridge("b"), (0, 1))
    tape.at(51, "entered", channel("a", state="Up", app="Dial"), lot, (0, 1))
    tape.at(80, "left", channel("a"), lot._replace(members=()), (0, 1))
    assert [(row.dst_channel, row.start, row.answer, row.end) for row in tape.rows] == [
        ("PJSIP/b-1", 0, 20, 50),
        (None, 51, 51, 80),
    ]
    records = tape.state.tracks["a"].records
    holding = bridge("a", kind="base", technology="holding_bridge")
    tape.at(90, "entered", channel("a", state="Up", app="Dial"), holding, (0, 1))
    tape.at(95, "left", channel("a", state="Up", app="Dial"), holding._replace(members=()), (0, 1))
    assert tape.state.tracks["a"].records == records


def test_a_chain_is_bounded(channel: Make) -> None:
    """A channel has no more records at once than the bound; what is not begun is counted."""
    tape = Tape(limit=3)
    tape.at(0, "born", channel("a", state="Up"), (0, 0))
    tape.at(1, "entered", channel("a", state="Up"), bridge("a", kind="base"), (0, 0))
    for now in range(2, 9):
        key = f"k{now}"
        tape.at(now, "born", channel(key, state="Up"), (now, now))
        tape.at(now, "entered", channel(key, state="Up"), bridge("a", key, kind="base"), (now, now))
    assert len(tape.state.tracks["a"].records) == 3
    assert tape.overflow > 0


def test_a_snapshot_that_shows_nothing_new(channel: Make) -> None:
    """It changes the time at most; anything else is left to a Fold."""
    tape = Tape()
    tape.at(5, "born", channel("a"), (0, 1))
    track = tape.state.tracks["a"]
    assert unchanged(track, channel("a"), 5) is track
    assert unchanged(track, channel("a"), 9) == track._replace(last=9)
    assert unchanged(track, channel("a", state="Up"), 9) is None
