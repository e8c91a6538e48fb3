"""Gaps: what nobody saw, and what a snapshot of the PBX tells of it afterwards.

    looks, and what is doubtful (`actors.call.watch`) → events inferred → the same fold as frames

Theory. While the link is down Asterisk's events are gone for ever. What a PBX does *now* can be asked by REST, and some
of what happened can be concluded from it. The conclusions are ordinary events (`actors.call.events`), made here and
folded like any other, but for `recovered`: so calls, segments and messages need no second set of rules.

**Looks.** A snapshot races the events: what happened just before may still be on its way to us. And what it shows may
be older than what we had of a channel since the question: of one that has spoken since the link-up and after the
question it says nothing. So

- a channel is *adopted* at the first look after a gap if it is older than the link (its ChannelCreated cannot come any
  more), else when two looks show it and no event came; never when its ChannelDestroyed came. One that speaks before the
  look is met in mid-life (`correlation`), which begins its call: that is adopted as well, and counted so (`gap`);
- a silent channel (`watch`) is *corrected* at the first look after a gap, and so is one that began unseen and has
  spoken before it; else when two looks show the same and no event came;
- a channel is *ended* when two looks lack it and no event of it came between;
- two looks are of one link, and at least `SETTLED_MS` apart, from the answer of one to the question of the next; a
  first look that comes sooner (an operator's) begins a new pair.

A PBX that began anew in between (another `startup_time`) has none of the old channels: they end at the first look.

**Times**, the best that are known. Created: ARI's creationtime. Answered: `CDR(answer,u)`, else when the bridge was
created, else when it was first seen Up. Ended, left a bridge, moved on in the dialplan: when it was last known to be
otherwise, which for a gap is its beginning (of the first one, if it was not heard of between two): a lower bound, so
that no talk is claimed that nobody can prove. The cause of such an end is unknown (None), and who hung up is nobody.

Everything is pure; the order of what is inferred is by time, then by what has to come first, then by age.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from actors.call import events as ari
from actors.call import gap as gaps
from actors.call.correlation import correlate
from actors.call.effects import Unexpected
from actors.call.events import Event
from actors.call.gap import AUDIT, Account, Gap, joined
from actors.call.inference import NO_PLAN, Story, last_state, shown_in
from actors.call.inputs import Routed
from actors.call.picture import Picture, Seen, read
from actors.call.register import Correlation, Known
from actors.call.watch import Look, Outcome, Watch
from conf.settings import Bounds
from wire.store.row import Row

SETTLED_MS = 2000
"""Between two looks that may conclude something from what both of them lack, Unix milliseconds."""


class Found(NamedTuple):
    """What a row made of what is known."""

    correlation: Correlation
    watch: Watch
    routed: list[Routed]
    reports: list[Unexpected]
    told: list[Gap]
    """Gaps to be published, in order."""


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
        silent=watch.doubted(sorted(doubtful)),
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
        watch, said = watch.closed()
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
        story = Story(self._correlation, self._picture, self._watch.known_until, self._watch.silent)
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
