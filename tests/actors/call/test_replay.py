"""Recordings in, messages out, whatever is done to the recording on its way."""

import random
from collections import defaultdict
from collections.abc import Callable

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.call import redrive
from actors.call.redrive import Order
from actors.call.replay import Replay, replay
from conf.settings import Bounds, Call, Settings
from tests.actors.site import FRAMES, TYPED, Fault
from wire.store.journal import export_line
from wire.store.row import Kind, Row

Lines = Callable[[str], list[bytes]]

SMALL = (
    "01_", "06_", "08c", "09_", "10_", "10d", "11_", "11b", "11e", "12b", "13b", "14_", "15e", "15b",
    "16b", "17_", "17b", "18b", "19_", "20b", "22_", "26_", "30_", "31b", "35_",
)  # fmt: skip

APART = ("01_", "02_", "04_", "07_", "08_", "10_", "11_", "12_", "13_", "14_", "17_", "18_")
"""Recordings of one life of Asterisk: no id and no name in two of them."""

TRIALS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def messages(lines: list[bytes], conf: Settings | None = None) -> tuple[list[dict], Replay]:  # type: ignore[type-arg]
    run = Replay("pbx1", conf or Settings())
    return [orjson.loads(message.body) for line in lines for message in run.feed(line)], run


def per_stream(said: list[dict]) -> dict[str, list[dict]]:  # type: ignore[type-arg]
    streams: dict[str, list[dict]] = defaultdict(list)  # type: ignore[type-arg]
    for message in said:
        streams[message["stream"]].append(message)
    return dict(streams)


def check_promises(said: list[dict]) -> None:  # type: ignore[type-arg]
    for stream in per_stream(said).values():
        assert [message["sequence"] for message in stream] == list(range(1, len(stream) + 1))
        operations = [message["operation"]["type"] for message in stream]
        assert operations[0] == "received-call"
        assert operations.count("received-call") == 1
        assert "finished-call" not in operations[:-1]
    ids = [message["message_id"] for message in said]
    assert len(ids) == len(set(ids))


def spoil(lines: list[bytes], seed: int, window: int, doubled: float, dropped: float) -> list[bytes]:
    dice = random.Random(seed)
    kept = [line for line in lines if dice.random() >= dropped]
    kept = [line for line in kept for _ in range(1 + (dice.random() < doubled))]
    order = sorted(range(len(kept)), key=lambda index: index + dice.uniform(0, window))
    return [kept[index] for index in order]


@pytest.mark.parametrize("name", SMALL)
def test_a_recording_keeps_the_promises(recording: Lines, name: str) -> None:
    """Sequences have no gap, received-call is the first and finished-call the last of each call."""
    said, _ = messages(recording(name))
    check_promises(said)


@TRIALS
@given(
    name=st.sampled_from(SMALL),
    seed=st.integers(0, 2**32),
    window=st.sampled_from([0, 1, 3, 10, 40]),
    doubled=st.sampled_from([0.0, 0.05, 0.5]),
    dropped=st.sampled_from([0.0, 0.02, 0.2, 0.6]),
)
def test_a_spoilt_recording_keeps_the_promises(
    recording: Lines, name: str, seed: int, window: int, doubled: float, dropped: float
) -> None:
    """Events out of order, twice, or missing: no exception, no gap, at most one end, and the same again next time."""
    lines = spoil(recording(name), seed, window, doubled, dropped)
    said, run = messages(lines)
    check_promises(said)
    assert said == messages(lines)[0]
    assert set(run.calls) == set(run.world.correlation.calls)


@TRIALS
@given(name=st.sampled_from(SMALL), seed=st.integers(0, 2**32), window=st.sampled_from([0, 2, 8]))
def test_every_end_makes_one_finished_call(recording: Lines, name: str, seed: int, window: int) -> None:
    """When every channel's end is in the input, no call is left, and every one that was announced is finished once."""
    if name == "22_":  # a gap swallows ends
        return
    ends = [line for line in recording(name) if b'"ChannelDestroyed"' in line]
    others = [line for line in recording(name) if b'"ChannelDestroyed"' not in line]
    said, run = messages([*spoil(others, seed, window, 0.1, 0.1), *ends])
    for stream in per_stream(said).values():
        assert stream[-1]["operation"]["type"] == "finished-call"
    assert not run.calls
    correlation = run.world.correlation
    assert not correlation.channels
    assert not correlation.locals
    assert not correlation.groups
    assert not correlation.segments.tracks
    assert not correlation.segments.others


@TRIALS
@given(names=st.lists(st.sampled_from(APART), min_size=2, max_size=4, unique=True), seed=st.integers(0, 2**32))
def test_calls_do_not_touch_each_other(recording: Lines, names: list[str], seed: int) -> None:
    """Interleaving recordings gives each call the same messages as running them one by one."""
    apart: dict[str, list[dict]] = {}  # type: ignore[type-arg]
    for name in names:
        apart |= per_stream(messages(recording(name))[0])
    queues = [list(recording(name)) for name in names]
    dice = random.Random(seed)
    together = []
    while queues := [queue for queue in queues if queue]:
        together.append(dice.choice(queues).pop(0))
    assert per_stream(messages(together)[0]) == apart


