"""What is kept is bounded, whatever the PBX sends, and nothing is kept of what has ended and was told."""

import pickle
from collections.abc import Callable

import orjson

from actors.call.belonging import REMEMBERED
from actors.call.replay import Replay
from conf.settings import Bounds, Call, Settings

DAY_MS = 86_400_000
START = "2026-11-22T08:00:00.000+0000"


def _channel(key: str, state: str = "Up", app: str = "ConfBridge", name: str = "") -> dict[str, object]:
    return {
        "id": key,
        "name": name or f"PJSIP/{key}-1",
        "state": state,
        "caller": {"name": "", "number": key},
        "connected": {"name": "", "number": ""},
        "dialplan": {"context": "from-trunk", "exten": "700", "priority": 1, "app_name": app, "app_data": ""},
        "creationtime": START,
    }


def _line(kind: str, at: str = START, **fields: object) -> bytes:
    return orjson.dumps({"type": kind, "timestamp": at, **fields})


def _bridge(members: list[str]) -> dict[str, object]:
    return {
        "id": "conf",
        "technology": "softmix",
        "bridge_class": "base",
        "creator": "ConfBridge",
        "name": "4000",
        "channels": members,
    }


def _size(run: Replay) -> int:
    """Bytes of the whole state."""
    return len(pickle.dumps((run.world.correlation, run.calls)))


def _is_empty(run: Replay) -> bool:
    """Whether only the memory of the dead is left."""
    known = run.world.correlation
    left = (known.channels, known.groups, known.calls, known.locals, known.segments.tracks, known.segments.others)
    return not run.calls and not any(left)


def test_a_hundred_thousand_variables() -> None:
    """A channel that gets 100,000 variables keeps no more than the bounds say, and says that it is incomplete."""
    run = Replay("pbx1", Settings())
    run.feed(_line("ChannelCreated", channel=_channel("a", "Ring")))
    sizes = []
    for number in range(100_000):
        variable = ("MIXMONITOR_FILENAME", "RTPAUDIOQOS", "MEMBERINTERFACE", "WHATEVER")[number % 4]
        value = f"{number}" + "x" * 1000
        run.feed(_line("ChannelVarset", channel=_channel("a", "Ring"), variable=variable, value=value))
        if number in (1_000, 99_999):
            sizes.append(_size(run))
    assert sizes[1] <= sizes[0] + 1024
    told = run.feed(_line("ChannelDestroyed", channel=_channel("a"), cause=16, cause_txt="Normal Clearing"))
    finished = orjson.loads(told[-1].body)
    assert (finished["operation"]["type"], finished["degraded"]) == ("finished-call", True)
    assert _is_empty(run)


def test_a_call_of_three_days() -> None:
    """A call that is held and resumed for three days, with a digit each time, is bounded and ends as any other."""
    run = Replay("pbx1", Settings())
    run.feed(_line("ChannelCreated", channel=_channel("a", "Ring")))
    sizes = []
    for minute in range(3 * 24 * 60):
        day, hour = divmod(minute // 60, 24)
        at = f"2026-11-{22 + day}T{hour:02}:{minute % 60:02}:0"
        run.feed(_line("ChannelHold", at + "1.000+0000", channel=_channel("a"), musicclass="default"))
        run.feed(_line("ChannelUnhold", at + "2.000+0000", channel=_channel("a")))
        run.feed(_line("ChannelDtmfReceived", at + "3.000+0000", channel=_channel("a"), digit="1", duration_ms=80))
        if minute in (2_000, 4_319):
            sizes.append(_size(run))
    assert sizes[1] <= sizes[0] + 64
    end = "2026-11-25T08:00:00.000+0000"
    told = run.feed(_line("ChannelDestroyed", end, channel=_channel("a"), cause=16, cause_txt="Normal Clearing"))
    finished = orjson.loads(told[-1].body)
    assert finished["data"]["duration_seconds"] == 3 * DAY_MS / 1000
    assert finished["degraded"]
    assert _is_empty(run)


def test_a_conference_of_500() -> None:
    """Everybody is in the conference; the segments under way are bounded and told to be, and nothing is left of it."""
    settings = Settings(call=Call(bounds=Bounds(segments=100)))
    run = Replay("pbx1", settings)
    members: list[str] = []
    joined = finished = 0
    for number in range(500):
        key = f"c{number}"
        run.feed(_line("ChannelCreated", channel=_channel(key, "Ring")))
        members.append(key)
        entered = run.feed(_line("ChannelEnteredBridge", channel=_channel(key), bridge=_bridge(members)))
        joined += sum(message.operation == "joined-conference" for message in entered)
    tracks = run.world.correlation.segments.tracks
    assert max(len(track.records) for track in tracks.values()) == settings.call.bounds.segments
    assert run.counts["unexpected:too-many-segments"] > 0
    while members:
        key = members.pop()
        run.feed(_line("ChannelLeftBridge", channel=_channel(key), bridge=_bridge(members)))
        ended = run.feed(_line("ChannelDestroyed", channel=_channel(key), cause=16, cause_txt="Normal Clearing"))
        finished += sum(message.operation == "finished-call" for message in ended)
    assert (joined, finished) == (500, 500)
    assert _is_empty(run)


def test_a_loop_of_redirections(recording: Callable[[str], list[bytes]]) -> None:
    """Twenty forwards in a fraction of a second are one call, and nothing is left of it."""
    run = Replay("pbx1", Settings())
    told = [message.operation for line in recording("19c") for message in run.feed(line)]
    assert told.count("finished-call") == 1
    assert _is_empty(run)


def test_the_dead_are_forgotten() -> None:
    """Dead channels and ended calls are remembered for a while, and not for ever."""
    run = Replay("pbx1", Settings())
    for number in range(3 * REMEMBERED):
        key = f"c{number}"
        run.feed(_line("ChannelCreated", channel=_channel(key, "Ring")))
        run.feed(_line("ChannelDestroyed", channel=_channel(key), cause=16, cause_txt="Normal Clearing"))
    known = run.world.correlation
    assert len(known.gone) + len(known.gone_before) <= 2 * REMEMBERED + 2
    assert _is_empty(run)
