"""Whether an event link that lives is deaf: what it brings, beside what looks at the PBX show.

Asterisk may lose an application whose WebSocket stays open and answers pings, and then tells it nothing (session.py).
Two looks that differ in their channels, with no event between, make a link suspect; one may still be on its way. If
none comes for `dead_after` either, the link is deaf. While a link is suspect, nothing but an event says that the PBX
was heard. Pure: no clock, and the timer is the caller's.
"""

from collections.abc import Set
from typing import NamedTuple


class Suspicion(NamedTuple):
    """A link may be deaf, unless another event comes."""

    link: int
    """Which of them, from 1."""
    events: int
    """All that had come by then."""
    changes: int
    """Channels that came or went without one."""


class Hearing:
    """What the links of one process have brought."""

    def __init__(self) -> None:
        self.events = 0
        """Since the process began."""
        self._link = 0
        self._event_ms = 0
        """When the last event of this link came, or the link, milliseconds since the host's boot."""
        self._looked: tuple[int, Set[str]] | None = None
        self._suspect = False

    def up(self, boot_ms: int) -> None:
        """A new link is up.

        Args:
            boot_ms: milliseconds since the host's boot.
        """
        self._link += 1
        self._event_ms = boot_ms
        self._looked = None
        self._suspect = False

    def event(self, boot_ms: int) -> None:
        """An event came.

        Args:
            boot_ms: milliseconds since the host's boot.
        """
        self.events += 1
        self._event_ms = boot_ms
        self._suspect = False

    def shown(self, events: int, channels: Set[str]) -> Suspicion | None:
        """A look through this link was answered.

        Args:
            events: how many had come when it was asked for.
            channels: ids of those that it shows.

        Returns:
            What is to be judged after `dead_after`, if it says anything.
        """
        before, self._looked = self._looked, (events, channels)
        if before is None or before[0] != self.events or before[1] == channels:
            return None
        self._suspect = True
        return Suspicion(self._link, self.events, len(before[1] ^ channels))

    def judged(self, suspicion: Suspicion) -> str | None:
        """How it shows that the link is deaf, for people; None if it is not, or there is another link by now."""
        if (suspicion.link, suspicion.events) != (self._link, self.events):
            return None
        return f"no event came while {suspicion.changes} channels came or went, and none since"

    def heard_ms(self, ahead_ms: int) -> int | None:
        """When the last event of a suspect link came, or the link if there was none; None of any other link.

        Args:
            ahead_ms: what the host's clock says now beyond the time since its boot.

        Returns:
            Unix milliseconds, as the host's clock counts now.
        """
        return self._event_ms + ahead_ms if self._suspect else None
