"""Segments: who talked with whom, from when to when, as Asterisk's CDR would say it.

Theory. A segment is party A's time with party B, or alone in an application. Each channel has a chain of records of
which it is party A. A record is in one of six states and moves on what ARI shows of the same things that the CDR engine
listens to: snapshots of a channel, begin and end of a dial, entering and leaving a bridge.

    single ──dial begins──→ dial ──answered──→ pending ──enters a bridge──→ bridge ──leaves it──→ final
       │                     └──failed──→ final     └──runs dialplan──→ final or single
       ├──enters a bridge──→ bridge
       └──enters a parking lot──→ parked ──leaves it──→ final

- Snapshots. Asterisk's engine sees every one, ARI shows these: Created, StateChange, Dialplan, CallerId, ConnectedLine,
  Destroyed, and ChannelVarset of BRIDGEPEER and BRIDGEPVTCALLID. Each is a chance to be answered (A is Up) or to
  begin a new record (A runs other dialplan than before, and none of its records wants it).
- Two in a bridge: A is the one that was not dialled, else the elder. A newcomer is paired with everybody there. Whoever
  loses as A everywhere ends its record; it may be taken up again.
- Dialled is the peer of a Dial that began, unless it was originated; the mark goes when the channel survives a bridge,
  or when its caller sends it into dialplan of its own (there the caller's goes too). From one bridge of an application
  to its next it departs, and keeps the mark; so does whom ARI creates and dials, out of a first bridge that nobody
  sees, but not where AMI moves it out of that.
  Whom Page calls, whom an originated phone forwards to and who is called back after a transfer are dialled, though
  their Dials name no caller (`asking`).
- A channel may go on in another body: creationtime tells. One that AMI redirects or bridges out of what it runs gets a
  new one, which is called as the old one was, and is no originated one any more. Who picks up a call gets that of who
  was rung, and the other way round. The elder of two is whose body is.
- An end is told at the time of the last thing that happened to A (its voice was measured, too), not of the event that
  ended it.
- A dialled channel's record without B is no segment: it repeats somebody's B. Neither is that of an originated channel
  that nobody answered; once answered it runs an application, which ARI often does not show.

A record that is final is told at once (`Row`); a final record is kept only while it decides what comes next. In the
worst case a chain has one record for each other member of a conference.

Source: the behaviour of Asterisk 22's main/cdr.c, and `ari/truth.md`.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from actors.call.chain import (
    BRIDGED,
    DEPARTED,
    DIAL,
    FINAL,
    LEFT,
    PARKED,
    PENDING,
    SINGLE,
    Chains,
    Record,
    Track,
    continues,
    moved_on,
    numbered,
    sent_on,
)
from actors.call.events import Bridge, Channel
from actors.call.late import looks_called
from actors.call.series import added, put, where

STATUSES = {
    "ANSWER": "ANSWERED",
    "BUSY": "BUSY",
    "CANCEL": "NO ANSWER",
    "NOANSWER": "NO ANSWER",
    "CONGESTION": "CONGESTION",
}
"""Dial's dialstatus → disposition; every other one says FAILED."""

UNDECIDED = frozenset({"RINGING", "PROCEEDING", "PROGRESS"})
"""Dial's dialstatus that end nothing."""


