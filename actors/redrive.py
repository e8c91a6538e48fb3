"""Rows that were set aside are applied once more, or dropped, as an order in the journal says, on the ledger's entries.

What that means stands in actors.call.redrive, which is pure. Here is what the ledger adds: which entries an order
means, what became of each, and that a refold applies and drops what was applied and dropped then, and nothing else.
"""

from actors.call import redrive
from actors.call.discreet import traceback_shown, words_shown
from actors.call.inputs import Routed
from actors.call.redrive import Order
from actors.snapshots import CODEC
from actors.standing import Aside, Complaints, Standing, stream_of
from conf.settings import Settings
from wire.store.database import translated
from wire.store.ledger import Attempt, Ledger, Quarantined
from wire.store.row import Position, Row


class Redrive:
    """Carries orders out.

    Args:
        standing: what is changed by it.
        ledger: open; its quarantine is read here, and changed by the commit.
        settings: what is configured.
        log: for what an operator must know.
    """

    def __init__(self, standing: Standing, ledger: Ledger, settings: Settings, log: Complaints) -> None:
        self._standing = standing
        self._ledger = ledger
        self._settings = settings
        self._log = log

    def carry_out(self, order: Order, row: Row, at: Position) -> None:
        """Apply what was set aside once more, or drop it; what fails again stays where it is.

        Args:
            order: what is meant.
            row: in which it stands.
            at: where that is.

        Raises:
            StoreUnusable: the disk refuses to say what is in quarantine, and nothing was changed.
        """
        if order.command == "drop":
            dropped = self._drop(order, row, at)
            self._standing.batch.attempts += [Attempt(each.id, order.id, at, None, dropped=True) for each in dropped]
            return
        for each, aside, told, is_last in self._entries(order, at):
            error: str | None = None
            trace = ""
            try:
                self._apply(each, aside, told, row, is_last)
            except redrive.NotApplied as problem:
                error = str(problem)
            except Exception as problem:  # noqa: BLE001  # as in `Standing.row`
                error, trace = words_shown(repr(problem), self._settings), traceback_shown(problem, self._settings)
            self._standing.batch.attempts.append(Attempt(each.id, order.id, at, error, trace))

    def carry_out_again(self, order: Order, row: Row, at: Position) -> None:
        """A refold is at an order: apply or drop what was applied or dropped then, and nothing else."""
        if order.command == "drop":
            self._drop(at, row, at)
            return
        for each, aside, told, is_last in self._entries(at, at):
            try:
                self._apply(each, aside, told, row, is_last)
            except Exception as problem:  # noqa: BLE001  # other code than then; the streams' marks see to the numbers
                error = words_shown(repr(problem), self._settings)
                self._log.error("switchboard.redrive_differs", n=each.row.n, call_id=each.call_id, error=error)

    def give_up(self, order: Order, at: Position, error: str) -> None:
        """An order is passed by, for whatever it does to us; what it means stays where it is."""
        attempts = [Attempt(each.id, order.id, at, error) for each, *_ in self._entries(order, at)]
        self._standing.batch.attempts = attempts

    def _entries(self, wanted: Order | Position, at: Position) -> list[tuple[Quarantined, Aside, int, bool]]:
        """The entries that an order means, or those that were applied at one: each with what a refold leaves out of its
        row, the last sequence of its call, and whether no other of that call waits. All that is read: what follows
        cannot fail because of a disk."""
        ledger = self._ledger
        with translated(ledger.path):
            return [
                (
                    each,
                    ledger.quarantine.keys(each.uuid, each.row.n - 1, each.row.n),
                    ledger.marks.of(stream_of(each.call_id or "")),
                    not ledger.quarantine.waits(each.call_id or "", at, {each.id}),
                )
                for each in self._found(wanted)
            ]

    def _found(self, wanted: Order | Position) -> list[Quarantined]:
        quarantine = self._ledger.quarantine
        return quarantine.settled_at(wanted) if isinstance(wanted, Position) else quarantine.find(wanted.n, wanted.uuid)

    def _drop(self, wanted: Order | Position, row: Row, at: Position) -> list[Quarantined]:
        """Drop the entries that an order means, or that were dropped at one; what is needed is read before all else.

        A call of which nothing waits any more ends, if it is over for the PBX.
        """
        ledger = self._ledger
        with translated(ledger.path):
            found = self._found(wanted)
            ids = {each.id for each in found}
            ends = [each for each in found if each.call_id and not ledger.quarantine.waits(each.call_id, at, ids)]
        for each in ends:
            self._standing.give_up(each.call_id or "", row.n, each.row)
        return found

    def _apply(self, each: Quarantined, aside: Aside, told: int, row: Row, is_last: bool) -> None:
        standing, call_id = self._standing, each.call_id
        if call_id is None:
            step = redrive.late(standing.world, each.row, self._settings)
            standing.take(each.uuid, each.row, step, aside)
            return
        if each.inputs is None:
            raise redrive.NotApplied("an older arimon set it aside, and did not keep what the call was told")
        inputs: tuple[Routed, ...] = CODEC.decode(each.inputs)
        if call_id in standing.waiting:
            self._log.error("switchboard.call_resumed_by_redrive", call_id=call_id)
            standing.resume(call_id)
        if standing.is_active(call_id):
            standing.tell_late(call_id, inputs)
            if is_last:
                standing.give_up(call_id, row.n, each.row)
        elif not standing.muted:
            standing.amend(call_id, inputs, told, row)
