"""Connection: the link to one PBX, and the only writer of its journal.

    frames, link up/down, REST answers, operator's commands → journal → doorbell → Switchboard

A frame is *received* when the journal has it. Reading the socket waits for nothing downstream: Asterisk cuts off a
client that reads slowly. A PBX that is away is a state of the link (wire.ari.session), not a crash.

A snapshot asks two variables of some channels, because each costs a request. After a link-up those that were not Up in
the last snapshot, or not there: they may be new, or answered in the gap. That is more than were adopted or changed,
never less, and needs no frame decoded here and no question to Switchboard, which may be busy with what came before. In
the second look it is the channels that Switchboard doubts since the first.

A link that lives but brings no events is deaf, as looks show (wire.ari.hearing), and given up. Its gap begins with its
last frame, and so does that of any other end, or of this process's, once it is suspect.

The host's clock may be set at any time, and rows have their times from it. So the first row of a process says how far
it is ahead of a clock that nobody sets, and so does one before the next row, or within a second, whenever it was set.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from actors.call.decoding import milliseconds
from actors.messages import Doubted, JournalNeeded, LinkChanged, SnapshotTaken, TakeSnapshot
from actors.rate import Rate
from actors.worker import WorkerActor
from supervision.messages import Identity, Peer, Place, Start
from wire.ari.client import AriLink
from wire.ari.errors import AriError
from wire.ari.hearing import Hearing, Suspicion
from wire.ari.rest import AriRest
from wire.ari.session import Described, Down
from wire.host_clock import HostClock, boot_id, now_ms
from wire.metrics import names
from wire.store.bell import Bell
from wire.store.errors import StoreError
from wire.store.journal import JournalHealth, JournalReader, JournalWriter
from wire.store.row import Kind, Position, Row

RECOVERY = Place("recovery", None)

_TYPE = b'"type":"'

_CLOCK_SECONDS = 1.0
"""How often the host's clock is looked at while no row comes, seconds."""
_COMMANDS = 100
"""Most operators' commands that are read back for the row before them."""
_BEHIND_LIMIT_MS = 60_000
"""A frame's time that is further from ours than this says that a clock is wrong, not that it was late."""


class Complained(NamedTuple):
    """What the log has said of the journal's disk."""

    set_aside: int
    """Damaged files."""
    is_refused: bool


