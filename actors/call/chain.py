"""The chain of records of each channel: its segments as party A, one after the other.

What `segments` decides, event by event, is done here. Its theory stands there.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from actors.call.asking import announced
from actors.call.decoding import milliseconds
from actors.call.events import Channel
from actors.call.quick import quick
from actors.call.series import added, put
from actors.call.shelf import Shelf

SINGLE, DIAL, PENDING, BRIDGED, PARKED, FINAL = range(6)

LEFT, DEPARTED = 1, 2

CAUSES = {17: "BUSY", 34: "CONGESTION", 3: "FAILED", 20: "FAILED", 16: "NO ANSWER", 19: "NO ANSWER"}
"""Hang-up cause → disposition of a record that no dial has decided; every other cause says NO ANSWER."""


@quick
class Record(NamedTuple):
    """One segment under way."""

    state: int
    start: int
    answer: int | None
    end: int | None
    disposition: str | None
    other: str | None
    """Party B's channel id."""
    other_name: str | None
    bridge: str
    app: str
    locked: bool
    """The application is settled: what A runs later does not change it."""
    exten: str
    touched: int
    """Time of the last thing that happened to this record alone; 0 for nothing."""


@quick
class Track(NamedTuple):
    """A channel as party A."""

    created: tuple[int, int]
    """Creation time and place in the order of arrival."""
    last: int
    """Time of the last thing that happened to it."""
    shown: Channel
    """As the last event showed it."""
    cause: int
    """Hang-up cause as far as it is known; 0 is unknown."""
    dialled: bool
    """Somebody called it, through the PBX."""
    originated: bool
    """The PBX called it by itself; if `dialled` as well, for an application, and until it is in a bridge it waits in
    one that nobody sees."""
    survived: int
    """0; `LEFT` a bridge while alive: the next dialplan or bridge takes these marks away; or `DEPARTED` from an
    application's: the application's next bridge leaves them."""
    rooted: bool
    """The first of `records` is the first that there ever was."""
    blind: bool
    """First seen in mid-life: what it did before is unknown, so its first record is told only with a B."""
    records: Sequence[Record]
    """See `series`."""


class Row(NamedTuple):
    """A segment that is complete."""

    channel_id: str
    """Party A: the segment belongs to this channel's call."""
    channel: str
    dst_channel: str | None
    src: str
    dst: str
    start: int
    answer: int | None
    end: int
    disposition: str
    app: str


_UNSEEN = 1 << 40
"""Taken from the order of arrival of a body that was never announced: nobody else has been in it."""

Tracks = Shelf[str, Track]
_NOBODY: dict[str, None] = {}
Others = Shelf[str, dict[str, None]]


class Segments(NamedTuple):
    """All segments under way on one PBX."""

    tracks: Tracks
    """Channel id → its records as party A."""
    others: Others
    """Channel id → channels that have it as party B."""

    @classmethod
    def new(cls) -> "Segments":
        """No segment is under way."""
        return cls(Shelf(), Shelf())


