"""The result of a run."""

from collections import Counter
from dataclasses import dataclass

from tests.simulation.checker import Stretch
from tests.simulation.clock import Moment
from tests.simulation.faults import Fault
from tests.simulation.pbx import Event
from wire.store.row import Row


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    seed: int
    schedule: tuple[Fault, ...]
    wrong: tuple[str, ...]
    """Violations; empty if all is well."""
    happened: Counter[str]
    """Faults that really happened, and other things worth counting."""
    digest: str
    """Of everything published and journalled."""
    received: tuple[bytes, ...]
    """Bodies, as the consumer got them."""
    rows: tuple[Row, ...]
    """The journal."""
    replayed: tuple[bytes, ...]
    """Bodies that a replay of the exported journal gives."""
    links: tuple[Stretch, ...]
    events: tuple[Event, ...]
    """What happened on the PBX."""
    told: dict[Row, Moment]
    """When the journal was told its rows, other than frames."""
    steps: int
