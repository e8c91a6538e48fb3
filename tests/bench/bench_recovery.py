"""After a gap: from the snapshot's row to the last message that it causes.

    python -m tests.bench.bench_recovery [--channels 1000] [--rounds 5]

Before the gap there are as many channels as after it, two a call. In the gap half of the calls end and as many begin;
of those that go on, half are answered. So the first look adopts and corrects, the second ends. Measured twice: the pure
fold (world and calls), and a Switchboard's work with real parts (journal and ledger on the disk, an actor for each
call) until the messages are committed to the outbox. Publishing is measured in bench_publish.
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from actors.call.replay import Replay
from actors.call_system import CallSystem
from actors.folding import Folding
from conf.settings import Journal, Settings
from tests.gaps import exported
from wire import log
from wire.message import OutboundMessage
from wire.store.journal import JournalReader, JournalWriter
from wire.store.ledger import Ledger
from wire.store.row import Kind, Row

BEGIN_MS = 1_795_339_000_000


def stamp(at_ms: int) -> str:
    """ARI's way to write a moment."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_ms / 1000)) + f".{at_ms % 1000:03d}+0000"


def channel(number: int, leg: int, state: str, created_ms: int) -> dict[str, Any]:
    """One of the two channels of a call: 0 calls, 1 was dialled."""
    me, other = (f"7903{number:07d}", "1121") if leg == 0 else ("1121", f"7903{number:07d}")
    return {
        "id": f"{number}.{leg}",
        "name": f"PJSIP/{'trunk' if leg == 0 else '1121'}-{number:06d}{leg}",
        "state": state,
        "protocol_id": f"call-{number}",
        "caller": {"name": me, "number": me},
        "connected": {"name": other, "number": other},
        "accountcode": "",
        "dialplan": {
            "context": "from-trunk" if leg == 0 else "from-internal",
            "exten": "74957770001" if leg == 0 else "",
            "priority": 1,
            "app_name": "Dial" if leg == 0 else "AppDial",
            "app_data": "PJSIP/1121",
        },
        "creationtime": stamp(created_ms),
        "language": "en",
    }


def begun(number: int, at_ms: int) -> list[dict[str, Any]]:
    """Frames of a call that rings."""
    caller, called = channel(number, 0, "Ring", at_ms), channel(number, 1, "Down", at_ms)
    ringing = channel(number, 1, "Ringing", at_ms)
    return [
        {"type": "ChannelCreated", "timestamp": stamp(at_ms), "channel": caller},
        {"type": "ChannelCreated", "timestamp": stamp(at_ms), "channel": called},
        {"type": "Dial", "timestamp": stamp(at_ms), "caller": caller, "peer": called, "dialstatus": "",
         "dialstring": "1121"},
        {"type": "ChannelStateChange", "timestamp": stamp(at_ms), "channel": ringing},
    ]  # fmt: skip


def looked(calls: dict[int, tuple[str, int]], at_ms: int, nth: int) -> dict[str, Any]:
    """A snapshot of calls: number → (up or ringing, begin)."""
    channels, bridges, variables = [], [], {}
    for number, (state, begin_ms) in calls.items():
        up = state == "up"
        channels.append(channel(number, 0, "Up" if up else "Ring", begin_ms))
        channels.append(channel(number, 1, "Up" if up else "Ringing", begin_ms))
        for leg in (0, 1):
            variables[f"{number}.{leg}"] = {"CHANNEL(linkedid)": f"{number}.0"}
        if up:
            for leg in (0, 1):
                variables[f"{number}.{leg}"]["CDR(answer,u)"] = f"{(begin_ms + 3000) / 1000:.6f}"
            bridges.append(
                {"id": f"bridge-{number}", "technology": "simple_bridge", "bridge_type": "mixing",
                 "bridge_class": "basic", "creator": "", "name": "", "channels": [f"{number}.1", f"{number}.0"],
                 "creationtime": stamp(begin_ms + 3001)}
            )  # fmt: skip
    return {
        "id": f"look-{nth}", "purpose": "link-up", "nth": nth, "link": 2, "dry_run": False,
        "asked_ms": at_ms - 100, "answered_ms": at_ms,
        "info": {"status": {"startup_time": stamp(BEGIN_MS - 100_000)}},
        "channels": channels, "bridges": bridges, "variables": variables,
    }  # fmt: skip