class Chains:
    """Work on the chains, event by event: changes are gathered here and become a new state when it is asked for."""

    __slots__ = (
        "_before",
        "_limit",
        "_others",
        "_others_before",
        "_tracks",
        "_tracks_before",
        "now",
        "overflow",
        "rows",
    )

    def __init__(self, before: Segments, limit: int) -> None:
        self._before = before
        self._tracks_before, self._others_before = before
        self._limit = limit
        self._tracks: dict[str, Track | None] = {}
        self._others: dict[str, dict[str, None]] = {}
        """Copies, that may change until the state is asked for."""
        self.begin(0)

    def begin(self, now: int) -> None:
        """An event begins."""
        self.now = now
        """Time of the event, Unix milliseconds."""
        self.rows: list[Row] = []
        """Segments that became complete."""
        self.overflow = 0
        """Records that were not begun, because the channel has too many."""

    def done(self) -> Segments:
        """The new state."""
        if self._tracks or self._others:
            tracks, others = self._before
            for key, track in self._tracks.items():
                tracks = tracks.set(key, track) if track is not None else tracks.discard(key)
            for key, users in self._others.items():
                others = others.set(key, users) if users else others.discard(key)
            self._before = _new(Segments, (tracks, others))
            self._tracks_before, self._others_before = tracks, others
            self._tracks, self._others = {}, {}
        return self._before

    def shown(self, key: str) -> Channel | None:
        """A channel as it was shown last."""
        track = self.track(key)
        return track.shown if track is not None else None

    # -- who there is ---------------------------------------------------------------------------------------------

    def track(self, key: str) -> Track | None:
        """A channel's track; None if there is none."""
        if key in self._tracks:
            return self._tracks[key]
        return self._tracks_before.get(key)

    def went_on(self, key: str, track: Track) -> None:
        """A channel was found `unchanged`: this is its track now."""
        self._tracks[key] = track

    def _living(self) -> Iterator[tuple[str, Track]]:
        """All channels there are, in no order."""
        for key in {*self._tracks_before, *self._tracks}:
            track = self.track(key)
            if track is not None:
                yield key, track

    def _mine(self, key: str) -> Track:
        track = self.track(key)
        assert track is not None
        return track

    def _put(self, key: str, index: int, record: Record) -> None:
        track = self._mine(key)
        if track.records[index] is not record:
            self._tracks[key] = track._replace(records=put(track.records, index, record))

    def _users(self, key: str) -> tuple[str, ...]:
        """Who has this channel as party B, in the order in which they took it."""
        users = self._others.get(key)
        return tuple(users if users is not None else self._others_before.get(key, ()))

    def _changing(self, key: str) -> dict[str, None]:
        users = self._others.get(key)
        if users is None:
            users = self._others[key] = dict(self._others_before.get(key, _NOBODY))
        return users

    def _take(self, other: str, user: str) -> None:
        self._changing(other)[user] = None

    def _forget(self, other: str, user: str) -> None:
        self._changing(other).pop(user, None)

    # -- one chain ------------------------------------------------------------------------------------------------

    def _born(self, channel: Channel, created: tuple[int, int], late: bool = True) -> Track:
        up = channel.state == "Up"
        record = Record(
            SINGLE, self.now, self.now if up else None, None, None, None, None, "", "", False, channel.exten, 0
        )
        # Asterisk always calls a ;1 itself; that it was originated instead shows in its Dial.
        return Track(created, self.now, channel, 0, channel.name[-2:] == ";1", False, 0, True, late, (record,))

    def _known(self, channel: Channel, created: tuple[int, int]) -> Track:
        """A channel's track; a new one if it is met in mid-life."""
        return self.track(channel.id) or self._born(channel, created)

    def _shown(self, track: Track, channel: Channel) -> Track:
        created, _, before, cause, dialled, originated, survived, rooted, blind, records = track
        if before.creationtime != channel.creationtime:
            return self._embodied(track, channel)
        shown: Track = _new(
            Track, (created, self.now, channel, cause, dialled, originated, survived, rooted, blind, records)
        )
        return shown

    def _embodied(self, track: Track, channel: Channel) -> Track:
        """Show a channel that goes on in another body (see `segments`)."""
        body = channel.creationtime
        place = (channel.context, channel.exten)
        former = min(
            (
                (place != (other.shown.context, other.shown.exten), other.created, key)
                for key, other in self._living()
                if key != channel.id
                and other.shown.creationtime == body
                and other.created[1] >= 0
                and (place == (other.shown.context, other.shown.exten) or other.shown.app == channel.app != "")
            ),
            default=None,
        )
        if former is not None:
            # They change bodies: who picked up a call has that of who was rung, and the other way round. Who was rung
            # gets one that nobody dialled, and shows that at its next snapshot. Its dial has just been answered.
            key = former[2]
            other = self._mine(key)
            self._tracks[key] = other._replace(
                created=track.created,
                shown=other.shown._replace(creationtime=track.shown.creationtime),
                survived=LEFT,
            )
            for one in (channel.id, key):
                for user in self._users(one):
                    self.goes_on(user)
            return track._replace(
                created=other.created,
                last=self.now,
                shown=channel,
                dialled=other.dialled,
                originated=other.originated,
                survived=other.survived,
            )
        try:
            created = milliseconds(body)
        except ValueError:
            created = self.now
        before = track.shown
        stood = (before.context, before.exten, before.priority)
        # A bridge took it, refused it, and it goes on where it stood: it has survived a bridge.
        survived = track.survived or (before.app != channel.app != "" and stood == (*place, channel.priority))
        return track._replace(
            created=(created, track.created[1] % _UNSEEN - _UNSEEN),
            last=self.now,
            shown=channel,
            dialled=(track.dialled or track.originated or announced(before)) and not survived,
            originated=False,
            survived=0,
        )

    def goes_on(self, key: str) -> None:
        """Something happens to this channel, or in a dial of it, that changes nothing but the time."""
        track = self.track(key)
        if track is not None:
            self._tracks[key] = track._replace(last=self.now)

    def _append(self, track: Track) -> Track:
        """Begin a new record at the end of the chain; the same track if there is no room for it."""
        record = self._next(track)
        return track._replace(records=added(track.records, record)) if record is not None else track

    def _next(
        self, track: Track, beside: Record | None = None, other: str | None = None, name: str = ""
    ) -> Record | None:
        """Make the record that comes next in the chain; None if there is no room for it.

        Args:
            track: the channel.
            beside: a record of the channel in a bridge, where it has another B as well.
            other: that B's channel id.
            name: that B's channel name.
        """
        if len(track.records) >= self._limit:
            self.overflow += 1
            return None
        last = track.records[-1]
        start = track.last if beside is None else max(track.last, beside.touched)
        # The engine looks at its last record, and what is over has kept party A as it was then.
        up = track.shown.state == "Up" and (last.state != FINAL or last.answer is not None or beside is None)
        answer = start if up else None
        if beside is None:
            return Record(SINGLE, start, answer, None, None, None, None, "", last.app, False, last.exten, 0)
        bridge = beside.bridge
        return Record(BRIDGED, start, answer, None, None, other, name, bridge, last.app, False, last.exten, 0)

    def _update(self, track: Track, record: Record) -> Record:
        """Take over what party A shows now."""
        shown = track.shown
        if shown.exten == "h":  # hang-up logic runs: the record ends before it
            return self._close(record, track)
        app, locked = record.app, record.locked
        if not locked and shown.app and (not app or not shown.app.lower().startswith("appdial")):
            app = shown.app
            locked = app == "Dial"
        answer = record.answer
        if answer is None and shown.state == "Up":
            answer = track.last
        if answer is record.answer and app == record.app and shown.exten == record.exten and locked is record.locked:
            return record
        return record._replace(app=app, locked=locked, answer=answer, exten=shown.exten)

    def _one_party_a(self, key: str, track: Track, record: Record, old: Track) -> tuple[Record, bool]:
        """Show party A to one of its records; says whether the record wants it."""
        state = record.state
        if state == FINAL:
            return record, track.shown.exten == "h"
        if state == PENDING and moved_on(old, track):
            if record.other is not None:
                return self._final(key, record, track), False
            record = record._replace(state=SINGLE)
        return self._update(track, record), True

    def _party_a(self, key: str, track: Track, old: Track) -> tuple[Track, bool]:
        """Show party A to all its records; says whether any wants it."""
        wanted = False
        changed = False
        records = []
        for record in track.records:
            after, wants = self._one_party_a(key, track, record, old)
            wanted = wanted or wants
            changed = changed or after is not record
            records.append(after)
        return (self._pruned(track._replace(records=tuple(records))) if changed else track), wanted

    def _close(self, record: Record, track: Track) -> Record:
        """Set a record's end and disposition, once. It may still be taken up again while it is not final."""
        if record.end is not None:
            return record
        end = max(track.last, record.touched)
        return record._replace(end=end, disposition=self._disposition(record, track))

    def _disposition(self, record: Record, track: Track) -> str:
        if record.disposition is not None:
            return record.disposition
        if record.answer is not None:
            return "ANSWERED"
        cause = track.cause
        if not cause and record.other is not None:
            other = self.track(record.other)
            cause = other.cause if other is not None else 0
        return CAUSES.get(cause, "NO ANSWER") if cause else "FAILED"

    def _final(self, key: str, record: Record, track: Track) -> Record:
        """End a record for good and tell it."""
        if record.end is None:
            end = max(track.last, record.touched)
            record = record._replace(state=FINAL, end=end, disposition=self._disposition(record, track))
        else:
            record = record._replace(state=FINAL)
        if record.other is None and (
            track.dialled
            or (record.app.lower().startswith("appdial") and (record.app != "AppDial2" or record.answer is None))
            or (track.blind and track.rooted and record.start == track.records[0].start)
        ):
            return record
        self.rows.append(
            _new(
                Row,
                (
                    key,
                    track.shown.name,
                    record.other_name,
                    track.shown.number,
                    record.exten,
                    record.start,
                    record.answer,
                    record.end,
                    record.disposition,
                    record.app,
                ),
            )
        )
        return record

    def _pruned(self, track: Track) -> Track:
        """Drop final records that decide nothing any more."""
        records = track.records
        if len(records) < 3:
            return track
        kept = []
        bridges: set[str] = set()
        last = len(records) - 1
        rooted = track.rooted
        for index, record in enumerate(records):
            if record.state == FINAL and index != last and (not record.bridge or record.bridge in bridges):
                if index == 0:
                    rooted = False
                continue
            if record.bridge:
                bridges.add(record.bridge)
            kept.append(record)
        if len(kept) == len(records):
            return track
        return track._replace(records=tuple(kept), rooted=rooted)


