"""The offer protocol, from the owner's side: which messages of an outbox are offered to the Publisher, and when.

One instance per outbox. It does no I/O and reads no clock: what happened comes in as data, what to do goes out so::

    commands = offers.handle(Added(entries), now_ms)      # carry them out in order; then, at offers.deadline(),
    commands = offers.handle(Tick(), now_ms)

    outbox ──Added, Loaded──▶ lanes ──Offer──▶ Publisher ──Accepted (at once)──▶ the next Offer may go
       ▲                        ▲                  └──────Confirmed, Failed, Returned (later, coalesced)──╮
       ╰──Delete, Park, Load────┴─────────────────────────────────────────────────────────────────────────╯

The rules:

1. A *lane* is (form, server, stream). At most one of its messages is in flight: the next goes when that is confirmed.
   So nacks and reconnects cannot change the order. The window counts lanes.
2. Credit of one: an Offer carries all that may go; the next goes when it was answered. Unanswered for `answer_ms`, it
   goes again under the same number. A message that was accepted, but answered by nothing for `confirm_ms`, is offered
   again: an answer may get lost. The Publisher therefore takes everything twice without harm.
3. Failed goes again before anything else of its lane, at once the first time, then after a growing delay. Returned is
   parked, and its lane goes on. A new generation of the Publisher knows nothing, so all in flight is offered again.
4. Without a Publisher nothing is offered. Confirmations are believed from whomever they come; Failed and Returned only
   from the present generation, since the message may be in flight with it once more.
5. An *age policy* may hold some operations for not worth publishing after a while. It is asked when a message's turn
   comes: then a whole run of them, of one operation and with consecutive sequences, makes place for one message that
   says so, with the last one's id and sequence. While the rest of a run may be on disk only, its lane waits for it.
   Once that is decided it is written before it is offered: see Withhold. Age counts from the cause of a message and
   not from its place in the outbox: when a lost outbox is made anew, what was withheld is withheld again, and does
   not come after what followed it.
6. What is parked is bounded. Beyond the bound what comes back stays at the head of its lane, which waits and is tried
   again as slowly as any failure: nothing is lost, and the order stays.
7. Memory is bounded. What does not fit stays on disk and is loaded by id, in order, when half is free. Everything held
   or done has an id up to the mark `loaded_to`, or was added behind it; unparking moves the mark back, and what is
   still held is passed over when it is loaded again.

Why a class that changes and not (state, event) → (effects, state'): at 10,000 messages/s the dozen persistent updates a
message takes would cost a fifth of a core, and nobody needs an old state: after a crash the outbox is the state. It is
deterministic all the same: the same inputs give the same commands, so the simulation replays it by seed.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import assert_never

from wire.message import OutboundMessage
from wire.store.offer import (
    Accepted,
    Added,
    Command,
    Confirmed,
    Delete,
    Failed,
    Input,
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
from wire.store.outbox import Entry

Tell = Callable[[Sequence[OutboundMessage], int], OutboundMessage]
"""Makes the message that says that a run was withheld: of the run, and the age that it was older than, milliseconds.
It has the last one's lane and sequence, and is a function of these alone."""

Since = Callable[[OutboundMessage], int]
"""When what caused a message was received, on the clock of `at_ms`; the same whenever the message is made."""


class _Lane:
    """What is held of one lane: queue in order of id, and the one in flight."""

    __slots__ = ("failures", "flying", "key", "listed", "queue")

    def __init__(self, key: tuple[str, str, str]) -> None:
        self.key = key
        self.queue: deque[Entry] = deque()
        self.flying: Entry | None = None
        self.failures = 0
        self.listed = False  # among the ready or the delayed

    def put(self, entry: Entry) -> None:
        queue = self.queue
        if not queue or entry.id > queue[-1].id:
            queue.append(entry)
        elif entry.id < queue[0].id:
            queue.appendleft(entry)
        else:
            self.queue = deque(sorted((*queue, entry)))


