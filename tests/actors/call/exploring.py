"""Every order of what may happen to three channels.

    python -m tests.actors.call.exploring [--depth N] [--bridges xy] [--all] [--deaf N]

A world is small: channels a, b and c, a bridge x where calls meet and a conference y. A move is one event that ARI
could send about them, as the channels stand at that moment in Asterisk; a path is a sequence of moves. All paths up to
a depth are walked, one step of the fold each. What is symmetrical is walked once: channels get their names in the order
of their birth; a birth touches nobody else, so all births come first; paths that lead to the same state go on as one.

The moves are those that decide who is in which call: birth, Dial, entering and leaving a bridge, death. With `--all` a
channel also goes Up and runs dialplan in between. With `--deaf` nobody hears the first moves: arimon connects late.

The suite walks all of it to depth 6 (17,000 steps), and to depth 8 what happens without the conference (150,000): a
conference takes part in no decision about calls but that its members have one, which depth 6 shows. All of it to depth
8 is half a million steps, and broke nothing when it was last walked.

Channels speak on every move of what they are, so a world also holds paths that no Asterisk takes (a called leg that
enters two bridges, a Dial of who is up): what must hold, must hold there too. Invariants:

- nothing raises; every input of a call comes after the input that creates it
- per call: sequence 1, 2, 3 …; nothing after `finished-call`; at most one `finished-call`
- every channel that lives is known and in one call or pending in one group; who is dead is in none
- a call lives as long as it has channels; where all channels are dead, no call, group or segment is left

Who connects late may know less: not every channel that lives, and a group may wait for one whom a bridge has named.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from actors.call import events as ari
from actors.call.correlation import correlate
from actors.call.effects import Ended, Publish
from actors.call.events import Bridge, Channel, Event
from actors.call.inputs import ChannelJoined
from actors.call.register import Correlation
from actors.call.state import Call
from actors.call.transition import transition
from conf.settings import Settings

SETTINGS = Settings()
CHANNELS = "abc"
BRIDGES = "xy"


class Stand(NamedTuple):
    """Where Asterisk's channel stands."""

    state: str
    app: str
    bridge: str | None
    dialled_by: str | None


class Asterisk(NamedTuple):
    """The small world itself."""

    channels: tuple[Stand | None, ...] = (None, None, None)
    """None: not yet born."""
    dead: frozenset[int] = frozenset()


class Node(NamedTuple):
    """A path's end."""

    asterisk: Asterisk
    correlation: Correlation
    calls: dict[str, Call]
    ended: frozenset[str]


def moves(
    asterisk: Asterisk, every: bool, bridges: str = BRIDGES, first: str = ""
) -> Iterator[tuple[str, Asterisk, Any]]:
    """What may happen next: a name, the world after it, and what makes the event of it."""
    alive = [at for at, stand in enumerate(asterisk.channels) if stand is not None and at not in asterisk.dead]
    unborn = [at for at, stand in enumerate(asterisk.channels) if stand is None]
    if unborn and all(one is None or one == Stand(one.state, "", None, None) for one in asterisk.channels):
        at = unborn[0]
        for state in ("Ring", "Down") if at or not first else (first,):
            yield f"{CHANNELS[at]} born {state}", _put(asterisk, at, Stand(state, "", None, None)), ("created", at)
    for at in alive:
        stand = asterisk.channels[at]
        assert stand is not None
        name = CHANNELS[at]
        if every and stand.state != "Up":
            yield f"{name} up", _put(asterisk, at, stand._replace(state="Up")), ("state", at)
        if every and stand.app == "":
            app = "AppDial" if stand.state == "Down" else "Dial"
            yield f"{name} runs {app}", _put(asterisk, at, stand._replace(app=app)), ("plan", at)
        for other in alive:
            if other != at and stand.dialled_by is None:
                dialler = CHANNELS[other]
                after = _put(asterisk, at, stand._replace(dialled_by=dialler))
                yield f"{dialler} dials {name}", after, ("dial", other, at)
        if stand.bridge is None:
            for bridge in bridges:
                yield (
                    f"{name} enters {bridge}",
                    _put(asterisk, at, stand._replace(bridge=bridge)),
                    ("enter", at, bridge),
                )
        else:
            after = _put(asterisk, at, stand._replace(bridge=None))
            yield f"{name} leaves {stand.bridge}", after, ("leave", at, stand.bridge)
        yield f"{name} ends", asterisk._replace(dead=asterisk.dead | {at}), ("destroyed", at)


