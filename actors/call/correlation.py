"""Which call does a channel belong to?

Theory. Asterisk's answer is the channel's `linkedid`. ARI's Channel carries it only when ari.conf has `channelvars =
CHANNEL(linkedid)`; then it is believed, whatever it says and whenever it changes. Otherwise it is derived, by the rules
by which Asterisk itself hands it on:

1. *Birth.* A channel takes the linkedid of whoever asked for it, else its own id. ARI does not say who asked, until
   a Dial begins and names caller and peer. Until then the channel is **pending**: it publishes nothing, what
   happens to it is held back, and is told to its call in order as soon as the call is known.
2. *Groups.* `Local/…;2` shares the fate of `;1`, and so does whatever a pending channel dials. A group is pending
   together and becomes known together: the legs of a `;2` often exist before the Dial that names its `;1`.
3. *Known.* A channel is the root of a call of its own when it came ringing in, when it dials, when it runs dialplan
   without ever having looked like a called leg, when it is the first in a bridge where calls meet, when it is a snoop,
   or when it was originated and ends. (What was originated may well belong to the call of its `originator`, which only
   the bridge tells: so it waits.) A called leg that ends before any Dial named it belongs to a call that we cannot
   know: it is reported, and nothing is published of it.
4. *Meeting.* In a bridge of class basic or stasis all members take the oldest linkedid there, oldest by the
   creation of the channel that it names. Conferences and parking lots never merge calls. When calls meet, the younger
   call is told which channels moved, the elder gets them with all that is known of them.
5. *Death.* After ChannelDestroyed a channel is remembered for a while, because events for it still follow, and so
   is an ended call, because nothing may begin it anew.

A channel first seen in mid-life (we connected late, events were lost) is treated the same, except that we cannot have
seen its Dial: it is a root if it runs an application, and waits for a bridge to tell if it is a called leg.

The segments (`segments`) are folded here too, because one may join channels of two calls; each complete one is told to
the call of its party A.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from pyrsistent import PMap, pmap

from actors.call import events as ari
from actors.call.effects import Unexpected
from actors.call.events import Channel, Event, milliseconds
from actors.call.inputs import (
    CallBody,
    CallInput,
    ChannelEnded,
    ChannelJoined,
    ChannelMoved,
    Party,
    Quality,
    Routed,
    SegmentEnded,
)
from actors.call.segments import UNDECIDED, Fold, Segments, unchanged
from conf.settings import Bounds

MERGING = frozenset({"basic", "stasis"})
"""Bridge classes in which calls meet."""

REMEMBERED = 4096
"""Dead channels and ended calls remembered: between this many and twice as many. 50 calls/s fill it in 30 s."""

_SNAPSHOTS = frozenset({"BRIDGEPEER", "BRIDGEPVTCALLID"})


class Known(NamedTuple):
    """A channel that lives."""

    party: Party
    """As first seen; who dialled it as known now."""
    order: tuple[int, int]
    """Creation time and place in the order of arrival: the smaller is the elder."""
    call: str | None
    """Its call; None while pending."""
    group: str | None
    """The channel that leads its group while pending; None once known."""
    late: bool
    """First seen in mid-life."""
    peer: bool
    """It has looked like a called leg: app AppDial or AppQueue."""
    dialled: bool
    """A Dial that began has named it as peer."""
    told: bool
    """The PBX says itself which call it belongs to."""
    state: str
    """ARI's channel state when first seen, or Up."""
    answered_ms: int | None
    bridge: tuple[str, str] | None
    """The bridge that it is in, and its technology."""
    held_ms: int | None
    """Since when it holds its peer."""
    monitors: tuple[tuple[str, int], ...]
    """See `Party.monitors`."""
    quality: Quality | None


class Group(NamedTuple):
    """Pending channels that will become known together, and what has happened to them."""

    members: tuple[str, ...]
    held: tuple[tuple[str, CallInput], ...]