def test_the_same_bytes_at_every_run(recording: Lines, settings: Settings) -> None:
    """A replay is deterministic, byte for byte."""
    lines = recording("11b")
    assert list(replay(lines, "pbx1", settings)) == list(replay(iter(lines), "pbx1", settings))


def test_nothing_is_invented_at_the_end(recording: Lines, settings: Settings) -> None:
    """A call whose end is not in the input is not finished."""
    said = [orjson.loads(body) for body in replay(recording("01_")[:40], "pbx1", settings)]
    assert [message["operation"]["type"] for message in said] == ["received-call", "ringing-call", "answered-call"]


def test_the_three_forms_of_a_line_say_the_same(recording: Lines, settings: Settings) -> None:
    """A plain event, a recorded one and a journal's row of it make the same messages."""
    recorded = recording("09_")
    plain = [orjson.dumps(orjson.loads(line)["event"]) for line in recorded]
    rows = [
        orjson.dumps({"n": n, "at_ms": 5, "kind": "frame", "body": orjson.loads(line)})
        for n, line in enumerate(plain, 1)
    ]
    expected = list(replay(recorded, "pbx1", settings))
    assert list(replay(plain, "pbx1", settings)) == expected
    assert list(replay(rows, "pbx1", settings)) == expected


def test_an_order_means_the_row_of_its_journal(settings: Settings, in_world: Fault) -> None:
    """Another journal has that number again."""
    n, run = TYPED[0], Replay("pbx1", settings)

    def fed(row: Row, uuid: str) -> list[str]:
        return [orjson.loads(message.body)["data"]["digit"] for message in run.feed(export_line(row, uuid))]

    for number, frame in enumerate(FRAMES[: n - 1], 1):
        run.feed(export_line(Row(number, 5, Kind.FRAME, frame), "i"))
    in_world.rows = {n}
    for uuid, typed in zip("ij", TYPED, strict=False):
        assert fed(Row(n, 5, Kind.FRAME, FRAMES[typed - 1]), uuid) == []
    in_world.mend()
    orders = [orjson.dumps(redrive.command(Order("", uuid, n))) for uuid in "jjih"]
    first, second = (orjson.loads(FRAMES[typed - 1])["digit"] for typed in TYPED[:2])
    assert [fed(Row(100, 5, Kind.OPERATOR, order), "j") for order in orders] == [[second], [], [first], []]


def test_bad_lines_are_counted_and_passed_over(recording: Lines, settings: Settings) -> None:
    """What is no event is counted with its line and its reason, and the rest goes on."""
    lines = recording("01_")
    bad = [b"\xff\xfe", b"{", b"7", b"[]", b'{"type": 7}', b'{"type":"ChannelCreated"}', b"", b'{"n":1,"kind":"x"}']
    run = Replay("pbx1", settings)
    said = [message.body for line in [*bad, *lines] for message in run.feed(line)]
    assert said == list(replay(lines, "pbx1", settings))
    rejected = {1: "not-json", 2: "not-json", 3: "not-an-event", 4: "not-an-event", 6: "wrong-shape", 8: "not-a-row"}
    assert {one.n: one.reason for one in run.rejected} == rejected
    assert run.counts["unexpected:unknown-event"] == 1


@TRIALS
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=8,
    ),
    st.sampled_from(["ChannelCreated", "Dial", "ChannelVarset", "RecordingStarted", "BridgeBlindTransfer", "Nonsense"]),
)
def test_no_json_whatever_raises(told: object, kind: str) -> None:
    """Any JSON is an event, is ignored or is rejected; nothing raises."""
    run = Replay("pbx1", Settings())
    run.feed(orjson.dumps(told, option=orjson.OPT_NON_STR_KEYS) if _fits(told) else b"null")
    if isinstance(told, dict) and _fits(told):
        run.feed(orjson.dumps({**told, "type": kind, "channel": told, "peer": told, "variable": "RTPAUDIOQOS"}))


def _fits(told: object) -> bool:
    try:
        orjson.dumps(told)
    except (orjson.JSONEncodeError, TypeError):
        return False
    return True


def test_a_channel_in_a_hundred_thousand_variables_stays_small(recording: Lines) -> None:
    """Whatever one channel gets, its state is bounded, and its messages say that something was dropped."""
    conf = Settings(call=Call(bounds=Bounds(dtmf=10, entries=3)))
    lines = recording("07_")
    at = next(index for index, line in enumerate(lines) if b"ChannelDtmfReceived" in line)
    digit = lines[at]
    hold = digit.replace(b"ChannelDtmfReceived", b"ChannelHold").replace(b'"digit"', b'"musicclass":"x","digit"')
    unhold = digit.replace(b"ChannelDtmfReceived", b"ChannelUnhold")
    # Each at a time of its own: the same event twice, to the millisecond, happened once.
    many = [each.replace(b":43.734+", b":43.%03d+" % number) for number in range(50) for each in (digit, hold, unhold)]
    assert len(set(many)) == 150
    said, _ = messages([*lines[:at], *many, *lines[at:]], conf)
    last = next(message for message in said if message["operation"]["type"] == "finished-call")
    assert len(last["data"]["dtmf"]) == 10
    assert len(last["data"]["holds"]) == 3
    assert last["degraded"]
    assert not said[0]["degraded"]
