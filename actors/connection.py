"""Connection: the link to one PBX, and the only writer of its journal.

    frames, link up/down, REST answers, operator's commands → journal → doorbell → Switchboard

A frame is *received* when the journal has it. Reading the socket waits for nothing downstream: Asterisk cuts off a
client that reads slowly. A PBX that is away is a state of the link (wire.ari.session), not a crash.

A snapshot asks two variables of some channels, because each costs a request. After a link-up those that were not Up in
the last snapshot, or not there: they may be new, or answered in the gap. That is more than were adopted or changed,
never less, and needs no frame decoded here and no question to Switchboard, which may be busy with what came before. In
the second look it is the channels that Switchboard doubts since the first.

A link that lives but brings no events is deaf, and given up: when channels came or went between two looks, no frame
came meanwhile, and none comes for `dead_after` after that either. Its gap begins with its last frame.

The host's clock may be set at any time, and rows have their times from it. So the first row of a process says how far
it is ahead of a clock that nobody sets, and so does one before the next row, or within a second, whenever it was set.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from actors.call.decoding import milliseconds
from actors.messages import Doubted, JournalNeeded, LinkChanged, SnapshotTaken, TakeSnapshot
from actors.rate import Rate
from actors.worker import WorkerActor
from supervision.messages import Identity, Peer, Place, Start
from wire.ari.client import AriLink
from wire.ari.errors import AriError
from wire.ari.rest import AriRest
from wire.ari.session import Described, Down
from wire.host_clock import HostClock, boot_id, now_ms
from wire.metrics import names
from wire.store.bell import Bell
from wire.store.errors import StoreError
from wire.store.journal import JournalReader, JournalWriter
from wire.store.row import Kind, Position

RECOVERY = Place("recovery", None)

_TYPE = b'"type":"'

_CLOCK_SECONDS = 1.0
"""How often the host's clock is looked at while no row comes, seconds."""
_BEHIND_LIMIT_MS = 60_000
"""A frame's time that is further from ours than this says that a clock is wrong, not that it was late."""


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
        self._journal.start()
        self._clock = HostClock()
        self._tell_clock(True, before_ms)
        self._link = AriLink(
            self._pbx, on_frame=self._frame, on_up=self._up, on_down=self._down, on_state=self.bridge.post
        )
        self._rest = AriRest(self._pbx)
        self._shown: Described | None = None
        self._events = 0
        self._last_frame: tuple[int, bytes] | None = None
        self._up_ms = 0
        """When the link came up."""
        self._looked: tuple[int, frozenset[str]] | None = None
        """The frames that we had when the last look of this link was asked for, and the channels that it showed."""
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
            "events": self._events,
            "events_per_second": self._rate.look(self._events, time.monotonic()),
            "journal": asdict(health),
        }

    def measure(self) -> None:
        self._bell.mend()
        health = self._journal.health()
        self.metrics.counter(names.JOURNAL_ROWS_LOST).value = health.lost_rows
        self.metrics.gauge(names.JOURNAL_RESERVE).set(health.waiting_bytes)

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
        self._events += 1
        self.metrics.counter(names.EVENTS, _type_of(body)).add()

    def _up(self, link: int) -> None:
        self._is_up = True
        self._last_frame = self._looked = None
        self._up_ms = self._now_ms()
        self._append(Kind.LINK_UP, {"generation": link, "app": self._pbx.app})
        self.bridge.post(LinkChanged(True, link))

    def _down(self, why: Down, detail: str, last_data_ms: int) -> None:
        self._is_up = False
        if why is Down.DEAF:
            last_data_ms = self._up_ms if self._last_frame is None else self._last_frame[0]
        self._append(
            Kind.LINK_DOWN,
            {"reason": why.value, "detail": detail, "last_data_ms": last_data_ms, "behind_ms": self._behind_ms(why)},
        )
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
            self._tell_clock(False, self._link.heard_ms() if self._link.links else None)
        return at_ms

    def _tell_clock(self, began: bool, heard_ms: int | None) -> None:
        told = {"boot_id": boot_id(), "ahead_ms": self._clock.ahead_ms, "began": began, "heard_ms": heard_ms}
        self._journal.append(Kind.CLOCK, now_ms(), orjson.dumps(told))

    async def _take_snapshot(self, order: TakeSnapshot) -> None:
        async with self._looking:
            self.bridge.post(SnapshotTaken(order, await self._look(order)))

    async def _look(self, order: TakeSnapshot) -> bool:
        if not self._is_current(order):
            return False
        began, frames = time.monotonic(), self._events
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
        told = {"link": order.link, "dry_run": order.dry_run, "heard_ms": self._link.heard_ms()}
        self._append(Kind.SNAPSHOT, body | told)
        self._settled = frozenset(channel["id"] for channel in body["channels"] if channel.get("state") == "Up")
        self._compare(frames, frozenset(channel["id"] for channel in body["channels"]))
        return True

    def _compare(self, frames: int, channels: frozenset[str]) -> None:
        """See whether channels came or went without a frame; one may still be on its way."""
        before, self._looked = self._looked, (frames, channels)
        if before is not None and before[0] == self._events and before[1] != channels:
            asyncio.get_running_loop().call_later(
                self._pbx.dead_after, self._give_up, self._link.links, self._events, len(before[1] ^ channels)
            )

    def _give_up(self, link: int, frames: int, changes: int) -> None:
        if self._is_up and (link, frames) == (self._link.links, self._events):
            self._link.give_up(f"no event came while {changes} channels came or went, and none since")

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
    of the host's clock, which may be set at any time, does too. Of an operator's command nobody can say; the link was
    alive `dead_after` seconds before, or it would have been given up.
    """
    reader = JournalReader(directory)
    try:
        last = reader.last()
        read = None if last is None else reader.read(last._replace(n=last.n - 1), 1, 1)
    except StoreError:
        return None  # the writer will say so, louder
    finally:
        reader.close()
    if read is None:
        return None
    row = read.rows[0]
    if row.kind in (Kind.SNAPSHOT, Kind.CLOCK) and (heard_ms := orjson.loads(row.body).get("heard_ms")) is not None:
        return min(int(heard_ms), row.at_ms)
    return row.at_ms if row.kind in (Kind.FRAME, Kind.LINK_UP) else row.at_ms - round(dead_after * 1000)


def _type_of(body: bytes) -> str:
    # In JSON a quote inside of a string is escaped, so the first `"type":"` is a key; ARI puts no other before it.
    begin = body.find(_TYPE)
    if begin < 0:
        return "unknown"
    begin += len(_TYPE)
    return body[begin : body.find(b'"', begin, begin + 64)].decode("ascii", "replace")
