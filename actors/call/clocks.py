"""What the host's clock said while nobody saw the PBX, as the journal's rows of kind `clock` tell.

    opened   a gap begins, at a time by the clock of now
    told     a row tells what the host's clock is now ahead of one that nobody sets
    earliest, latest   what the host's clock said at the gap's beginning, or at its end, if set as at any time in it
    closed   the gap is over

The clock that nobody sets counts from the host's boot (CLOCK_BOOTTIME): it goes on while the host sleeps and when a
process dies. *Ahead* is the host's clock less that one; it changes only when somebody sets the host's clock. So what is
unseen from `blind_ms` on has times between `blind_ms` and now, each with any of the settings since. Where the host was
booted anew nobody can say how the new clock compares to the old one: a gap then also covers all since that boot.

Journals of older versions have no such rows: then nothing is known here, and all answers are None.
"""

from typing import NamedTuple

MOST = 50
"""Settings kept; the oldest of more are taken together."""


class Setting(NamedTuple):
    """How far the host's clock was ahead, for a time."""

    since_ms: int
    """Since when, milliseconds since the boot."""
    low_ms: int
    """The least that it was ahead."""
    high_ms: int
    """The most; another than the least only where several settings are taken together."""


class Clocks(NamedTuple):
    """How the host's clock was set since something unseen may have happened."""

    boot_id: str | None
    """Names the boot; None while nothing is known."""
    settings: tuple[Setting, ...]
    """In order; the last is that of now. Empty while nothing is known."""
    blind_ms: int | None
    """Since when nothing is seen, milliseconds since the boot; None if no gap is open, or nobody knows."""

    @classmethod
    def new(cls) -> "Clocks":
        """Nothing is known."""
        return cls(None, (), None)


def opened(clocks: Clocks, from_ms: int) -> Clocks:
    """A gap begins.

    Args:
        clocks: what is known.
        from_ms: its beginning, as the host's clock counts now, Unix milliseconds.
    """
    if not clocks.settings:
        return clocks
    return clocks._replace(blind_ms=from_ms - clocks.settings[-1].high_ms)


def told(clocks: Clocks, boot_id: str | None, at_ms: int, ahead_ms: int, heard_ms: int | None) -> Clocks:
    """A row tells of the host's clock.

    Args:
        clocks: what is known.
        boot_id: names the boot; None if the host does not say.
        at_ms: time of the row, Unix milliseconds.
        ahead_ms: what the host's clock is ahead of now.
        heard_ms: when the PBX was heard, if the link is up, as the host's clock counts now, Unix milliseconds.
    """
    if boot_id is None or clocks.boot_id != boot_id:
        since_ms, blind_ms = at_ms - ahead_ms, None
        if boot_id is not None and clocks.blind_ms is not None:
            since_ms = blind_ms = 0
        return Clocks(boot_id, (Setting(since_ms, ahead_ms, ahead_ms),), blind_ms)
    settings = (*clocks.settings, Setting(at_ms - ahead_ms, ahead_ms, ahead_ms))
    clear_ms = clocks.blind_ms
    if clear_ms is None and heard_ms is not None:
        clear_ms = heard_ms - ahead_ms
    if clear_ms is not None:
        settings = _since(settings, clear_ms)
    if len(settings) > MOST:
        first, second, *others = settings
        both = Setting(first.since_ms, min(first.low_ms, second.low_ms), max(first.high_ms, second.high_ms))
        settings = (both, *others)
    return clocks._replace(settings=settings)


def earliest(clocks: Clocks) -> int | None:
    """The earliest that the host's clock can have said in the gap, Unix milliseconds."""
    if clocks.blind_ms is None:
        return None
    return clocks.blind_ms + min(each.low_ms for each in _since(clocks.settings, clocks.blind_ms))


def latest(clocks: Clocks, at_ms: int) -> int | None:
    """The latest that the host's clock can have said in the gap, if that ends now, Unix milliseconds.

    Args:
        clocks: what is known.
        at_ms: now, as the host's clock counts.
    """
    if clocks.blind_ms is None:
        return None
    now_ms = at_ms - clocks.settings[-1].high_ms
    return now_ms + max(each.high_ms for each in _since(clocks.settings, clocks.blind_ms))


def until(clocks: Clocks) -> int | None:
    """As `latest`, if the gap ended when a row last told of the host's clock."""
    last = clocks.settings[-1:]
    return latest(clocks, last[0].since_ms + last[0].high_ms) if last else None


def closed(clocks: Clocks) -> Clocks:
    """The gap is over: how the clock was set before now does not matter any more."""
    return clocks._replace(settings=clocks.settings[-1:], blind_ms=None)


def _since(settings: tuple[Setting, ...], ms: int) -> tuple[Setting, ...]:
    """Those that were in force then, or later."""
    passed = sum(later.since_ms <= ms for later in settings[1:])
    return settings[passed:]
