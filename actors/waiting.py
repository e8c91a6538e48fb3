"""Inputs of suspended calls, kept until the calls are resumed.

An operator may suspend a single call, to look at it at leisure. Its inputs are kept here, in order; the world and the
other calls go on, and so does the checkpoint. Nothing is lost or changed by it, whatever dies:

- The inputs kept are in every snapshot, and one is written before the first input is kept. So a refold knows at each
  row which calls were suspended, and keeps their inputs again instead of folding them with effects muted.
- A new process does not go on suspending (nor does OTP's): what was kept is folded when the refold is through, with its
  effects. States, sequences and message ids depend on rows alone, so what is published late is what would have been
  published in time.
- A snapshot is begun when a call is resumed. If the process dies before that is complete, the refold keeps again what
  the call was given already; the stream's mark (wire.store.marks) says up to which sequence its messages were made, and
  these are not made again.

A call for which too many inputs wait is resumed by itself.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from actors.call.inputs import Routed
from wire.store.row import Row

MOST = 10_000
"""Inputs kept for one call; each has about a kilobyte."""


class Kept(NamedTuple):
    """An input on hold."""

    uuid: str
    """The journal of its row."""
    row: Row
    """With which it would be set aside."""
    routed: Routed | None
    """None: the row was set aside for this call already, which is to be told of it."""


class Waiting:
    """What is kept for each suspended call."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Kept]] = {}

    def __contains__(self, call_id: str) -> bool:
        return call_id in self._kept

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._kept))

    def counts(self) -> dict[str, int]:
        """Inputs kept, by call."""
        return {call_id: len(kept) for call_id, kept in self._kept.items()}

    def begin(self, call_id: str) -> None:
        """Keep what comes for a call from now on."""
        self._kept.setdefault(call_id, [])

    def keep(self, call_id: str, kept: Kept) -> bool:
        """Keep an input; True if that is more than is kept."""
        inputs = self._kept[call_id]
        inputs.append(kept)
        return len(inputs) > MOST

    def end(self, call_id: str) -> list[Kept]:
        """Keep nothing more for a call; what was kept, oldest first."""
        return self._kept.pop(call_id, [])

    def plain(self) -> dict[str, list[tuple[Any, ...]]]:
        """All of it, for a snapshot: rows as tuples, since only the call core's classes are stored as such."""
        return {
            call_id: [(each.uuid, (each.row.n, each.row.at_ms, str(each.row.kind), each.row.body), each.routed)
                      for each in kept]
            for call_id, kept in self._kept.items()
        }  # fmt: skip

    @classmethod
    def of(cls, plain: dict[str, list[tuple[Any, ...]]]) -> "Waiting":
        """What `plain` gave."""
        made = cls()
        for call_id, kept in plain.items():
            made._kept[call_id] = [Kept(uuid, Row(*row), routed) for uuid, row, routed in kept]
        return made
