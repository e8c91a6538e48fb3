"""Watch: how well a PBX is seen, what is doubtful of what we know, and which gap is open.

    rows of link, clock and journal → Watch and the gaps that they end; what looks conclude is `actors.call.recovery`'s

**Silent.** At a link-up everything that we know is doubtful: a channel is *silent* until an event of it comes. What a
snapshot shows of a silent channel is news; what it shows of one that has spoken may be older than what was spoken.

**Gaps.** One is opened by a link-down, by rows that the journal lost, by a link-up without a link-down (Connection was
killed), by a journal that begins anew, or by a pair of looks that had to infer something (`audit`). It is told when
two looks after it have agreed, or when the next begins: once each, also when nothing changed in it. What was not clear
when the next began is concluded after that one, and in its account. The very first
link-up of all is the end of no gap; it is told only if calls had begun before it. Where the host's clock was set within
a gap, it reaches from the earliest to the latest that the clock can have said in it (actors.call.clocks): that is too
much rather than too little.

Everything is pure.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pyrsistent import PMap, pmap

from actors.call import clocks
from actors.call.clocks import Clocks
from actors.call.gap import JOURNAL_LOST, KILLED, ROWS_LOST, STARTED, Gap
from actors.call.register import Correlation
from wire.store.row import Row

KEPT = 50
"""Gaps remembered for `arimon-ctl gaps`."""


class Look(NamedTuple):
    """What the last snapshot of this link left open."""

    answered_ms: int
    missing: frozenset[str]
    """Channels that we know, and it did not."""
    unknown: frozenset[str]
    """Channels that it knew, and we do not."""
    changed: frozenset[str]
    """Channels that it showed otherwise than we know them."""


class Outcome(NamedTuple):
    """What an operator's look, or two of one name, came to: the answer to `arimon-ctl reconcile`."""

    name: str
    """The snapshot's id."""
    nth: int
    """How far it got: 1, or 2 after the second look."""
    channels: int
    adopted: tuple[str, ...]
    corrected: tuple[str, ...]
    ended: tuple[str, ...]


class Watch(NamedTuple):
    """How well we see this PBX."""

    n: int
    """The last row that was no frame."""
    seen_ms: int | None
    """Its time."""
    heard_ms: int | None
    """When, as that row tells, the event link was last heard."""
    clean_ms: int | None
    """When a look last showed nothing that we did not know."""
    startup: str | None
    """Asterisk's `startup_time`, as it last said."""
    silent: PMap[str, int]
    """Channels that have not spoken since we began to doubt them → until when all was seen before that, Unix
    milliseconds: of one that was silent through two gaps, the beginning of the first."""
    look: Look | None
    """The last look of this link; None before the first."""
    gap: Gap | None
    """The gap that is not told yet."""
    past: tuple[Gap, ...]
    """The last gaps told."""
    outcome: Outcome | None
    clocks: Clocks
    """How the host's clock was set since the PBX may have been unseen."""

    @classmethod
    def new(cls) -> "Watch":
        """Nobody has watched yet."""
        return cls(0, None, None, None, None, pmap(), None, None, (), None, Clocks.new())

    @property
    def doubts(self) -> frozenset[str]:
        """Channels of which a second look should ask more."""
        return self.look.unknown | self.look.changed if self.look is not None else frozenset()

    @property
    def known_until(self) -> int:
        """Until when everything was seen, Unix milliseconds."""
        return max(self.gap.from_ms or 0 if self.gap is not None else 0, self.clean_ms or 0)

    def doubted(self, channels: Iterable[str]) -> PMap[str, int]:
        """These channels as silent ones: since now, or longer."""
        since_ms = self.known_until
        return pmap({key: min(self.silent.get(key, since_ms), since_ms) for key in channels})

    def closed(self) -> "tuple[Watch, list[Gap]]":
        """The open gap is over: to be published, unless there is nothing to say of it."""
        gap = self.gap
        assert gap is not None
        if gap.from_ms is None:
            if gap.oldest_ms is None:
                return self._replace(gap=None), []
            assert gap.to_ms is not None
            gap = gap._replace(from_ms=min(gap.oldest_ms, gap.to_ms))
        elif gap.to_ms is not None and gap.from_ms > gap.to_ms:
            gap = gap._replace(from_ms=gap.to_ms, to_ms=gap.from_ms)
        return self._replace(gap=None, past=(*self.past, gap)[-KEPT:]), [gap]