class Offers:
    """One owner's side of the offer protocol.

    Args:
        limits: What it may hold and how long it waits.
        tell: Says what was withheld; not needed without an age policy.
        since: Says how old a message is; not needed without an age policy.
    """

    def __init__(self, limits: Limits, tell: Tell | None = None, since: Since | None = None) -> None:
        self._limits = limits
        self._tell = tell
        self._since = since
        self._parked = 0
        self._held_up: set[tuple[str, str, str]] = set()  # lanes that wait because too much is parked
        self._open: dict[tuple[str, str, str], _Lane] = {}  # lanes that wait for the rest of a run to be loaded
        self._at_ms = 0
        self._lanes: dict[tuple[str, str, str], _Lane] = {}
        self._lane_of: dict[int, _Lane] = {}  # by id: all that is held
        self._bytes = 0
        self._ready: deque[_Lane] = deque()
        self._delayed: list[tuple[int, int, _Lane]] = []  # heap of (due, tie-breaker, lane)
        self._ties = 0
        self._flying: dict[int, int] = {}  # id → when it was offered, the oldest first
        self._generation: int | None = None
        self._up = False
        self._offers = 0
        self._outstanding: Offer | None = None
        self._sent_ms = 0
        self._loaded_to = 0
        self._behind = True  # there may be waiting messages on disk above loaded_to that are not held
        self._loading: int | None = None
        self._added_since_load = False

    def handle(self, event: Input, now_ms: int, at_ms: int = 0) -> list[Command]:
        """One step.

        Args:
            event: What happened.
            now_ms: When, milliseconds of any clock that never goes back.
            at_ms: The same on the clock of `since`, for the age policy.

        Returns:
            What to do, in this order.
        """
        commands: list[Command] = []
        self._at_ms = at_ms
        match event:
            case Added(entries):
                self._add(entries)
            case Loaded(after_id, entries, parked):
                if parked is not None:
                    self._parked = parked
                self._load(after_id, entries)
            case Unparked(ids):
                self._parked -= len(ids)
                self._rewind(ids)
            case PublisherUp(generation):
                self._publisher_up(generation)
            case PublisherDown():
                self._up = False
            case Accepted(generation, offer):
                waiting = self._outstanding
                if waiting is not None and (waiting.generation, waiting.offer) == (generation, offer):
                    self._outstanding = None
            case Confirmed(ids):
                if known := self._settle(ids):
                    commands.append(Delete(known))
            case Failed(generation, ids):
                if generation == self._generation:
                    self._fail(ids, now_ms)
            case Returned(generation, ids, reason):
                if generation == self._generation:
                    room = max(0, self._limits.parked - self._parked)
                    if known := self._settle(ids[:room]):
                        self._parked += len(known)
                        commands.append(Park(known, reason))
                    self._hold_up(ids[room:], now_ms)
            case Tick():
                pass
            case _:
                assert_never(event)
        if self._up:
            self._expire(now_ms)
            self._refill(commands)
            self._offer(commands, now_ms)
        return commands

    def deadline(self) -> int | None:
        """When Tick is due, on the clock of now_ms; None: not before something else happens."""
        if not self._up:
            return None
        due = []
        if self._outstanding is not None:
            due.append(self._sent_ms + self._limits.answer_ms)
        if self._flying:
            due.append(next(iter(self._flying.values())) + self._limits.confirm_ms)
        if self._delayed:
            due.append(self._delayed[0][0])
        return min(due, default=None)

    @property
    def in_flight(self) -> int:
        """Messages offered and not yet confirmed, returned or failed."""
        return len(self._flying)

    @property
    def held(self) -> int:
        """Messages in memory, in flight included."""
        return len(self._lane_of)

    @property
    def held_up(self) -> int:
        """Lanes that wait because their message is unroutable, and no more are parked."""
        return len(self._held_up)

    # What happened

    def _add(self, entries: tuple[Entry, ...]) -> None:
        self._added_since_load = True
        if self._behind:
            return
        for entry in entries:
            if len(self._lane_of) >= self._limits.entries or self._bytes >= self._limits.bytes:
                self._behind = True
                return
            self._take(entry)

    def _load(self, after_id: int, entries: tuple[Entry, ...]) -> None:
        if after_id != self._loading:
            return  # asked before the mark was moved back
        self._loading = None
        for entry in entries:
            if entry.id not in self._lane_of:
                self._take(entry)
            self._loaded_to = entry.id
        if not entries:
            # What was added after the outbox had looked is told by Added, but was not taken then.
            self._behind = self._added_since_load
        self._look_at_runs()

    def _rewind(self, ids: tuple[int, ...]) -> None:
        if ids:
            self._loaded_to = min(self._loaded_to, min(ids) - 1)
            self._behind = True
            self._loading = None

    def _publisher_up(self, generation: int) -> None:
        self._up = True
        if generation == self._generation:
            return
        self._generation = generation
        self._outstanding = None
        for id in list(self._flying):
            self._land(id)

    def _settle(self, ids: Iterable[int]) -> tuple[int, ...]:
        """Forget those that are held; their lanes go on. Returns them."""
        known = []
        for id in ids:
            lane = self._lane_of.pop(id, None)
            if lane is None:
                continue  # said twice, or never ours
            known.append(id)
            entry = lane.flying
            if entry is not None and entry.id == id:
                lane.flying = None
                del self._flying[id]
            else:
                entry = next(each for each in lane.queue if each.id == id)
                lane.queue.remove(entry)
            lane.failures = 0
            self._held_up.discard(lane.key)
            self._bytes -= len(entry.message.body)
            self._list(lane)
        return tuple(known)

    def _fail(self, ids: Iterable[int], now_ms: int) -> None:
        for id in ids:
            if id not in self._flying:
                continue
            lane = self._land(id, listed=False)
            lane.failures += 1
            if lane.failures == 1:
                self._list(lane)
            else:
                delay = min(self._limits.retry_max_ms, self._limits.retry_min_ms << min(lane.failures - 2, 30))
                self._delay(lane, now_ms + delay)

    def _hold_up(self, ids: Iterable[int], now_ms: int) -> None:
        for id in ids:
            if id in self._flying:
                lane = self._land(id, listed=False)
                self._held_up.add(lane.key)
                self._delay(lane, now_ms + self._limits.retry_max_ms)

    def _delay(self, lane: _Lane, until_ms: int) -> None:
        self._ties += 1
        lane.listed = True
        heapq.heappush(self._delayed, (until_ms, self._ties, lane))

    def _expire(self, now_ms: int) -> None:
        while self._flying:
            id, offered_ms = next(iter(self._flying.items()))
            if now_ms - offered_ms < self._limits.confirm_ms:
                break
            self._land(id)
        while self._delayed and self._delayed[0][0] <= now_ms:
            lane = heapq.heappop(self._delayed)[2]
            lane.listed = False
            self._list(lane)

    # What follows from it

    def _take(self, entry: Entry) -> None:
        key = entry.message.lane
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(key)
        lane.put(entry)
        self._lane_of[entry.id] = lane
        self._bytes += len(entry.message.body)
        if entry.id > self._loaded_to:
            self._loaded_to = entry.id
        self._list(lane)

    def _land(self, id: int, *, listed: bool = True) -> _Lane:
        """Back from flight to its place in the queue."""
        lane = self._lane_of[id]
        assert lane.flying is not None
        del self._flying[id]
        lane.put(lane.flying)
        lane.flying = None
        if listed:
            self._list(lane)
        return lane

    def _list(self, lane: _Lane) -> None:
        """Put a lane in line if it has something to offer; forget it if it has nothing at all."""
        if lane.listed or lane.flying is not None:
            return
        if lane.queue:
            lane.listed = True
            self._ready.append(lane)
        else:
            self._lanes.pop(lane.key, None)

    def _refill(self, commands: list[Command]) -> None:
        limits = self._limits
        if (
            self._behind
            and self._loading is None
            and len(self._lane_of) * 2 <= limits.entries
            and self._bytes * 2 <= limits.bytes
        ):
            self._loading = self._loaded_to
            self._added_since_load = False
            commands.append(Load(self._loaded_to, limits.entries - len(self._lane_of), limits.bytes - self._bytes))

    def _offer(self, commands: list[Command], now_ms: int) -> None:
        if self._outstanding is not None:
            if now_ms - self._sent_ms < self._limits.answer_ms:
                return
            # What was confirmed meanwhile must not go twice; if all was, only the answer was lost.
            left = tuple(entry for entry in self._outstanding.entries if entry.id in self._flying)
            self._outstanding = replace(self._outstanding, entries=left) if left else None
            if self._outstanding is not None:
                self._sent_ms = now_ms
                commands.append(self._outstanding)
                return
        assert self._generation is not None
        entries = self._choose(commands, now_ms)
        if not entries and self._open and not self._flying and self._loading is None:
            # Runs fill what memory there is, so that nothing more is loaded: they are told as far as they are known.
            self._look_at_runs()
            entries = self._choose(commands, now_ms, closed=True)
        if entries:
            self._offers += 1
            self._outstanding = Offer(self._generation, self._offers, tuple(entries))
            self._sent_ms = now_ms
            commands.append(self._outstanding)

    def _choose(self, commands: list[Command], now_ms: int, closed: bool = False) -> list[Entry]:
        """Take what may go from the lanes that are ready; `closed` as in `_withhold`."""
        free, size = self._limits.window - len(self._flying), 0
        entries: list[Entry] = []
        while self._ready and len(entries) < free and size < self._limits.offer_bytes:
            lane = self._ready.popleft()
            lane.listed = False
            if not lane.queue:  # its last message was confirmed late while it stood in line
                self._list(lane)
                continue
            if self._limits.ages and self._withhold(lane, commands, closed):
                continue
            entry = lane.flying = lane.queue.popleft()
            entries.append(entry)
            size += len(entry.message.body)
            self._flying[entry.id] = now_ms
        return entries

    # What is not worth it any more

    def _withhold(self, lane: _Lane, commands: list[Command], closed: bool) -> bool:
        """Put one message in the place of the run at the head of a lane; True if it is to wait for what is on disk.

        Args:
            lane: with something in its queue.
            commands: to be added to.
            closed: do not wait for the rest of it.
        """
        run = self._run(lane)
        if not run:
            return False
        # What is being loaded was read before, and may have messages of the run in it once more.
        if self._loading is not None or (self._behind and not closed and len(run) == len(lane.queue)):
            self._open[lane.key] = lane
            return True
        assert self._tell is not None, "an age policy needs somebody who tells"
        last = run[-1]
        operation = last.message.operation
        message = self._tell([each.message for each in run], self._limits.ages[operation])
        told = Entry(last.id, message)
        for each in run:
            lane.queue.popleft()
            del self._lane_of[each.id]
            self._bytes -= len(each.message.body)
        lane.queue.appendleft(told)
        self._lane_of[told.id] = lane
        self._bytes += len(message.body)
        commands.append(Withhold(tuple(each.id for each in run[:-1]), told, operation))
        return False

    def _run(self, lane: _Lane) -> list[Entry]:
        """The messages at the head of a lane that are too old, of one operation and with consecutive sequences."""
        first = lane.queue[0].message
        age = self._limits.ages.get(first.operation)
        run: list[Entry] = []
        if age is not None:
            assert self._since is not None, "an age policy needs somebody who knows how old a message is"
            for each in lane.queue:
                message, follows = each.message, (first.operation, first.sequence + len(run))
                if (message.operation, message.sequence) != follows or self._at_ms - self._since(message) <= age:
                    break
                run.append(each)
        return run

    def _look_at_runs(self) -> None:
        """Lanes that wait for the rest of a run have their turn."""
        lanes, self._open = self._open, {}
        for key, lane in lanes.items():
            if self._lanes.get(key) is lane:
                self._list(lane)