def _put(asterisk: Asterisk, at: int, stand: Stand) -> Asterisk:
    channels = asterisk.channels
    return asterisk._replace(channels=(*channels[:at], stand, *channels[at + 1 :]))


def _channel(asterisk: Asterisk, at: int) -> Channel:
    stand = asterisk.channels[at]
    assert stand is not None
    key = CHANNELS[at]
    exten = "s" if stand.app == "AppDial" else "700"
    created = f"2026-11-22T08:00:00.00{at}+0000"
    return Channel(key, f"PJSIP/{key}-1", stand.state, key, key, "", "ctx", exten, 1, stand.app, created, None)


def _bridge(asterisk: Asterisk, key: str) -> Bridge:
    inside = tuple(
        CHANNELS[at]
        for at, stand in enumerate(asterisk.channels)
        if stand is not None and stand.bridge == key and at not in asterisk.dead
    )
    kind, technology = ("basic", "simple_bridge") if key == "x" else ("base", "softmix")
    return Bridge(key, technology, kind, "", key, inside)


def event_of(asterisk: Asterisk, made: Any, at_ms: int) -> Event:
    """The event of a move, as the world is after it."""
    kind, at, *rest = made
    channel = _channel(asterisk, at)
    if kind == "created":
        return ari.ChannelCreated(at_ms, channel)
    if kind == "state":
        return ari.ChannelStateChange(at_ms, channel)
    if kind == "plan":
        return ari.ChannelDialplan(at_ms, channel, channel.app, "")
    if kind == "dial":
        return ari.Dial(at_ms, channel, _channel(asterisk, rest[0]), "", "x", None)
    if kind == "enter":
        return ari.ChannelEnteredBridge(at_ms, channel, _bridge(asterisk, rest[0]))
    if kind == "leave":
        return ari.ChannelLeftBridge(at_ms, channel, _bridge(asterisk, rest[0]))
    return ari.ChannelDestroyed(at_ms, channel, 16, "Normal Clearing")


def step(node: Node, after: Asterisk, event: Event, n: int, deaf: int = 0) -> Node:
    """Fold one event, and hold what came of it against the invariants.

    Args:
        node: the state before it.
        after: the world after it.
        event: the event.
        n: its number.
        deaf: so many events were not heard.

    Raises:
        AssertionError: an invariant is broken.
    """
    if n <= deaf:
        return node._replace(asterisk=after)
    correlation, routed, _ = correlate(node.correlation, event, n, SETTINGS.call.bounds)
    calls, ended = dict(node.calls), node.ended
    for one in routed:
        key = one.call_id
        assert key not in ended, f"input for the ended call {key}"
        call = calls.get(key)
        assert call is not None or type(one.input.body) is ChannelJoined, f"the call {key} begins with {one.input.body}"
        call, effects = transition(call or Call.new(key, "pbx1", SETTINGS), one.input)
        said = [effect for effect in effects if type(effect) is Publish]
        first = call.sequence + 1 - len(said)
        assert [effect.sequence for effect in said] == list(range(first, first + len(said))), f"sequence of {key}"
        over = any(type(effect) is Ended for effect in effects)
        assert [effect.operation for effect in said].count("finished-call") == int(over)
        if over:
            ended |= {key}
            calls.pop(key, None)
        else:
            calls[key] = call
    _holds(correlation, after, calls, deaf > 0)
    return Node(after, correlation, calls, ended)