def link_down(watch: Watch, row: Row, told: Mapping[str, Any]) -> tuple[Watch, list[Gap]]:
    """The link is down.

    Args:
        watch: the state before it.
        row: the row.
        told: its body.

    Returns:
        The state after it, and gaps to be published: one that two looks had not confirmed yet ends here.
    """
    said: list[Gap] = []
    if watch.gap is not None and watch.gap.to_ms is not None:
        watch, said = watch.closed()
    if watch.gap is None:
        heard_ms = told.get("last_data_ms")
        from_ms = row.at_ms if heard_ms is None else min(int(heard_ms), row.at_ms)
        # A client that Asterisk cut off for reading slowly still reads what was on its way: that was old news.
        from_ms -= int(told.get("behind_ms") or 0)
        watch = _opened(watch, from_ms, str(told["reason"])[:64] or "unknown")._replace(seen_ms=row.at_ms)
    else:
        watch = _covers(watch._replace(seen_ms=_seen_ms(watch, row.at_ms)), row.at_ms)
    return _looked_away(watch)._replace(n=row.n, heard_ms=row.at_ms), said


def link_up(
    watch: Watch, correlation: Correlation, row: Row, told: Mapping[str, Any], was_up: bool
) -> tuple[Watch, list[Gap]]:
    """The link is up; frames follow, and then a look.

    Args:
        watch: the state before it.
        correlation: what is known of channels.
        row: the row.
        told: its body.
        was_up: no link-down has come since the last link-up.

    Returns:
        The state after it, and gaps to be published.
    """
    watch, said = _interrupted(watch, row, told.get("last_row_ms"), was_up)
    gap = watch.gap if watch.gap is not None else Gap(None, None, STARTED)
    to_ms = row.at_ms
    if gap.from_ms is not None:
        # The clock may have been set back since the gap began, or since a row in it.
        earliest_ms, latest_ms = clocks.earliest(watch.clocks), clocks.latest(watch.clocks, row.at_ms)
        from_ms = min(gap.from_ms, row.at_ms, row.at_ms if earliest_ms is None else earliest_ms)
        to_ms = max(gap.from_ms, row.at_ms, watch.seen_ms or 0, latest_ms or 0)
        gap = gap._replace(from_ms=from_ms)
    gap = gap._replace(to_ms=to_ms)
    watch = _looked_away(watch)._replace(n=row.n, seen_ms=row.at_ms, heard_ms=row.at_ms, gap=gap)
    return watch._replace(silent=watch.doubted(correlation.channels), clocks=clocks.closed(watch.clocks)), said


def clock(watch: Watch, row: Row, told: Mapping[str, Any], was_up: bool) -> tuple[Watch, list[Gap]]:
    """A Connection began, or the host's clock was set.

    Args:
        watch: the state before it.
        row: the row.
        told: its body.
        was_up: no link-down has come since the last link-up.

    Returns:
        The state after it, and gaps to be published.
    """
    said: list[Gap] = []
    heard_ms = told["heard_ms"]
    if told["began"]:
        watch, said = _interrupted(watch, row, heard_ms, was_up)
        heard_ms = None
    seen_ms, gap = _seen_ms(watch, row.at_ms), watch.gap
    if gap is not None and gap.from_ms is not None and told["boot_id"] != watch.clocks.boot_id:
        # What the clock of another boot said is all that will ever be known of it.
        earliest_ms, latest_ms = clocks.earliest(watch.clocks), clocks.until(watch.clocks)
        gap = gap._replace(from_ms=gap.from_ms if earliest_ms is None else min(gap.from_ms, earliest_ms))
        seen_ms = max(seen_ms, latest_ms or 0)
    known = clocks.told(watch.clocks, told["boot_id"], row.at_ms, int(told["ahead_ms"]), heard_ms)
    heard_ms = watch.heard_ms if heard_ms is None else int(heard_ms)
    return watch._replace(n=row.n, seen_ms=seen_ms, heard_ms=heard_ms, gap=gap, clocks=known), said


def _interrupted(watch: Watch, row: Row, heard_ms: int | None, was_up: bool) -> tuple[Watch, list[Gap]]:
    """Another link, or the Connection that will have it, begins: a gap is open unless none was before.

    Args:
        watch: the state before it.
        row: the row that tells of it.
        heard_ms: until when the PBX was surely heard by another process, Unix milliseconds.
        was_up: no link-down has come since the last link-up.

    Returns:
        The state after it, and gaps to be published: one that two looks had not confirmed yet ends here.
    """
    said: list[Gap] = []
    anew = row.n <= watch.n
    gap = watch.gap
    if gap is not None and gap.to_ms is not None:
        watch, said = watch.closed()
    elif gap is not None:
        if anew:
            # The old journal went on for nobody knows how long.
            watch = watch._replace(gap=gap._replace(reason=JOURNAL_LOST))
        return watch, said
    if was_up:
        from_ms = max(watch.heard_ms or 0, heard_ms or 0) if anew or heard_ms is None else heard_ms
        watch = _opened(watch, from_ms, JOURNAL_LOST if anew else KILLED)
    return watch, said


