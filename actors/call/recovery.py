"""Gaps: what nobody saw, and what a snapshot of the PBX tells of it afterwards.

    rows other than frames → Watch (what is doubtful, which gap is open) → events inferred → the same fold as frames

Theory. While the link is down Asterisk's events are gone for ever. What a PBX does *now* can be asked by REST, and some
of what happened can be concluded from it. The conclusions are ordinary events (`actors.call.events`), made here and
folded like any other, but for `recovered`: so calls, segments and messages need no second set of rules.

**Silent.** At a link-up everything that we know is doubtful: a channel is *silent* until an event of it comes. What a
snapshot shows of a silent channel is news; what it shows of one that has spoken may be older than what was spoken.

**Looks.** A snapshot races the events: what happened just before may still be on its way to us. And what it shows may
be older than what we had of a channel since the question: of one that has spoken since the link-up and after the
question it says nothing. So

- a channel is *adopted* at the first look after a gap if it is older than the link (its ChannelCreated cannot come any
  more), else when two looks show it and no event came; never when its ChannelDestroyed came. One that speaks before the
  look is met in mid-life (`correlation`), which begins its call: that is adopted as well, and counted so (`gap`);
- a silent channel is *corrected* at the first look after a gap, and so is one that began unseen and has spoken before
  it; else when two looks show the same and no event came;
- a channel is *ended* when two looks lack it and no event of it came between;
- two looks are of one link, and at least `SETTLED_MS` apart, from the answer of one to the question of the next; a
  first look that comes sooner (an operator's) begins a new pair.

A PBX that began anew in between (another `startup_time`) has none of the old channels: they end at the first look.

**Times**, the best that are known. Created: ARI's creationtime. Answered: `CDR(answer,u)`, else when the bridge was
created, else when it was first seen Up. Ended, left a bridge, moved on in the dialplan: when it was last known to be
otherwise, which for a gap is its beginning (of the first one, if it was not heard of between two): a lower bound, so
that no talk is claimed that nobody can prove. The cause of such an end is unknown (None), and who hung up is nobody.

**Gaps.** One is opened by a link-down, by rows that the journal lost, by a link-up without a link-down (Connection was
killed), by a journal that begins anew, or by a pair of looks that had to infer something (`audit`). It is told when
two looks after it have agreed, or when the next begins: once each, also when nothing changed in it. What was not clear
when the next began is concluded after that one, and in its account. The very first
link-up of all is the end of no gap; it is told only if calls had begun before it. Where the host's clock was set within
a gap, it reaches from the earliest to the latest that the clock can have said in it (actors.call.clocks): that is too
much rather than too little.

Everything is pure; the order of what is inferred is by time, then by what has to come first, then by age.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pyrsistent import PMap, pmap

from actors.call import clocks
from actors.call import events as ari
from actors.call import gap as gaps
from actors.call.clocks import Clocks
from actors.call.correlation import correlate
from actors.call.effects import Unexpected
from actors.call.events import Event
from actors.call.gap import AUDIT, JOURNAL_LOST, KILLED, ROWS_LOST, STARTED, Account, Gap, joined
from actors.call.inference import NO_PLAN, Story, last_state, shown_in
from actors.call.inputs import Routed
from actors.call.picture import Picture, Seen, read
from actors.call.register import Correlation, Known
from conf.settings import Bounds
from wire.store.row import Row

SETTLED_MS = 2000
"""Between two looks that may conclude something from what both of them lack, Unix milliseconds."""

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


class Found(NamedTuple):
    """What a row made of what is known."""

    correlation: Correlation
    watch: Watch
    routed: list[Routed]
    reports: list[Unexpected]
    told: list[Gap]
    """Gaps to be published, in order."""


# --- the link ---------------------------------------------------------------------------------------------------------


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
        watch, said = _close(watch)
    if watch.gap is None:
        heard_ms = told.get("last_data_ms")
        from_ms = row.at_ms if heard_ms is None else min(int(heard_ms), row.at_ms)
        # A client that Asterisk cut off for reading slowly still reads what was on its way: that was old news.
        from_ms -= int(told.get("behind_ms") or 0)
        watch = _opened(watch, from_ms, str(told["reason"])[:64] or "unknown")
    return _looked_away(watch)._replace(n=row.n, seen_ms=row.at_ms, heard_ms=row.at_ms), said


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
    return watch._replace(silent=_doubted(watch, correlation.channels), clocks=clocks.closed(watch.clocks)), said


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
        watch, said = _close(watch)
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
    return watch._replace(silent=_doubted(watch, correlation.channels))


def missed(watch: Watch, n: int, began_ms: int, latest_ms: int) -> Watch:
    """Rows that were folded are gone from the journal: a gap, for nobody knows which gaps they held that are not told.

    Args:
        watch: the state before them.
        n: the last of them.
        began_ms: the earliest time that they may have, if nothing came before them, Unix milliseconds.
        latest_ms: the latest of their times.
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
    return watch._replace(n=max(watch.n, n), seen_ms=max(watch.seen_ms or 0, latest_ms))


