"""What Switchboard answers when it is asked: its calls, outbox, journal, quarantine and gaps, as plain data.

Nothing is changed by a question; what is ordered is carried out by the actor itself (actors.switchboard).
"""

from typing import Any

from actors.call_system import CallSystem
from actors.folding import Folding
from actors.inspection import call_state, call_summary, gap_row
from actors.outgoing import Outgoing
from actors.standing import stream_of
from supervision.messages import Place
from wire.control.api import CallSummary, Gap, JournalStatus, OutboxStatus, QuarantineDetail, QuarantineRow
from wire.store.journal import JournalReader
from wire.store.ledger import Ledger, Quarantined


class Enquiries:
    """A method for each question, as actors.base has it.

    Args:
        server: the PBX's name in conf.
        place: of the Switchboard in the tree.
        ledger: its database.
        reader: of the PBX's journal.
        outgoing: its outbox.
        calls: what it hosts.
        folding: what it does.
    """

    def __init__(
        self,
        server: str,
        place: Place,
        ledger: Ledger,
        reader: JournalReader,
        outgoing: Outgoing,
        calls: CallSystem,
        folding: Folding,
    ) -> None:
        self._server = server
        self._place = place
        self._ledger = ledger
        self._reader = reader
        self._outgoing = outgoing
        self._calls = calls
        self._folding = folding

    def query_calls(self) -> list[CallSummary]:
        """Every active call, in a line."""
        return [
            call_summary(call, self._server, self._calls.generation(call_id))
            for call_id, call in self._calls.states.items()
        ]

    def query_call(self, call_id: str) -> dict[str, Any] | None:
        """One active call in full; None if there is none."""
        call = self._calls.states.get(call_id)
        if call is None:
            return None
        listed = self._ledger.outbox.listing(stream=stream_of(call_id))
        return {
            "summary": call_summary(call, self._server, self._calls.generation(call_id)),
            "state": call_state(call),
            "waiting": [each.entry.message.body.decode() for each in listed],
        }

    def query_outbox(self) -> OutboxStatus:
        """How the outbox is."""
        counts = self._ledger.outbox.counts()
        return {
            "owner": str(self._place),
            "depth": counts.waiting + counts.parked,
            "oldest_ms": counts.oldest_waiting_ms,
            "in_flight": self._outgoing.in_flight,
            "parked": counts.parked,
            "held_up": self._outgoing.held_up,
            "withheld": self._outgoing.withheld.total(),
            "bytes": self._ledger.path.stat().st_size,
        }

    def query_journal(self) -> JournalStatus:
        """Range and size of the journal, and how far it is folded."""
        found = self._reader.range()
        return {
            "pbx": self._server,
            "uuid": found.last.uuid if found.last else "",
            "first_n": found.first.n if found.first else 0,
            "last_n": found.last.n if found.last else 0,
            "rows": found.last.n - found.first.n + 1 if found.first and found.last else 0,
            "bytes": found.bytes,
            "segments": found.segments,
            "first_ms": found.first_ms,
            "last_ms": found.last_ms,
            "folded_n": self._folding.position.n if self._folding.position else 0,
            "lost": 0,
        }

    def query_gaps(self) -> list[Gap]:
        """Times in which the PBX was not seen, oldest first; the last may still be open."""
        watch = self._folding.watch
        found = watch.past if watch.gap is None else (*watch.past, watch.gap)
        return [gap_row(self._server, gap) for gap in found if gap.from_ms is not None]

    def query_outcome(self, name: str) -> dict[str, Any] | None:
        """What the looks of this name came to so far; None if none was folded yet."""
        outcome = self._folding.watch.outcome
        return None if outcome is None or outcome.name != name else outcome._asdict()

    def query_quarantine(self) -> list[QuarantineRow]:
        """Rows in quarantine, oldest first."""
        return [_quarantine_row(self._server, each) for each in self._ledger.quarantine.listing(rows=1000)]

    def query_quarantine_show(self, n: int) -> QuarantineDetail | None:
        """One of them in full; None if row `n` is not there."""
        for each in self._ledger.quarantine.find(n):
            body = each.row.body.decode("utf-8", "replace")
            return {"row": _quarantine_row(self._server, each), "body": body, "traceback": each.traceback}
        return None

    def query_redrivable(self, n: int) -> dict[str, Any]:
        """What an order to apply row `n` once more would mean: the journals that it may be of, and how many entries."""
        found = self._ledger.quarantine.find(n)
        return {
            "journals": sorted({each.uuid for each in found}),
            "entries": len(found),
            "kinds": sorted({str(each.row.kind) for each in found if each.call_id is None}),
        }

    def query_redriven(self, order: str) -> dict[str, Any]:
        """What became of an order so far."""
        return self._ledger.quarantine.progress(order)._asdict()

    def query_census(self) -> dict[str, int]:
        """Calls that ought to have an actor, and actors that there are."""
        return self._calls.census()

    def query_which_children(self) -> list[dict[str, Any]]:
        """The partitions, the one started last first."""
        sizes = self._calls.partition_sizes()
        return [
            {"id": f"calls/{index}", "state": "running", "type": "supervisor", "restart": "permanent", "calls": size}
            for index, size in reversed(list(enumerate(sizes)))
        ]


def _quarantine_row(server: str, each: Quarantined) -> QuarantineRow:
    return {
        "pbx": server,
        "n": each.row.n,
        "at_ms": each.row.at_ms,
        "call_id": each.call_id,
        "where": each.stage,
        "error": each.error,
        "attempts": each.attempts,
    }
