"""A PBX's rows in, its messages out: the same fold as the daemon's, with a dict where that has actors.

`replay` reads what the tests' recordings, the simulator's log and `arimon-ctl export` hold, one JSON object a line:

- a plain ARI event: `{"type": …}`
- a recorded one: `{"t": seconds, "event": {"type": …}}`
- a row of a journal: `{"uuid": str, "n": int, "at_ms": int, "kind": str, "body": object}`; `"text": str` for a body
  that is no JSON; `uuid` names the journal, whose numbers another one has again (older exports do not say)

It is deterministic, byte for byte, and invents nothing at the end of the input: a call that has not ended is not
finished.

Rows of a journal are taken as the daemon takes them: one that raises is set aside, and applied once more, or forgotten,
where the journal has an operator's order for it (`redrive`, `drop`). One that kills the process kills this one too.
What is set aside is decided by the code that runs: a replay by another version than the one that published is another
account.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import orjson

from actors.call import host, redrive, transition
from actors.call.correlation import Work
from actors.call.decoding import DecodeError, glance, interpret
from actors.call.discreet import words_shown
from actors.call.effects import Unexpected
from actors.call.events import Event
from actors.call.inputs import Routed
from actors.call.state import Call
from actors.call.world import Rejected, Step, World, step
from conf.settings import Settings
from wire.message import OutboundMessage
from wire.store.row import Kind, Row


class _Aside(NamedTuple):
    """What was set aside of a row."""

    uuid: str
    """Its journal, as `Replay` has it."""
    row: Row
    call_id: str | None
    """The call that could not take it; None if nobody could."""
    inputs: tuple[Routed, ...]
    """What that call was not told."""


_NOBODY: set[str] = set()
_MOST_ASIDE = 10_000
"""Entries kept for a redrive; the daemon keeps them on disk."""


class Replay:
    """One input's world and calls, and what was counted on the way."""

    def __init__(self, server: str, settings: Settings) -> None:
        self.server = server
        self.settings = settings
        self._world = World.new(server)
        self._work = Work(self._world.correlation, settings.call.bounds)
        """The world's correlation under way: plain events change nothing else of it."""
        self._calls: dict[str, Call] = {}
        self._turns: dict[str, transition.Work] = {}
        """Those of the calls that are under way, as the world is."""
        self.lines = 0
        """Lines read."""
        self.rejected: list[Rejected] = []
        """The first hundred lines that were no use, with the reason; `n` is the line's number."""
        self.counts: Counter[str] = Counter()
        """`rejected:REASON` and `unexpected:WHAT` → how often."""
        self._aside: dict[tuple[str, int], list[_Aside]] = {}
        """By journal and row."""
        self._uuid = ""
        """Journal of the row that is being folded; empty if its line does not say."""
        self._over: set[str] = set()
        """Calls that ended before the world knows of it, since they were not told of all their channels."""
        self._maimed: set[str] = set()
        """Calls of which something was set aside before they began: when they do, they say so."""
        self._ends: dict[str, int] = {}
        """Calls that ended while something of them was set aside, and their last sequence."""

    @property
    def world(self) -> World:
        """What is known of the PBX."""
        correlation = self._work.done()
        if correlation is not self._world.correlation:
            self._world = self._world._replace(correlation=correlation)
        return self._world

    @world.setter
    def world(self, world: World) -> None:
        if world is not self._world:
            self._world = world
            self._work = Work(world.correlation, self.settings.call.bounds)

    @property
    def calls(self) -> dict[str, Call]:
        """Active calls."""
        for call_id, turn in self._turns.items():
            self._calls[call_id] = turn.done()
        self._turns.clear()
        return self._calls

    @calls.setter
    def calls(self, calls: dict[str, Call]) -> None:
        self._turns.clear()
        self._calls = calls

    def feed(self, line: bytes) -> list[OutboundMessage]:
        """Fold one line.

        Args:
            line: one JSON object, in any of the three forms; a blank line is nothing.

        Returns:
            The messages that it causes, in order.
        """
        self.lines += 1
        n = self.lines
        event = glance(line)
        if event is None:
            return []
        if event is not False:
            return self._fold(event, n)
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            if line.strip():
                self._reject(Rejected(n, "not-json", str(error)))
            return []
        frame = told
        if type(told) is dict:
            if "event" in told and "t" in told:
                frame = told["event"]
            elif "kind" in told and "n" in told:
                row = _row(told)
                if row is not None:
                    self._uuid = str(told.get("uuid", ""))
                    return self._take_row(row, n)
                self._reject(Rejected(n, "not-a-row", "n, at_ms, kind, and body or text are needed"))
                return []
        try:
            event = interpret(frame, 0)
        except DecodeError as error:
            self._reject(Rejected(n, error.reason, error.detail))
            return []
        if event is None:
            return []
        return self._fold(event, n)

    def _fold(self, event: Event, n: int) -> list[OutboundMessage]:
        """Fold an event that is no row of a journal: if it raises, that is the end, and nothing is set aside."""
        routed, reports = self._work.take(event, n)
        if not routed and not reports:
            return []
        if self._aside or self._over or self._maimed:
            return self._deliver(routed, [], reports, n, None)
        for report in reports:
            self.counts[f"unexpected:{report.what}"] += 1
        messages: list[OutboundMessage] = []
        over = _NOBODY
        for one in routed:
            call_id = one.call_id
            if over and call_id in over:
                continue
            turn = self._turns.get(call_id)
            if turn is None:
                call = self._calls.get(call_id) or Call.new(call_id, self.server, self.settings)
                turn = self._turns[call_id] = transition.Work(call)
            effects = turn.take(one.input)
            if effects:
                said, unexpected, ended = host.spoken(effects, one, self.server, self.settings)
                messages += said
                for report in unexpected:
                    self.counts[f"unexpected:{report.what}"] += 1
                if ended:
                    del self._turns[call_id]
                    self._calls.pop(call_id, None)
                    over = {*over, call_id}  # the rest of the event would begin it anew
                    if call_id in self._work.calls:
                        self._over.add(call_id)
        return messages

    def _take_row(self, row: Row, n: int) -> list[OutboundMessage]:
        """Fold a row of a journal; what raises is set aside."""
        if (order := redrive.ordered(row)) is not None:
            return self._redrive(order, row) if order.command == "redrive" else self._drop(order, row)
        try:
            done = step(self.world, row, self.settings)
        except Exception as problem:  # noqa: BLE001  # as the daemon does
            self._set_aside(_Aside(self._uuid, row, None, ()), n, problem)
            return []
        if done.rejected is not None:
            self._keep(_Aside(self._uuid, row, None, ()))
        return self._take(done, n, row)

    def _take(self, done: Step, n: int, row: Row | None = None) -> list[OutboundMessage]:
        self.world, routed, messages, reports, rejected = done
        if rejected is not None:
            self._reject(rejected._replace(n=n))
        return self._deliver(routed, messages, reports, n, row)

    def _deliver(
        self,
        routed: list[Routed],
        messages: list[OutboundMessage],
        reports: list[Unexpected],
        n: int,
        row: Row | None,
    ) -> list[OutboundMessage]:
        """Tell the calls; adds what they say to the messages."""
        for report in reports:
            self.counts[f"unexpected:{report.what}"] += 1
        calls = self.calls
        lost: set[str] = _NOBODY
        ends: list[Routed] = []
        for index, one in enumerate(routed):
            call_id = one[0]
            if type(one.input.body) in host.ENDS:
                ends.append(one)
            if call_id in lost:
                continue
            if self._over and call_id in self._over:
                self.counts[f"unexpected:{redrive.too_late(one).what}"] += 1
                continue
            before = calls.get(call_id)
            if before is None and call_id in self._maimed:
                before = host.degrade(Call.new(call_id, self.server, self.settings))
            try:
                call, said, unexpected, ended = host.fold(before, one, self.server, self.settings)
            except Exception as problem:  # whatever it is, as in the daemon: it costs this call this row
                if row is None:
                    raise
                lost = {*lost, call_id}
                self._lose(row, routed, index, n, problem)
                continue
            if ended:
                calls.pop(call_id, None)
                self._maimed.discard(call_id)
                lost = {*lost, call_id}  # the rest of the row would begin it anew
                if not redrive.has_ended(self.world, call_id):
                    self._over.add(call_id)
                if self._aside:
                    self._ended(call)
            else:
                calls[call_id] = call
            for report in unexpected:
                self.counts[f"unexpected:{report.what}"] += 1
            messages += said
        for one in ends:
            if row is not None and one.call_id in calls:
                messages += self._finish(one.call_id, n, row, one.input.at_ms, one.call_id in lost)
        return messages

    def _finish(self, call_id: str, n: int, row: Row, at_ms: int, is_lost: bool) -> list[OutboundMessage]:
        """End a call that is over for the PBX, and lives on because something of it was set aside."""
        call = self.calls[call_id]
        if not call.degraded or not redrive.has_ended(self.world, call_id):
            return []
        messages: list[OutboundMessage] = []
        rest = host.overdue(call, row.n, at_ms)
        for index, one in enumerate(rest):
            try:
                folded = host.fold(self.calls[call_id], one, self.server, self.settings)
            except Exception as problem:  # noqa: BLE001  # as in `_take`
                if not is_lost:
                    self._lose(row, rest, index, n, problem)
                return messages
            self.calls[call_id] = folded.call
            messages += folded.messages
        self._dismiss(call_id)
        return messages

    def _dismiss(self, call_id: str) -> None:
        """Forget a call that is over, however it came to that."""
        self._ended(self.calls.pop(call_id))
        self._maimed.discard(call_id)

    def _lose(self, row: Row, routed: Sequence[Routed], index: int, n: int, problem: Exception) -> None:
        """A call could not take one of a row's inputs: that and the rest of the row is set aside for it."""
        call_id = routed[index].call_id
        rest = tuple(each for each in routed[index:] if each.call_id == call_id)
        self._set_aside(_Aside(self._uuid, row, call_id, rest), n, problem)
        if (call := self.calls.get(call_id)) is not None:
            self.calls[call_id] = host.degrade(call)
        elif call_id not in self._over and not redrive.has_ended(self.world, call_id):
            self._maimed.add(call_id)

    def _ended(self, call: Call) -> None:
        """Of whom something was set aside, the last sequence is kept."""
        if any(each.call_id == call.call_id for one in self._aside.values() for each in one):
            self._ends[call.call_id] = call.sequence

    def _set_aside(self, aside: _Aside, n: int, problem: Exception) -> None:
        self._reject(Rejected(n, "raised", words_shown(repr(problem), self.settings)))
        self._keep(aside)

    def _keep(self, aside: _Aside) -> None:
        self._aside.setdefault((aside.uuid, aside.row.n), []).append(aside)
        if len(self._aside) > _MOST_ASIDE:
            del self._aside[next(iter(self._aside))]

    def _redrive(self, order: redrive.Order, row: Row) -> list[OutboundMessage]:
        """Apply what was set aside once more; what fails again stays where it is."""
        messages: list[OutboundMessage] = []
        for each in self._meant(order):
            before, calls = self.world, dict(self.calls)
            try:
                messages.extend(self._apply(each, row))
            except Exception:  # noqa: BLE001  # as the daemon does
                self.world, self.calls = before, calls
                self._keep(each)
        return messages

    def _apply(self, each: _Aside, row: Row) -> Sequence[OutboundMessage]:
        if each.call_id is None:
            self._uuid = each.uuid  # what this row cannot do now either is set aside as that row's
            return self._take(redrive.late(self.world, each.row, self.settings), self.lines, each.row)
        has_ended = each.call_id in self._over or redrive.has_ended(self.world, each.call_id)
        if each.call_id not in self.calls and has_ended:
            sequence = self._ends.get(each.call_id, 0) + 1
            self._ends[each.call_id] = sequence
            return redrive.amendment(each.inputs, sequence, row, self.server, self.settings)
        messages: list[OutboundMessage] = []
        for one in each.inputs:
            messages.extend(self._take(Step(self.world, [one], [], [], None), self.lines))
            if one.call_id not in self.calls:
                break
        if each.call_id not in self._waiting():
            messages += self._give_up(each.call_id, row.n, each.row)
        return messages

    def _meant(self, order: redrive.Order) -> list[_Aside]:
        """Take what an order means out of what is set aside."""
        return self._aside.pop((order.uuid, order.n), []) + self._aside.pop(("", order.n), [])

    def _drop(self, order: redrive.Order, row: Row) -> list[OutboundMessage]:
        """Forget what was set aside."""
        messages: list[OutboundMessage] = []
        dropped = self._meant(order)
        waiting = self._waiting()
        for each in dropped:
            if each.call_id is not None and each.call_id not in waiting:
                messages += self._give_up(each.call_id, row.n, each.row)
        return messages

    def _waiting(self) -> set[str | None]:
        """Calls of which something waits."""
        return {each.call_id for one in self._aside.values() for each in one}

    def _give_up(self, call_id: str, n: int, row: Row) -> list[OutboundMessage]:
        """Nothing that was set aside of a call waits any more: if it is over for the PBX, it ends now, however."""
        if (call := self.calls.get(call_id)) is None or not redrive.has_ended(self.world, call_id):
            return []
        messages: list[OutboundMessage] = []
        for one in host.overdue(call, n, redrive.ended_ms(self.world, row, call_id)):
            try:
                folded = host.fold(self.calls[call_id], one, self.server, self.settings)
            except Exception:  # noqa: BLE001  # whatever it is: nothing will be tried any more
                self.counts[f"unexpected:{redrive.given_up(call_id).what}"] += 1
                break
            self.calls[call_id] = folded.call
            messages += folded.messages
        self._dismiss(call_id)
        return messages

    def _reject(self, rejected: Rejected) -> None:
        self.counts[f"rejected:{rejected.reason}"] += 1
        if len(self.rejected) < 100:
            self.rejected.append(rejected)


_KINDS = frozenset(Kind)
"""As strings, what a row may be."""


def _row(told: dict[str, object]) -> Row | None:
    """Read an exported row; None if it is none."""
    n, at_ms, kind = told.get("n"), told.get("at_ms"), told.get("kind")
    if type(n) is not int or type(at_ms) is not int or kind not in _KINDS:
        return None
    text = told.get("text")
    if type(text) is str:
        return Row(n, at_ms, str(kind), text.encode("utf-8", "surrogateescape"))
    if "body" not in told:
        return None
    return Row(n, at_ms, str(kind), orjson.dumps(told["body"]))


def replay(lines: Iterable[bytes], server: str, settings: Settings) -> Iterator[bytes]:
    """Say what would be published.

    Args:
        lines: one JSON object each, see above.
        server: the PBX's name, `server` in every message.
        settings: what is configured.

    Yields:
        One message's body each, JSON without a line's end.
    """
    run = Replay(server, settings)
    for line in lines:
        for message in run.feed(line):
            yield message.body