def _seen_ms(watch: Watch, at_ms: int) -> int:
    """The time of another row, or of one before it in a gap that lasts: that ends after the latest of its times."""
    lasts = watch.gap is not None and watch.gap.to_ms is None
    return max(at_ms, watch.seen_ms or 0) if lasts else at_ms


def _covers(watch: Watch, at_ms: int) -> Watch:
    """A gap that lasts covers this time too: that of a row in it, before which the host's clock was set back."""
    gap = watch.gap
    if gap is None or gap.from_ms is None or at_ms >= gap.from_ms:
        return watch
    # What is now its latest time is no longer its beginning.
    return watch._replace(gap=gap._replace(from_ms=at_ms), seen_ms=max(watch.seen_ms or 0, gap.from_ms))


def _opened(watch: Watch, from_ms: int, reason: str) -> Watch:
    """A gap begins, and lasts.

    Args:
        watch: the state before it.
        from_ms: its beginning, as the host's clock counted for whoever heard the PBX last, Unix milliseconds.
        reason: of the gap.
    """
    known = clocks.opened(watch.clocks, from_ms)
    earliest_ms = clocks.earliest(known)
    # The clock may have been set since.
    return watch._replace(
        gap=Gap(from_ms if earliest_ms is None else min(from_ms, earliest_ms), None, reason), clocks=known
    )


def rows_lost(watch: Watch, correlation: Correlation, row: Row, told: Mapping[str, Any]) -> Watch:
    """Rows are missing from the journal: a gap, whatever the link did.

    Args:
        watch: the state before it.
        correlation: what is known of channels.
        row: the row.
        told: its body.
    """
    lost = int(told.get("rows") or 0)
    from_ms, to_ms = sorted((int(told["from_ms"]), int(told["to_ms"])))
    if row.n <= watch.n and watch.seen_ms is not None:
        from_ms, to_ms = min(from_ms, watch.seen_ms), max(to_ms, watch.seen_ms)
    gap = watch.gap
    if gap is None:
        gap = Gap(from_ms, to_ms, ROWS_LOST, rows_lost=lost)
    else:
        gap = gap._replace(
            from_ms=from_ms if gap.from_ms is None else min(gap.from_ms, from_ms),
            to_ms=None if gap.to_ms is None else max(gap.to_ms, to_ms),
            reason=ROWS_LOST if gap.reason == STARTED else gap.reason,
            rows_lost=gap.rows_lost + lost,
        )
    heard_ms = max(row.at_ms, to_ms)
    watch = _looked_away(watch)._replace(n=row.n, seen_ms=_seen_ms(watch, heard_ms), heard_ms=heard_ms, gap=gap)
    return watch._replace(silent=watch.doubted(correlation.channels))


def missed(watch: Watch, n: int, began_ms: int, latest_ms: int, back_ms: int | None = None) -> Watch:
    """Rows that were folded are gone from the journal: a gap, for nobody knows which gaps they held that are not told.

    Args:
        watch: the state before them.
        n: the last of them.
        began_ms: the earliest time that they may have, if nothing came before them, Unix milliseconds.
        latest_ms: the latest of their times.
        back_ms: the earliest of those after the host's clock was set back; None if it was not.
    """
    heard_ms = watch.heard_ms if watch.heard_ms is not None else began_ms
    gap = watch.gap
    if gap is None:
        watch = _opened(watch, heard_ms, JOURNAL_LOST)
    else:
        # It covers what it did, also where the clock was set back since.
        latest_ms = max(latest_ms, gap.from_ms or 0, gap.to_ms or 0)
        from_ms = heard_ms if gap.from_ms is None else gap.from_ms
        watch = watch._replace(gap=gap._replace(from_ms=from_ms, to_ms=None, reason=JOURNAL_LOST))
    watch = watch._replace(n=max(watch.n, n), seen_ms=max(watch.seen_ms or 0, latest_ms))
    return watch if back_ms is None else _covers(watch, back_ms)


def _looked_away(watch: Watch) -> Watch:
    """The last look counts no more; but what it showed, if otherwise than we knew it, was there then."""
    silent = watch.silent
    if watch.look is not None:
        for key in sorted(watch.look.changed & frozenset(silent)):
            silent = silent.set(key, max(silent[key], watch.look.answered_ms))
    return watch._replace(look=None, silent=silent)