def story(count: int) -> list[Row]:
    """The rows; the last two are the looks after the gap."""
    calls = count // 2
    rows: list[Row] = []

    def add(at_ms: int, kind: str, body: dict[str, Any]) -> None:
        rows.append(Row(len(rows) + 1, at_ms, kind, orjson.dumps(body)))

    add(BEGIN_MS, Kind.LINK_UP, {"generation": 1, "app": "arimon", "last_row_ms": None})
    for number in range(calls):
        for frame in begun(number, BEGIN_MS + 100 + number):
            add(BEGIN_MS + 100 + number, Kind.FRAME, frame)
    down_ms = BEGIN_MS + 60_000
    add(down_ms, Kind.LINK_DOWN, {"reason": "lost", "detail": "", "last_data_ms": down_ms, "behind_ms": 0})
    up_ms = down_ms + 30_000
    add(up_ms, Kind.LINK_UP, {"generation": 2, "app": "arimon", "last_row_ms": None})
    there = {number: ("up" if number % 4 else "ringing", BEGIN_MS + 100 + number) for number in range(0, calls, 2)}
    there |= {number: ("up", down_ms + 1000 + number) for number in range(calls, calls + calls // 2)}
    add(up_ms + 200, Kind.SNAPSHOT, looked(there, up_ms + 200, 1))
    add(up_ms + 2400, Kind.SNAPSHOT, looked(there, up_ms + 2400, 2))
    return rows


class Took(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float
    """Of all threads of this process."""


class Watch:
    """Says how long it has been."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def took(self) -> Took:
        return Took(time.perf_counter() - self._wall, time.process_time() - self._cpu)


def pure(rows: list[Row]) -> tuple[list[Took], list[OutboundMessage]]:
    """What each look took, and all messages."""
    run = Replay("pbx1", Settings())
    lines = exported(rows)
    messages = [message for line in lines[:-2] for message in run.feed(line)]
    times = []
    for line in lines[-2:]:
        watch = Watch()
        messages += run.feed(line)
        times.append(watch.took())
    return times, messages


def real(rows: list[Row], folder: Path) -> tuple[list[Took], int]:
    """What each look took, from its being appended to the commit of its messages, and how many messages there are."""
    settings = Settings()
    writer = JournalWriter(folder / "journal", Journal(), lambda uuid, n: None)
    writer.start()
    ledger = Ledger(folder / "ledger.db", "normal")
    ledger.open()
    reader = JournalReader(folder / "journal")
    calls = CallSystem("pbx1", settings)
    folding = Folding("pbx1", settings, ledger, reader, calls, log.get("bench"), lambda: time.time_ns() // 1_000_000)
    for _ in folding.restore():
        pass
    count = 0
    times = []

    def until(n: int) -> None:
        nonlocal count
        while folding.position is None or folding.position.n < n:
            done = folding.fold(lambda: False)
            count += 0 if done is None else len(done.entries)

    for row in rows[:-2]:
        writer.append(row.kind, row.at_ms, row.body)
    until(len(rows) - 2)
    for row in rows[-2:]:
        watch = Watch()
        writer.append(row.kind, row.at_ms, row.body)
        until(row.n)
        times.append(watch.took())
    assert folding.watch.gap is None
    writer.close()
    reader.close()
    ledger.close()
    return times, count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    rows = story(given.channels)
    found: list[tuple[str, list[list[Took]]]] = [("pure fold", []), ("with actors, journal and ledger", [])]
    for _ in range(given.rounds):
        times, messages = pure(rows)
        found[0][1].append(times)
        with tempfile.TemporaryDirectory() as folder:
            times, count = real(rows, Path(folder))
        assert count == len(messages)
        found[1][1].append(times)
    gap = orjson.loads(next(each.body for each in messages if each.operation == "monitoring-gap"))["data"]
    inferred = Counter(each.operation for each in messages if b'"recovered":true' in each.body)
    print(f"{given.channels} channels in the snapshot ({len(rows[-1].body) / 1e6:.1f} MB)")
    print("calls", {each: len(gap[each]) for each in ("adopted", "corrected", "ended")}, "messages", dict(inferred))
    for what, looks in found:
        for nth, look in enumerate(zip(*looks, strict=True), 1):
            wall = [1000 * each.wall for each in look]
            cpu = [1000 * each.cpu for each in look]
            print(
                f"{what}, look {nth}: median {statistics.median(wall):.0f} ms, worst {max(wall):.0f} ms;"
                f" CPU median {statistics.median(cpu):.0f} ms"
            )


if __name__ == "__main__":
    main()