class CallNode(NamedTuple):
    """A call that lives."""

    live: int
    """Channels in it."""
    order: tuple[int, int]
    """That of the channel whose id it bears."""


class Correlation(NamedTuple):
    """Channels, bridges and calls of one PBX: of those that live, but for what `gone` and `gone_before` remember."""

    counter: int
    """Channels seen so far."""
    channels: PMap[str, Known]
    locals: PMap[str, str]
    """Name of a living Local channel → its id."""
    groups: PMap[str, Group]
    calls: PMap[str, CallNode]
    bridges: PMap[str, str]
    """Bridge where calls meet → the call in it."""
    recordings: PMap[str, str]
    """ARI recording under way → the call that was told of it."""
    gone: PMap[str, int]
    """Dead channels and ended calls, the newer half."""
    gone_before: PMap[str, int]
    """The older half."""
    segments: Segments

    @classmethod
    def new(cls) -> "Correlation":
        """Nothing is known yet."""
        return cls(0, pmap(), pmap(), pmap(), pmap(), pmap(), pmap(), pmap(), pmap(), Segments.new())


def correlate(
    state: Correlation, event: Event, n: int, bounds: Bounds, recovered: bool = False
) -> tuple[Correlation, list[Routed], list[Unexpected]]:
    """Fold one event.

    Args:
        state: the state before it.
        event: the event.
        n: the row that it came in.
        bounds: how much is kept of anything.
        recovered: the event was inferred after a gap.

    Returns:
        The state after it, what is told to which call in order, and what had no place.
    """
    if isinstance(event, ari.UnknownEvent):
        return (
            state,
            [],
            [Unexpected("unknown-event", event.type, "", "a type that ARI did not have when this was written")],
        )
    kind = type(event)
    if isinstance(event, (ari.ChannelVarset, ari.ChannelConnectedLine)):  # a tuple is twice as fast as |
        done = _shortcut(state, event)
        if done is not None:
            return done, [], []
    work = _Work(state, event, n, bounds, recovered)
    _HANDLERS[kind](work, event)
    return work.done(), work.routed, work.reports


def _shortcut(state: Correlation, event: ari.ChannelVarset | ari.ChannelConnectedLine) -> Correlation | None:
    """Fold what changes nothing but a time, as half of all events do; None if there is more to it."""
    channel = event.channel
    known = state.channels.get(channel.id)
    if known is None or known.call is None or (channel.linkedid is not None and channel.linkedid != known.call):
        return None
    if type(event) is ari.ChannelVarset and event.variable not in _SNAPSHOTS:
        return None
    segments = unchanged(state.segments, channel, event.at_ms)
    if segments is None or segments is state.segments:
        return None if segments is None else state
    return state._replace(segments=segments)


def endpoint(name: str) -> str:
    """The endpoint (`tech/resource`) of a channel's name."""
    head, dash, _ = name.rpartition("-")
    return head if dash else name