_new: Callable[..., Any] = tuple.__new__
"""Makes a named tuple of its fields at half the cost of calling its class."""


def moved_on(before: Track, after: Track) -> bool:
    """Whether a channel runs other dialplan than before."""
    old, new = before.shown, after.shown
    return (
        new.app != old.app
        and not new.app.lower().startswith("appdial")
        and (new.context != old.context or new.exten != old.exten or new.priority != old.priority)
        and new.exten != "h"
    )


def continues(before: Channel, after: Channel) -> bool:
    """Whether a channel runs the next of the same extension."""
    return (
        before.app not in ("", "AppDial2")
        and (before.context, before.exten) == (after.context, after.exten)
        and before.priority < after.priority
    )


def sent_on(before: Track, after: Channel) -> bool:
    """Whether a called leg is sent into dialplan of its own before it is in a bridge, as by Dial's `G`.

    That is beyond the first priority, which is its caller's. Dial itself only takes the extension away, and a
    subroutine begins at the first.
    """
    old = before.shown
    return (
        old.app == after.app == "AppDial"
        and after.state == "Up"
        and after.exten not in ("", "h")
        and after.priority > 1
        and (old.context, old.exten, old.priority) != (after.context, after.exten, after.priority)
        and all(record.state != BRIDGED for record in before.records)
    )


def numbered(key: str) -> int | None:
    """Place of a channel among all that the PBX made, from its id; None if that was chosen by who asked for it."""
    seconds, _, number = key.rpartition("-")[2].partition(".")
    return int(number) if seconds.isdecimal() and number.isdecimal() else None
