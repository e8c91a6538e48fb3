"""What must have happened unseen, for a PBX to be as a snapshot shows it: inferred events, in order.

See `actors.call.recovery` for when anything is inferred, and for the times that are given to it.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from actors.call import events as ari
from actors.call.envelope import rfc3339
from actors.call.events import Bridge, Channel, Event
from actors.call.late import looks_called
from actors.call.picture import Picture, Seen
from actors.call.register import Correlation, Known

_DIALLING = frozenset({"Dial", "Queue", "RetryDial", "FollowMe", "Page"})
"""Applications that call others."""
NO_PLAN = frozenset({"", "AppDial", "AppDial2", "AppQueue"})
"""Applications that say nothing of a channel's own dialplan."""


def last_state(track: Any, known: Known) -> str:
    return str(track.shown.state) if track is not None else known.state


# --- what must have happened ------------------------------------------------------------------------------------------

(_CREATED, _PLAN, _DIALLED, _RANG, _PEER_UP, _ANSWER, _UP, _LEFT, _PEER_ENTERED, _ENTERED, _TOLD, _GIVEN_UP, _ENDED) = (
    range(13)
)
"""What comes first of two things of the same time."""

_Made = Callable[[int], Event]


_NOT_NOW = frozenset(
    {
        ari.BridgeAttendedTransfer,
        ari.BridgeBlindTransfer,
        ari.BridgeDestroyed,
        ari.BridgeMerged,
        ari.Recording,
        ari.UnknownEvent,
    }
)
"""Events that show no channel as it is now."""


def shown_in(event: Event) -> tuple[Channel, ...]:
    """The channels that an event shows as they are now."""
    if type(event) is ari.Dial:
        return (event.peer,) if event.channel is None else (event.channel, event.peer)
    if type(event) in _NOT_NOW:
        return ()
    return (event.channel,)  # type: ignore[union-attr,return-value]


def unseen(channels: Mapping[str, Known], event: Event) -> list[Channel]:
    """The channels that an event shows to be Up, of which nobody told so.

    In all recordings a channel shows a new state by ChannelStateChange first; where it does not, that one was lost.

    Args:
        channels: what is known of channels.
        event: the event.
    """
    kind = type(event)
    if kind is ari.ChannelStateChange or kind in _NOT_NOW:
        return []
    if kind is ari.Dial:
        return [channel for channel in shown_in(event) if _is_news(channels, channel)]
    only: Channel = event.channel  # type: ignore[union-attr,assignment]  # as `shown_in`
    return [only] if only.state == "Up" and _is_news(channels, only) else []


def _is_news(channels: Mapping[str, Known], channel: Channel) -> bool:
    known = channels.get(channel.id)
    return channel.state == "Up" and known is not None and known.state != "Up"


def answered(correlation: Correlation, unseen: list[Channel], at_ms: int) -> Iterable[Event]:
    """How those were answered: when nobody knows, at the latest now.

    Args:
        correlation: what is known of channels.
        unseen: channels that are Up.
        at_ms: time of the event that shows it, Unix milliseconds.

    Returns:
        The inferred events, to be folded before that one.
    """
    story = Story(correlation)
    for channel in unseen:
        known = correlation.channels[channel.id]
        story.answered(known, channel, max(at_ms, story.last_ms(known)))
    return story.events()


