"""actors.snapshots: what is read back is what was written, and what cannot be used is refused."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from actors import snapshots
from actors.call import host
from actors.call.state import Call
from actors.call.world import World, step
from actors.snapshots import CODEC, Taken, configuration_hash
from conf.settings import Settings
from conf.validation import validated
from tests.truth import recordings
from wire.store.errors import CodecError
from wire.store.ledger import Ledger
from wire.store.row import Position

SERVER = "pbx1"
POSITION = Position("a-journal", 7)
MOST_ROWS = 3000
"""Rows of a recording that are looked at: all, but for the load of 200 calls at once."""


@pytest.fixture
def settings() -> Settings:
    return Settings()


def taken(calls: int, settings: Settings) -> Taken:
    """A state of so many calls."""
    states = {f"{number}.1": Call.new(f"{number}.1", SERVER, settings) for number in range(calls)}
    return Taken(POSITION, World.new(SERVER), states, {}, ("1.9",))


def written(ledger: Ledger, what: Taken, settings: Settings) -> Iterator[None]:
    """Write it, a slice a turn."""
    return snapshots.write(ledger.snapshots, what, settings, lambda: 1)


def read(ledger: Ledger) -> Taken:
    """The newest one."""
    info = ledger.snapshots.latest_complete()
    assert info is not None
    found: list[Taken] = []

    def reading() -> Iterator[None]:
        found.append((yield from snapshots.read(ledger.snapshots, info)))

    for _ in reading():
        pass
    return found[0]


@pytest.mark.parametrize("calls", [0, 1, 200, 201])
def test_what_is_read_is_what_was_written(ledger: Ledger, settings: Settings, calls: int) -> None:
    """Whether the calls fill their slices or not."""
    for _ in written(ledger, taken(calls, settings), settings):
        pass
    assert read(ledger) == taken(calls, settings)


def test_what_is_written_is_let_go(ledger: Ledger, settings: Settings) -> None:
    """A state of which there is a newer one does not live until the whole snapshot is on disk."""
    what = taken(300, settings)
    living = [weakref.ref(call) for call in what.calls.values()]
    writing = written(ledger, what, settings)
    del what
    alive = []
    for _ in writing:
        gc.collect()
        alive.append(sum(each() is not None for each in living))
    assert alive == [300, 100, 0]


def test_a_snapshot_of_another_version_is_refused(
    ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says of which."""
    with monkeypatch.context() as older:
        older.setattr(snapshots, "SNAPSHOT_VERSION", 1)
        for _ in written(ledger, taken(1, settings), settings):
            pass
    with pytest.raises(CodecError, match="is of version 1"):
        read(ledger)


def test_a_snapshot_without_a_world_is_refused(ledger: Ledger) -> None:
    """Rather than taken for that of a PBX of which nothing is known."""
    stored = ledger.snapshots
    stored.complete(stored.begin(POSITION, snapshots.SNAPSHOT_VERSION, "", 1), 1)
    with pytest.raises(CodecError, match="holds no world"):
        read(ledger)


def test_the_configuration_has_another_name_if_rows_fold_otherwise() -> None:
    """What decides nothing about a call, or about another PBX's, changes nothing."""

    def named(**changed: object) -> str:
        return configuration_hash(validated(Settings, changed), SERVER)

    before = named()
    pbx = {"name": SERVER, "trunks": ["PJSIP/trunk"]}
    assert len({before, named(call={"mask_dtmf": True}), named(publisher={"form": "both"}), named(pbx=[pbx])}) == 4
    assert named(pbx=[pbx | {"name": "pbx2"}]) == before
    assert named(publisher={"window": 7}) == before


@pytest.mark.parametrize("name", recordings.names())
def test_a_snapshot_taken_at_any_row_is_as_good_as_the_state(name: str, settings: Settings) -> None:
    """World and calls, written and read back by the Switchboard's codec at each row, fold to the same messages."""
    world, kept = World.new(SERVER), World.new(SERVER)
    calls_, stored = dict[str, Call](), dict[str, bytes]()
    for number, row in enumerate(recordings.rows(name, MOST_ROWS)):
        done, again = step(world, row, settings), step(kept, row, settings)
        assert again == done
        world = kept = done.world
        # A world of 200 calls takes its time; each tenth of those is enough.
        if len(calls_) < 20 or number % 10 == 0:
            kept = CODEC.decode(CODEC.encode(world))
            assert kept == world
        for each in done.routed:
            blob = stored.get(each.call_id)
            restored = None if blob is None else CODEC.decode(blob)
            assert type(restored) in (Call, type(None))
            folded = host.fold(calls_.get(each.call_id), each, SERVER, settings)
            assert host.fold(restored, each, SERVER, settings) == folded
            calls_[each.call_id], stored[each.call_id] = folded.call, CODEC.encode(folded.call)
            if folded.ended:
                del calls_[each.call_id], stored[each.call_id]


def test_the_core_keeps_no_state_outside_of_the_codecs_list() -> None:
    """What a snapshot may hold are classes of the pure core, and of its configuration."""
    allowed = {module for module, _name in CODEC._allowed if module.split(".")[0] in ("actors", "conf", "wire")}
    assert {"actors.call.state", "actors.call.world", "conf.settings"} <= allowed
    assert all(module == "conf.settings" or module.startswith("actors.call.") for module in allowed)
