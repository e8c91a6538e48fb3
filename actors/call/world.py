"""The fold of one PBX: rows of its journal in, inputs of its calls out.

`step` is pure: decode, correlate, segments, link. `World` is picklable and holds no settings.
"""

from typing import NamedTuple

from actors.call.correlation import Correlation
from actors.call.effects import Unexpected
from actors.call.inputs import Routed
from conf.settings import Settings
from wire.message import OutboundMessage
from wire.store.row import Row


class World(NamedTuple):
    """What is known of one PBX, except what its calls know themselves."""

    server: str
    """The PBX's name in conf."""
    correlation: Correlation
    """Which channel belongs to which call, and the segments under way."""
    sequence: int
    """Of the stream `pbx:NAME`."""
    link_since_ms: int | None
    """Since when the link is up; None while it is down or was never up."""
    down_since_ms: int | None
    """Since when the link is down; None while it is up, or was never up."""

    @classmethod
    def new(cls, server: str) -> "World":
        """Make the world of a PBX of which nothing is known yet."""
        return cls(server, Correlation.new(), 0, None, None)


class Rejected(NamedTuple):
    """A row that the PBX got wrong: to be quarantined."""

    n: int
    """The row."""
    reason: str
    """`not-json`, `not-an-event` or `wrong-shape`."""
    detail: str
    """What exactly is wrong."""


class Step(NamedTuple):
    """What one row made of a world."""

    world: World
    """The state after it."""
    routed: tuple[Routed, ...]
    """Inputs for calls, in order."""
    pbx_messages: tuple[OutboundMessage, ...]
    """Messages of the stream `pbx:NAME`."""
    reports: tuple[Unexpected, ...]
    """To be counted and logged."""
    rejected: Rejected | None
    """The row is the peer's fault."""


def step(world: World, row: Row, settings: Settings) -> Step:
    """Fold one row.

    Args:
        world: the state before it.
        row: the row.
        settings: what is configured.

    Returns:
        The state after it, and what came of it.
    """
    return Step(world, (), (), (), None)