class ConnectionActor(WorkerActor):
    """Link and journal of one PBX."""

    role = "connection"
    unsuspendable = "Asterisk cuts off a client that does not read"

    def start(self, start: Start) -> None:
        self._pbx = start.pbx
        before_ms = last_heard_ms(start.directory / "journal", start.pbx.dead_after)
        self._rows = self.metrics.counter(names.JOURNAL_ROWS)
        self._reached: Position | None = None
        self._bell = Bell(start.directory / "bell")
        self._journal = JournalWriter(start.directory / "journal", start.settings.journal, self._committed)
        self._complained = Complained(0, False)
        self._journal.start()
        self._clock = HostClock()
        self._tell_clock(True, before_ms)
        self._link = AriLink(
            self._pbx, on_frame=self._frame, on_up=self._up, on_down=self._down, on_state=self.bridge.post
        )
        self._rest = AriRest(self._pbx)
        self._shown: Described | None = None
        self._hearing = Hearing()
        self._last_frame: tuple[int, bytes] | None = None
        self._is_up = False
        self._told: LinkChanged | None = None
        self._recovery: Identity | None = None
        self._looking = asyncio.Lock()
        self._settled: frozenset[str] = frozenset()
        """Channels that were Up in the last snapshot."""
        self._doubted: frozenset[str] = frozenset()
        self._rate = Rate()
        self._connected = self.metrics.gauge(names.ARI_CONNECTED)
        self._connected.set(0)
        self.open_line("link", RECOVERY, lambda _older, newer: newer)
        self.open_line("looked", RECOVERY, lambda _older, newer: newer)
        self.run_loop()

    def stop(self) -> None:
        self.bridge.call(self._link.stop)

    def main_returned(self) -> None:
        # The last rows, and the ring for them, before we go: Switchboard stops after us and folds what there is.
        self._journal.close()
        super().main_returned()

    def peers_changed(self) -> None:
        # A new Recovery knows of no link, and would look at nothing until the next one.
        recovery = self.peer(RECOVERY)
        if recovery != self._recovery:
            self._recovery = recovery
            if recovery is not None and self._told is not None:
                self.say("link", self._told)

    def details(self) -> dict[str, Any]:
        health = self._journal.health()
        return {
            "link": None if self._shown is None else asdict(self._shown),
            "events": self._hearing.events,
            "events_per_second": self._rate.look(self._hearing.events, time.monotonic()),
            "journal": asdict(health),
        }

    def measure(self) -> None:
        self._bell.mend()
        health = self._journal.health()
        self.metrics.counter(names.JOURNAL_ROWS_LOST).value = health.lost_rows
        self.metrics.gauge(names.JOURNAL_RESERVE).set(health.waiting_bytes)
        self._complain(health)

    def _complain(self, health: JournalHealth) -> None:
        """The log says what is wrong with the journal's disk, once, and that it works again."""
        for path in health.set_aside[self._complained.set_aside :]:
            self.log.error("connection.journal_damaged", set_aside=path)
        is_refused = health.state == "refused"
        if is_refused and not self._complained.is_refused:
            self.log.error("connection.disk_refuses", error=health.reason)
        elif self._complained.is_refused and not is_refused:
            self.log.info("connection.disk_works")
        self._complained = Complained(len(health.set_aside), is_refused)

    # --- in the loop's thread -----------------------------------------------------------------------------------------

    async def main(self) -> None:
        self._look_at_clock()
        try:
            async with self._rest:
                await self._link.run()
        finally:
            self._looking_at_clock.cancel()

    def _look_at_clock(self) -> None:
        self._now_ms()
        self._looking_at_clock = asyncio.get_running_loop().call_later(_CLOCK_SECONDS, self._look_at_clock)

    def _frame(self, body: bytes) -> None:
        at_ms = self._now_ms()
        self._journal.append(Kind.FRAME, at_ms, body)
        self._last_frame = (at_ms, body)
        self._hearing.event(at_ms - self._clock.ahead_ms)
        self.metrics.counter(names.EVENTS, _type_of(body)).add()

    def _up(self, link: int) -> None:
        self._is_up = True
        self._last_frame = None
        self._hearing.up(self._now_ms() - self._clock.ahead_ms)
        self._append(Kind.LINK_UP, {"generation": link, "app": self._pbx.app})
        self.bridge.post(LinkChanged(True, link))

    def _down(self, why: Down, detail: str, last_data_ms: int) -> None:
        self._is_up = False
        self._now_ms()  # if the host's clock was set, that is told first
        told = {"reason": why.value, "detail": detail, "last_data_ms": self._heard_ms(last_data_ms)}
        self._append(Kind.LINK_DOWN, told | {"behind_ms": self._behind_ms(why)})
        self.metrics.counter(names.ARI_DISCONNECTS, why.value).add()
        self.bridge.post(LinkChanged(False, self._link.links))

    def _behind_ms(self, why: Down) -> int:
        """How old the last frame was when it came: Asterisk may have cut us off while we still read its last words."""
        if why is not Down.LOST or self._last_frame is None:
            return 0
        at_ms, body = self._last_frame
        try:
            late_ms = at_ms - milliseconds(orjson.loads(body)["timestamp"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return 0
        return late_ms if 0 < late_ms < _BEHIND_LIMIT_MS else 0

    def _append(self, kind: Kind, body: dict[str, Any]) -> None:
        self._journal.append(kind, self._now_ms(), orjson.dumps(body))

    def _now_ms(self) -> int:
        """The host's clock, Unix milliseconds; if it was set, the journal knows."""
        at_ms = now_ms()
        if self._clock.was_set(at_ms):
            self._tell_clock(False, self._heard_ms(self._link.heard_ms()) if self._link.links else None)
        return at_ms

    def _heard_ms(self, last_data_ms: int) -> int:
        """Until when the PBX was surely heard, as the host's clock counts by what the journal knows of it."""
        last_event_ms = self._hearing.heard_ms(self._clock.ahead_ms)
        return last_data_ms if last_event_ms is None else last_event_ms

    def _tell_clock(self, began: bool, heard_ms: int | None) -> None:
        told = {"boot_id": boot_id(), "ahead_ms": self._clock.ahead_ms, "began": began, "heard_ms": heard_ms}
        self._journal.append(Kind.CLOCK, now_ms(), orjson.dumps(told))

    async def _take_snapshot(self, order: TakeSnapshot) -> None:
        async with self._looking:
            self.bridge.post(SnapshotTaken(order, await self._look(order)))

    async def _look(self, order: TakeSnapshot) -> bool:
        if not self._is_current(order):
            return False
        began, events = time.monotonic(), self._hearing.events
        name = order.name or f"{order.purpose}-{order.link}-{order.nth}-{now_ms()}"
        try:
            body = await self._rest.snapshot(
                self._wanted(order), snapshot_id=name, purpose=order.purpose, nth=order.nth
            )
        except AriError as problem:
            self.metrics.counter(names.SNAPSHOTS, "failed").add()
            # Expected while a PBX restarts; Recovery asks again.
            self.log.warning("connection.snapshot_failed", purpose=order.purpose, nth=order.nth, error=str(problem))
            return False
        self.metrics.counter(names.SNAPSHOTS, "ok").add()
        self.metrics.histogram(names.SNAPSHOT_LATENCY).observe(time.monotonic() - began)
        # A snapshot of a link that has ended in between says nothing about the one that follows.
        if not self._is_current(order):
            return False
        suspicion = self._hearing.shown(events, frozenset(channel["id"] for channel in body["channels"]))
        if suspicion is not None:
            asyncio.get_running_loop().call_later(self._pbx.dead_after, self._judge, suspicion)
        self._now_ms()  # if the host's clock was set, that is told first
        heard_ms = self._heard_ms(self._link.heard_ms())
        told = {"link": order.link, "dry_run": order.dry_run, "heard_ms": heard_ms}
        self._append(Kind.SNAPSHOT, body | told)
        self._settled = frozenset(channel["id"] for channel in body["channels"] if channel.get("state") == "Up")
        return True

    def _judge(self, suspicion: Suspicion) -> None:
        if self._is_up and (how := self._hearing.judged(suspicion)) is not None:
            self._link.give_up(how)

    def _is_current(self, order: TakeSnapshot) -> bool:
        return self._is_up and order.link == self._link.links

    def _wanted(self, order: TakeSnapshot) -> Callable[[str], bool]:
        """Whose variables are asked for."""
        if order.nth == 2 or order.purpose == "audit":
            return self._doubted.__contains__
        settled = self._settled
        return lambda channel: channel not in settled

    # --- in the writer's thread ---------------------------------------------------------------------------------------

    def _committed(self, uuid: str, n: int) -> None:
        if self._reached is not None and self._reached.uuid == uuid:
            self._rows.add(n - self._reached.n)
        self._reached = Position(uuid, n)
        self._bell.ring()

    # --- in the actor -------------------------------------------------------------------------------------------------

    def from_loop_LinkChanged(self, message: LinkChanged) -> None:
        self._connected.set(1 if message.up else 0)
        self._told = message
        self.say("link", message)

    def from_loop_SnapshotTaken(self, message: SnapshotTaken) -> None:
        self.say("looked", message)

    def receive_Doubted(self, message: Doubted, _sender: Peer) -> None:
        self._doubted = message.channels

    def from_loop_Described(self, message: Described) -> None:
        self._shown = message
        if message.name == "connecting":
            self.metrics.counter(names.ARI_ATTEMPTS).add()

    def receive_TakeSnapshot(self, message: TakeSnapshot, _sender: Peer) -> None:
        self.in_loop(self._take_snapshot(message))

    def receive_JournalNeeded(self, message: JournalNeeded, _sender: Peer) -> None:
        self._journal.retire(message.positions)

    def query_operate(self, command: dict[str, Any]) -> str:
        """Journal what an operator orders, so that a replay of the journal knows of it."""
        self.bridge.call(self._append, Kind.OPERATOR, command)
        return "journalled"


def last_heard_ms(directory: Path, dead_after: float) -> int | None:
    """Until when the PBX was surely heard by whoever wrote a journal, Unix milliseconds; None if nobody can say.

    A snapshot comes by REST, also while the event link is dead and nobody knows: it says when the link was heard. A row
    of the host's clock, which may be set at any time, does too. Of an operator's command nobody can say, but by what
    came before it; the link was alive `dead_after` seconds before, or it would have been given up.
    """
    reader = JournalReader(directory)
    try:
        rows = _last_rows(reader)
    except StoreError:
        return None  # the writer will say so, louder
    finally:
        reader.close()
    if not rows:
        return None
    *commands, row = rows
    if row.kind in (Kind.SNAPSHOT, Kind.CLOCK) and (heard_ms := orjson.loads(row.body).get("heard_ms")) is not None:
        return min(int(heard_ms), row.at_ms)
    alive_ms = rows[0].at_ms - round(dead_after * 1000)
    if row.kind not in (Kind.FRAME, Kind.LINK_UP):
        return alive_ms
    return max(row.at_ms, alive_ms) if commands else row.at_ms


def _last_rows(reader: JournalReader) -> list[Row]:
    """The newest row; if it is an operator's command, also those before it, down to one that is none; newest first."""
    rows: list[Row] = []
    last = reader.last()
    while last is not None and last.n > 0 and len(rows) < _COMMANDS:
        last = last._replace(n=last.n - 1)
        read = reader.read(last, 1, 1)
        if read is None:
            break
        rows.append(read.rows[0])
        if rows[-1].kind != Kind.OPERATOR:
            break
    return rows


def _type_of(body: bytes) -> str:
    # In JSON a quote inside of a string is escaped, so the first `"type":"` is a key; ARI puts no other before it.
    begin = body.find(_TYPE)
    if begin < 0:
        return "unknown"
    begin += len(_TYPE)
    return body[begin : body.find(b'"', begin, begin + 64)].decode("ascii", "replace")
