"""What an Asterisk that plays a recording would answer to REST after any number of its events.

Worked out once, when the recording is loaded: for every channel and bridge, the numbers of the events at which it was
born, shown and ended. A question then costs a bisection and the decoding of one frame, and playing costs nothing.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wire.simulator import ledger
from wire.simulator.tokens import bridges_of, channels_of, parse_time

FROM_BEFORE = frozenset(("BridgeBlindTransfer", "BridgeAttendedTransfer"))
"""Their channel and bridge objects are snapshots from before the transfer (facts.md 20): no news."""

NEVER = 1 << 60

Place = tuple[int, str]
"""Where an object stands: the number of an event and the field that holds it."""


@dataclass(slots=True)
class Life:
    """One channel's or bridge's life in a recording."""

    born: int
    """Number of the event that it came with; -1 for a bridge that was there before the recording."""
    gone: int = NEVER
    """Number of the event that it ended with."""
    shown: list[int] = field(default_factory=list)
    """Numbers of the events that show it, in order."""
    fields: list[str] = field(default_factory=list)
    """For each of `shown`, the field that holds it."""

    def alive(self, position: int) -> bool:
        return self.born < position <= self.gone

    def last(self, position: int) -> Place:
        """The newest object before `position`; for a bridge not shown yet, its first."""
        at = max(0, bisect_left(self.shown, position) - 1)
        return self.shown[at], self.fields[at]


class Timeline:
    """The lives of a recording. A position is the number of events that have been played."""

    def __init__(self, events: Sequence[Mapping[str, Any]], base: Path | None) -> None:
        self.channels: dict[str, Life] = {}
        self.bridges: dict[str, Life] = {}
        self._variables: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self._digits: dict[str, str] = {}
        self._linkedids = ledger.linkedids(events, base)
        self._answers = ledger.answers(events, base)
        first = parse_time(str(events[0].get("timestamp", "")))
        self._began_ms = first.ms if first is not None else 0
        for index, event in enumerate(events):
            self._take(index, event)
        for channel, end in ledger.ends(events, base).items():
            # An end that the recorder was not connected for.
            if channel in self.channels and self.channels[channel].gone == NEVER:
                self.channels[channel].gone = max(end, self.channels[channel].born)

    def _is_older(self, bridge: Mapping[str, Any]) -> bool:
        """Whether a bridge was there before the recording began, as a parking lot's may."""
        created = parse_time(str(bridge.get("creationtime", "")))
        return created is not None and created.ms < self._began_ms

    def _take(self, index: int, event: Mapping[str, Any]) -> None:
        kind = event["type"]
        if kind in FROM_BEFORE:
            return
        for name, channel in channels_of(event):
            life = self.channels.get(channel["id"])
            if life is None:
                life = self.channels[channel["id"]] = Life(index)
                self._digits[channel["id"]] = channel["dialplan"].get("exten", "")
            if life.gone == NEVER:
                life.shown.append(index)
                life.fields.append(name)
        for name, bridge in bridges_of(event):
            life = self.bridges.get(bridge["id"])
            if life is None:
                life = self.bridges[bridge["id"]] = Life(-1 if self._is_older(bridge) else index)
            life.shown.append(index)
            life.fields.append(name)
        if kind == "ChannelDestroyed":
            self.channels[event["channel"]["id"]].gone = index
        elif kind == "BridgeDestroyed":
            self.bridges[event["bridge"]["id"]].gone = index
        elif kind == "ChannelVarset":
            channel_id = event["channel"]["id"] if "channel" in event else ""
            self._variables[channel_id, event["variable"]].append(index)

    def live_channels(self, position: int) -> Iterator[tuple[str, Place]]:
        """The channels there are, each with where its newest object stands."""
        for identity, life in self.channels.items():
            if life.alive(position):
                yield identity, life.last(position)

    def live_bridges(self, position: int) -> Iterator[tuple[str, Place]]:
        """The bridges there are, each with where its newest object stands."""
        for identity, life in self.bridges.items():
            if life.alive(position):
                yield identity, life.last(position)

    def alive(self, channel: str, position: int) -> bool:
        """Whether a channel is alive."""
        life = self.channels.get(channel)
        return life is not None and life.alive(position)

    def variable(self, channel: str, name: str, position: int) -> int | None:
        """The number of the event that last set a variable; None if nothing did."""
        indices = self._variables.get((channel, name), ())
        at = bisect_left(indices, position) - 1
        return indices[at] if at >= 0 else None

    def linkedid(self, channel: str, position: int) -> str:
        """The linkedid that a channel has, in the recording's words."""
        return _at(self._linkedids.get(channel, ()), position) or channel

    def answer(self, channel: str, position: int) -> str | None:
        """`CDR(answer,u)` in the recording's time: Unix seconds with six decimals; None before the answer."""
        return _at(self._answers.get(channel, ()), position)

    def dialled(self, channel: str) -> str:
        """What the channel's first event shows as its extension; a called leg's `s` is nothing dialled."""
        digits = self._digits.get(channel, "")
        return "" if digits == "s" else digits


def _at(changes: Sequence[tuple[int, str]], position: int) -> str | None:
    value = None
    for index, text in changes:
        if index >= position:
            break
        value = text
    return value
