"""Where the fold of a PBX stands: its world, its calls, what a row does to them, and what is to be committed for it.

    row(uuid, row, aside)   what a row does: to the world at once, to each call by way of its mailbox
    tell_late, resume       what calls were not told in time
    agree(marks)            a state that was put together again is brought to the numbers that consumers have seen

Nothing here touches a disk: `actors.folding` reads rows, commits the batch, and restores all this after a death.

Whatever a row does to us, it is kept and the others go on: one that cannot be folded is set aside, whole if the world
could not take it, or else, for a call that could not, from the input on that it could not take.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from actors.batch import Batch
from actors.call import redrive, world
from actors.call.discreet import traceback_shown, words_shown
from actors.call.host import ENDS, Folded, degrade, overdue
from actors.call.inputs import Routed
from actors.call.state import Call
from actors.call.watch import missed
from actors.call.world import World
from actors.snapshots import CODEC
from actors.waiting import Kept, Waiting
from conf.settings import Settings
from supervision.reasons import Crash
from wire.store.ledger import Stage, Suspect
from wire.store.marks import Mark, Phase
from wire.store.row import Row

if TYPE_CHECKING:  # its module imports Thespian
    from actors.call_system import Poisoned

Aside = Mapping[tuple[int, str | None], int]
"""What a refold leaves out: see `Quarantine.keys`."""
NOTHING: Aside = {}
_STREAM = "call:"


class Calls(Protocol):
    """Whoever hosts the calls: actors, or in a simulation a dict."""

    @property
    def states(self) -> dict[str, Call]:
        """Each active call's state. Immutable values: a copy of the dict is a snapshot."""

    def deliver(self, routed: Routed) -> "Folded | Poisoned":
        """Give an input to its call; `Poisoned` if it cannot be taken, and the call is as before."""

    def degrade(self, call_id: str) -> None:
        """A row of this call was set aside."""

    def restore(self, call_id: str, state: Call) -> None:
        """Put a call of a snapshot back."""

    def replace(self, call_id: str, state: Call) -> None:
        """Give an active call another state."""

    def dismiss(self, call_id: str) -> None:
        """Forget an active call without a word."""


class Complaints(Protocol):
    """A log, for what an operator must know."""

    def error(self, event: str, **keys: Any) -> Any:
        """Write an error."""

    def warning(self, event: str, **keys: Any) -> Any:
        """Write what is no error, and may explain one."""


class Disagreement(NamedTuple):
    """What of a state that was put together again was not as the marks say."""

    behind: list[str]
    """Streams whose numbers were set."""
    again: list[str]
    """Calls that had ended: those that live again are dismissed, and those that are about to begin again will not."""
    ended: list[str]
    """Streams that have ended and whose calls are unknown, as they should be."""