class _Work:
    """One event's work: changes are gathered here and become a new state at the end."""

    __slots__ = (
        "at",
        "bounds",
        "bridges",
        "calls",
        "channels",
        "counter",
        "event",
        "fold",
        "gone",
        "gone_before",
        "groups",
        "locals",
        "n",
        "recordings",
        "recovered",
        "reports",
        "routed",
    )

    def __init__(self, state: Correlation, event: Event, n: int, bounds: Bounds, recovered: bool) -> None:
        (
            self.counter,
            self.channels,
            self.locals,
            self.groups,
            self.calls,
            self.bridges,
            self.recordings,
            self.gone,
            self.gone_before,
            segments,
        ) = state
        self.event = event
        self.at = event.at_ms
        self.n = n
        self.bounds = bounds
        self.recovered = recovered
        self.routed: list[Routed] = []
        self.reports: list[Unexpected] = []
        self.fold = Fold(segments, self.at, bounds.segments)

    def done(self) -> Correlation:
        if len(self.gone) > REMEMBERED:
            self.gone, self.gone_before = pmap(), self.gone
            self.bridges = pmap({bridge: call for bridge, call in self.bridges.items() if call in self.calls})
            self.recordings = pmap({name: call for name, call in self.recordings.items() if call in self.calls})
        if self.fold.overflow:
            self.report("too-many-segments", "", f"more than {self.bounds.segments} at once")
        return Correlation(
            self.counter,
            self.channels,
            self.locals,
            self.groups,
            self.calls,
            self.bridges,
            self.recordings,
            self.gone,
            self.gone_before,
            self.fold.done(),
        )

    def report(self, what: str, where: str, detail: str) -> None:
        self.reports.append(Unexpected(what, type(self.event).__name__, where, detail))

    # -- telling calls --------------------------------------------------------------------------------------------

    def tell(self, known: Known, body: CallBody) -> None:
        """Tell a channel's call; hold it back while the channel is pending."""
        given = CallInput(self.n, self.at, body, self.recovered)
        if known.call is not None:
            self.routed.append(Routed(known.call, given))
            return
        assert known.group is not None
        group = self.groups[known.group]
        if len(group.held) >= self.bounds.pending * len(group.members) and not isinstance(
            body, ChannelEnded | SegmentEnded
        ):
            self.report(
                "too-much-held", known.party.channel_id, f"more than {self.bounds.pending} events while pending"
            )
            return
        self.groups = self.groups.set(known.group, group._replace(held=(*group.held, (known.party.channel_id, given))))

    def flush_segments(self) -> None:
        """Tell the complete segments to their calls: before whatever ends the call."""
        rows, self.fold.rows = self.fold.rows, []
        for row in rows:
            known = self.channels.get(row.channel_id)
            if known is not None:
                self.tell(
                    known,
                    SegmentEnded(
                        row.channel,
                        row.dst_channel,
                        row.src,
                        row.dst,
                        row.start,
                        row.answer,
                        row.end,
                        row.disposition,
                        row.app,
                    ),
                )

    # -- channels and their calls ---------------------------------------------------------------------------------

    def see(self, channel: Channel) -> Known | None:
        """Find a channel, or meet it for the first time; None for a dead one."""
        known = self.channels.get(channel.id)
        if known is None:
            if channel.id in self.gone or channel.id in self.gone_before:
                return None
            known = self.meet_first(channel)
        told = channel.linkedid
        if told is not None and known.call != told:
            self.believe(channel.id, told)
            return self.channels.get(channel.id)
        return known

    def meet_first(self, channel: Channel) -> Known:
        self.counter += 1
        late = type(self.event) is not ari.ChannelCreated
        try:
            created = milliseconds(channel.creationtime)
        except ValueError:
            created = self.at
        limit = self.bounds.text
        name = channel.name
        up = channel.state == "Up"
        snoop = name.startswith("Snoop/")
        party = Party(
            channel.id,
            name[:limit],
            channel.number[:limit],
            channel.cid_name[:limit],
            channel.state,
            channel.context[:limit],
            channel.exten[:limit],
            created,
            None,
            up,
            "snoop" if snoop else "caller",
            None,
            None,
            None,
            None,
            (),
        )
        key, order, peer = channel.id, (created, self.counter), _is_peer(channel.app)
        local = name[-2:] in (";1", ";2")
        root = (
            channel.linkedid is None
            and not local
            and (snoop or channel.state == "Ring" or (late and channel.app != "" and not peer))
        )
        known = Known(
            party,
            order,
            key if root else None,
            None if root else key,
            late,
            peer,
            False,
            False,
            channel.state,
            None,
            None,
            None,
            (),
            None,
        )
        self.channels = self.channels.set(key, known)
        joined = CallInput(self.n, self.at, ChannelJoined(party, None, self.counter), self.recovered)
        if root:
            live = self.calls[key].live if key in self.calls else 0
            self.calls = self.calls.set(key, CallNode(live + 1, order))
            self.routed.append(Routed(key, joined))
            return known
        self.groups = self.groups.set(key, Group((key,), ((key, joined),)))
        if local:
            self.locals = self.locals.set(party.channel, key)
            if channel.linkedid is None:
                other = self.locals.get(party.channel[:-1] + ("1" if party.channel[-1] == "2" else "2"))
                if other is not None and name[-1] == "2":
                    self.follow(key, other)
                elif other is not None:
                    self.follow(other, key)
        return self.channels[key]

    def follow(self, key: str, leader: str) -> None:
        """`key` shares the fate of `leader`."""
        mine, theirs = self.channels[key], self.channels[leader]
        if mine.call is not None:
            return
        assert mine.group is not None
        if theirs.call is not None:
            self.resolve(mine.group, theirs.call)
        elif theirs.group != mine.group:
            assert theirs.group is not None
            self.unite(mine.group, theirs.group)

    def unite(self, younger: str, elder: str) -> None:
        """Make one pending group of two."""
        mine, theirs = self.groups[younger], self.groups[elder]
        held = tuple(sorted((*theirs.held, *mine.held), key=lambda one: one[1].n))
        self.groups = self.groups.discard(younger).set(elder, Group((*theirs.members, *mine.members), held))
        for member in mine.members:
            self.channels = self.channels.set(member, self.channels[member]._replace(group=elder))

    def believe(self, key: str, told: str) -> None:
        """The PBX itself says which call a channel belongs to."""
        known = self.channels[key]
        if not known.told:
            known = known._replace(told=True)
            self.channels = self.channels.set(key, known)
        if told in self.gone or told in self.gone_before:
            if known.call is None:
                self.report("call-has-ended", key, told)
                self.become_root(key)
            return
        if told not in self.calls:
            root = self.channels.get(told)
            self.calls = self.calls.set(told, CallNode(0, root.order if root is not None else known.order))
        if known.group is not None:
            self.resolve(known.group, told)
        else:
            self.move(key, told)

    def become_root(self, key: str) -> None:
        """A pending channel that leads its group has a call of its own; its group shares it."""
        if self.channels[key].group == key:
            self.lead(key)

    def lead(self, key: str) -> str:
        """A pending channel has a call of its own, whoever leads its group; its group shares it."""
        known = self.channels[key]
        assert known.group is not None
        if key not in self.calls:
            self.calls = self.calls.set(key, CallNode(0, known.order))
        self.resolve(known.group, key)
        return key

    def resolve(self, leader: str, call: str) -> None:
        """A pending group belongs to this call: everything held back is told to it, in order."""
        group = self.groups[leader]
        self.groups = self.groups.discard(leader)
        living: dict[str, Party] = {}
        for member in group.members:
            known = self.channels.get(member)
            if known is not None:
                living[member] = known.party
                self.channels = self.channels.set(member, known._replace(call=call, group=None))
        node = self.calls[call]
        self.calls = self.calls.set(call, node._replace(live=node.live + len(living)))
        for member, given in group.held:
            body = given.body
            if type(body) is ChannelJoined and member in living:
                # Who dialled it is known by now; the rest is as it was when it was first seen.
                now = living[member]
                if now.origin != body.party.origin or now.dialled_by != body.party.dialled_by:
                    party = body.party._replace(origin=now.origin, dialled_by=now.dialled_by)
                    given = given._replace(body=body._replace(party=party))
            self.routed.append(Routed(call, given))

    def move(self, key: str, call: str) -> None:
        """A channel goes on in another call."""
        known = self.channels[key]
        before = known.call
        assert before is not None
        known = known._replace(call=call)
        self.channels = self.channels.set(key, known)
        node = self.calls[call]
        self.calls = self.calls.set(call, node._replace(live=node.live + 1))
        bridge, technology = known.bridge or (None, None)
        party = known.party._replace(
            state=known.state,
            answered_ms=known.answered_ms,
            bridge_id=bridge,
            technology=technology,
            held_ms=known.held_ms,
            monitors=known.monitors,
        )
        joined = ChannelJoined(party, before, known.order[1])
        self.routed.append(Routed(call, CallInput(self.n, self.at, joined, self.recovered)))
        self.routed.append(Routed(before, CallInput(self.n, self.at, ChannelMoved(key, call), self.recovered)))
        self.leave(before)

    def leave(self, call: str) -> None:
        """A channel of this call is gone; without the last the call has ended."""
        node = self.calls[call]
        if node.live > 1:
            self.calls = self.calls.set(call, node._replace(live=node.live - 1))
        else:
            self.calls = self.calls.discard(call)
            self.gone = self.gone.set(call, self.at)

    def die(self, key: str) -> None:
        """A channel is gone."""
        known = self.channels[key]
        self.channels = self.channels.discard(key)
        if known.party.channel[-2:] in (";1", ";2") and self.locals.get(known.party.channel) == key:
            self.locals = self.locals.discard(known.party.channel)
        self.gone = self.gone.set(key, self.at)
        if known.call is not None:
            self.leave(known.call)

    def meet(self, keys: Iterable[str], bridge: str) -> None:
        """These channels are in one bridge, where calls meet: all take the oldest linkedid there."""
        members = [self.channels[key] for key in keys if key in self.channels]
        oldest: str | None = None
        for known in members:
            call = known.call
            if call is not None and (oldest is None or self.calls[call].order < self.calls[oldest].order):
                oldest = call
        if oldest is None and self.bridges.get(bridge) in self.calls:
            oldest = self.bridges[bridge]
        if oldest is None:
            oldest = self.settle(members)
            if oldest is None:
                return
        if self.bridges.get(bridge) != oldest:
            self.bridges = self.bridges.set(bridge, oldest)
        for known in members:
            if known.call == oldest:
                continue
            known = self.channels[known.party.channel_id]
            if known.group is not None:
                self.resolve(known.group, oldest)
            elif known.call != oldest and not known.told:
                self.move(known.party.channel_id, oldest)

    def settle(self, members: list[Known]) -> str | None:
        """Only pending channels have met: one group from here on. Its call, if one of them can be its root."""
        groups = {known.group for known in members if known.group is not None}
        leaders = sorted((self.channels[key] for key in groups if key in self.channels), key=lambda one: one.order)
        if len(leaders) < len(groups) or not leaders:
            return None  # whoever could have said which call it is has gone: it stays unknown
        eldest = leaders[0]
        key = eldest.party.channel_id
        for other in leaders[1:]:
            self.unite(other.party.channel_id, key)
        inside = any(known.party.channel_id == key for known in members)
        if not inside or eldest.party.channel[-2:] == ";1" or (len(members) == 1 and eldest.state != "Up"):
            return None
        return self.lead(key)

    # -- events ---------------------------------------------------------------------------------------------------

    def created(self, event: ari.ChannelCreated) -> None:
        channel = event.channel
        if channel.id in self.channels:
            self.report("created-twice", channel.id, channel.name)
            return
        known = self.see(channel)
        if known is None:
            return
        self.fold.born(channel, known.order)

    def changed(self, event: ari.ChannelStateChange | ari.ChannelDialplan | ari.ChannelCallerId) -> None:
        channel = event.channel
        known = self.see(channel)
        if known is None:
            return
        dialplan = type(event) is ari.ChannelDialplan
        self.fold.snapshot(channel, known.order, dialplan)
        if dialplan:
            if known.call is None:
                if _is_peer(channel.app):
                    if not known.peer:
                        known = known._replace(peer=True)
                        self.channels = self.channels.set(channel.id, known)
                elif not known.peer and channel.app not in _NOT_YET and (known.late or channel.app != "Stasis"):
                    self.become_root(channel.id)
                    known = self.channels[channel.id]
        elif channel.state != known.state and channel.state == "Up":
            # Any other state matters to nobody but the call itself: only who is Up can go on in another call.
            answered_ms = known.answered_ms
            if answered_ms is None and not known.party.born_up:
                answered_ms = self.at
            known = known._replace(state=channel.state, answered_ms=answered_ms)
            self.channels = self.channels.set(channel.id, known)
        if self.fold.rows:
            self.flush_segments()
        self.tell(known, event)

    def connected_line(self, event: ari.ChannelConnectedLine) -> None:
        known = self.see(event.channel)
        if known is not None:
            self.fold.snapshot(event.channel, known.order)
            if self.fold.rows:
                self.flush_segments()

    def varset(self, event: ari.ChannelVarset) -> None:
        channel = event.channel
        known = self.see(channel)
        if known is None:
            return
        if event.variable in _SNAPSHOTS:
            if known.call is None and known.late and event.variable == "BRIDGEPEER" and event.value:
                for key, other in self.channels.items():
                    if other.party.channel == event.value:
                        self.follow(channel.id, key)
                        break
            self.fold.snapshot(channel, known.order)
            if self.fold.rows:
                self.flush_segments()
            return
        if event.variable.startswith("RTPAUDIOQOS"):
            quality = measured(known.quality or _UNMEASURED, event.variable, event.value)
            if quality is not known.quality:
                self.channels = self.channels.set(channel.id, known._replace(quality=quality))
            return
        if event.variable == "MIXMONITOR_FILENAME" and len(known.monitors) < 16:
            known = known._replace(monitors=(*known.monitors, (event.value[: self.bounds.text], self.at)))
            self.channels = self.channels.set(channel.id, known)
        self.tell(known, event)

    def told_only(self, event: ari.ChannelDtmfReceived) -> None:
        known = self.see(event.channel)
        if known is not None:
            self.tell(known, event)

    def hold(self, event: ari.ChannelHold | ari.ChannelUnhold) -> None:
        known = self.see(event.channel)
        if known is None:
            return
        self.tell(known, event)
        held = self.at if isinstance(event, ari.ChannelHold) else None
        if (held is None) != (known.held_ms is None):
            known = known._replace(held_ms=held)
            self.channels = self.channels.set(event.channel.id, known)

    def hangup_request(self, event: ari.ChannelHangupRequest) -> None:
        known = self.see(event.channel)
        if known is None:
            return
        if event.cause and not event.soft:
            self.fold.hangup_cause(event.channel.id, event.cause)
        self.tell(known, event)

    def destroyed(self, event: ari.ChannelDestroyed) -> None:
        channel = event.channel
        known = self.see(channel)
        if known is None:
            return
        self.fold.destroyed(channel, known.order, event.cause)
        if known.call is None and known.group == channel.id and self.is_root_at_end(known, channel):
            self.become_root(channel.id)
            known = self.channels[channel.id]
        self.flush_segments()
        quality = self.channels[channel.id].quality
        self.tell(known, ChannelEnded(channel.id, event.cause, event.cause_text[: self.bounds.text], quality))
        self.die(channel.id)
        if known.group is not None:
            group = self.groups[known.group]
            if not any(member in self.channels for member in group.members):
                self.groups = self.groups.discard(known.group)
                self.report(
                    "call-unknown", known.group, f"{len(group.members)} called legs ended before any Dial named them"
                )

    def is_root_at_end(self, known: Known, channel: Channel) -> bool:
        """Whether a pending channel that ends was a call of its own."""
        if known.peer or len(self.groups[channel.id].members) > 1 or channel.name[-2:] in (";1", ";2"):
            return False
        return known.party.origin == "originated" or (known.late and not _is_peer(channel.app))

    def dial(self, event: ari.Dial) -> None:
        caller = self.see(event.channel) if event.channel is not None else None
        peer = self.see(event.peer)
        begins = event.dialstatus == ""
        if caller is not None and caller.call is None:
            assert event.channel is not None
            self.become_root(event.channel.id)
            caller = self.channels[event.channel.id]
            peer = self.channels.get(event.peer.id)
        if peer is not None:
            if caller is not None:
                if peer.call is None:
                    self.note_dialled(event.peer.id, begins, caller.party.channel_id)
                    self.follow(event.peer.id, caller.party.channel_id)
                elif begins:
                    self.note_dialled(event.peer.id, True, caller.party.channel_id)
                    if caller.call is not None and peer.call != caller.call and not peer.told:
                        self.move(event.peer.id, caller.call)
            elif begins and event.channel is None:
                self.note_dialled(event.peer.id, True, None)
            peer_now = self.channels[event.peer.id]
            if begins:
                self.fold.dial_began(event.channel, event.peer)
            elif event.dialstatus not in UNDECIDED:
                self.fold.dial_ended(event.channel, event.peer, event.dialstatus, peer_now.dialled)
        else:
            peer_now = None
        if self.fold.rows:
            self.flush_segments()
        told = self.channels[caller.party.channel_id] if caller is not None else peer_now
        if told is not None:
            self.tell(told, event)

    def note_dialled(self, key: str, begins: bool, caller: str | None) -> None:
        known = self.channels[key]
        origin = "dialled" if caller is not None else "originated"
        party = known.party
        if party.origin != origin or party.dialled_by != caller or known.dialled != begins:
            party = party._replace(origin=origin, dialled_by=caller)
            self.channels = self.channels.set(key, known._replace(party=party, dialled=known.dialled or begins))

    def entered(self, event: ari.ChannelEnteredBridge) -> None:
        channel, bridge = event.channel, event.bridge
        known = self.see(channel)
        if known is None:
            return
        if bridge.kind in MERGING:
            self.meet(bridge.members if channel.id in bridge.members else (*bridge.members, channel.id), bridge.id)
        else:
            self.become_root(channel.id)
        self.fold.entered(channel, bridge, known.order)
        known = self.channels[channel.id]
        known = known._replace(bridge=(bridge.id, bridge.technology))
        self.channels = self.channels.set(channel.id, known)
        if self.fold.rows:
            self.flush_segments()
        self.tell(known, event)

    def left(self, event: ari.ChannelLeftBridge) -> None:
        channel, bridge = event.channel, event.bridge
        known = self.see(channel)
        if known is None:
            return
        if (known.bridge is None or known.bridge[0] != bridge.id) and bridge.kind in MERGING:
            # We did not see it enter, so they may not have met before us.
            self.meet((channel.id, *bridge.members), bridge.id)
        self.fold.left(channel, bridge, known.order)
        known = self.channels[channel.id]
        if known.bridge is not None:
            known = known._replace(bridge=None)
            self.channels = self.channels.set(channel.id, known)
        if self.fold.rows:
            self.flush_segments()
        self.tell(known, event)

    def bridge_destroyed(self, event: ari.BridgeDestroyed) -> None:
        self.bridges = self.bridges.discard(event.bridge.id)

    def bridge_merged(self, event: ari.BridgeMerged) -> None:
        """Says nothing that the bridges' enters and leaves do not say."""

    def transfer(self, event: ari.BridgeBlindTransfer | ari.BridgeAttendedTransfer) -> None:
        """A transfer belongs to the call of who was transferred; it goes on, whoever transferred may not."""
        shown = [event.transferee, event.channel]
        if isinstance(event, ari.BridgeAttendedTransfer):
            shown = [event.transferee, event.channel, event.target, event.second]
        for channel in shown:
            if channel is not None:
                known = self.channels.get(channel.id)
                if known is not None and known.call is not None:
                    self.tell(known, event)
                    return
        self.report("no-such-channel", event.channel.id, "a transfer of nobody we know")

    def recording(self, event: ari.Recording) -> None:
        call = self.recordings.get(event.name)
        if event.event == "RecordingStarted" or call is None:
            if event.target_kind == "bridge":
                call = self.bridges.get(event.target)
                if call is None:
                    inside = [
                        known
                        for known in self.channels.values()
                        if known.bridge is not None and known.bridge[0] == event.target
                    ]
                    call = min(inside, key=lambda known: known.order).call if inside else None
            else:
                known = self.channels.get(self.spied(event.target))
                call = known.call if known is not None else None
        if call is None or call not in self.calls:
            self.report("no-such-call", event.target, f"recording {event.name[:64]}")
            return
        if event.event == "RecordingStarted":
            self.recordings = self.recordings.set(event.name, call)
        else:
            self.recordings = self.recordings.discard(event.name)
        self.routed.append(Routed(call, CallInput(self.n, self.at, event, self.recovered)))

    def spied(self, key: str) -> str:
        """The channel that a snoop listens to; any other channel is itself."""
        known = self.channels.get(key)
        if known is not None and known.party.origin == "snoop":
            target = endpoint(known.party.channel).removeprefix("Snoop/")
            if target in self.channels:
                return target
        return key


