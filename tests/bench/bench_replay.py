"""How fast recordings are replayed, all messages made: `python -m tests.bench.bench_replay [RECORDING] [--runs N]`.

CPU time of one core is measured, so that neighbours disturb little, and the best of several runs is told. orjson's bare
decoding of the same lines, interleaved with it, says how fast the machine is at the moment: 616,000 lines/s where the
issue's bar of 80,000 events/s was set.
"""

import argparse
import sys
from time import process_time

import orjson

from actors.call.replay import Replay
from conf.settings import Settings
from tests.truth import recordings

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
    parser.add_argument("--least", type=int, default=0, help="events/s below which this fails")
    asked = parser.parse_args()
    lines = [line.strip() for line in recordings.frames(asked.name)]
    best = 0.0
    for run in range(1, asked.runs + 1):
        replayed, decoded, messages = measure(lines)
        best = max(best, len(lines) / replayed)
        print(
            f"run {run}: {len(lines) / replayed:,.0f} events/s, {messages} messages; orjson alone "
            f"{len(lines) / decoded:,.0f}/s; ratio {decoded / replayed:.3f}"
        )
    print(f"best: {best:,.0f} events/s")
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


if __name__ == "__main__":
    sys.exit(main())
