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
   creation of the channel that it names. Conferences, parking lots and other holding bridges never merge calls. When
   calls meet, the younger call is told which channels moved, the elder gets them with all that is known of them.
5. *Death.* After ChannelDestroyed a channel is remembered for a while, because events for it still follow, and so
   is an ended call, because nothing may begin it anew.

Of a channel first seen in mid-life (we connected late, events were lost) we cannot have seen the Dial: `late` says
what is made of it.

The segments (`segments`) are folded here too, because one may join channels of two calls; each complete one is told to
the call of its party A.
"""

from collections.abc import Callable

from actors.call import asking
from actors.call import events as ari
from actors.call.belonging import Belonging
from actors.call.decoding import milliseconds
from actors.call.effects import Unexpected
from actors.call.events import Channel, Event, endpoint
from actors.call.inference import answered, unseen
from actors.call.inputs import CallInput, ChannelEnded, Routed
from actors.call.late import ends_as_root, is_unclear, looks_called, seek, tie
from actors.call.quality import measured
from actors.call.register import Correlation, Known
from actors.call.segments import UNDECIDED, unchanged
from conf.settings import Bounds

_SNAPSHOTS = frozenset({"BRIDGEPEER", "BRIDGEPVTCALLID"})
"""ChannelVarset of these come with a snapshot of the channel, and say nothing else that matters."""

_MEASURED = "RTPAUDIOQOS"
"""First of the variables of a channel's quality: the engine sees a snapshot behind the last of them."""


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
    work = Work(state, bounds)
    routed, reports = work.take(event, n, recovered)
    return work.done(), routed, reports