_UNMEASURED = Quality()
_NUMBER = r"=\s*(-?\d+(?:\.\d+)?)"
_LOST = re.compile(r"(?:^|;)\s*lp" + _NUMBER)
_COUNT = re.compile(r"(?:^|;)\s*rxcount" + _NUMBER)
_JITTER = re.compile(r"avgrxjitter" + _NUMBER)
_RTT = re.compile(r"avgrtt" + _NUMBER)
_MES = re.compile(r"avgrxmes" + _NUMBER)


def _found(pattern: re.Pattern[str], text: str) -> float | None:
    match = pattern.search(text)
    return float(match.group(1)) if match else None


def measured(known: Quality, variable: str, value: str) -> Quality:
    """Read one of Asterisk's RTPAUDIOQOS variables. Zero MES and zero RTT mean that nothing was measured.

    Args:
        known: what the variables before it said.
        variable: its name.
        value: its value, as "minrxjitter=000.000000;maxrxjitter=000.000500;avgrxjitter=000.000405;…".

    Returns:
        What is known with it; the same object if it says nothing.
    """
    value = value[:512]
    if variable == "RTPAUDIOQOS":
        lost, count = _found(_LOST, value), _found(_COUNT, value)
        if lost is not None and count is not None and lost + count > 0:
            return known._replace(loss_percent=round(100 * lost / (lost + count), 3))
    elif variable == "RTPAUDIOQOSJITTER":
        jitter = _found(_JITTER, value)
        if jitter is not None:
            return known._replace(jitter_ms=round(jitter * 1000, 3))
    elif variable == "RTPAUDIOQOSRTT":
        rtt = _found(_RTT, value)
        if rtt:
            return known._replace(rtt_ms=round(rtt * 1000, 3))
    else:
        mes = _found(_MES, value)
        if mes:
            return known._replace(mes=round(mes, 3))
    return known


