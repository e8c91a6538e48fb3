"""Whatever hides the PBX for a while: afterwards arimon's calls are the PBX's, and the gap is told once.

The simulator plays at the pace of life, so that calls begin, are answered and end while nobody looks. What it says by
REST (its channels, and of each the linkedid of Asterisk's own CEL) is the truth.
"""

import asyncio
import base64
import http.client
import json
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from actors.call.decoding import milliseconds
from tests.daemon import Daemon, Simulator, assert_complete, replayed, wait_for
from tests.spine.tools import CALM
from wire.control.api import Reconciled
from wire.store.row import Kind

TRAFFIC = ("--mix", "ordinary", "--every", "0.25", "--loop", "forever", "--shuffle", "7")
KINDS = ("adopted", "corrected", "ended")
SLACK_MS = 50
"""Between two clocks, and whole milliseconds."""
UNREAD_MS = 1000
"""For what was sent before a fault and is read after it."""
DEAD_AFTER = 4.0
"""Seconds of silence; longer than a simulator that is alive gets no CPU."""
AUDIT_MS = 1000
"""From look to look."""


class Pbx:
    """The simulator as its operator sees it, over one connection that outlives its refusing others."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._key = {"Authorization": "Basic " + base64.b64encode(b"arimon:arimon").decode()}

    def fault(self, name: str, **arguments: Any) -> None:
        """Make one."""
        self._ask("POST", f"/sim/fault/{name}?{urllib.parse.urlencode(arguments)}")

    def calls(self) -> set[str]:
        """The linkedids of all channels that there are."""
        ids = [urllib.parse.quote(one["id"], safe="") for one in self._ask("GET", "/ari/channels")]
        asked = urllib.parse.urlencode({"variable": "CHANNEL(linkedid)"})
        return {self._ask("GET", f"/ari/channels/{one}/variable?{asked}")["value"] for one in ids}

    def _ask(self, method: str, path: str) -> Any:
        self._http.request(method, path, headers=self._key)
        answer = self._http.getresponse()
        body = answer.read()
        assert answer.status in (200, 202), body
        return json.loads(body)

    def close(self) -> None:
        self._http.close()

    async def take_the_name(self) -> None:
        """Connect as arimon does, and go again."""
        address = f"http://127.0.0.1:{self.port}/ari/events?app=arimon&subscribeAll=true&api_key=arimon:arimon"
        async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
            await socket.receive(timeout=30)


@pytest.fixture
def pbx(simulator: Simulator) -> Iterator[Pbx]:
    made = Pbx(simulator.ports[0])
    yield made
    made.close()


@pytest.fixture
def daemon(tmp_path: Path, simulator: Simulator) -> Iterator[Daemon]:
    settings = simulator.pbx() | {"dead_after": DEAD_AFTER, "replaced_retry": 6.0}
    recovery = {"audit_interval": AUDIT_MS / 1000, "second_look": 2.0}
    made = Daemon(tmp_path / "daemon", [settings], recovery=recovery, supervision=CALM)
    made.start()
    yield made
    made.end()


def gaps(daemon: Daemon) -> list[dict[str, Any]]:
    """Data of every monitoring-gap published."""
    found = [json.loads(line) for line in daemon.messages()]
    return [one["data"] for one in found if one["operation"]["type"] == "monitoring-gap"]


def many_calls(daemon: Daemon, count: int = 6) -> None:
    """Wait until so many are under way."""
    wait_for(lambda: len(daemon.client.calls()) >= count, f"{count} calls at once")


def same_calls(daemon: Daemon, pbx: Pbx) -> None:
    """Nothing moves for a moment: then what arimon knows is what there is."""
    pbx.fault("pause")
    there = pbx.calls()

    def same() -> bool:
        return {one["call_id"] for one in daemon.client.calls()} == there

    try:
        wait_for(same, "the same calls")
    finally:
        pbx.fault("resume")
    assert there


def finish(daemon: Daemon, simulator: Simulator) -> None:
    """Let all be published; then every stream is complete, and what a replay of the journal gives."""
    simulator.end()
    daemon.wait_drained()
    assert daemon.stop() == 0
    exported = daemon.exported()
    assert_complete(daemon.messages(), replayed(exported, daemon.settings), "")
    covered = [(milliseconds(gap["from"]), milliseconds(gap["to"])) for gap in gaps(daemon)]
    for begin, end in unseen([json.loads(line) for line in exported]):
        assert any(first <= begin and end <= last for first, last in covered), (begin, end, covered)


def unseen(rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """The times between two links, by the journal: from the last byte to the next link-up."""
    found = []
    down: int | None = None
    for row in rows:
        if row["kind"] == Kind.LINK_DOWN:
            down = row["body"]["last_data_ms"]
        elif row["kind"] == Kind.LINK_UP and down is not None:
            found.append((min(down, row["at_ms"]), row["at_ms"]))
            down = None
    return found


def told_gap(daemon: Daemon, reason: str, before: int) -> dict[str, Any]:
    """Wait for the next one, and see that it is of this kind."""
    wait_for(lambda: len(gaps(daemon)) > before, f"a gap ({reason}) is told")
    gap = gaps(daemon)[before]
    assert gap["reason"] == reason
    return gap


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.mark.parametrize(
    ("fault", "arguments", "reason", "away"),
    [
        ("drop", {"how": "fin"}, "lost", 2.0),
        ("drop", {"how": "rst"}, "lost", 2.0),
        ("drop", {"how": "close"}, "closed", 2.0),
        ("stall", {}, "dead", 2 * DEAD_AFTER),  # the end of "refuse" is the end of the stall
    ],
    ids=["fin", "rst", "close", "stall"],
)
def test_a_link_that_was_lost(
    daemon: Daemon, simulator: Simulator, pbx: Pbx, fault: str, arguments: dict[str, Any], reason: str, away: float
) -> None:
    """Calls that began, were answered or ended meanwhile are adopted, corrected and ended; the gap is told once."""
    many_calls(daemon)
    before = len(gaps(daemon))
    at_ms = now_ms()
    pbx.fault("refuse", seconds=away)
    pbx.fault(fault, **arguments)
    done_ms = now_ms()
    gap = told_gap(daemon, reason, before)
    assert milliseconds(gap["from"]) <= done_ms + UNREAD_MS
    assert milliseconds(gap["to"]) >= at_ms + away * 1000 - SLACK_MS
    assert gap["adopted"]
    assert gap["inferred"]
    same_calls(daemon, pbx)
    finish(daemon, simulator)
    assert [one["reason"] for one in gaps(daemon)].count(reason) == 1


@pytest.mark.parametrize(("how", "reason"), [("crash", "lost"), ("now", "lost"), ("graceful", "closed")])
def test_a_pbx_that_began_anew(daemon: Daemon, simulator: Simulator, pbx: Pbx, how: str, reason: str) -> None:
    """After a crash all that was is ended, its cause unknown; a restart in order has told it itself."""
    many_calls(daemon)
    old = {one["call_id"] for one in daemon.client.calls()}
    before = len(gaps(daemon))
    pbx.fault("restart", how=how, down=0.5)
    gap = told_gap(daemon, reason, before)
    if how == "crash":
        assert gap["ended"]
        assert not gap["corrected"]
        for one in map(json.loads, daemon.messages()):
            if one["operation"]["type"] == "finished-call" and one["call_id"] in gap["ended"]:
                assert one["recovered"]
                assert one["data"]["cause"] == {"code": None, "text": None}
    else:
        assert not gap["ended"]
    assert not old & {one["call_id"] for one in daemon.client.calls()}
    many_calls(daemon, 2)
    same_calls(daemon, pbx)
    finish(daemon, simulator)


def test_events_lost_under_a_live_link(daemon: Daemon, simulator: Simulator, pbx: Pbx) -> None:
    """Nobody says anything, but the audit sees it; its gap covers the time between two looks."""
    many_calls(daemon)
    before = len(gaps(daemon))
    at_ms = now_ms()
    pbx.fault("lose", events=400)
    done_ms = now_ms()
    gap = told_gap(daemon, "audit", before)
    # The first look may have come before anything of what it can see was lost.
    assert milliseconds(gap["from"]) <= done_ms + AUDIT_MS
    assert milliseconds(gap["to"]) >= at_ms
    assert gap["inferred"]
    # What was lost later than the first of the two looks is seen by the next ones.
    wait_for(lambda: len({one["to"] for one in gaps(daemon)}) > before, "further looks")
    same_calls(daemon, pbx)
    finish(daemon, simulator)


def test_a_deaf_link(daemon: Daemon, simulator: Simulator, pbx: Pbx) -> None:
    """It answers pings, and brings no event: given up and made anew, and its gap begins with its last event."""
    many_calls(daemon)
    at_ms = now_ms()
    pbx.fault("lose", events=1_000_000)
    done_ms = now_ms()
    [gap] = wait_for(lambda: [one for one in gaps(daemon) if one["reason"] == "deaf"][:1] or None, "it is told")
    assert at_ms - DEAD_AFTER * 1000 <= milliseconds(gap["from"]) <= done_ms + UNREAD_MS
    assert milliseconds(gap["to"]) - milliseconds(gap["from"]) >= DEAD_AFTER * 1000
    pbx.fault("lose", events=0)
    same_calls(daemon, pbx)
    finish(daemon, simulator)


def differences(found: Reconciled) -> dict[str, list[str]]:
    return {"adopted": sorted(found["adopted"]), "corrected": sorted(found["corrected"]), "ended": sorted(found["ended"])}  # fmt: skip  # noqa: E501


def test_an_operator_reconciles(tmp_path: Path, simulator: Simulator, pbx: Pbx) -> None:
    """A dry run says what is amiss and changes nothing; without it that is mended, and `gaps` lists what was told."""
    daemon = Daemon(tmp_path / "daemon", [simulator.pbx()], recovery={"audit_interval": 600})
    try:
        daemon.start()
        many_calls(daemon)
        pbx.fault("drop")
        told_gap(daemon, "lost", len(gaps(daemon)))  # after its second look the next one is far away
        pbx.fault("lose", events=1_000_000)
        wait_for(lambda: bool(daemon.client.reconcile(dry_run=True)[0]["adopted"]), "calls began unseen")
        pbx.fault("pause")
        pbx.fault("lose", events=0)
        daemon.wait_drained()
        before = daemon.messages()
        [dry] = daemon.client.reconcile("pbx1", dry_run=True)
        assert dry["dry_run"]
        assert dry["adopted"]
        assert daemon.messages() == before
        [done] = daemon.client.reconcile("pbx1")
        assert differences(done) == differences(dry)
        assert differences(daemon.client.reconcile(dry_run=True)[0]) == {one: [] for one in KINDS}
        pbx.fault("resume")
        same_calls(daemon, pbx)
        listed = [(one["reason"], one["adopted"], one["to_ms"]) for one in daemon.client.gaps()]
        assert listed == [(one["reason"], one["adopted"], milliseconds(one["to"])) for one in gaps(daemon)]
        finish(daemon, simulator)
    finally:
        daemon.end()


def test_another_took_our_name(daemon: Daemon, simulator: Simulator, pbx: Pbx) -> None:
    """It is a gap, in health while it lasts, and the name is taken back after a while."""
    many_calls(daemon)
    before = len(gaps(daemon))
    asyncio.run(pbx.take_the_name())

    def said() -> bool:
        status = daemon.client.status()
        return status["pbx"][0]["link"]["state"] == "replaced" and any("name" in each for each in status["problems"])

    wait_for(said, "it is said")
    told_gap(daemon, "replaced", before)
    same_calls(daemon, pbx)
    finish(daemon, simulator)


def test_a_killed_connection(daemon: Daemon, simulator: Simulator, pbx: Pbx) -> None:
    """There is no link-down in the journal: the gap begins with its last row, or the last byte before it."""
    many_calls(daemon)
    before = len(gaps(daemon))
    [journal] = daemon.client.journal()
    daemon.client.kill("pbx/pbx1/connection")
    done_ms = now_ms()
    gap = told_gap(daemon, "killed", before)
    assert journal["last_ms"] is not None
    # A look's row tells of a byte that came before it, but a link without one for longer would be dead.
    assert journal["last_ms"] - DEAD_AFTER * 1000 <= milliseconds(gap["from"]) <= done_ms
    same_calls(daemon, pbx)
    finish(daemon, simulator)


def test_a_stopped_arimon(daemon: Daemon, simulator: Simulator, pbx: Pbx) -> None:
    """From a clean stop to the next start is a gap like any other."""
    many_calls(daemon)
    before = len(gaps(daemon))
    assert daemon.stop() == 0
    daemon.start()
    gap = told_gap(daemon, "stopped", before)
    assert gap["to"] > gap["from"]
    same_calls(daemon, pbx)
    finish(daemon, simulator)


def test_a_slow_pbx_is_not_dead(daemon: Daemon, simulator: Simulator, pbx: Pbx) -> None:
    """Its events and answers come later than dead_after, but its pongs come: no gap."""
    many_calls(daemon)
    before = gaps(daemon)
    pbx.fault("slow", delay=DEAD_AFTER + 1.0, seconds=2 * DEAD_AFTER)
    wait_for(lambda: _lateness(daemon) > DEAD_AFTER, "events are late")
    wait_for(lambda: _lateness(daemon) < 1.0, "and in time again")
    assert daemon.client.status()["pbx"][0]["link"]["state"] == "connected"
    same_calls(daemon, pbx)
    finish(daemon, simulator)
    assert gaps(daemon) == before


def _lateness(daemon: Daemon) -> float:
    """How late the newest message is, seconds."""
    return now_ms() / 1000 - milliseconds(json.loads(daemon.messages()[-1])["timestamp"]) / 1000
