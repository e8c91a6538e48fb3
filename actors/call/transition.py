"""Every transition of a call: `transition(state, input) -> (state, effects)`, and nothing else decides one.

Theory. A call is its legs and what has been gathered of them. A leg comes with ChannelJoined (`down`, or as far as it
already is), may ring and go up, and ends or moves to an elder call. The call is over when no leg has a future in it;
`finished-call` is the last that it says.

`moves.MOVES` is the table of what may happen in which phase of a leg. An input that has no place in it leaves the state
as it was and is reported (`Unexpected`): Asterisk will surprise us, and an actor does not die of a surprise.

`received-call` waits until it can be right: who is being called is known only when a phone is dialled, the caller is
answered, somebody is in an application that is there for its own sake, or anything else is to be said. Its time is the
call's begin all the same.

What an input does is a method of `Work`. Those of holds, queues, parking and conferences stand in `stays`, those
of recordings in `tapes`; what they change and say is gathered in a `turn`.

No clock, no I/O, no logger: time comes with the input.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from actors.call import account
from actors.call import events as ari
from actors.call.effects import Effect, Ended
from actors.call.events import endpoint
from actors.call.inputs import CallInput, ChannelEnded, ChannelJoined, ChannelMoved, SegmentEnded
from actors.call.moves import ANY, MOVES
from actors.call.series import added
from actors.call.state import Call, Hold, Leg, Phase, Queue, Tape, Transfer
from actors.call.stays import COMEBACKS, Stays
from actors.call.tapes import Tapes
from actors.call.turn import party

_STATES = {"Ringing": Phase.RINGING, "Up": Phase.UP}
"""ARI's channel state → phase; every other state is DOWN."""

_PASSING = frozenset(
    {"Answer", "Dial", "AppDial", "AppDial2", "AppQueue", "Gosub", "Goto", "GotoIf", "Hangup", "NoOp", "Progress"}
    | {"Proceeding", "Return", "Ringing", "Set", "UserEvent"}
)
"""Applications that are no reason to be Up: they lead somewhere else."""


def transition(call: Call, given: CallInput) -> tuple[Call, list[Effect]]:
    """Fold one input into a call.

    Args:
        call: the state before it.
        given: what the call is told.

    Returns:
        The state after it, and what is to be done, in order.
    """
    work = Work(call)
    effects = work.take(given)
    return work.done(), effects


_shown: Callable[[Any], str] = attrgetter("channel.id")

_SUBJECTS: dict[type, Callable[[Any], str]] = {
    ChannelJoined: attrgetter("party.channel_id"),
    ChannelMoved: attrgetter("channel_id"),
    ChannelEnded: attrgetter("channel_id"),
}
"""Input → the channel that it is about; any other shows it."""