_NOT_YET = frozenset({"", "AppDial2"})
"""Applications of a channel that has not entered the dialplan."""


def _is_peer(app: str) -> bool:
    """Whether an application is what Asterisk shows on a called leg."""
    return app in ("AppDial", "AppQueue")


_HANDLERS: dict[type, Callable[..., None]] = {
    ari.ChannelCreated: _Work.created,
    ari.ChannelStateChange: _Work.changed,
    ari.ChannelDialplan: _Work.changed,
    ari.ChannelCallerId: _Work.changed,
    ari.ChannelConnectedLine: _Work.connected_line,
    ari.ChannelVarset: _Work.varset,
    ari.ChannelDtmfReceived: _Work.told_only,
    ari.ChannelHold: _Work.hold,
    ari.ChannelUnhold: _Work.hold,
    ari.ChannelHangupRequest: _Work.hangup_request,
    ari.ChannelDestroyed: _Work.destroyed,
    ari.ChannelEnteredBridge: _Work.entered,
    ari.ChannelLeftBridge: _Work.left,
    ari.BridgeDestroyed: _Work.bridge_destroyed,
    ari.BridgeMerged: _Work.bridge_merged,
    ari.BridgeBlindTransfer: _Work.transfer,
    ari.BridgeAttendedTransfer: _Work.transfer,
    ari.Dial: _Work.dial,
    ari.Recording: _Work.recording,
}
