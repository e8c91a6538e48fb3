"""The PBX: recordings under way together, with fresh ids, on at most one link; and what REST shows of them.

What happens does not depend on who listens. A frame that went over the wire is noted with its link, so that the checker
knows what could have been received.
"""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from tests.simulation.bugs import Where
from tests.simulation.clock import Moment
from wire.ari.rest import VARIABLES
from wire.ari.session import Down
from wire.simulator.minting import Minter
from wire.simulator.moment import stamp
from wire.simulator.recording import Recording, find, load
from wire.simulator.run import Run

if TYPE_CHECKING:
    from tests.simulation.lab import Lab

RECORDINGS = (
    "01_inbound_answered_caller_hangup",
    "03_no_answer_timeout",
    "04_busy",
    "05_rejected_603",
    "06_caller_cancel",
    "07_dtmf_during_call",
    "08b_ivr_only_never_dials",
    "09_hold_unhold",
    "10_blind_transfer",
    "13_ring_group_dial_both",
    "13b_ring_group_one_busy_one_answers",
    "14_conference_three",
    "15_click_to_call",
    "16_mixmonitor_recording",
    "17_parking_and_retrieve",
    "19b_forward_302_external_unanswered",
    "20_local_channel_chain",
    "27_unallocated_number",
    "11_attended_transfer",
    "12_queue_two_agents_ringall",
)
"""Recordings of ordinary calls, small ones rather than large ones."""
APP = b"arimon"
ENTITY = "02:fc:00:00:00:01"


@cache
def _file(name: str) -> Path:
    return find(name)[0]


@dataclass(slots=True)
class Link:
    """One event WebSocket, as the PBX has it."""

    number: int
    """Of all links that ever were, from 1."""
    frame: Callable[[bytes], object]
    closed: Callable[[Down, str], object]
    heard: Callable[[], object]
    open: bool = True
    stalled: bool = False
    """Nothing gets through any more, in neither direction, and nobody says so."""
    replaced: bool = False
    """Another client has our name: open, and silent."""
    deaf: bool = False
    """The application was lost: open, answers pings, and brings nothing."""
    adrift: bool = False
    """The host's clock was set since it was deaf: its gap begins with the last event, as the clock counts then."""
    due: int = 0
    """When the last frame under way arrives."""
    sent: list[bytes] = field(default_factory=list)
    """What was put on the wire, in order."""


class Event(NamedTuple):
    """Something that happened on the PBX, whoever listened."""

    at: Moment
    """When."""
    frame: bytes
    dropped: bool
    """The PBX itself did not send it, though somebody listened: only a look can tell what came of it."""