class Work(Stays, Tapes):
    """A `Call` under way, for whoever folds many inputs in a row: a method for each type of input."""

    __slots__ = ()

    def take(self, given: CallInput) -> list[Effect]:
        """Fold one input; see `transition`. One that raises leaves nothing that could be gone on with."""
        body = given.body
        self.at = given.at_ms
        self.recovered = given.recovered
        self.effects = []
        kind = type(body)
        move = MOVES.get(kind)
        if move is None:
            self.report("no-move", kind.__name__, self.before.call_id, "the table has no row for it")
        elif move.phases is ANY:
            _HANDLERS[kind](self, body)
        else:
            key = _SUBJECTS.get(kind, _shown)(body)
            leg = self.legs.get(key)
            phase = leg.phase if leg is not None else Phase.ABSENT
            if phase in move.phases:
                _HANDLERS[kind](self, body, leg)
            elif key in self.life.uncounted:
                self.uncounted(key, body)
            else:
                self.report(f"{phase}-leg", kind.__name__, key, "no such move")
        return self.effects

    # -- legs come and go -----------------------------------------------------------------------------------------

    def joined(self, body: ChannelJoined, leg: Leg | None) -> None:
        party = body.party
        if leg is None and len(self.legs) >= self.bounds.legs:
            self.life = self.life._replace(uncounted=self.life.uncounted | {party.channel_id})
            self.overflow("legs", party.channel_id)
            return
        unseen = self.life.unseen
        if body.moved_from is None and all(party.created_ms <= one.started_ms for one in self.legs.values()):
            unseen = self.recovered
        if unseen is not self.life.unseen:
            self.life = self.life._replace(unseen=unseen)
        self.put(
            Leg(
                _STATES.get(party.state, Phase.DOWN),
                party.channel_id,
                party.channel,
                endpoint(party.channel),
                party.number,
                party.name,
                body.order,
                party.origin,
                party.dialled_by,
                party.context,
                party.exten,
                party.created_ms,
                party.answered_ms,
                None,
                None,
                None,
                None,
                body.moved_from is not None,
                body.moved_from is not None,
                None,
                party.bridge_id,
                party.technology,
                None,
                "",
                False,
                (party.held_ms, None) if party.held_ms is not None else None,
                None,
                None,
                None,
                party.monitors,
            )
        )
        for name, since_ms in party.monitors:
            self.tape(Tape(name, "mixmonitor", party.channel_id, party.channel, None, since_ms, None, None))

    def moved(self, body: ChannelMoved, leg: Leg) -> None:
        if leg.monitors:
            self.close_tapes(leg, "moved")
        if leg.park is not None and leg.park.until_ms is not None:
            leg = self.taken_out(leg, body.entered)
        self.put(leg._replace(phase=Phase.MOVED, moved_to=body.to_call, held=None, monitors=(), queue=None, park=None))
        self.life = self.life._replace(merged_into=body.to_call, last_ms=max(self.life.last_ms, self.at))
        self.finish_if_over()

    def uncounted(self, key: str, body: Any) -> None:
        """A channel beyond the bound on legs: only its end matters."""
        if isinstance(body, ChannelEnded | ChannelMoved):
            self.life = self.life._replace(
                uncounted=self.life.uncounted - {key}, last_ms=max(self.life.last_ms, self.at)
            )
            self.finish_if_over()

    def ended(self, body: ChannelEnded, leg: Leg) -> None:
        if leg.queue is not None:
            leg = self.leave_queue(leg, "abandoned")
        if leg.park is not None:
            leg = self.unpark(leg, "abandoned")
        if leg.conference is not None:
            leg = self.leave_conference(leg, max(self.conferees(leg.conference.bridge_id) - 1, 0))
        if leg.held is not None:
            self.add_hold(Hold(leg.channel, leg.held[0], None, self.at))
        if leg.monitors:
            self.finish_tapes(leg)
        source = leg.source
        if leg.app == "Hangup" and account.gives_way(source, "dialplan"):
            source = "dialplan"  # not every thread that runs dialplan says so before the end
        self.put(
            leg._replace(
                phase=Phase.ENDED,
                source=source,
                ended_ms=self.at,
                cause=body.cause,
                cause_text=body.cause_text,
                bridge=None,
                held=None,
                monitors=(),
            )
        )
        quality = self.life.quality
        if body.quality is not None:
            quality = (*quality, (leg.channel, body.quality))
        self.life = self.life._replace(last_ms=max(self.life.last_ms, self.at), quality=quality)
        self.finish_if_over()

    def finish_if_over(self) -> None:
        if self.life.uncounted:
            return
        for leg in self.legs.values():
            if not account.over(leg):
                return
        self.announce()
        self.publish("finished-call", account.finished(self.now()), self.at)
        self.effects.append(Ended())

    # -- ringing and answering ------------------------------------------------------------------------------------

    def state_changed(self, body: ari.ChannelStateChange, leg: Leg) -> None:
        phase = _STATES.get(body.channel.state, Phase.DOWN)
        if phase is leg.phase:
            if phase is Phase.UP and leg.answered_ms is not None and self.at < leg.answered_ms:
                self.put(leg._replace(answered_ms=self.at))  # it was met Up, and now it is known since when
            return
        if phase is Phase.UP:
            leg = leg._replace(
                phase=phase,
                answered_ms=self.at if leg.answered_ms is None else leg.answered_ms,
                alone=leg.alone or _is_purpose(leg.app),
            )
            self.put(leg)
            if leg.alone or (leg.channel_id == self.before.call_id and not account.is_originated(leg)):
                self.announce()
        else:
            leg = leg._replace(phase=phase)
            self.put(leg)
            if phase is Phase.RINGING:
                self.ring(leg)

    def ring(self, leg: Leg) -> None:
        if leg.rang or not leg.person or leg.origin == "caller":
            return
        self.put(leg._replace(rang=True))
        self.say(
            "ringing-call",
            {
                "channel_id": leg.channel_id,
                "channel": leg.channel,
                "endpoint": leg.endpoint,
                "number": leg.number or leg.wanted or "",
                "name": leg.name,
                "after_seconds": self.after(),
            },
        )

    def dial(self, body: ari.Dial) -> None:
        peer = body.peer
        leg = self.legs.get(peer.id)
        status = body.dialstatus
        if status == "":
            if leg is not None:
                caller = body.channel
                wanted = body.dialstring.rpartition("/")[2].partition("@")[0]
                self.put(
                    leg._replace(
                        origin="dialled" if caller is not None else "originated",
                        dialled_by=caller.id if caller is not None else None,
                        wanted=self.text(wanted) or None,
                    )
                )
                if leg.person and caller is not None:
                    self.announce()
        elif status == "RINGING":
            if leg is not None and leg.phase is not Phase.UP and not account.over(leg):
                self.ring(leg)
        elif status == "ANSWER":
            self.answer(body, leg)

    def answer(self, body: ari.Dial, leg: Leg | None) -> None:
        """Somebody took the call; a pickup names one who was never dialled, and is not in this call yet."""
        peer = body.peer
        if peer.name[-2:] in (";1", ";2") or (leg is not None and leg.reached):
            return
        number = leg.number if leg is not None else self.text(peer.number)
        where = leg.endpoint if leg is not None else endpoint(self.text(peer.name))
        if leg is None and self.life.reached is not None and self.life.reached[0] == peer.id:
            return
        number = number or (leg.wanted if leg is not None else None) or ""
        if leg is not None:
            self.put(leg._replace(reached=True))
        if self.life.reached is None:
            self.life = self.life._replace(reached=(peer.id, number, where))
        self.say(
            "answered-call",
            {
                "channel_id": peer.id,
                "channel": self.text(peer.name),
                "endpoint": where,
                "number": number,
                "name": leg.name if leg is not None else self.text(peer.cid_name),
                "after_seconds": self.after(),
            },
        )

    def caller_id(self, body: ari.ChannelCallerId, leg: Leg) -> None:
        """A party's own caller id; who had one when first seen keeps it, whatever the dialplan makes of it."""
        if not leg.number and (body.channel.number or body.channel.cid_name):
            self.put(leg._replace(number=self.text(body.channel.number), name=self.text(body.channel.cid_name)))

    # -- dialplan, variables, digits ------------------------------------------------------------------------------

    def dialplan(self, body: ari.ChannelDialplan, leg: Leg) -> None:
        app = body.app
        before = leg
        if leg.park is not None and leg.park.until_ms is not None:
            leg = self.unpark(leg, "timeout" if body.channel.context in COMEBACKS else "abandoned")
        if leg.queue is not None and app != "Queue":
            leg = self.leave_queue(
                leg, "abandoned" if body.channel.exten == "h" or leg.source is not None else "continue"
            )
        if app == "Queue" and leg.queue is None and body.channel.exten != "h":
            name = self.text(body.app_data.partition(",")[0])
            leg = leg._replace(queue=Queue(name, self.at, None, None), app=app)
            self.put(leg)
            self.say(
                "queued-call", {"channel_id": leg.channel_id, "channel": leg.channel, "queue": name, "position": None}
            )
            before = leg
        if app != leg.app and body.channel.exten != "h":
            leg = leg._replace(app=app, alone=leg.alone or (leg.phase is Phase.UP and _is_purpose(app)))
        if leg is not before:
            self.put(leg)
            if leg.alone:
                self.announce()

    def varset(self, body: ari.ChannelVarset, leg: Leg) -> None:
        _VARIABLES[body.variable](self, leg, body)

    def dtmf(self, body: ari.ChannelDtmfReceived, leg: Leg) -> None:
        """A digit that a Local half receives was received by somebody else before, who is told of."""
        if account.is_half(leg.channel):
            return
        digit = body.digit[:1]
        digits = self.life.digits + digit
        if len(self.life.digits) < self.bounds.dtmf:
            self.life = self.life._replace(digits=digits)
        else:
            self.overflow("dtmf", leg.channel)
        self.say(
            "dtmf-received",
            {
                "channel_id": leg.channel_id,
                "channel": leg.channel,
                "digit": account.mask(self.before, digits)[-1:],
                "duration_ms": body.duration_ms,
            },
        )

    # -- bridges --------------------------------------------------------------------------------------------------

    def entered(self, body: ari.ChannelEnteredBridge, leg: Leg) -> None:
        bridge = body.bridge
        leg = leg._replace(bridge=bridge.id, technology=bridge.technology)
        self.put(leg)
        if bridge.kind == "parking":
            if leg.park is not None and leg.park.until_ms is not None:
                leg = self.unpark(leg, "abandoned")
            if leg.park is None:
                self.park(leg, bridge)
            return
        if bridge.kind == "base":
            if bridge.technology != "holding_bridge" and leg.conference is None:
                self.join_conference(leg, bridge)
            return
        for key in bridge.members:  # who picked up just when the call was answered took a place in it without entering
            other = self.legs.get(key)
            if other is not None and other.bridge is None:
                self.put(other._replace(bridge=bridge.id, technology=bridge.technology))
        if leg.queue is not None:
            leg = self.taken(leg)
        for other in self.legs.values():
            if other.park is not None and other.park.until_ms is not None and other.bridge == bridge.id:
                if other.channel_id != leg.channel_id:
                    self.taken_out(other, body.channel)
                elif len(bridge.members) > 1:
                    self.taken_out(leg, None)

    def left(self, body: ari.ChannelLeftBridge, leg: Leg) -> None:
        bridge = body.bridge
        if leg.bridge == bridge.id:
            leg = leg._replace(bridge=None, technology=None)
            self.put(leg)
        if leg.conference is not None and leg.conference.bridge_id == bridge.id:
            self.leave_conference(leg, len(bridge.members))
        elif leg.park is not None and bridge.kind == "parking":
            if leg.park.timed_out:
                self.unpark(leg, "timeout")
            elif leg.source is not None:
                self.unpark(leg, "abandoned")
            else:
                self.put(leg._replace(park=leg.park._replace(until_ms=self.at)))

    # -- hang-up, transfers, segments ----------------------------------------------------------------------------

    def hangup_requested(self, body: ari.ChannelHangupRequest, leg: Leg) -> None:
        """Asterisk's hangupsource: written once, for the channel and for its peer in a bridge of two.

        Hangup() writes it too, unless the party has hung up just then, which is told between the two. A Local half
        writes nothing, for it has no will of its own: it is noted as who passed a hang-up on, until somebody means it.
        """
        if not body.soft:
            if account.gives_way(leg.source, leg.channel):
                leg = leg._replace(source=leg.channel)
                self.put(leg)
            if leg.bridge is not None and leg.technology in ("simple_bridge", "native_rtp"):
                others = [
                    one for one in self.legs.values() if one.bridge == leg.bridge and one.channel_id != leg.channel_id
                ]
                if len(others) == 1 and account.gives_way(others[0].source, leg.channel):
                    self.put(others[0]._replace(source=leg.channel))
        elif body.channel.app == "Hangup" and account.gives_way(leg.source, "dialplan"):
            leg = leg._replace(source="dialplan")
            self.put(leg)
        if leg.park is not None and leg.park.until_ms is not None:
            self.unpark(leg, "abandoned")

    def blind(self, body: ari.BridgeBlindTransfer) -> None:
        by = self.named(body.channel)
        transferred = self.named(body.transferee) if body.transferee is not None else self.peer_of(body.channel.id)
        self.transferred("blind", by, transferred, self.text(body.exten), body.result)

    def attended(self, body: ari.BridgeAttendedTransfer) -> None:
        by = self.named(body.channel)
        transferred = (
            self.named(body.transferee)
            if body.transferee is not None
            else self.inside(body.members, body.channel.id) or self.text(body.channel.connected)
        )
        to = (
            self.named(body.target)
            if body.target is not None
            else self.inside(body.second_members, body.second.id) or self.text(body.second.connected)
        )
        self.transferred("attended", by, transferred, to, body.result)

    def transferred(self, kind: str, by: str, transferred: str, to: str, result: str) -> None:
        outcome = "success" if result == "Success" else "failed"
        if len(self.life.transfers) >= self.bounds.entries:
            self.overflow("transfers", by)
        else:
            transfer = Transfer(kind, self.at, by, transferred, to, outcome)
            self.life = self.life._replace(transfers=(*self.life.transfers, transfer))
        self.say("transferred-call", {"kind": kind, "by": by, "from": transferred, "to": to, "result": outcome})

    def named(self, channel: ari.Channel) -> str:
        """A party as transfers name it: by number, else by channel."""
        leg = self.legs.get(channel.id)
        if leg is not None and leg.number:
            return str(leg.number)
        return self.text(channel.number or channel.name)

    def peer_of(self, key: str) -> str:
        leg = self.legs.get(key)
        if leg is None or leg.bridge is None:
            return ""
        return self.inside([one.channel_id for one in self.legs.values() if one.bridge == leg.bridge], key)

    def inside(self, members: list[str] | tuple[str, ...], but: str) -> str:
        for key in members:
            if key != but and key in self.legs:
                return party(self.legs[key])
        return ""

    def segment(self, body: SegmentEnded) -> None:
        if len(self.life.segments) >= self.bounds.segments:
            self.overflow("segments", body.channel)
            return
        self.life = self.life._replace(segments=added(self.life.segments, body))


