"""One PBX whose link misbehaves, and what arimon makes of what it sends."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon, Simulator, assert_complete, by_stream, load, replayed, wait_for
from tests.spine.tools import CALM, fault, finish, pbx_status, problems, restarts, wait_for_messages
from wire.store.row import Kind

TRAFFIC = load(rate=200, lanes=8)


@pytest.fixture
def daemon(tmp_path: Path, simulator: Simulator) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "daemon", [simulator.pbx()], supervision=CALM)
    made.start()
    yield made
    made.end()


def connections(daemon: Daemon) -> int:
    """Links to the PBX since the start, as its own stream tells them."""
    operations = [json.loads(line)["operation"]["type"] for line in daemon.messages()]
    return operations.count("pbx-connected")


def test_a_dropped_link_is_taken_up_again(daemon: Daemon, simulator: Simulator) -> None:
    """FIN, RST or a proper close: told, connected anew, no restart, and messages are as the journal has it."""
    wait_for_messages(daemon)
    for links, how in enumerate(("fin", "rst", "close"), 2):
        fault(simulator, "drop", how=how)
        wait_for(lambda links=links: connections(daemon) == links, f"link {links} is up")  # type: ignore[misc]
        wait_for_messages(daemon)
    assert set(restarts(daemon).values()) == {0}
    finish(daemon, simulator)
    assert_complete(daemon.messages(), replayed(daemon.exported(), daemon.settings), prefix="")
    [told] = by_stream(daemon.messages(), "pbx:").values()
    operations = [each["operation"]["type"] for each in told if each["operation"]["type"] != "monitoring-gap"]
    # The last one is the simulator's end.
    assert operations == ["pbx-connected", "pbx-disconnected"] * 4
    first, *again = [each["data"]["since"] for each in told if each["operation"]["type"] == "pbx-connected"]
    assert first is None
    assert None not in again


def test_a_silently_dead_link_is_noticed(tmp_path: Path, simulator: Simulator) -> None:
    """Neither FIN nor data: within `dead_after` it is a disconnect, with the reason in words."""
    daemon = Daemon(tmp_path / "daemon", [simulator.pbx() | {"dead_after": 1.0}], supervision=CALM)
    try:
        daemon.start()
        wait_for_messages(daemon)
        fault(simulator, "stall")
        wait_for(lambda: connections(daemon) >= 2, "it connects anew")
        fault(simulator, "resume")
        wait_for_messages(daemon)
        finish(daemon, simulator)
        assert_complete(daemon.messages(), replayed(daemon.exported(), daemon.settings), prefix="")
    finally:
        daemon.end()


def test_garbage_is_kept_aside_and_the_link_goes_on(daemon: Daemon, simulator: Simulator) -> None:
    """Well-framed nonsense is quarantined, each row shown in full on request; no call and no link is lost by it.

    An event of a type that a later Asterisk may have is no nonsense.
    """
    fault(simulator, "garbage", kind="unknown-type")
    wait_for_messages(daemon)
    assert daemon.client.quarantine() == []
    kinds = ["bad-json", "not-an-object", "no-type", "bad-fields", "bad-utf8"]
    for kind in kinds:
        fault(simulator, "garbage", kind=kind)
    rows = wait_for(
        lambda: found if len(found := daemon.client.quarantine()) == len(kinds) else None, "all of it is in quarantine"
    )
    wait_for_messages(daemon)
    assert {row["where"] for row in rows} == {"decode"}
    shown = [daemon.client.quarantine_show("pbx1", row["n"]) for row in rows]
    assert all(each["row"] in rows and each["body"] for each in shown)
    wait_for(lambda: "5 rows in quarantine" in problems(daemon), "it is told as a problem")
    assert connections(daemon) == 1
    assert set(restarts(daemon).values()) == {0}
    finish(daemon, simulator)
    assert_complete(daemon.messages(), replayed(simulator.sent(), daemon.settings))


@pytest.mark.parametrize(("kind", "reason"), [("bad-opcode", "broken"), ("oversized", "oversized")])
def test_a_broken_frame_costs_the_link_and_nothing_else(
    tmp_path: Path, simulator: Simulator, kind: str, reason: str
) -> None:
    """What breaks the protocol, or is larger than allowed, closes the link: reconnected, with the reason told."""
    daemon = Daemon(tmp_path / "daemon", [simulator.pbx() | {"max_frame_bytes": 65536}], supervision=CALM)
    try:
        daemon.start()
        wait_for_messages(daemon)
        fault(simulator, "garbage", kind=kind, **({"size": 100_000} if kind == "oversized" else {}))
        wait_for(lambda: connections(daemon) == 2, "it connects anew")
        wait_for_messages(daemon)
        assert daemon.client.quarantine() == []
        finish(daemon, simulator)
        assert_complete(daemon.messages(), replayed(daemon.exported(), daemon.settings), prefix="")
        [told] = by_stream(daemon.messages(), "pbx:").values()
        lost, _end = [each["data"] for each in told if each["operation"]["type"] == "pbx-disconnected"]
        assert lost["reason"] == reason
        assert lost["detail"]
    finally:
        daemon.end()


def test_a_name_taken_by_another_is_said_loudly(tmp_path: Path, simulator: Simulator) -> None:
    """A second arimon of the same app silences the first, which says so and does not fight for it."""
    first = Daemon(tmp_path / "first", [simulator.pbx()], supervision=CALM)
    second = Daemon(tmp_path / "second", [simulator.pbx()], supervision=CALM)
    try:
        first.start()
        wait_for_messages(first)
        second.start()
        shown = wait_for(
            lambda: found if (found := pbx_status(first)) and found["link"]["state"] == "replaced" else None,
            "the first is replaced",
        )
        assert "another client" in shown["link"]["detail"]
        wait_for(lambda: "another client" in problems(first), "it is told as a problem")
        wait_for_messages(second)
        again = pbx_status(first)
        assert again is not None
        assert again["link"]["state"] == "replaced"
        simulator.end()
        assert (first.stop(), second.stop()) == (0, 0)
        kinds = [json.loads(line)["kind"] for line in first.exported()]
        assert kinds.count(Kind.LINK_UP) == 1
    finally:
        first.end()
        second.end()