class Work(Belonging):
    """A `Correlation` under way, for whoever folds many events in a row: one method for each type of event."""

    __slots__ = ()

    def take(self, event: Event, n: int, recovered: bool = False) -> tuple[list[Routed], list[Unexpected]]:
        """Fold one event; see `correlate`. One that raises leaves nothing that could be gone on with."""
        kind = type(event)
        if type(event) is ari.ChannelVarset or type(event) is ari.ChannelConnectedLine:
            if self.alike(event):
                return [], []
        elif type(event) is ari.UnknownEvent:
            what = "a type that ARI did not have when this was written"
            return [], [Unexpected("unknown-event", event.type, "", what)]
        if event in self.recent and any(type(one) is kind and one == event for one in self.recent):
            # The same in every field, to the millisecond: a digit lasts longer, and nobody enters a bridge twice.
            return [], []
        told: list[Routed] = []
        reports: list[Unexpected] = []
        if not recovered and (up := unseen(self.channels, event)):
            for missed in answered(self.done(), up, event.at_ms):
                more, unexpected = self.take(missed, n, True)
                told += more
                reports += unexpected
        self.begin(event, n, recovered)
        _HANDLERS[kind](self, event)
        self.end()
        return told + self.routed if told else self.routed, reports + self.reports if reports else self.reports

    def alike(self, event: ari.ChannelVarset | ari.ChannelConnectedLine) -> bool:
        """Fold what changes nothing but a time or a measurement, as half of all events do.

        Returns:
            Whether it was of that kind; if not, nothing was done.
        """
        channel, at = event.channel, event.at_ms
        variable = event.variable if type(event) is ari.ChannelVarset else None
        snapshot = variable is None or variable in _SNAPSHOTS
        if snapshot and channel is self.same and at == self.same_ms:
            return True
        key = channel.id
        known = self.channels.get(key)
        if known is None or known.call is None or (channel.linkedid is not None and channel.linkedid != known.call):
            return False
        if channel.state == "Up" and known.state != "Up":
            return False
        track = self.fold.track(key)
        if snapshot:
            now = unchanged(track, channel, at) if track is not None else None
            if now is None:
                return False
            self.same, self.same_ms = channel, at
        else:
            assert type(event) is ari.ChannelVarset
            if not event.variable.startswith(_MEASURED):
                return False
            quality = measured(known.quality, event.variable, event.value)
            if quality is not known.quality:
                self.channels = self.channels.set(key, known._replace(quality=quality))
                self.state = None
            now = track._replace(last=at) if track is not None and event.variable == _MEASURED else track
        if now is not None and now is not track:
            self.fold.went_on(key, now)
            self.state = None
        return True

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
        if self.pages and asking.paged(self, channel.id, "ChanIsAvail"):
            self.fold.dialled(channel.id)  # Asterisk makes no CDR of it

    def changed(self, event: ari.ChannelStateChange | ari.ChannelDialplan | ari.ChannelCallerId) -> None:
        channel = event.channel
        known = self.see(channel)
        if known is None:
            return
        dialplan = type(event) is ari.ChannelDialplan
        self.fold.snapshot(channel, known.order, dialplan)
        if dialplan:
            if channel.app in asking.CALLING and isinstance(event, ari.ChannelDialplan):
                asking.pages_now(self, channel.id, event.app_data)
            if channel.app == "AppDial2" and known.asker is None:
                named = event.connected_name if isinstance(event, ari.ChannelDialplan) else None
                known = known._replace(asker=channel.connected, asker_name=named)
                self.channels = self.channels.set(channel.id, known)
            elif known.call is None:
                if looks_called(channel.app):
                    if not known.peer:
                        known = known._replace(peer=True)
                        self.channels = self.channels.set(channel.id, known)
                elif (
                    not known.peer
                    and channel.app not in _NOT_YET
                    and not (is_unclear(channel) if known.late else channel.app == "Stasis")
                ):
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
                named = [one for one in self.channels.values() if one.party.channel == event.value]
                if named:
                    tie(self, channel.id, max(named, key=lambda one: one.order).party.channel_id)
            self.fold.snapshot(channel, known.order)
            if self.fold.rows:
                self.flush_segments()
            return
        if event.variable in ("ATTENDEDTRANSFER", "BLINDTRANSFER"):
            if known.call is None and known.party.channel[-2:] in (";1", ";2"):
                asking.transferring(self, channel.id, event.value)
            return
        if event.variable.startswith("RTPAUDIOQOS"):
            quality = measured(known.quality, event.variable, event.value)
            if quality is not known.quality:
                self.channels = self.channels.set(channel.id, known._replace(quality=quality))
            if event.variable == _MEASURED:
                self.fold.goes_on(channel.id)
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
        shown = self.fold.shown(channel.id)
        known = self.see(channel)
        if known is None:
            return
        if known.call is None and known.late:
            seek(self, channel.id)
            known = self.channels[channel.id]
        if known.call is None:
            self.claim(known, shown, channel)
            known = self.channels[channel.id]
        self.fold.destroyed(channel, known.order, event.cause or 0)
        self.flush_segments()
        quality = self.channels[channel.id].quality
        self.tell(known, ChannelEnded(channel.id, event.cause, event.cause_text[: self.bounds.text], quality))
        self.die(channel.id)
        if known.group is not None:
            self.forget_unknown(known.group)

    def claim(self, known: Known, shown: Channel | None, last: Channel) -> None:
        """A pending channel ends: if its group had a call of its own, it is told at the latest with the last of it."""
        key, leader = known.party.channel_id, known.group
        assert leader is not None
        group = self.groups[leader]
        if leader == key and self.is_root(known, shown, last):
            group = group._replace(claim=known.order)
            self.groups = self.groups.set(leader, group)
        if (
            group.claim is not None
            and not group.beside
            and not any(one in self.channels for one in group.members if one != key)
        ):
            self.claimed(leader)

    def is_root(self, known: Known, shown: Channel | None, last: Channel) -> bool:
        """Whether a pending channel that ends was a call of its own."""
        if known.peer or known.asker or known.told:
            return False
        if known.asker is not None or known.party.origin == "originated":
            return True
        if known.late:
            return ends_as_root(known, shown, last)
        return (shown is not None and shown.app == "Stasis") or asking.announced(shown)

    def dial(self, event: ari.Dial) -> None:
        caller = self.see(event.channel) if event.channel is not None else None
        peer = self.see(event.peer)
        begins = event.dialstatus == ""
        paged = False
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
                    # Of another call, it took a called leg's place before its Dial was told: a bridge tells the rest.
                    self.note_dialled(event.peer.id, True, caller.party.channel_id)
            elif begins and event.channel is None:
                self.note_dialled(event.peer.id, True, None)
                called = asking.originated if peer.call is None else asking.paged
                paged = called(self, event.peer.id) or asking.recalled(peer, event.peer)
            peer_now = self.channels[event.peer.id]
            if begins:
                self.fold.dial_began(event.channel, event.peer)
                if paged:
                    self.fold.dialled(event.peer.id)
            elif event.dialstatus in UNDECIDED:
                self.fold.goes_on((event.channel or event.peer).id)
            else:
                if self.groups and event.channel is not None:
                    asking.forwarded(self, event.channel, event.peer)
                self.fold.dial_ended(event.channel, event.peer, event.dialstatus, peer_now.dialled)
                if event.forwarded is not None and event.channel is None:
                    self.fold.dialled(event.forwarded.id)  # only whom an originate names itself is originated
        else:
            peer_now = None
        if self.fold.rows:
            self.flush_segments()
        told = self.channels[caller.party.channel_id] if caller is not None else peer_now
        if told is not None and peer_now is not None and told.call != peer_now.call and self.took_over(event, peer_now):
            told = peer_now
        if told is not None:
            self.tell(told, event)

    def took_over(self, event: ari.Dial, peer: Known) -> bool:
        """Whether a dial goes on under the name of who picked up its caller: that one has the caller's body, and a call
        of its own until a bridge. The dial remains what the caller's call did."""
        if event.dialstatus == "" or event.channel is None or not peer.dialled or peer.call is None:
            return False
        try:
            return milliseconds(event.channel.creationtime) != self.channels[event.channel.id].party.created_ms
        except ValueError:
            return False

    def entered(self, event: ari.ChannelEnteredBridge) -> None:
        channel, bridge = event.channel, event.bridge
        known = self.see(channel)
        if known is None:
            return
        if bridge.merges:
            self.meet(bridge.members if channel.id in bridge.members else (*bridge.members, channel.id), bridge.id)
        elif known.call is None and not asking.created_for(self, known):
            self.become_root(channel.id)
        if known.asker and asking.conferred(self, channel, bridge):
            self.fold.dialled(channel.id)
            if known.call is None:
                asking.paged_into(self, channel.id, bridge)
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
        unseen = (known.bridge is None or known.bridge[0] != bridge.id) and bridge.merges
        # Who picked up a call at the moment of its answer took a place in the bridge: it never enters, and calls do not
        # meet. It looks called, though it was seen from its birth and nobody dialled it.
        if unseen and (known.late or known.dialled or not looks_called(channel.app)):
            # We did not see it enter, so they may not have met before us.
            if known.late and known.call is None and not bridge.members:
                # Nor do we know whom it met there: any of them may have called it.
                self.channels = self.channels.set(channel.id, known._replace(peer=True))
                seek(self, channel.id)
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
                if known is not None:
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
        target = self.channels.get(event.target)
        if target is not None:
            event = event._replace(channel=target.party.channel)
        self.routed.append(Routed(call, CallInput(self.n, self.at, event, self.recovered)))

    def spied(self, key: str) -> str:
        """The channel that a snoop listens to; any other channel is itself."""
        known = self.channels.get(key)
        if known is not None and known.party.origin == "snoop":
            target = endpoint(known.party.channel).removeprefix("Snoop/")
            if target in self.channels:
                return target
        return key


_NOT_YET = frozenset({"", "AppDial2"})
"""Applications of a channel that has not entered the dialplan."""


_HANDLERS: dict[type, Callable[..., None]] = {
    ari.ChannelCreated: Work.created,
    ari.ChannelStateChange: Work.changed,
    ari.ChannelDialplan: Work.changed,
    ari.ChannelCallerId: Work.changed,
    ari.ChannelConnectedLine: Work.connected_line,
    ari.ChannelVarset: Work.varset,
    ari.ChannelDtmfReceived: Work.told_only,
    ari.ChannelHold: Work.hold,
    ari.ChannelUnhold: Work.hold,
    ari.ChannelHangupRequest: Work.hangup_request,
    ari.ChannelDestroyed: Work.destroyed,
    ari.ChannelEnteredBridge: Work.entered,
    ari.ChannelLeftBridge: Work.left,
    ari.BridgeDestroyed: Work.bridge_destroyed,
    ari.BridgeMerged: Work.bridge_merged,
    ari.BridgeBlindTransfer: Work.transfer,
    ari.BridgeAttendedTransfer: Work.transfer,
    ari.Dial: Work.dial,
    ari.Recording: Work.recording,
}
