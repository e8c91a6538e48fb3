"""The fold of one PBX: frames, link rows, and what the PBX got wrong."""

import pickle
from collections.abc import Callable

import orjson
import pytest

from actors.call.world import Rejected, Step, World, step
from conf.settings import Pbx, Publisher, Settings
from wire.store.row import Kind, Row


def row(n: int, kind: str, body: object) -> Row:
    return Row(n, 1_000 * n, kind, body if isinstance(body, bytes) else orjson.dumps(body))


def test_the_link_is_told(settings: Settings) -> None:
    """pbx-connected says since when it was down, pbx-disconnected why; the stream has its own sequence."""
    conf = Settings(pbx=(Pbx(name="pbx1", app="watch"),))
    world = World.new("pbx1")
    said = []
    for one in (
        row(1, Kind.LINK_UP, {"generation": 1}),
        row(2, Kind.LINK_DOWN, {"reason": "silent", "detail": "10 s", "last_data_ms": None}),
        row(3, Kind.LINK_DOWN, {"reason": "refused", "detail": "", "last_data_ms": None}),
        row(4, Kind.LINK_UP, {"generation": 2}),
    ):
        done = step(world, one, conf)
        world = done.world
        said += [orjson.loads(message.body) for message in done.pbx_messages]
    assert [
        (one["operation"]["type"], one["sequence"], one["stream"], one["call_id"], one["data"]) for one in said
    ] == [
        ("pbx-connected", 1, "pbx:pbx1", None, {"app": "watch", "since": None}),
        ("pbx-disconnected", 2, "pbx:pbx1", None, {"reason": "silent", "detail": "10 s"}),
        ("pbx-disconnected", 3, "pbx:pbx1", None, {"reason": "refused", "detail": ""}),
        ("pbx-connected", 4, "pbx:pbx1", None, {"app": "watch", "since": "1970-01-01T00:00:02.000Z"}),
    ]
    assert (world.up_since_ms, world.down_since_ms) == (4_000, None)


def test_both_forms_of_a_message(settings: Settings) -> None:
    """Configuration says in which forms a message is made; both have the same sequence."""
    conf = Settings(publisher=Publisher(form="both"))
    done = step(World.new("p"), row(1, Kind.LINK_UP, {"generation": 1}), conf)
    assert [(one.form, one.sequence, one.routing_key) for one in done.pbx_messages] == [
        ("v3", 1, "pbx.p.pbx-connected"),
        ("legacy", 1, "pbx.p.pbx-connected"),
    ]


@pytest.mark.parametrize(
    ("body", "reason"), [(b"\xff", "not-json"), (b"{}", "not-an-event"), (b'{"type":"Dial"}', "wrong-shape")]
)
def test_a_bad_frame_is_rejected_and_changes_nothing(settings: Settings, body: bytes, reason: str) -> None:
    """The row is to be set aside; the world is the same."""
    world = World.new("p")
    done = step(world, row(3, Kind.FRAME, body), settings)
    assert done.world is world
    assert isinstance(done.rejected, Rejected)
    assert (done.rejected.n, done.rejected.reason) == (3, reason)
    assert not done.routed


def test_an_unknown_event_is_reported(settings: Settings) -> None:
    """It changes nothing and is counted."""
    world = World.new("p")
    done = step(world, row(1, Kind.FRAME, {"type": "Novelty"}), settings)
    assert done.world is world
    assert [(one.what, one.event) for one in done.reports] == [("unknown-event", "Novelty")]


@pytest.mark.parametrize("kind", [Kind.OPERATOR, "novelty"])
def test_other_rows_concern_no_call(settings: Settings, kind: str) -> None:
    """A row of a kind that has no fold changes nothing."""
    world = World.new("p")
    assert step(world, row(1, kind, {}), settings) == Step(world, [], [], [], None)


def test_a_world_goes_through_a_pickle(recording: Callable[[str], list[bytes]], settings: Settings) -> None:
    """A snapshot taken in the middle of a recording goes on as if nothing had been."""
    rows = [row(n, Kind.FRAME, orjson.loads(line)["event"]) for n, line in enumerate(recording("11b"), 1)]
    world = again = World.new("p")
    for n, one in enumerate(rows):
        done = step(world, one, settings)
        same = step(again, one, settings)
        assert done == same
        world, again = done.world, same.world
        if n % 20 == 0:
            again = pickle.loads(pickle.dumps(again))
