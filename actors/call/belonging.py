"""Channels and their calls: who is known, who waits for whom, and how calls meet and end.

What `correlation` decides, event by event, is done here. Its theory stands there.
"""

from collections.abc import Callable, Iterable
from typing import Any

from actors.call import asking
from actors.call import events as ari
from actors.call import late as lateness
from actors.call.decoding import milliseconds
from actors.call.effects import Unexpected
from actors.call.events import Channel, Event
from actors.call.inputs import (
    CallBody,
    CallInput,
    ChannelEnded,
    ChannelJoined,
    ChannelMoved,
    Party,
    Routed,
    SegmentEnded,
)
from actors.call.late import looks_called
from actors.call.register import CallNode, Correlation, Group, Known
from actors.call.segments import Fold
from actors.call.shelf import Shelf
from conf.settings import Bounds

REMEMBERED = 4096
"""Dead channels and ended calls remembered: between this many and twice as many. 50 calls/s fill it in 30 s."""

_BESIDE = 16
"""Unseen channels that a group waits for, of one bridge."""

RECENT = 4
"""Events remembered to know what comes twice: Asterisk's own duplicates follow at once."""


class Belonging:
    """Work on a state, event by event: changes are gathered here and become a new state when it is asked for."""

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
        "pages",
        "recent",
        "recordings",
        "recovered",
        "reports",
        "routed",
        "same",
        "same_ms",
        "state",
    )

    event: Event
    """The event that is worked on."""
    state: Correlation | None
    """What it has become so far; None while that is yet to be made."""

    def __init__(self, state: Correlation, bounds: Bounds) -> None:
        (
            self.counter,
            self.channels,
            self.locals,
            self.groups,
            self.calls,
            self.bridges,
            self.recordings,
            self.pages,
            self.gone,
            self.gone_before,
            segments,
            self.recent,
        ) = state
        self.same: Channel | None = None
        """The last event, if all that it said is that this channel is as it was; and its time."""
        self.same_ms = 0
        self.bounds = bounds
        self.fold = Fold(segments, bounds.segments)
        self.state = state

    def begin(self, event: Event, n: int, recovered: bool) -> None:
        self.state = self.same = None
        self.event = event
        self.at = event.at_ms
        self.n = n
        self.recovered = recovered
        self.routed: list[Routed] = []
        self.reports: list[Unexpected] = []
        self.fold.begin(self.at)

    def end(self) -> None:
        if type(self.event) is ari.ChannelDestroyed and len(self.gone) > REMEMBERED:
            self.gone, self.gone_before = Shelf(), self.gone
            self.fold.done()  # nobody may ask for a state for a long time, and the dead are gathered until then
            self.wait_no_longer()
            self.bridges = Shelf({bridge: call for bridge, call in self.bridges.items() if call in self.calls})
            self.recordings = Shelf({name: call for name, call in self.recordings.items() if call in self.calls})
        if self.fold.overflow:
            self.report("too-many-segments", "", f"more than {self.bounds.segments} at once")
        self.recent = ((self.event,) + self.recent)[:RECENT]  # noqa: RUF005  # half the cost of a star

    def done(self) -> Correlation:
        """The new state."""
        if self.state is None:
            self.state = Correlation(
                self.counter,
                self.channels,
                self.locals,
                self.groups,
                self.calls,
                self.bridges,
                self.recordings,
                self.pages,
                self.gone,
                self.gone_before,
                self.fold.done(),
                self.recent,
            )
        return self.state

    def report(self, what: str, where: str, detail: str) -> None:
        self.reports.append(Unexpected(what, type(self.event).__name__, where, detail))

    # -- telling calls --------------------------------------------------------------------------------------------

    def tell(self, known: Known, body: CallBody) -> None:
        """Tell a channel's call; hold it back while the channel is pending."""
        given = _new(CallInput, (self.n, self.at, body, self.recovered))
        if known.call is not None:
            self.routed.append(_new(Routed, (known.call, given)))
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
                self.tell(known, _new(SegmentEnded, row[1:]))  # the same fields, but for whose it is

    # -- channels and their calls ---------------------------------------------------------------------------------

    def see(self, channel: Channel) -> Known | None:
        """Find a channel, or meet it for the first time; None for a dead one."""
        try:
            known = self.channels[channel.id]
        except KeyError:
            if channel.id in self.gone or channel.id in self.gone_before:
                return None
            known = self.meet_first(channel)
            if self.groups or known.late:
                lateness.met(self, channel.id, channel)
                known = self.channels[channel.id]
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
            self.at if up and late and not snoop else None,
            up and not late,
            "snoop" if snoop else "caller",
            None,
            None,
            None,
            None,
            (),
        )
        key, order, peer = channel.id, (created, self.counter), looks_called(channel.app)
        local = name[-2:] in (";1", ";2")
        root = (
            channel.linkedid is None
            and not local
            and (snoop or channel.state == "Ring" or (late and not peer and not lateness.is_unclear(channel)))
        )
        known = Known(
            party,
            order,
            key if root else None,
            None if root else key,
            late,
            peer,
            False,
            None,
            None,
            False,
            channel.state,
            party.answered_ms,
            None,
            None,
            (),
            None,
        )
        self.channels = self.channels.set(key, known)
        joined = CallInput(self.n, self.at, ChannelJoined(party, None, self.counter), self.recovered or late)
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
        beside = tuple(dict.fromkeys((*theirs.beside, *mine.beside)))
        self.groups = self.groups.discard(younger).set(
            elder, Group((*theirs.members, *mine.members), held, theirs.claim, beside)
        )
        for member in mine.members:
            if member in self.channels:
                self.channels = self.channels.set(member, self.channels[member]._replace(group=elder))

    def believe(self, key: str, told: str) -> None:
        """The PBX itself says which call a channel belongs to."""
        known = self.channels[key]
        new = not known.told
        if new:
            known = known._replace(told=True)
            self.channels = self.channels.set(key, known)
        if told not in self.calls and (told in self.gone or told in self.gone_before):
            # The PBX goes on with a call whose last channel that we know has gone: nothing can be told of it any more.
            if known.call is None and new:
                self.report("call-has-ended", key, told)
            return
        if told not in self.calls:
            root = self.channels.get(told)
            self.calls = self.calls.set(told, CallNode(0, root.order if root is not None else known.order))
        if known.group is not None:
            self.resolve(known.group, told)
        else:
            self.move(key, told)

    def note_dialled(self, key: str, begins: bool, caller: str | None) -> None:
        """A channel was dialled: by whom, or by the PBX itself."""
        known = self.channels[key]
        origin = "dialled" if caller is not None else "originated"
        party = known.party
        if party.origin != origin or party.dialled_by != caller or known.dialled != begins:
            party = party._replace(origin=origin, dialled_by=caller)
            self.channels = self.channels.set(key, known._replace(party=party, dialled=known.dialled or begins))

    def become_root(self, key: str) -> None:
        """A pending channel that leads its group has a call of its own; its group shares it."""
        known = self.channels[key]
        if known.group == key and known.may_lead():
            self.lead(key)

    def lead(self, key: str) -> str:
        """A pending channel has a call of its own, whoever leads its group; its group shares it."""
        known = self.channels[key]
        assert known.group is not None
        if key not in self.calls:
            self.calls = self.calls.set(key, CallNode(0, known.order))
        self.resolve(known.group, key)
        return key

    def claimed(self, leader: str) -> None:
        """The last of a pending group has gone, or goes now; it was a call of its own."""
        claim = self.groups[leader].claim
        assert claim is not None
        self.calls = self.calls.set(leader, CallNode(0, claim))
        self.resolve(leader, leader)
        if self.calls[leader].live == 0:
            self.calls = self.calls.discard(leader)
            self.gone = self.gone.set(leader, self.at)

    def wait_no_longer(self) -> None:
        """Groups whose last channel has gone long ago wait in vain for those that a bridge named with them."""
        for leader, group in sorted(self.groups.items()):
            if group.beside and not any(member in self.channels for member in group.members):
                self.groups = self.groups.set(leader, group._replace(beside=()))
                if group.claim is not None:
                    self.claimed(leader)
                else:
                    self.forget_unknown(leader)

    def forget_unknown(self, leader: str) -> None:
        """Without its last channel nobody will say any more which call a pending group belongs to."""
        group = self.groups[leader]
        if group.beside or any(member in self.channels for member in group.members):
            return
        self.groups = self.groups.discard(leader)
        self.report("call-unknown", leader, f"{len(group.members)} called legs ended before any Dial named them")

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
        held = group.held
        if living and len(living) < len(group.members):
            # A call ends with its last leg: who lives joins before those end who have gone.
            held = tuple(sorted(held, key=lambda one: type(one[1].body) is not ChannelJoined))
        for member, given in held:
            body = given.body
            if type(body) is ChannelJoined and member in living:
                # Who dialled it is known by now; the rest is as it was when it was first seen.
                now = living[member]
                if now.origin != body.party.origin or now.dialled_by != body.party.dialled_by:
                    party = body.party._replace(origin=now.origin, dialled_by=now.dialled_by)
                    given = given._replace(body=body._replace(party=party))
            self.routed.append(Routed(call, given))
        if self.recovered:
            return  # a snapshot tells more of an answer than what follows
        for member in living:
            known = self.channels[member]
            shown = self.shown(member)
            if known.late and known.peer and shown is not None and known.party.state == "Up":
                # Nobody saw it being answered, but it was.
                answer = ari.Dial(self.at, None, shown, "ANSWER", "", None)
                self.routed.append(Routed(call, CallInput(self.n, self.at, answer, True)))

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
        entered = self.event.channel if type(self.event) is ari.ChannelEnteredBridge else None
        moved = ChannelMoved(key, call, entered)
        self.routed.append(Routed(before, CallInput(self.n, self.at, moved, self.recovered)))
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
        if self.pages:
            self.pages = self.pages.discard(key)
        if known.call is not None:
            self.leave(known.call)

    def meet(self, keys: Iterable[str], bridge: str) -> None:
        """These channels are in one bridge, where calls meet: all take the oldest linkedid there."""
        keys = tuple(keys)
        members = [self.channels[key] for key in keys if key in self.channels]
        oldest: str | None = None
        for known in members:
            call = known.call
            if call is not None and (oldest is None or self.calls[call].order < self.calls[oldest].order):
                oldest = call
        if oldest is not None:
            oldest = self.elder(members, oldest)
        elif self.bridges.get(bridge) in self.calls:
            oldest = self.bridges[bridge]
        if oldest is None:
            unseen = [key for key in keys if not (key in self.channels or key in self.gone or key in self.gone_before)]
            oldest = self.settle(members, unseen)
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

    def elder(self, members: list[Known], oldest: str) -> str:
        """The oldest call in a bridge, given the oldest that is known: who waits there and is older is a call of its
        own, or else belongs to one that is older still."""
        for known in sorted(members, key=lambda one: one.order):
            if known.order >= self.calls[oldest].order:
                break
            key = known.party.channel_id
            if known.group == key and not known.late and known.may_lead() and not known.peer:
                return self.lead(key)
        return oldest

    def settle(self, members: list[Known], unseen: list[str]) -> str | None:
        """Only pending channels have met: one group from here on. Its call, if one of them can be its root."""
        groups = {known.group for known in members if known.group is not None}
        leaders = sorted((self.channels[key] for key in groups if key in self.channels), key=lambda one: one.order)
        if len(leaders) < len(groups) or not leaders:
            return None  # whoever could have said which call it is has gone: it stays unknown
        eldest = leaders[0]
        key = eldest.party.channel_id
        for other in leaders[1:]:
            self.unite(other.party.channel_id, key)
        if unseen:
            group = self.groups[key]
            self.groups = self.groups.set(
                key, group._replace(beside=tuple(dict.fromkeys((*group.beside, *unseen[:_BESIDE]))))
            )
            return None
        if len(members) == 1 and eldest.party.channel[-2:] == ";1":
            return asking.consulting(self, eldest)
        inside = any(known.party.channel_id == key for known in members)
        alone = len(members) == 1 and (eldest.state != "Up" or asking.created_for(self, eldest))
        if not inside or eldest.party.channel[-2:] == ";1" or alone:
            return None
        return self.lead(key) if eldest.may_lead() else None

    def shown(self, key: str) -> Channel | None:
        """A channel as it was shown last, by this event if it is its own."""
        channel: Channel | None = getattr(self.event, "channel", None)
        return channel if channel is not None and channel.id == key else self.fold.shown(key)


_new: Callable[..., Any] = tuple.__new__
"""Makes a named tuple of its fields at half the cost of calling its class."""
