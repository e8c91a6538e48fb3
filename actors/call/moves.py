"""The table of what may happen in which phase of a leg, what phase that leaves it in, and what may be said of it.

`transition` refuses what has no place here, the tests of the table read it, and docs/calls.md shows it as a diagram
(`docs/generate_calls.py`).
"""

from typing import NamedTuple

from actors.call import events as ari
from actors.call.inputs import ChannelEnded, ChannelJoined, ChannelMoved, SegmentEnded
from actors.call.state import Phase

LIVE = frozenset({Phase.DOWN, Phase.RINGING, Phase.UP})
ANY = frozenset(Phase)
"""Phases of what concerns the whole call, whatever the phase of a leg."""


class Move(NamedTuple):
    """One row of the table."""

    phases: frozenset[Phase]
    """Phases of the leg in which it may happen."""
    then: frozenset[Phase]
    """Phases that it may leave the leg in; empty leaves it as it was."""
    says: tuple[str, ...]
    """Operations that may be published of it, apart from `received-call`, which goes before the first of them."""


MOVES: dict[type, Move] = {
    ChannelJoined: Move(frozenset({Phase.ABSENT, Phase.MOVED}), LIVE, ()),
    ChannelMoved: Move(LIVE, frozenset({Phase.MOVED}), ("unparked-call", "finished-call")),
    ari.ChannelStateChange: Move(LIVE, LIVE, ("ringing-call",)),
    ari.ChannelDialplan: Move(LIVE, frozenset(), ("queued-call", "left-queue", "unparked-call")),
    ari.ChannelCallerId: Move(LIVE, frozenset(), ()),
    ari.ChannelVarset: Move(LIVE, frozenset(), ("recording-started", "left-queue")),
    ari.ChannelDtmfReceived: Move(LIVE, frozenset(), ("dtmf-received",)),
    ari.ChannelHold: Move(LIVE, frozenset(), ("held-call",)),
    ari.ChannelUnhold: Move(LIVE, frozenset(), ("resumed-call",)),
    ari.ChannelHangupRequest: Move(LIVE, frozenset(), ("unparked-call",)),
    ari.ChannelEnteredBridge: Move(
        LIVE, frozenset(), ("parked-call", "unparked-call", "left-queue", "joined-conference")
    ),
    ari.ChannelLeftBridge: Move(LIVE, frozenset(), ("unparked-call", "left-conference")),
    ChannelEnded: Move(
        LIVE,
        frozenset({Phase.ENDED}),
        ("left-queue", "unparked-call", "left-conference", "recording-finished", "finished-call"),
    ),
    # Of the whole call, whatever the phase of a leg:
    ari.Dial: Move(ANY, frozenset(), ("ringing-call", "answered-call")),
    ari.BridgeBlindTransfer: Move(ANY, frozenset(), ("transferred-call",)),
    ari.BridgeAttendedTransfer: Move(ANY, frozenset(), ("transferred-call",)),
    ari.Recording: Move(ANY, frozenset(), ("recording-started", "recording-finished")),
    SegmentEnded: Move(ANY, frozenset(), ()),
}
"""What may happen to a leg, and when."""


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> absent"]
    for kind, move in MOVES.items():
        if move.phases is ANY:
            continue
        said = f" / {', '.join(move.says)}" if move.says else ""
        for phase in Phase:
            if phase not in move.phases:
                continue
            for then in [one for one in Phase if one in move.then] or [phase]:
                lines.append(f"    {phase} --> {then}: {kind.__name__}{said}")
    lines += ["    ended --> [*]", "    moved --> [*]"]
    return "\n".join(lines) + "\n"