class Standing:
    """The state of a fold, in memory.

    Args:
        server: the PBX's name in conf.
        settings: what is configured.
        calls: host of the calls; empty.
        log: for what an operator must know.
    """

    def __init__(self, server: str, settings: Settings, calls: Calls, log: Complaints) -> None:
        self._server = server
        self._settings = settings
        self._log = log
        self.calls = calls
        self.world = World.new(server)
        self.batch = Batch()
        self.waiting = Waiting()
        """Inputs of suspended calls."""
        self.resumed = False
        """A call was resumed since this was last set to False."""
        self.muted = True
        """Effects are in the outbox already: rows are folded again."""
        self.over: set[str] = set()
        """Calls that ended before the world knows of it, since they were not told of all their channels: what comes for
        them would begin them anew."""
        self._closed: set[str] = set()
        """Calls that ended in rows that are gone: of these nothing more is said."""
        self._unknown: dict[str, int] = {}
        """Calls that began in rows that are gone, and their last sequence."""
        self._fading: set[str] = set()
        """Closed and unknown calls that nothing can name any more, as the snapshot shows that was begun last."""
        self._faded: set[str] = set()
        """Those of the last complete snapshot."""
        self.maimed: set[str] = set()
        """Calls of which something was set aside before they began: when they do, they say so."""

    # --- a row --------------------------------------------------------------------------------------------------------

    def row(self, uuid: str, row: Row, aside: Aside) -> None:
        """Fold a row of journal `uuid`, but for what was set aside of it."""
        if (row.n, None) in aside:
            return
        try:
            step = world.step(self.world, row, self._settings)
        except Exception as problem:  # noqa: BLE001  # whatever a row does to us, it is kept and the others go on
            error, trace = words_shown(repr(problem), self._settings), traceback_shown(problem, self._settings)
            self.set_aside(uuid, row, "correlate", error, trace)
            return
        if step.rejected is not None:
            self.batch.rejected += 1
            self.set_aside(uuid, row, "decode", f"{step.rejected.reason}: {step.rejected.detail}", "")
        self.take(uuid, row, step, aside)

    def set_aside(self, uuid: str, row: Row, stage: Stage, error: str, trace: str) -> None:
        """Nobody could take a row."""
        self.batch.suspects.append(Suspect(uuid, row, None, stage, error, trace))

    def take(self, uuid: str, row: Row, step: world.Step, aside: Aside) -> None:
        """A step's outcome: the world after it, and what is told to calls."""
        self.world = step.world
        self.batch.messages.extend(step.pbx_messages)
        self.batch.unexpected.extend(step.reports)
        lost: set[str] = set()
        ends: list[Routed] = []
        for index, routed in enumerate(step.routed):
            call_id = routed.call_id
            if type(routed.input.body) in ENDS:
                ends.append(routed)
            if call_id in lost:
                continue  # from the input on that it could not take, the row is lost to it
            part = aside.get((row.n, call_id)) if aside else None
            is_aside = part is not None and _part(step.routed, index) >= part
            if call_id in self.waiting:
                full = self.waiting.keep(call_id, Kept(uuid, row, None if is_aside else routed))
                if full and not self.muted:
                    self._log.error("switchboard.call_resumed_by_itself", call_id=call_id)
                    self.resume(call_id)
            elif is_aside:
                self._degrade(call_id)
            elif (poisoned := self._deliver(routed)) is not None:
                self._lose(uuid, row, step.routed, index, poisoned)
                lost.add(call_id)
            elif call_id not in self.calls.states:
                lost.add(call_id)  # it has ended, and the rest of the row would begin it anew
        for routed in ends:
            if routed.call_id in self.calls.states:
                self._finish(uuid, row, routed.call_id, routed.input.at_ms, routed.call_id in lost)

    def _finish(self, uuid: str, row: Row, call_id: str, at_ms: int, is_lost: bool) -> None:
        """End a call that is over for the PBX, and lives on because something of it was set aside.

        Where that was its very end (`is_lost`), and it cannot take this end either, it waits for a redrive.
        """
        call = self.calls.states[call_id]
        if not call.degraded or call_id in self.waiting or not redrive.has_ended(self.world, call_id):
            return
        rest = overdue(call, row.n, at_ms)
        for index, routed in enumerate(rest):
            if (poisoned := self._deliver(routed)) is not None:
                if not is_lost:
                    self._lose(uuid, row, rest, index, poisoned)
                return
        self._dismiss(call_id)  # it never heard of a channel, and so has said nothing

    def _dismiss(self, call_id: str) -> None:
        """Forget a call that is over, if it lives on."""
        if call_id in self.calls.states:
            self.calls.dismiss(call_id)
            self.maimed.discard(call_id)
            self.batch.ended.append(stream_of(call_id))

    def give_up(self, call_id: str, n: int, row: Row) -> None:
        """Nothing that was set aside of a call waits any more: if it is over for the PBX, it ends now, however.

        A suspended one is told first what was kept for it: nothing else would ever end it.

        Args:
            call_id: the call.
            n: the order's row.
            row: the last that waited.
        """
        if call_id not in self.calls.states or not redrive.has_ended(self.world, call_id):
            return
        if call_id in self.waiting:
            self._log.error("switchboard.call_resumed_by_drop", call_id=call_id)
            self.resume(call_id)
            # In a refold that is in the ledger already, and was asked for.
            if not self.muted and any(each.call_id == call_id for each in self.batch.suspects):
                return  # that waits now
        call = self.calls.states.get(call_id)
        if call is None:
            return
        at_ms = redrive.ended_ms(self.world, row, call_id)
        if any(self._deliver(routed) is not None for routed in overdue(call, n, at_ms)):
            self.batch.unexpected.append(redrive.given_up(call_id))
        self._dismiss(call_id)

    def _deliver(self, routed: Routed) -> "Poisoned | None":
        """Give an input to its call; what it came to if the call could not take it."""
        if routed.call_id in self._closed:
            self._named(routed.call_id)
            return None
        if self.over and routed.call_id in self.over:
            self.batch.unexpected.append(redrive.too_late(routed))
            return None
        known = routed.call_id in self.calls.states
        self._begin_unknown(routed.call_id)
        maimed = routed.call_id in self.maimed and routed.call_id not in self.calls.states
        if maimed:
            self.calls.restore(routed.call_id, degrade(Call.new(routed.call_id, self._server, self._settings)))
        folded = self.calls.deliver(routed)
        if not isinstance(folded, Folded):
            if maimed:
                self.calls.dismiss(routed.call_id)
            return folded
        batch = self.batch
        batch.messages.extend(folded.messages)
        batch.unexpected.extend(folded.unexpected)
        batch.began += not known
        if folded.ended:
            batch.ended.append(stream_of(routed.call_id))
            self.maimed.discard(routed.call_id)
            if not redrive.has_ended(self.world, routed.call_id):
                self.over.add(routed.call_id)
        return None

    def _begin_unknown(self, call_id: str) -> None:
        """A call that began in rows that are gone goes on with the numbers of its stream."""
        if self._unknown and (sequence := self._unknown.pop(call_id, None)) is not None:
            self._named(call_id)
            call = Call.new(call_id, self._server, self._settings)
            call = call.lived(sequence, call.legs, call.life)
            self.calls.restore(call_id, degrade(call) if call_id in self.maimed else call)

    def _lose(self, uuid: str, row: Row, routed: Sequence[Routed], index: int, poisoned: "Poisoned") -> None:
        """A call could not take one of a row's inputs: that and the rest of the row is set aside for it."""
        call_id = routed[index].call_id
        rest = tuple(each for each in routed[index:] if each.call_id == call_id)
        error, trace = _told(poisoned)
        self.batch.suspects.append(
            Suspect(uuid, row, call_id, "call", error, trace, _part(routed, index), CODEC.encode(rest))
        )
        self._degrade(call_id)

    def _degrade(self, call_id: str) -> None:
        """Something of a call was set aside: from here on its messages say so."""
        self.calls.degrade(call_id)
        if call_id not in self.calls.states and self.is_active(call_id):
            self.maimed.add(call_id)

    # --- what was not told in time ------------------------------------------------------------------------------------

    def is_active(self, call_id: str) -> bool:
        """Whether a call may be told something: it lives, or is yet to begin."""
        if call_id in self._closed or call_id in self.over:
            return False
        return call_id in self.calls.states or not redrive.has_ended(self.world, call_id)

    def tell_late(self, call_id: str, inputs: Sequence[Routed]) -> None:
        """Tell an active call all that it was not told, or nothing.

        Raises:
            redrive.NotApplied: it could not take it this time either.
        """
        self._begin_unknown(call_id)
        before = self.calls.states.get(call_id)
        batch = self.batch
        told = len(batch.messages), len(batch.unexpected), len(batch.ended), batch.began
        for routed in inputs:
            poisoned = self._deliver(routed)
            if poisoned is None:
                if len(batch.ended) > told[2]:
                    return
                continue
            if before is not None:
                if self.calls.states[call_id] is not before:
                    self.calls.replace(call_id, before)
            elif call_id in self.calls.states:
                self.calls.dismiss(call_id)
            else:
                self.calls.degrade(call_id)
            del batch.messages[told[0] :], batch.unexpected[told[1] :], batch.ended[told[2] :]
            batch.began = told[3]
            raise redrive.NotApplied(_told(poisoned)[0])

    def amend(self, call_id: str, inputs: Sequence[Routed], told: int, row: Row) -> None:
        """Say what a call that has ended was not told.

        Args:
            call_id: the call.
            inputs: that it was not told.
            told: last sequence of its stream.
            row: the order to say so.
        """
        self.batch.messages.extend(redrive.amendment(inputs, told + 1, row, self._server, self._settings))
        self.batch.amended[stream_of(call_id)] = told + 1
        if call_id in self._unknown:  # it may yet be found to live on
            self._unknown[call_id] = told + 1

    def resume(self, call_id: str, told: int = 0) -> list[Kept]:
        """Give a suspended call what was kept for it.

        Args:
            call_id: the call.
            told: sequence up to which its messages are in the outbox already, or were: it was resumed before, and the
                process died before a snapshot knew of it.

        Returns:
            What was kept.
        """
        kept = self.waiting.end(call_id)
        lost: tuple[str, int] | None = None
        for uuid, row, routed in kept:
            if routed is None:
                self._degrade(call_id)
            elif lost != (uuid, row.n):
                if (poisoned := self._deliver(routed)) is not None:
                    its = [each for each in kept if (each.uuid, each.row.n) == (uuid, row.n)]
                    inputs = [each.routed for each in its if each.routed is not None]
                    self._lose(uuid, row, inputs, inputs.index(routed), poisoned)
                if poisoned is not None or call_id not in self.calls.states:
                    lost = (uuid, row.n)  # as in `take`
            self._leave_out(told, row)
        if kept and call_id in self.calls.states:
            uuid, row, _ = kept[-1]
            self._finish(uuid, row, call_id, row.at_ms, lost == (uuid, row.n))
            self._leave_out(told, row)
        self.resumed = True
        return kept

    def _leave_out(self, told: int, row: Row) -> None:
        """Of the messages that a kept row made just now, those up to this sequence were made before."""
        batch = self.batch
        known = len(batch.arrived)
        batch.messages[known:] = [each for each in batch.messages[known:] if each.sequence > told]
        batch.arrived.extend([row.at_ms] * (len(batch.messages) - known))

    # --- after a death ------------------------------------------------------------------------------------------------

    def restore(self, marks: Mapping[str, Mark], maimed: Collection[str]) -> None:
        """The world and the calls are those of a snapshot; of calls that it does not hold more is known.

        Args:
            marks: how far each stream is published.
            maimed: calls of which something was set aside before they began.
        """
        ended = {stream for stream, mark in marks.items() if mark.phase is Phase.ENDED}
        absent = {call_id for call_id in self.world.correlation.calls if call_id not in self.calls.states}
        self.over = {call_id for call_id in absent if stream_of(call_id) in ended}
        self.maimed = (absent - self.over) & set(maimed)

    def miss(self, n: int, began_ms: int, latest_ms: int, back_ms: int | None = None) -> None:
        """Rows that were folded are gone: see `watch.missed`."""
        self.world = self.world._replace(watch=missed(self.world.watch, n, began_ms, latest_ms, back_ms))

    def forget_ended(self) -> None:
        """Nothing more can come of calls that the world has forgotten."""
        self.over = {call_id for call_id in self.over if not redrive.has_ended(self.world, call_id)}
        self.maimed = {call_id for call_id in self.maimed if not redrive.has_ended(self.world, call_id)}

    def fade(self) -> None:
        """A snapshot is begun here: look which closed and unknown calls nothing can name any more.

        What rows that are gone told of them is not known; but two looks since then have agreed, or their gap would be
        open. So each channel that the PBX has is known, and of a call that none of them is in, nor leads, nothing comes
        but what was on its way: what names a call is noted (`_named`).
        """
        self._fading = set()
        candidates = self._closed | self._unknown.keys()
        watch, known = self.world.watch, self.world.correlation
        if not candidates or watch.gap is not None or watch.look is None or watch.look.unknown:
            return
        alive = redrive.pending(self.world).union(known.calls, known.channels)
        self._fading = {
            call_id
            for call_id in candidates - alive
            if call_id not in self.waiting and call_id not in self.calls.states
        }

    def faded(self, kept: Collection[str]) -> list[str]:
        """The snapshot that was begun last is complete.

        Args:
            kept: calls that may yet be named by what is set aside.

        Returns:
            The calls that nothing can name any more, as that and the one before it show: no state that is stored knows
            them, and no row since the older one has named them. They are forgotten once that is on disk.
        """
        return sorted(self._faded & self._fading - set(kept))

    def forget_faded(self, gone: Collection[str]) -> None:
        """The marks of these are deleted; the snapshot that was begun last is the last complete one."""
        self._closed.difference_update(gone)
        for call_id in gone:
            self._unknown.pop(call_id, None)
        self._faded = self._fading.difference(gone)

    def _named(self, call_id: str) -> None:
        """Something came of a call that had faded."""
        self._fading.discard(call_id)
        self._faded.discard(call_id)

    def agree(self, marks: dict[str, Mark], ahead: Collection[str]) -> Disagreement:
        """See to it that what comes next has the next numbers, also where rows since the snapshot are gone.

        Where none is gone, every state stands at its stream's mark already.

        Args:
            marks: how far each stream is published.
            ahead: calls that may be ahead of their marks, since what they made waits for its commit.
        """
        own = f"pbx:{self._server}"
        found = Disagreement([], [], [])
        pending = redrive.pending(self.world)
        mark = marks.pop(own, None)
        if self.world.sequence != (sequence := 0 if mark is None else mark.sequence):
            found.behind.append(own)
            self.world = self.world._replace(sequence=sequence)
        for call_id, made in list(self.calls.states.items()):
            if made.sequence and stream_of(call_id) not in marks and call_id not in ahead:
                # Of rows that came to stand where folded ones were lost: nobody was told of them.
                self.calls.replace(call_id, made.lived(0, made.legs, made.life))
                found.behind.append(stream_of(call_id))
        for stream, mark in marks.items():
            call_id = stream.removeprefix(_STREAM)
            call = self.calls.states.get(call_id)
            if call_id in ahead and (call is None or call.sequence >= mark.sequence):
                continue
            if mark.phase is Phase.CLOSED:
                self._closed.add(call_id)
            elif call is None and mark.phase is Phase.OPEN:
                self._unknown[call_id] = mark.sequence
            elif mark.phase is Phase.ENDED and (call is not None or call_id in pending):
                found.again.append(call_id)
            elif mark.phase is Phase.ENDED:
                found.ended.append(stream)
            elif call is not None and call.sequence != mark.sequence:
                self.calls.replace(call_id, call.lived(mark.sequence, call.legs, call.life))
                found.behind.append(stream)
        found.again.extend(call_id for call_id in self._closed if call_id in self.calls.states)
        self._closed.update(found.again)
        for call_id in found.again:
            if call_id in self.calls.states:
                self.calls.dismiss(call_id)
        if found.behind or found.again or self._unknown:
            self._log.error(
                "switchboard.states_behind",
                streams=found.behind[:20],
                ended=found.again[:20],
                unknown=list(self._unknown)[:20],
            )
        return found


def _part(routed: Sequence[Routed], index: int) -> int:
    """Which of the inputs of its call one of a row's inputs is, from 0."""
    return sum(each.call_id == routed[index].call_id for each in routed[:index])


def _told(poisoned: "Poisoned") -> tuple[str, str]:
    """Error and traceback."""
    reason = poisoned.reason
    return str(reason), reason.traceback if isinstance(reason, Crash) else ""


def stream_of(call_id: str) -> str:
    """The stream of a call's messages."""
    return f"{_STREAM}{call_id}"
