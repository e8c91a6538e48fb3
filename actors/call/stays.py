"""Where a leg stays for a time: on hold, in a queue, parked, in a conference. How it comes there, and how it leaves.

Each stay is told when it begins and when it ends; the end says how long it was, and how it came about.
"""

from actors.call import account
from actors.call import events as ari
from actors.call.state import Conference, Hold, Leg, Park, Phase
from actors.call.turn import Turn, party

RETRIEVES = "ParkedCall"
"""Application of who retrieves a call from a parking lot. Nothing else does: who is taken out otherwise gives up."""

COMEBACKS = frozenset({"park-dial", "parkedcallstimeout"})
"""Contexts in which a parked call goes on whose time is up."""


class Stays(Turn):
    """What begins, changes and ends a stay."""

    __slots__ = ()

    # -- hold -----------------------------------------------------------------------------------------------------

    def hold(self, body: ari.ChannelHold, leg: Leg) -> None:
        if leg.held is not None:
            return
        music = self.text(body.music_class) if body.music_class else None
        self.put(leg._replace(held=(self.at, music)))
        self.say("held-call", {"channel_id": leg.channel_id, "channel": leg.channel, "music_class": music})

    def unhold(self, body: ari.ChannelUnhold, leg: Leg) -> None:
        """REFER makes an Unhold with no Hold before it: that is nothing."""
        if leg.held is None:
            return
        since_ms = leg.held[0]
        self.put(leg._replace(held=None))
        self.add_hold(Hold(leg.channel, since_ms, self.at, self.at))
        self.say(
            "resumed-call",
            {"channel_id": leg.channel_id, "channel": leg.channel, "held_seconds": self.seconds(since_ms)},
        )

    def add_hold(self, hold: Hold) -> None:
        if len(self.life.holds) >= self.bounds.entries:
            self.overflow("holds", hold.channel)
            return
        self.life = self.life._replace(holds=(*self.life.holds, hold))

    # -- queue ----------------------------------------------------------------------------------------------------

    def queue_position(self, leg: Leg, body: ari.ChannelVarset) -> None:
        if leg.queue is not None and body.value.isdecimal():
            self.put(leg._replace(queue=leg.queue._replace(position=int(body.value[:9]))))

    def queue_member(self, leg: Leg, body: ari.ChannelVarset) -> None:
        if leg.queue is not None and body.value:
            self.put(leg._replace(queue=leg.queue._replace(member=self.text(body.value))))

    def queue_status(self, leg: Leg, body: ari.ChannelVarset) -> None:
        if leg.queue is not None and body.value:
            self.leave_queue(leg, self.text(body.value).lower())

    def leave_queue(self, leg: Leg, outcome: str) -> Leg:
        queue = leg.queue
        assert queue is not None
        leg = leg._replace(queue=None)
        self.put(leg)
        self.say(
            "left-queue",
            {
                "channel_id": leg.channel_id,
                "channel": leg.channel,
                "queue": queue.name,
                "position": queue.position,
                "waited_seconds": self.seconds(queue.since_ms),
                "outcome": outcome,
                "member": queue.member,
            },
        )
        return leg

    def taken(self, leg: Leg) -> Leg:
        """A member took the call from the queue."""
        queue = leg.queue
        assert queue is not None
        if queue.member is None and self.life.reached is not None:
            leg = leg._replace(queue=queue._replace(member=self.life.reached[2]))
        return self.leave_queue(leg, "answered")

    # -- park -----------------------------------------------------------------------------------------------------

    def park(self, leg: Leg, bridge: ari.Bridge) -> Leg:
        by = None
        if self.life.transfers:
            last = self.life.transfers[-1]
            if last.transferred == party(leg) and self.at - last.at_ms < 5000:
                by = last.by
        if by is None:  # by a feature code: whoever it talked with
            others = [
                one
                for one in self.legs.values()
                if one.phase is Phase.UP and one.person and one.channel_id != leg.channel_id
            ]
            by = party(others[0]) if len(others) == 1 else None
        lot = self.text(bridge.name) or None
        leg = leg._replace(park=Park(lot, None, by, self.at, False, None))
        self.put(leg)
        self.say(
            "parked-call",
            {"channel_id": leg.channel_id, "channel": leg.channel, "lot": lot, "space": None, "by": by},
        )
        return leg

    def parking(self, leg: Leg, body: ari.ChannelVarset) -> None:
        """Asterisk tells the space and the lot only when the time is up."""
        if leg.park is None:
            return
        park = leg.park._replace(timed_out=True)
        if body.variable == "PARKING_SPACE" and body.value.isdecimal():
            park = park._replace(space=int(body.value[:9]))
        elif body.variable == "PARKER" and park.by is None:
            park = park._replace(by=self.text(body.value))
        self.put(leg._replace(park=park))

    def taken_out(self, leg: Leg, by: ari.Channel | None) -> Leg:
        """A parked leg that left the lot has met somebody in a bridge, who entered it after it, or before (None)."""
        if by is not None and by.app == RETRIEVES:
            return self.unpark(leg, "retrieved", by)
        return self.unpark(leg, "abandoned")

    def unpark(self, leg: Leg, outcome: str, by: ari.Channel | None = None) -> Leg:
        park = leg.park
        assert park is not None
        until_ms = park.until_ms if park.until_ms is not None else self.at
        space = park.space
        if space is None and by is not None and by.exten.isdecimal():
            space = int(by.exten[:9])
        leg = leg._replace(park=None)
        self.put(leg)
        self.say(
            "unparked-call",
            {
                "channel_id": leg.channel_id,
                "channel": leg.channel,
                "lot": park.lot,
                "space": space,
                "parked_seconds": account.seconds(until_ms - park.since_ms),
                "outcome": outcome,
                "by": self.text(by.number or by.name) if by is not None else None,
            },
            until_ms,
        )
        return leg

    # -- conference -----------------------------------------------------------------------------------------------

    def join_conference(self, leg: Leg, bridge: ari.Bridge) -> None:
        name = self.text(bridge.name)
        self.put(leg._replace(conference=Conference(bridge.id, name, self.at)))
        self.say(
            "joined-conference",
            {
                "channel_id": leg.channel_id,
                "channel": leg.channel,
                "number": leg.number,
                "name": leg.name,
                "conference": name,
                "bridge_id": bridge.id,
                "participants": len(bridge.members),
            },
        )

    def conferees(self, bridge: str) -> int:
        return sum(1 for leg in self.legs.values() if leg.bridge == bridge)

    def leave_conference(self, leg: Leg, participants: int) -> Leg:
        conference = leg.conference
        assert conference is not None
        leg = leg._replace(conference=None)
        self.put(leg)
        self.say(
            "left-conference",
            {
                "channel_id": leg.channel_id,
                "channel": leg.channel,
                "number": leg.number,
                "name": leg.name,
                "conference": conference.name,
                "bridge_id": conference.bridge_id,
                "participants": participants,
                "seconds": self.seconds(conference.since_ms),
            },
        )
        return leg
