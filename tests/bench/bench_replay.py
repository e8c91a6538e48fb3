"""How fast recordings are replayed, all messages made: `python -m tests.bench.bench_replay [RECORDING] [--runs N]`.

CPU time of one core is measured, so that neighbours disturb little, and the best of several runs is told. orjson's bare
decoding of the same lines, interleaved with it, says how fast the machine is at the moment: 616,000 lines/s where the
issue's bar of 80,000 events/s was set. The whole command, `arimon-ctl replay` as a process of its own with its start
and its end, is measured after each run. `--conference N` tells the CPU time of a conference of N legs as well.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from time import process_time

import orjson

from actors.call.replay import Replay
from conf.settings import Settings
from tests.truth import recordings

ROOT = Path(__file__).parents[2]

CHUNK = 2000
"""Lines replayed, then decoded, in turn."""


def main() -> int:
    """Measure and print.

    Returns:
        Exit code: 0; 1 if fewer events a second were replayed than `--least`.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_replay", description="Measure the call core.")
    parser.add_argument("name", nargs="?", default="24_load_200_concurrent", help="a recording")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--conference", type=int, default=0, metavar="N", help="legs of a conference to be measured")
    parser.add_argument("--least", type=int, default=0, help="events/s below which this fails")
    asked = parser.parse_args()
    lines = [line.strip() for line in recordings.frames(asked.name)]
    best = best_command = 0.0
    for run in range(1, asked.runs + 1):
        replayed, decoded, messages = measure(lines)
        best = max(best, len(lines) / replayed)
        print(
            f"run {run}: {len(lines) / replayed:,.0f} events/s, {messages} messages; orjson alone "
            f"{len(lines) / decoded:,.0f}/s; ratio {decoded / replayed:.3f}"
        )
        whole = command(asked.name)
        best_command = max(best_command, len(lines) / whole)
        print(f"       arimon-ctl replay: {whole:.2f} s of CPU, {len(lines) / whole:,.0f} events/s")
    print(f"best: {best:,.0f} events/s; as a command {best_command:,.0f} events/s")
    if asked.conference:
        for order in ("first", "last"):
            lines = list(conference(asked.conference, order))
            replayed, _, messages = measure(lines)
            print(
                f"a conference of {asked.conference}, the {order} to come goes first: {replayed:.2f} s, "
                f"{messages} messages of {len(lines)} events"
            )
    return 1 if best < asked.least else 0


def measure(lines: list[bytes]) -> tuple[float, float, int]:
    """Replay lines, and decode them.

    Args:
        lines: a recording's.

    Returns:
        CPU seconds of the replay, CPU seconds of orjson alone, and how many messages were made.
    """
    replay = Replay("pbx1", Settings())
    replayed = decoded = 0.0
    messages = 0
    for at in range(0, len(lines), CHUNK):
        chunk = lines[at : at + CHUNK]
        begin = process_time()
        for line in chunk:
            messages += len(replay.feed(line))
        between = process_time()
        for line in chunk:
            orjson.loads(line)
        replayed += between - begin
        decoded += process_time() - between
    return replayed, decoded, messages


def command(name: str) -> float:
    """Replay a recording by the command, as an operator does.

    Args:
        name: the recording's.

    Returns:
        CPU seconds of the process, user and system.
    """
    file = next(iter(sorted(recordings.FOLDER.glob(f"{name}.jsonl*"))))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "wire.control.cli", "replay", str(file)],
        {**environment, "PYTHONPATH": str(ROOT)},
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, used = os.wait4(process, 0)
    assert status == 0
    return used.ru_utime + used.ru_stime


def conference(legs: int, order: str) -> Iterator[bytes]:
    """A conference into which all come, and then go.

    Args:
        legs: how many.
        order: who goes first: the `first` to come, or the `last`.
    """
    members: list[str] = []
    for number in range(legs):
        members.append(f"c{number}")
        yield _event("ChannelCreated", members[-1], "Ring")
        yield _event("ChannelEnteredBridge", members[-1], bridge=_bridge(members))
    while members:
        key = members.pop(0 if order == "first" else -1)
        yield _event("ChannelLeftBridge", key, bridge=_bridge(members))
        yield _event("ChannelDestroyed", key, cause=16, cause_txt="Normal Clearing")


def _event(kind: str, key: str, state: str = "Up", **fields: object) -> bytes:
    at = "2026-11-22T08:00:00.000+0000"
    channel = {
        "id": key,
        "name": f"PJSIP/{key}-1",
        "state": state,
        "caller": {"name": "", "number": key},
        "connected": {"name": "", "number": ""},
        "dialplan": {"context": "users", "exten": "700", "priority": 1, "app_name": "ConfBridge", "app_data": ""},
        "creationtime": at,
    }
    return orjson.dumps({"type": kind, "timestamp": at, "channel": channel, **fields})


def _bridge(members: list[str]) -> dict[str, object]:
    return {
        "id": "conference",
        "technology": "softmix",
        "bridge_class": "base",
        "creator": "ConfBridge",
        "name": "4000",
        "channels": members,
    }


if __name__ == "__main__":
    sys.exit(main())