def _looked_away(watch: Watch) -> Watch:
    """The last look counts no more; but what it showed, if otherwise than we knew it, was there then."""
    silent = watch.silent
    if watch.look is not None:
        for key in sorted(watch.look.changed & frozenset(silent)):
            silent = silent.set(key, max(silent[key], watch.look.answered_ms))
    return watch._replace(look=None, silent=silent)


def _doubted(watch: Watch, channels: Iterable[str]) -> PMap[str, int]:
    """These channels as silent ones: since now, or longer."""
    since_ms = _known_until(watch)
    return pmap({key: min(watch.silent.get(key, since_ms), since_ms) for key in channels})


def _known_until(watch: Watch) -> int:
    """Until when everything was seen, Unix milliseconds."""
    return max(watch.gap.from_ms or 0 if watch.gap is not None else 0, watch.clean_ms or 0)


def _close(watch: Watch) -> tuple[Watch, list[Gap]]:
    """The open gap is over: to be published, unless there is nothing to say of it."""
    gap = watch.gap
    assert gap is not None
    if gap.from_ms is None:
        if gap.oldest_ms is None:
            return watch._replace(gap=None), []
        assert gap.to_ms is not None
        gap = gap._replace(from_ms=min(gap.oldest_ms, gap.to_ms))
    elif gap.to_ms is not None and gap.from_ms > gap.to_ms:
        gap = gap._replace(from_ms=gap.to_ms, to_ms=gap.from_ms)
    return watch._replace(gap=None, past=(*watch.past, gap)[-KEPT:]), [gap]


# --- frames -----------------------------------------------------------------------------------------------------------


def heard(correlation: Correlation, watch: Watch, event: Event, n: int, bounds: Bounds) -> Found:
    """A frame came while channels are silent: those that it shows are not any more.

    Its channel may show that it was answered while nobody looked; that is inferred first.

    Args:
        correlation: what is known of channels.
        watch: the state before it.
        event: the frame's event.
        n: its row.
        bounds: how much is kept of anything.
    """
    silent = watch.silent
    story = Story(correlation)
    since_ms = watch.gap.to_ms if watch.gap is not None else None
    for channel in shown_in(event):
        if channel.id not in silent:
            continue
        silent = silent.discard(channel.id)
        known = correlation.channels.get(channel.id)
        if known is None or channel.state != "Up" or known.state == "Up" or type(event) is ari.ChannelStateChange:
            continue
        at_ms = event.at_ms if since_ms is None else min(event.at_ms, since_ms)
        story.answered(known, channel, max(at_ms, story.last_ms(known)))
    if silent is not watch.silent:
        watch = watch._replace(silent=silent)
    if not story.plot:
        return Found(correlation, watch, [], [], [])
    told = _Telling(correlation, n, bounds)
    told.tell(story)
    return Found(told.after, told.noted(watch), told.routed, told.reports, [])


def met(watch: Watch, before: Correlation, after: Correlation, routed: Sequence[Routed]) -> Watch:
    """A frame was folded while a gap is open: what it shows to have begun in that goes into its account.

    Args:
        watch: the state before it.
        before: what was known of channels before it.
        after: what is known of them now.
        routed: what calls were told of it.
    """
    account = gaps.of_frame(before, after, routed) if watch.gap is not None else None
    if watch.gap is None or account is None:
        return watch
    return watch._replace(gap=watch.gap.noted(account))


