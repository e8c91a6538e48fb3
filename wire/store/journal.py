"""interface draft: the design follows."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from conf.settings import Journal as JournalSettings
from wire.store.row import Position, Row


@dataclass(frozen=True, slots=True)
class JournalHealth:
    """What the writer can say about itself."""

    state: Literal["starting", "working", "refused", "closed"]
    """`refused`: the disk does not take rows; they wait in the reserve."""
    reason: str | None
    """Why it is refused."""
    since_ms: int
    """Since when it is in this state."""
    uuid: str | None
    """The journal's name; None before it could be opened."""
    last_n: int
    """The last committed row."""
    waiting_rows: int
    """Rows appended, not committed."""
    waiting_bytes: int
    """Their bodies, bytes."""
    losing_rows: int
    """Rows lost in the gap that is open now; they are told by a `lost` row once the disk works."""
    lost_rows: int
    """Rows lost since the start, open gap included."""
    set_aside: tuple[str, ...]
    """Damaged files set aside since the start."""


class JournalWriter:
    """The one writer of a journal."""

    def __init__(
        self,
        directory: Path,
        settings: JournalSettings,
        on_committed: Callable[[str, int], None],
        *,
        clock: Callable[[], int] = ...,  # type: ignore[assignment]
    ) -> None: ...

    def start(self) -> None:
        """Take the lock (StoreLocked if somebody has it) and start the thread. After the fork, in the owner's process.

        A disk that refuses is no error here: see health(). on_committed is called once when the journal is open.
        """

    def append(self, kind: str, at_ms: int, body: bytes) -> None:
        """Hand a row over; never blocks, never fails for the disk's sake. From one thread."""

    def flush(self, timeout: float) -> bool:
        """Wait until all that was appended is committed; False if it was not within `timeout` seconds."""
        raise NotImplementedError

    def retire(self, needed: Iterable[Position]) -> None:
        """Ask for the unlinking of whole segments older than all needed positions, by age and size (settings)."""

    def health(self) -> JournalHealth:
        """From any thread."""
        raise NotImplementedError

    def close(self, timeout: float = 5.0) -> bool:
        """Flush, stop the thread, release the lock; False if rows could not be written in time (they are lost)."""
        raise NotImplementedError


class Batch(NamedTuple):
    """Some rows in order, of one journal."""

    uuid: str
    """The journal they are of; another than was asked for when that one has ended and a new one was begun."""
    rows: list[Row]
    """Without gaps: damaged rows are told by one `lost` row in their place, whose n is the last of theirs."""


class JournalRange(NamedTuple):
    """What the journal holds."""

    first: Position | None
    last: Position | None
    segments: int
    bytes: int
    first_ms: int | None
    last_ms: int | None


class JournalReader:
    """Reads a journal while its writer writes, from the same or another process."""

    def __init__(self, directory: Path) -> None: ...

    def read(self, after: Position | None, rows: int, max_bytes: int) -> Batch | None:
        """The next rows after a position (None: from the oldest kept); None if there are none yet."""
        raise NotImplementedError

    def range(self) -> JournalRange:
        """First and last position, size."""
        raise NotImplementedError

    def uuid(self) -> str | None:
        """The newest journal's name; None if there is none."""
        raise NotImplementedError

    def position_at(self, at_ms: int) -> Position | None:
        """The position from which reading gives the rows since `at_ms` (for rebuild_window); None: from the oldest."""
        raise NotImplementedError

    def export(self, after: Position | None = None, upto: Position | None = None) -> Iterator[bytes]:
        """Lines (with newline) that `arimon-ctl replay` reads."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the files."""