class Story:
    """Inferred events, in order."""

    def __init__(
        self,
        correlation: Correlation,
        picture: Picture | None = None,
        until_ms: int = 0,
        silent: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.plot: list[tuple[int, int, tuple[int, str], _Made]] = []
        """(time, what comes first, age, event)."""
        self._correlation = correlation
        self._seen: Mapping[str, Seen] = picture.seen if picture is not None else {}
        self._bridges: Mapping[str, Bridge] = picture.bridges if picture is not None else {}
        self._now_ms = picture.asked_ms if picture is not None else 0
        self._until_ms = until_ms
        self._silent = silent
        self._callers: dict[object, list[Seen]] | None = None
        self._inside: dict[str, list[str]] | None = None

    def _add(self, at_ms: int, rank: int, channel: Channel, created_ms: int, made: _Made) -> None:
        self.plot.append((at_ms, rank, (created_ms, channel.id), made))

    def last_ms(self, known: Known) -> int:
        """When a channel was last known to be as it was, Unix milliseconds."""
        channel = known.party.channel_id
        track = self._correlation.segments.tracks.get(channel)
        return max(
            self._silent.get(channel, self._until_ms), track.last if track is not None else known.party.created_ms
        )

    # -- adopting

    def adopt(self, seen: Seen) -> None:
        """It began unseen: everything that it must have done until now."""
        channel, begun = seen.channel, seen.created_ms
        peer = looks_called(channel.app)
        snoop = channel.name.startswith("Snoop/")
        state = channel.state if snoop else "Down" if peer or channel.name[-2:] == ";1" else "Ring"
        first = channel._replace(state=state, app=channel.app if peer else "")
        if state == "Ring" and seen.dialled:
            first = first._replace(exten=seen.dialled)  # where it began; it may be in an IVR by now
        self._add(begun, _CREATED, channel, begun, lambda at: ari.ChannelCreated(at, first))
        if channel.app not in NO_PLAN:
            shown = channel._replace(state=state)
            self._add(
                begun, _PLAN, channel, begun, lambda at: ari.ChannelDialplan(at, shown, channel.app, seen.app_data)
            )
        caller = self._caller_of(seen) if peer else None
        if caller is not None or channel.app == "AppDial2":
            dialler = caller.channel._replace(state="Ring") if caller is not None else None
            at_ms = max(begun, caller.created_ms) if caller is not None else begun
            self._add(at_ms, _DIALLED, channel, begun, lambda at: ari.Dial(at, dialler, first, "", "", None))
        if channel.state == "Ringing":
            self._add(begun, _RANG, channel, begun, lambda at: ari.ChannelStateChange(at, channel))
        elif channel.state == "Up" and not snoop:
            self._went_up(seen, begun, peer, caller)
        if seen.bridge is not None:
            self._enters(seen, begun)

    def _went_up(self, seen: Seen, after_ms: int, peer: bool, caller: Seen | None) -> None:
        channel, begun = seen.channel, seen.created_ms
        at_ms = seen.answered_ms
        if at_ms is None:
            at_ms = seen.bridge_ms if seen.bridge is not None and seen.bridge_ms >= after_ms else self._now_ms
        at_ms = max(at_ms, after_ms)
        rank = _PEER_UP if peer else _UP
        self._add(at_ms, rank, channel, begun, lambda at: ari.ChannelStateChange(at, channel))
        if caller is not None:
            dialler = caller.channel
            self._add(at_ms, _ANSWER, channel, begun, lambda at: ari.Dial(at, dialler, channel, "ANSWER", "", None))

    def _enters(self, seen: Seen, after_ms: int) -> None:
        bridge, channel = seen.bridge, seen.channel
        assert bridge is not None
        at_ms = max(seen.bridge_ms, after_ms, seen.answered_ms or 0)
        rank = _PEER_ENTERED if looks_called(channel.app) else _ENTERED

        def made(at: int) -> Event:
            inside = self._members(bridge.id)
            inside.append(channel.id)
            return ari.ChannelEnteredBridge(at, channel, bridge._replace(members=tuple(inside)))

        self._add(at_ms, rank, channel, seen.created_ms, made)

    def _members(self, bridge: str) -> list[str]:
        """Who is in a bridge, as far as the story has got."""
        if self._inside is None:
            self._inside = {}
            for known in sorted(self._correlation.channels.values(), key=lambda one: one.order):
                if known.bridge is not None:
                    self._inside.setdefault(known.bridge[0], []).append(known.party.channel_id)
        return self._inside.setdefault(bridge, [])

    def _caller_of(self, peer: Seen) -> Seen | None:
        """Who dials a called leg: ARI shows that it was dialled, not by whom."""
        channel = peer.channel
        if self._callers is None:
            self._callers = {}
            for one in sorted(self._seen.values(), key=lambda one: (one.created_ms, one.channel.id)):
                if one.channel.app in _DIALLING:
                    for key in self._marks(one, one.channel.connected, one.channel.number):
                        self._callers.setdefault(key, []).append(one)
        found: dict[str, tuple[int, int, Seen]] = {}
        for worth, key in enumerate(self._marks(peer, channel.number, channel.connected)):
            for one in self._callers.get(key, ()):
                call, other = self._call_of(channel), self._call_of(one.channel)
                if one.created_ms <= peer.created_ms and (call is None or other is None or call == other):
                    points = found[one.channel.id][0] if one.channel.id in found else 0
                    found[one.channel.id] = (points + (worth + 1), one.created_ms, one)
        return max(found.values(), key=lambda one: one[:2])[2] if found else None

    def _marks(self, seen: Seen, called: str, calling: str) -> list[object]:
        """What a caller and whom it dialled have in common, the weakest first."""
        marks: list[object] = []
        call = self._call_of(seen.channel)
        marks.append(("call", call) if call is not None else None)
        marks.append(("numbers", called, calling) if called and calling else None)
        marks.append(("bridge", seen.bridge.id) if seen.bridge is not None else None)
        return [mark if mark is not None else ("none", seen.channel.id) for mark in marks]

    def _call_of(self, channel: Channel) -> str | None:
        if channel.linkedid is not None:
            return channel.linkedid
        known = self._correlation.channels.get(channel.id)
        return known.call if known is not None else None

    # -- correcting

    def correct(self, known: Known, seen: Seen) -> None:
        """It changed unseen."""
        channel, begun = seen.channel, known.party.created_ms
        peer = looks_called(channel.app) or known.dialled
        caller = self._dialler_of(known, seen)
        met_late = caller is not None and not known.dialled
        # Of one that was met in mid-life nothing is known from before, whenever it was that it spoke.
        since_ms = begun if met_late else self.last_ms(known)
        track = self._correlation.segments.tracks.get(channel.id)
        count = len(self.plot)
        if caller is not None and met_late:
            first = channel._replace(state="Down")
            dialler = caller.channel
            self._add(since_ms, _DIALLED, channel, begun, lambda at: ari.Dial(at, dialler, first, "", "", None))
        if channel.state == "Up" and (known.state != "Up" or met_late):
            self._went_up(seen._replace(created_ms=begun), since_ms, peer, caller)
        elif channel.state == "Ringing" and last_state(track, known) not in ("Ringing", "Up"):
            self._add(since_ms, _RANG, channel, begun, lambda at: ari.ChannelStateChange(at, channel))
        if channel.app not in NO_PLAN and track is not None and track.shown.app != channel.app:
            shown = channel._replace(state=track.shown.state)
            self._add(
                since_ms, _PLAN, channel, begun, lambda at: ari.ChannelDialplan(at, shown, channel.app, seen.app_data)
            )
        if (known.bridge[0] if known.bridge is not None else None) != (seen.bridge.id if seen.bridge else None):
            if known.bridge is not None:
                self._leaves(known, channel, since_ms)
            if seen.bridge is not None:
                self._enters(seen._replace(created_ms=begun), since_ms)
        if len(self.plot) == count:
            # Only its call is another: any event of it says so.
            self._add(since_ms, _TOLD, channel, begun, lambda at: ari.ChannelCallerId(at, channel))

    def _dialler_of(self, known: Known, seen: Seen) -> Seen | None:
        by = known.party.dialled_by
        if by is not None:
            return self._seen.get(by)
        return self._caller_of(seen) if looks_called(seen.channel.app) else None

    def _leaves(self, known: Known, channel: Channel, at_ms: int) -> None:
        assert known.bridge is not None
        key, technology = known.bridge
        bridge = self._bridges.get(key) or Bridge(key, technology, "basic", "", "", ())

        def made(at: int) -> Event:
            inside = self._members(key)
            if channel.id in inside:
                inside.remove(channel.id)
            return ari.ChannelLeftBridge(at, channel, bridge._replace(members=tuple(inside)))

        self._add(at_ms, _LEFT, channel, known.party.created_ms, made)

    def answered(self, known: Known, channel: Channel, at_ms: int) -> None:
        """It went Up unseen, which an event of it shows."""
        dialler = None
        if known.party.dialled_by is not None:
            track = self._correlation.segments.tracks.get(known.party.dialled_by)
            dialler = track.shown if track is not None else None
        begun = known.party.created_ms
        self._add(at_ms, _PEER_UP, channel, begun, lambda at: ari.ChannelStateChange(at, channel))
        if dialler is not None:
            self._add(at_ms, _ANSWER, channel, begun, lambda at: ari.Dial(at, dialler, channel, "ANSWER", "", None))

    # -- ending

    def end(self, known: Known) -> None:
        """It ended unseen, nobody knows why."""
        party = known.party
        track = self._correlation.segments.tracks.get(party.channel_id)
        if track is not None:
            shown = track.shown
        else:
            created = rfc3339(party.created_ms)
            shown = Channel(party.channel_id, party.channel, known.state, party.number, party.name, "", party.context,
                            party.exten, 1, "", created, None)  # fmt: skip
        if known.dialled and known.state != "Up" and party.dialled_by is not None:
            dialler = self._correlation.segments.tracks.get(party.dialled_by)
            if dialler is not None:  # nobody answered it, or its Dial would have said so before
                calling = dialler.shown
                self._add(
                    self.last_ms(known),
                    _GIVEN_UP,
                    shown,
                    party.created_ms,
                    lambda at: ari.Dial(at, calling, shown, "CANCEL", "", None),
                )
        self._add(
            self.last_ms(known), _ENDED, shown, party.created_ms, lambda at: ari.ChannelDestroyed(at, shown, None, "")
        )

    def events(self) -> Iterable[Event]:
        """All of it, in order."""
        for at_ms, _rank, _age, made in sorted(self.plot, key=lambda one: one[:3]):
            yield made(at_ms)