# --- snapshots --------------------------------------------------------------------------------------------------------


def snapshot(correlation: Correlation, watch: Watch, row: Row, bounds: Bounds, up_ms: int) -> Found:
    """The PBX said what it is doing now.

    Args:
        correlation: what is known of channels.
        watch: the state before it.
        row: the row.
        bounds: how much is kept of anything.
        up_ms: since when the link is up.

    Returns:
        What is known now, and what was inferred.
    """
    picture = read(row)
    diff = _Diff(correlation, watch, picture, up_ms, row.at_ms)
    if picture.rehearsal:
        told = _Telling(correlation, row.n, bounds)
        told.tell(diff.story(diff.missing, diff.unknown, diff.changed))
        outcome = told.outcome(picture, 2, None, watch.gap)
        return Found(correlation, watch._replace(outcome=outcome), [], picture.reports, [])
    before = watch.look
    settled = before is not None and picture.asked_ms - before.answered_ms >= SETTLED_MS
    if before is not None and not settled and picture.nth == 2:
        return Found(correlation, watch, [], picture.reports, [])
    ended, adopted, corrected = diff.due(before, settled)
    told = _Telling(correlation, row.n, bounds)
    told.reports += picture.reports
    told.tell(diff.story(ended, adopted, corrected))
    told.forget_told(picture.asked)
    look = Look(
        picture.answered_ms,
        frozenset(diff.missing) - ended,
        frozenset(diff.unknown) - adopted,
        frozenset(diff.changed) - corrected,
    )
    doubtful = [key for key in (*look.missing, *look.changed) if key in told.after.channels]
    watch = watch._replace(
        n=row.n,
        seen_ms=row.at_ms,
        heard_ms=picture.heard_ms,
        startup=picture.startup or watch.startup,
        silent=_doubted(watch, sorted(doubtful)),
        look=look,
    )
    if picture.purpose == "operator":
        watch = watch._replace(outcome=told.outcome(picture, picture.nth, watch.outcome, watch.gap))
    said: list[Gap] = []
    clean_ms = watch.clean_ms
    if not (look.missing or look.unknown or look.changed or diff.older):
        watch = watch._replace(clean_ms=picture.asked_ms)
    if told.count and watch.gap is None:
        assert before is not None
        watch = watch._replace(gap=Gap(max(clean_ms or up_ms, up_ms), before.answered_ms, AUDIT))
    watch = told.noted(watch)
    if settled and watch.gap is not None:
        watch, said = _close(watch)
    return Found(told.after, watch, told.routed, told.reports, said)