class Fold(Chains):
    """Work on the segments: one method for each thing that happens."""

    __slots__ = ()

    # -- what happens ---------------------------------------------------------------------------------------------

    def born(self, channel: Channel, created: tuple[int, int]) -> None:
        """A channel begins."""
        self._tracks[channel.id] = self._born(channel, created, late=False)

    def snapshot(self, channel: Channel, created: tuple[int, int], dialplan: bool = False) -> None:
        """A channel as it is now."""
        key = channel.id
        old = self.track(key)
        if old is None:
            self._tracks[key] = self._born(channel, created)
            return
        if dialplan and old.dialled and sent_on(old, channel):
            old = old._replace(dialled=False)
            for user in self._users(key):  # who called it goes the same way
                caller = self.track(user)
                if caller is not None and any(one.other == key and one.state == DIAL for one in caller.records):
                    self._tracks[user] = caller._replace(dialled=False, originated=False)
        if dialplan and channel.exten != "h" and not channel.app.startswith("AppDial"):
            if old.survived:
                # Who runs dialplan, and goes on with it, has not been sent out of its bridge: it keeps its marks.
                kept = not looks_called(old.shown.app) and continues(old.shown, channel)
                dialled, originated = old.dialled and kept, old.originated and kept
                old = old._replace(dialled=dialled, originated=originated, survived=0)
            if channel.app == old.shown.app and any(record.state == BRIDGED for record in old.records):
                channel = channel._replace(app="")  # it is sent to where it has not run anything yet
        track, wanted = self._party_a(key, self._shown(old, channel), old)
        if not wanted and channel.app and channel.exten != "h" and moved_on(old, track):
            track = self._append(track)
            track, _ = self._party_a(key, track, track)
        self._tracks[key] = track

    def destroyed(self, channel: Channel, created: tuple[int, int], cause: int) -> None:
        """A channel is gone: its records end, and those of others with it."""
        key = channel.id
        track = self._shown(self._known(channel, created), channel)._replace(cause=cause)
        track = track._replace(
            records=tuple(
                record if record.state == FINAL else self._final(key, self._update(track, record), track)
                for record in track.records
            )
        )
        for record in track.records:
            if record.other is not None:
                self._forget(record.other, key)
        self._tracks[key] = track  # finalising what has us as B reads our cause
        for user in self._users(key):
            theirs = self.track(user)
            if theirs is None or user == key:
                continue
            after = theirs.records
            for at in where(after, "other", key):
                record = after[at]
                ended = (
                    self._final(user, record, theirs) if record.state in _ENDED_BY_B else self._close(record, theirs)
                )
                after = put(after, at, ended)
            theirs = theirs._replace(records=after)
            # In a large conference each party has a record with each: to prune them at every end costs more than they.
            self._tracks[user] = self._pruned(theirs) if len(after) <= _SMALL else theirs
        self._tracks[key] = None
        self._changing(key).clear()

    def hangup_cause(self, key: str, cause: int) -> None:
        """A hang-up was asked for with this cause; not softly, for that one's cause is not the channel's."""
        track = self.track(key)
        if track is not None and cause:
            self._tracks[key] = track._replace(cause=cause)

    def dial_began(self, caller: Channel | None, peer: Channel) -> None:
        """A dial begins; without caller the peer is being originated."""
        other = self.track(peer.id)
        if other is not None:
            alone = caller is None and peer.app == "AppDial2"
            self._tracks[peer.id] = other._replace(dialled=not alone, originated=caller is None, survived=0)
        shown = caller or peer
        key = shown.id
        old = self.track(key)
        if old is None:
            return
        if caller is not None and old.survived:
            old = old._replace(dialled=False, originated=False, survived=0)
        track = self._shown(old, _still_there(old.shown, shown))
        taken = False
        records = []
        for record in track.records:
            if record.state == SINGLE:
                taken = True
                record = self._dialling(key, record, track, caller, peer)
            elif record.state == PENDING:
                record = self._final(key, record, track)
            records.append(record)
        track = track._replace(records=tuple(records))
        if not taken:
            grown = self._append(track)
            if grown is not track:
                records = list(grown.records)
                records[-1] = self._dialling(key, records[-1], grown, caller, peer)
                track = grown._replace(records=tuple(records))
        self._tracks[key] = self._pruned(track)

    def dialled(self, key: str) -> None:
        """A channel counts as dialled, though no caller was named."""
        track = self.track(key)
        if track is not None:
            self._tracks[key] = track._replace(dialled=True, originated=False)

    def dial_ended(self, caller: Channel | None, peer: Channel, status: str, begun: bool) -> None:
        """A dial is decided.

        Args:
            caller: who dialled; None for an originated channel.
            peer: who was dialled.
            status: Dial's dialstatus, none of `UNDECIDED`.
            begun: we saw this dial begin; an ANSWER of one never begun is a pickup, whose winner counts as dialled.
        """
        if not begun and status == "ANSWER" and caller is not None:
            other = self.track(peer.id)
            if other is not None:
                self._tracks[peer.id] = other._replace(dialled=True, originated=False, survived=0)
        shown = caller or peer
        key = shown.id
        old = self.track(key)
        if old is None:
            return
        if caller is None and looks_called(peer.app):  # who dialled has another body since, of which ARI is silent
            for user in self._users(key):
                self.goes_on(user)
        track = self._shown(old, _still_there(old.shown, shown))
        if caller is not None and status not in ("ANSWER", "CANCEL"):
            other = self.track(peer.id)
            if other is not None and other.cause:  # Dial hands the cause of who was dialled to who dials
                track = track._replace(cause=other.cause)
        records = []
        for record in track.records:
            if record.state == DIAL and (record.other is None or record.other == peer.id):
                record = record._replace(disposition=STATUSES.get(status, "FAILED"))
                record = record._replace(state=PENDING) if status == "ANSWER" else self._final(key, record, track)
            records.append(record)
        self._tracks[key] = self._pruned(track._replace(records=tuple(records)))

    def entered(self, channel: Channel, bridge: Bridge, created: tuple[int, int]) -> None:
        """A channel enters a bridge."""
        if _only_holds(bridge):
            self.snapshot(channel, created)
            return
        key = channel.id
        old = self._known(channel, created)
        if bridge.kind == "stasis" and old.survived != LEFT:
            old = old._replace(survived=0) if old.survived else old
        elif old.survived or (old.dialled and old.originated):
            old = old._replace(dialled=False, originated=False, survived=0)
        if bridge.kind == "parking":
            self._tracks[key] = self._pruned(self._parked(key, self._shown(old, channel), old))
            return
        self._tracks[key] = self._shown(old, channel)
        before = old
        handled: int | None = None
        while True:
            index = 0
            while index < len(self._mine(key).records):
                track = self._mine(key)
                record = track.records[index]
                record = self._one_party_a(key, track, record, before)[0]
                self._put(key, index, record)
                if record.state in (SINGLE, DIAL, PENDING):
                    paired = self._enter(key, index, bridge)
                    if handled is None:
                        handled = index
                    if not paired:
                        first = self._mine(key)
                        if first.rooted:
                            self._put(key, 0, self._close(first.records[0], first))
                index += 1
            if handled is not None:
                break
            grown = self._append(self._mine(key))
            if grown is self._mine(key):
                break
            self._tracks[key] = grown
            before = grown
        if handled is not None:
            self._pair(key, handled, bridge)
        self._tracks[key] = self._pruned(self._mine(key))

    def left(self, channel: Channel, bridge: Bridge, created: tuple[int, int]) -> None:
        """A channel leaves a bridge."""
        if _only_holds(bridge):
            self.snapshot(channel, created)
            return
        key = channel.id
        old = self._known(channel, created)
        # A bridge message carries a channel too, but the engine takes nothing from it at a leave.
        # An application departs a channel, which is no survival to Asterisk; who is sent elsewhere runs nothing yet.
        departed = bridge.kind == "stasis" and old.shown.app
        track = old._replace(last=self.now, survived=DEPARTED if departed else LEFT)
        gone = False
        records = []
        for record in track.records:
            if record.state in (SINGLE, DIAL, PENDING):
                record = record._replace(bridge="")
                gone = True
            elif record.state == PARKED or (record.state == BRIDGED and record.bridge == bridge.id):
                record = self._final(key, record, track)._replace(bridge="")
                gone = True
            records.append(record)
        self._tracks[key] = self._pruned(track._replace(records=tuple(records)))
        if not gone or bridge.kind == "parking":
            return
        for user in self._users(key):
            theirs = self.track(user)
            if theirs is None:
                continue
            after = theirs.records
            for at in where(after, "other", key):
                record = after[at]
                if record.state == BRIDGED and record.bridge == bridge.id:
                    after = put(after, at, self._close(record._replace(touched=self.now), theirs))
            self._tracks[user] = theirs._replace(records=after)

    # -- dial, park, bridge ---------------------------------------------------------------------------------------

    def _dialling(self, key: str, record: Record, track: Track, caller: Channel | None, peer: Channel) -> Record:
        record = self._update(track, record)
        if caller is not None:
            self._take(peer.id, key)
            return record._replace(state=DIAL, other=peer.id, other_name=peer.name, locked=True)
        return record._replace(state=DIAL)

    def _parked(self, key: str, track: Track, old: Track) -> Track:
        taken = False
        records = []
        for record in track.records:
            if record.state == SINGLE or (record.state == PENDING and record.other is None):
                record = record._replace(state=PARKED)
                taken = True
            records.append(self._one_party_a(key, track, record, old)[0])
        track = track._replace(records=tuple(records))
        if taken:
            return track
        grown = self._append(track)
        if grown is track:
            return track
        return grown._replace(records=(*grown.records[:-1], grown.records[-1]._replace(state=PARKED, app="Park")))

    def is_a(self, key: str, other: str) -> bool:
        """Whether `key` is party A towards `other`."""
        mine, theirs = self.track(key), self.track(other)
        if mine is None or theirs is None:
            return mine is not None
        if mine.dialled != theirs.dialled:
            return theirs.dialled
        if mine.created[0] == theirs.created[0]:  # several threads make channels: some tell of theirs late
            first, second = numbered(key), numbered(other)
            if first is not None and second is not None:
                return first <= second
        return mine.created <= theirs.created

    def _enter(self, key: str, index: int, bridge: Bridge) -> bool:
        """One record of the newcomer enters; says whether it is settled: it found a B there, or nobody is there."""
        record = self._mine(key).records[index]
        dialled = record.state != SINGLE
        record = record._replace(bridge=bridge.id, state=BRIDGED)
        if len(bridge.members) <= 1:
            self._put(key, index, record)
            return bridge.creator != "ConfBridge"  # whose announcer is in it unseen
        found = False
        # In a conference everybody has a record with everybody: each party is compared once, not once per record.
        leads = _Leads(self, key)
        if not (dialled and record.other is None) and (dialled or self._leads_any(leads, bridge)):
            for member in bridge.members:
                theirs = self.track(member)
                if theirs is None or member == key:
                    continue
                for at, candidate in enumerate(theirs.records):
                    if candidate.state != BRIDGED or candidate.bridge != bridge.id:
                        continue
                    if dialled:
                        if record.other != member:
                            continue
                    elif leads[member]:
                        record = record._replace(other=member, other_name=theirs.shown.name)
                        self._take(member, key)
                    elif leads[candidate.other]:
                        assert candidate.other is not None
                        record = record._replace(other=candidate.other, other_name=candidate.other_name)
                        self._take(candidate.other, key)
                        found = True
                        break
                    else:
                        continue
                    if candidate.other is None:
                        self._put(member, at, self._close(candidate, theirs))
                    found = True
                    break
                if found:
                    break
        self._put(key, index, record)
        return found

    def _leads_any(self, leads: "_Leads", bridge: Bridge) -> bool:
        """Whether the newcomer may be party A towards anybody in a conference; in a small bridge: perhaps."""
        if len(bridge.members) <= _SMALL or any(leads[member] for member in bridge.members):
            return True
        return any(leads[other] for other in (*self._others, *self._others_before))

    def _pair(self, key: str, index: int, bridge: Bridge) -> None:
        """Pair the newcomer with everybody in the bridge whom it does not have yet."""
        for member in bridge.members:
            if member == key:
                continue
            theirs = self.track(member)
            if theirs is None:
                continue
            mine = self._mine(key)
            record = mine.records[index]
            for at, candidate in enumerate(theirs.records):
                if candidate.bridge != record.bridge:
                    continue
                if record.other == member:
                    break
                if self.is_a(key, member):
                    self._add(key, member, theirs.shown.name, record)
                elif candidate.other is not None and candidate.other != key:
                    self._add(member, key, mine.shown.name, candidate)
                else:
                    self._take(key, member)
                    self._put(member, at, candidate._replace(other=key, other_name=mine.shown.name, end=None))
                break

    def _add(self, key: str, other: str, other_name: str, beside: Record) -> None:
        """Begin a record with this B beside one that has another."""
        mine = self._mine(key)
        record = self._next(mine, beside, other, other_name)
        if record is not None:
            self._take(other, key)
            self._tracks[key] = mine._replace(records=added(mine.records, record))