def _is_purpose(app: str) -> bool:
    return app != "" and app not in _PASSING


_VARIABLES: dict[str, Callable[[Work, Leg, ari.ChannelVarset], None]] = {
    "MIXMONITOR_FILENAME": Work.monitor,
    "QUEUEPOSITION": Work.queue_position,
    "QEORIGINALPOS": Work.queue_position,
    "MEMBERINTERFACE": Work.queue_member,
    "QUEUESTATUS": Work.queue_status,
    "PARKING_SPACE": Work.parking,
    "PARKEDLOT": Work.parking,
    "PARKER": Work.parking,
}

_HANDLERS: dict[type, Callable[..., None]] = {
    ChannelJoined: Work.joined,
    ChannelMoved: Work.moved,
    ari.ChannelStateChange: Work.state_changed,
    ari.ChannelDialplan: Work.dialplan,
    ari.ChannelCallerId: Work.caller_id,
    ari.ChannelVarset: Work.varset,
    ari.ChannelDtmfReceived: Work.dtmf,
    ari.ChannelHold: Work.hold,
    ari.ChannelUnhold: Work.unhold,
    ari.ChannelHangupRequest: Work.hangup_requested,
    ari.ChannelEnteredBridge: Work.entered,
    ari.ChannelLeftBridge: Work.left,
    ChannelEnded: Work.ended,
    ari.Dial: Work.dial,
    ari.BridgeBlindTransfer: Work.blind,
    ari.BridgeAttendedTransfer: Work.attended,
    ari.Recording: Work.recording,
    SegmentEnded: Work.segment,
}