class _Diff:
    """A snapshot against what is known."""

    def __init__(self, correlation: Correlation, watch: Watch, picture: Picture, up_ms: int, at_ms: int) -> None:
        self._correlation = correlation
        self._watch = watch
        self._picture = picture
        self._up_ms = up_ms
        self._at_ms = at_ms
        """When the picture was journalled."""
        channels, seen = correlation.channels, picture.seen
        dead = (correlation.gone, correlation.gone_before)
        missing = {key for key in channels if key not in seen}
        changed = {key for key in seen if key in channels and self._differs(channels[key], seen[key])}
        self.older = {key for key in missing | changed if self._has_spoken_since(key)}
        """Channels of which the picture may be older than what we have."""
        self.missing = missing - self.older
        self.unknown = {key for key in seen if key not in channels and not any(key in gone for gone in dead)}
        self.changed = changed - self.older

    def _has_spoken_since(self, key: str) -> bool:
        """Whether an event of a channel is younger than the question, as far as its time can be compared with ours.

        One that was met in mid-life is asked for all the same: little is known of it.
        """
        known, track = self._correlation.channels[key], self._correlation.segments.tracks.get(key)
        last_ms = track.last if track is not None else known.party.created_ms
        return key not in self._watch.silent and not known.late and self._picture.asked_ms <= last_ms <= self._at_ms

    def _differs(self, known: Known, seen: Seen) -> bool:
        channel = seen.channel
        track = self._correlation.segments.tracks.get(channel.id)
        if channel.state != known.state and (
            channel.state == "Up"
            or (channel.state == "Ringing" and known.state != "Up" and last_state(track, known) != "Ringing")
        ):
            return True
        if (known.bridge[0] if known.bridge is not None else None) != (seen.bridge.id if seen.bridge else None):
            return True
        if channel.linkedid is not None and channel.linkedid != known.call:
            return True
        if known.late and known.call is None and self._picture.nth == 1:
            return True  # its linkedid will be asked for in the second look
        return channel.app not in NO_PLAN and track is not None and track.shown.app != channel.app

    def due(self, before: Look | None, settled: bool) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """What may be concluded now: channels to end, to adopt and to correct."""
        watch, picture = self._watch, self._picture
        silent = watch.silent
        ended: set[str] = set()
        adopted: set[str] = set()
        corrected: set[str] = set()
        startup_ms = picture.startup_ms
        if watch.startup is not None and picture.startup is not None and picture.startup != watch.startup:
            assert startup_ms is not None
            for key in self.missing:
                if key in silent or self._correlation.channels[key].party.created_ms < startup_ms:
                    ended.add(key)
        if before is None:
            if watch.gap is not None and watch.gap.from_ms is not None:
                adopted |= {key for key in self.unknown if picture.seen[key].created_ms < self._up_ms}
                corrected |= {key for key in self.changed if key in silent or self._met_late(key)}
        elif settled:
            ended |= {key for key in self.missing & before.missing if key in silent}
            adopted |= self.unknown & before.unknown
            corrected |= {key for key in self.changed & before.changed if key in silent}
        return frozenset(ended), frozenset(adopted), frozenset(corrected)

    def _met_late(self, key: str) -> bool:
        """Whether it began unseen, and an event of it came before this look: little is known of it but that it is."""
        known = self._correlation.channels[key]
        return known.late and known.party.created_ms < self._up_ms

    def story(self, ended: Iterable[str], adopted: Iterable[str], corrected: Iterable[str]) -> "Story":
        """What must have happened, for it to have come so."""
        story = Story(self._correlation, self._picture, _known_until(self._watch), self._watch.silent)
        for key in adopted:
            story.adopt(self._picture.seen[key])
        for key in corrected:
            story.correct(self._correlation.channels[key], self._picture.seen[key])
        for key in ended:
            story.end(self._correlation.channels[key])
        return story


class _Telling:
    """Folds inferred events and keeps count of what came of them."""

    def __init__(self, correlation: Correlation, n: int, bounds: Bounds) -> None:
        self.before = correlation
        self.after = correlation
        self.routed: list[Routed] = []
        self.reports: list[Unexpected] = []
        self.count = 0
        """Events inferred."""
        self._n = n
        self._bounds = bounds

    def tell(self, story: Story) -> None:
        for event in story.events():
            self.after, routed, reports = correlate(self.after, event, self._n, self._bounds, True)
            self.routed += routed
            self.reports += reports
            self.count += 1

    def forget_told(self, asked: frozenset[str]) -> None:
        """A linkedid that was asked for holds only now; from here on it is derived again."""
        channels = self.after.channels
        for key in sorted(asked):
            known = channels.get(key)
            if known is not None and known.told:
                channels = channels.set(key, known._replace(told=False))
        if channels is not self.after.channels:
            self.after = self.after._replace(channels=channels)

    def _account(self, gap: Gap | None) -> Account:
        return gaps.of_look(self.before, self.after, self.routed, self.count, gap)

    def noted(self, watch: Watch) -> Watch:
        """The open gap with this in its account."""
        gap = watch.gap
        return watch if gap is None or not self.count else watch._replace(gap=gap.noted(self._account(gap)))

    def outcome(self, picture: Picture, nth: int, before: Outcome | None, gap: Gap | None) -> Outcome:
        adopted, corrected, ended, *_ = self._account(gap)
        if before is not None and before.name == picture.name:
            adopted = joined(before.adopted, adopted)
            corrected = joined(before.corrected, corrected)
            ended = joined(before.ended, ended)
        return Outcome(picture.name, nth, len(picture.seen), adopted, corrected, ended)