class Pbx:
    """One Asterisk.

    Args:
        lab: where it stands.
        luck: for everything that it decides.
        calls: recordings to play.
    """

    def __init__(self, lab: "Lab", luck: random.Random, calls: int) -> None:
        self._lab = lab
        self._luck = luck
        self._minter = Minter(luck.getrandbits(32))
        self._owners: dict[str, tuple[Run, str]] = {}
        self._runs: dict[Run, None] = {}
        self._started_ms = lab.clock.wall - 86_400_000
        self.up = True
        self.link: Link | None = None
        self.links: list[Link] = []
        self.events: list[Event] = []
        """All that ever happened."""
        self._unheard: dict[int, Link] = {}
        """Which of them were dropped since a link was deaf."""
        self.to_come = calls
        """Recordings not begun yet."""
        self.halted = False
        """It takes connections up later."""
        self._waiting: list[Callable[[], bool]] = []
        """Who asked meanwhile; each is to be told when it goes on, and says whether it is still there."""
        self.drop = self.double = self.garble = 0
        """So many of the next frames are lost, come twice, come garbled."""
        self.bugs: list[Where] = []
        """Of the next frames: who cannot take them."""
        self.speed = luck.choice((2.0, 4.0, 8.0))
        for _ in range(calls):
            lab.clock.after(luck.random() * 12_000, self._begin)

    def happened(self, suspect: Collection[int]) -> list[Event]:
        """All that ever happened.

        Args:
            suspect: links of which the journal says that they may be deaf: what these did not bring is not left to
                looks.
        """
        unheard = {n for n, link in self._unheard.items() if link.number in suspect and not link.adrift}
        return [event._replace(dropped=event.dropped and n not in unheard) for n, event in enumerate(self.events)]

    def call(self) -> None:
        """One more call begins."""
        self.to_come += 1
        self._begin()

    @property
    def quiet(self) -> bool:
        """Nothing happens, nor will."""
        return not self.to_come and not self._runs

    # --- what happens -------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if not self.up:
            self._lab.clock.after(500, self._begin)
            return
        self.to_come -= 1
        recording = load(_file(self._luck.choice(RECORDINGS)))
        # Durations stay as recorded, and no event lies in the future.
        start_ms = self._lab.clock.wall - round(recording.seconds * (1 - 1 / self.speed) * 1000)
        run = Run(recording, self._minter, self._owners, ENTITY, start_ms)
        self._runs[run] = None
        self._happen(run, recording, self._lab.clock.now)

    def _happen(self, run: Run, recording: Recording, began: int) -> None:
        if run.ended:
            return
        frame = run.frame(run.position, APP)
        run.advance(run.position + 1)
        dropped = self._send(frame)
        if dropped and self.link is not None and self.link.deaf:
            self._unheard[len(self.events)] = self.link
        self.events.append(Event(self._lab.moment(), frame, dropped))
        if run.position == len(recording):
            run.end()
            del self._runs[run]
        else:
            at = began + recording.times[run.position] * 1000 / self.speed
            self._lab.clock.after(at - self._lab.clock.now, lambda: self._happen(run, recording, began))

    def _send(self, frame: bytes) -> bool:
        """Send a frame to whoever listens; True if it is dropped."""
        link = self.link
        if link is None or link.replaced:
            return False
        happened = self._lab.happened
        if link.deaf:
            happened["link.unheard"] += 1
            return True
        if self.drop:
            self.drop -= 1
            happened["pbx.drop"] += 1
            return True
        if self.bugs:
            self._lab.bugs.put(frame, self.bugs.pop())
        self._put(link, frame)
        if self.double:
            self.double -= 1
            happened["pbx.double"] += 1
            self._put(link, frame)
        if self.garble:
            self.garble -= 1
            happened["pbx.garble"] += 1
            self._put(link, self._luck.choice((frame[: len(frame) // 2], b"\xff\xfe{", b"[]", b'{"type":7}', b"")))
        return False

    def _put(self, link: Link, frame: bytes) -> None:
        if link.stalled:
            return
        link.sent.append(frame)
        link.due = max(link.due, self._lab.clock.now + self._luck.randint(0, 5))
        self._lab.clock.after(link.due - self._lab.clock.now, lambda: self._arrive(link, frame))

    def _arrive(self, link: Link, frame: bytes) -> None:
        if link.open and not link.stalled:
            link.frame(frame)

    def poison(self, mark: bytes) -> None:
        """Send a frame at which the process that folds it dies."""
        if self.link is not None and not self.link.deaf:
            self._put(self.link, b'{"type":"Poison","mark":"' + mark + b'"}')

    # --- its links ----------------------------------------------------------------------------------------------------

    def attach(
        self,
        frame: Callable[[bytes], object],
        closed: Callable[[Down, str], object],
        heard: Callable[[], object],
    ) -> Link | None:
        """A client connects; None if nobody is there."""
        if not self.up:
            return None
        if self.link is not None:
            self.link.replaced = True
        self.link = Link(len(self.links) + 1, frame, closed, heard)
        self.links.append(self.link)
        return self.link

    def wait(self, answered: Callable[[], bool]) -> None:
        """A client connects while we are halted.

        Args:
            answered: to be called when we go on; whether the client is still there.
        """
        self._waiting.append(answered)

    def halt(self, ms: int) -> None:
        """The link is dead, and whoever connects is answered later: by then it may have given up and come again."""
        self._lab.happened["pbx.halt"] += not self.halted
        self.stall()
        self.halted = True
        self._lab.clock.after(ms, self._take_up)

    def _take_up(self) -> None:
        self.halted = False
        waiting, self._waiting = self._waiting, []
        for answered in waiting:
            if not answered():
                self._lab.clock.after(self._luck.randint(0, 300), self._answer_late)

    def _answer_late(self) -> None:
        """Somebody who is gone gets our application."""
        self._lab.happened["link.late"] += self.link is not None
        self.replace()

    def detach(self, link: Link) -> None:
        """The client is gone."""
        link.open = False
        if self.link is link:
            self.link = None

    def ping(self, link: Link) -> None:
        """The client asks whether we are there."""
        if link.open and not link.stalled:
            self._lab.clock.after(self._luck.randint(1, 20), lambda: link.open and not link.stalled and link.heard())

    def cut(self, why: Down) -> None:
        """The link ends, with FIN or RST. What is under way is lost."""
        link = self.link
        if link is not None:
            self._lab.happened[f"link.{why}"] += 1
            self.detach(link)
            link.closed(why, "the simulation cut it")

    def stall(self) -> None:
        """The link is dead, and nobody says so."""
        if self.link is not None:
            self._lab.happened["link.stall"] += 1
            self.link.stalled = True

    def deafen(self) -> None:
        """We lose the application: the link lives, and nothing comes over it any more."""
        if self.link is not None:
            self._lab.happened["link.deaf"] += 1
            self.link.deaf = True

    def clock_is_set(self) -> None:
        """The host's clock is."""
        if self.link is not None and self.link.deaf:
            self.link.adrift = True

    def replace(self) -> None:
        """Somebody else takes our application's name."""
        link = self.link
        if link is not None and not link.stalled and not link.deaf:
            self._lab.happened["link.replaced"] += 1
            said = {"type": "ApplicationReplaced", "application": "arimon", "timestamp": stamp(self._lab.clock.wall)}
            self._put(link, orjson.dumps(said))
            link.replaced = True

    def restart(self, down_ms: int) -> None:
        """All calls are gone without a word; it comes back with another start time."""
        if not self.up:
            return
        self._lab.happened["pbx.restart"] += 1
        self.up = False
        for run in self._runs:
            run.end()
        self._runs.clear()
        self.cut(Down.LOST)
        self._lab.clock.after(down_ms, self._come_up)

    def _come_up(self) -> None:
        self.up = True
        self._started_ms = self._lab.clock.wall
        self._minter.restarted()

    # --- REST ---------------------------------------------------------------------------------------------------------

    def snapshot(self, wanted: Callable[[str], bool], done: Callable[[dict[str, Any] | None], object]) -> None:
        """The answers to a snapshot's questions. Each is true at its own moment, and events happen in between."""
        asked = self._lab.clock.wall
        after = self._lab.clock.after
        luck = self._luck
        found: dict[str, Any] = {"asked_ms": asked}

        def channels() -> None:
            found["info"] = {"status": {"startup_time": stamp(self._started_ms)}, "system": {"entity_id": ENTITY}}
            found["channels"] = [channel for run in self._runs for channel in run.channels()]
            after(luck.randint(0, 15), bridges)

        def bridges() -> None:
            found["bridges"] = [bridge for run in self._runs for bridge in run.bridges()]
            after(luck.randint(0, 15), variables)

        def variables() -> None:
            found["variables"] = told = {}
            for channel in found["channels"]:
                run, recorded = self._owners.get(channel["id"], (None, ""))
                if wanted(channel["id"]) and run is not None and run.recording.timeline.alive(recorded, run.position):
                    values = {name: run.variable(recorded, name) for name in VARIABLES}
                    told[channel["id"]] = {name: value for name, value in values.items() if value is not None}
            after(luck.randint(1, 40), lambda: done(found if self.up else None))

        if self.up:
            after(luck.randint(1, 10), channels)
        else:
            after(luck.randint(1, 10), lambda: done(None))