_ENDED_BY_B = frozenset({DIAL, BRIDGED})
"""States of a record that the end of its B makes final."""

_SMALL = 8
"""Members of a bridge up to which it is quicker to look at all their records than to find out if that is worth it."""


def _only_holds(bridge: Bridge) -> bool:
    """Whether nobody is connected in a bridge, nor parked."""
    return bridge.technology == "holding_bridge" and bridge.kind != "parking"


def _still_there(before: Channel, dials: Channel) -> Channel:
    """Who dials, as a Dial shows it, but where the engine saw it last: a Dial shows already where it is being sent,
    while all snapshots that go there have a ChannelDialplan, unless nothing runs."""
    where = (before.context, before.exten, before.priority)
    if where == (dials.context, dials.exten, dials.priority) or not dials.app:
        return dials
    return dials._replace(context=before.context, exten=before.exten, priority=before.priority)


class _Leads(dict[str | None, bool]):
    """Whether a channel is party A towards each other, found out when it is asked."""

    def __init__(self, fold: Fold, key: str) -> None:
        super().__init__({None: False, key: False})
        self._fold = fold
        self._key = key

    def __missing__(self, other: str | None) -> bool:
        assert other is not None
        leads = self[other] = self._fold.is_a(self._key, other)
        return leads


_new: Callable[..., Any] = tuple.__new__
"""Makes a named tuple of its fields at half the cost of calling its class."""

_seen = itemgetter(
    *map(Channel._fields.index, ("state", "app", "exten", "priority", "context", "number", "creationtime"))
)
"""What the segments see of a channel; twice as fast as one field after the other."""


def unchanged(track: Track, channel: Channel, now: int) -> Track | None:
    """Show a channel as it is now, if that changes nothing but the time: most snapshots are of this kind.

    Args:
        track: the channel's, before it.
        channel: the channel as it is now.
        now: time of the event, Unix milliseconds.

    Returns:
        The track after it; None if there is more to it, and a `Fold` must do it.
    """
    if _seen(track.shown) != _seen(channel):
        return None
    if channel.state == "Up" and track.records[-1].answer is None:
        return None  # it may be answered only now
    if track.last == now:
        return track
    later: Track = _new(Track, (track.created, now) + track[2:])  # noqa: RUF005  # a third faster than with a star
    return later