def _holds(correlation: Correlation, after: Asterisk, calls: dict[str, Call], late: bool) -> None:
    alive = {CHANNELS[at] for at, one in enumerate(after.channels) if one is not None and at not in after.dead}
    known_ones = set(correlation.channels)
    assert known_ones <= alive if late else known_ones == alive, "who lives is known, and nobody else"
    members: Counter[str] = Counter()
    for key, known in correlation.channels.items():
        assert (known.call is None) != (known.group is None), f"{key} is in a call, or pending"
        if known.call is not None:
            assert known.call in calls, f"the call of {key} lives"
            members[known.call] += 1
        else:
            assert known.group is not None
            assert key in correlation.groups[known.group].members
    assert {call: node.live for call, node in correlation.calls.items()} == dict(members)
    assert set(calls) == set(members), "a call lives as long as it has channels"
    for leader, group in correlation.groups.items():
        assert group.beside or any(one in alive for one in group.members), f"the group of {leader} has somebody"
    assert set(correlation.segments.tracks) <= alive
    if not alive:
        assert all(group.beside for group in correlation.groups.values())
        assert late or not correlation.groups
        assert not correlation.calls
        assert not calls
        assert not correlation.segments.others


def explore(depth: int, every: bool = False, bridges: str = BRIDGES, deaf: int = 0, first: str = "") -> Counter[str]:
    """Walk all paths.

    Args:
        depth: moves of the longest path.
        every: with the moves that decide nothing by themselves.
        bridges: those that there are.
        deaf: so many moves at the beginning are not heard.
        first: how the first channel is born, Ring or Down; empty for both.

    Returns:
        How many steps there were, and states at each depth but the last.

    Raises:
        AssertionError: an invariant is broken; the path is told.
    """
    counts: Counter[str] = Counter()
    layer: dict[Any, tuple[Node, tuple[str, ...]]] = {None: (Node(Asterisk(), Correlation.new(), {}, frozenset()), ())}
    for n in range(1, depth + 1):
        following: dict[Any, tuple[Node, tuple[str, ...]]] = {}
        for node, path in layer.values():
            for name, after, made in moves(node.asterisk, every, bridges, first):
                event = event_of(after if made[0] != "destroyed" else node.asterisk, made, n)
                try:
                    reached = step(node, after, event, n, deaf)
                except Exception as error:
                    raise AssertionError(f"{error!r} after {', '.join((*path, name))}") from error
                counts["steps"] += 1
                if n < depth:
                    following.setdefault(_seen(reached), (reached, (*path, name)))
        if n < depth:
            counts[f"states at depth {n}"] = len(following)
        layer = following
    return counts


def _seen(node: Node) -> Any:
    """What two paths must have in common to be walked on as one: all that decides what may come, and what comes of it.

    Left out are times, the sequence of a call (it only counts), and where a dead channel stood.
    """
    correlation = node.correlation
    asterisk = node.asterisk
    stands = tuple(None if at in asterisk.dead else one for at, one in enumerate(asterisk.channels))
    known = tuple(
        (key, one.call, one.group, one.late, one.peer, one.dialled, one.state, one.bridge, one.party.dialled_by)
        for key, one in sorted(correlation.channels.items())
    )
    tracks = tuple(
        (key, one.dialled, one.survived, tuple((each.state, each.other, each.bridge) for each in one.records))
        for key, one in sorted(correlation.segments.tracks.items())
    )
    held = tuple(
        (key, one.members, one.claim, one.beside, tuple(type(given.body) for _, given in one.held))
        for key, one in sorted(correlation.groups.items())
    )
    bridges = tuple(sorted(one for one in correlation.bridges.items() if one[1] in correlation.calls))
    calls = tuple(
        (key, tuple((leg.channel_id, leg.phase) for leg in call.legs.values()))
        for key, call in sorted(node.calls.items())
    )
    return stands, asterisk.dead, known, tracks, held, bridges, calls, node.ended


def main() -> int:
    """Explore as deep as is asked, and print what was met."""
    parser = argparse.ArgumentParser(prog="python -m tests.actors.call.exploring", description="Explore small worlds.")
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--all", action="store_true", help="with the moves that decide nothing by themselves")
    parser.add_argument("--bridges", default=BRIDGES, help="x: where calls meet, y: a conference")
    parser.add_argument("--deaf", type=int, default=0, help="moves that nobody hears")
    asked = parser.parse_args()
    for what, count in explore(asked.depth, asked.all, asked.bridges, asked.deaf).items():
        print(f"{what}: {count:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
