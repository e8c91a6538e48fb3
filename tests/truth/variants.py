"""Recordings made anew with other ids, clocks, settings and neighbours: what an Asterisk elsewhere would have sent.

A variant changes frames and, where it must, CEL and CDR with them, so that the same comparison holds.
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from hashlib import blake2b
from typing import Any, NamedTuple

from tests.truth import oracle, recordings

KEPT = frozenset(
    {
        "ApplicationReplaced",
        "BridgeAttendedTransfer",
        "BridgeBlindTransfer",
        "BridgeCreated",
        "BridgeDestroyed",
        "BridgeMerged",
        "ChannelCallerId",
        "ChannelConnectedLine",
        "ChannelCreated",
        "ChannelDestroyed",
        "ChannelDialplan",
        "ChannelDtmfReceived",
        "ChannelEnteredBridge",
        "ChannelHangupRequest",
        "ChannelLeftBridge",
        "ChannelStateChange",
        "Dial",
    }
)
"""What an eventFilter must let through (ari/truth.md), and what the facts compared are made of."""

KEPT_VARIABLES = frozenset({"BRIDGEPEER", "BRIDGEPVTCALLID"})
"""Variables that ari/truth.md counts among the necessary."""

TIMES = frozenset({"eventtime", "start", "answer", "end"})
"""Columns of CEL and CDR that hold times."""

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}")


class Variant(NamedTuple):
    """A recording made anew."""

    frames: list[bytes]
    truth: oracle.Oracle


def original(name: str) -> Variant:
    """The recording as it is."""
    return Variant(list(recordings.frames(name)), oracle.read(name))


def without_channelvars(name: str) -> Variant:
    """As from an Asterisk whose ari.conf has no channelvars: linkedids must be derived."""
    frames, truth = original(name)
    return Variant([json.dumps(_stripped(json.loads(line))).encode() for line in frames], truth)


def elsewhere(name: str) -> Variant:
    """As from a host in another time zone: all timestamps at +0530."""
    zone = timezone(timedelta(hours=5, minutes=30))

    def moved(found: re.Match[str]) -> str:
        at = datetime.strptime(found[0], "%Y-%m-%dT%H:%M:%S.%f%z").astimezone(zone)
        return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}+0530"

    frames, truth = original(name)
    return Variant([TIMESTAMP.sub(moved, line.decode()).encode() for line in frames], truth)


def filtered(name: str) -> Variant:
    """As from an application with an eventFilter that lets through what is necessary."""
    frames, truth = original(name)
    return Variant([line for line in frames if _is_kept(json.loads(line)["event"])], truth)


def renamed(name: str) -> Variant:
    """All channel ids are other texts, whose alphabetical order says nothing; CEL and CDR alike."""
    truth = oracle.read(name)
    names = {uniqueid: blake2b(uniqueid.encode(), digest_size=6).hexdigest() + "x" for uniqueid in truth.channels}
    pattern = re.compile("|".join(re.escape(one) for one in sorted(names, key=len, reverse=True)))

    def other(text: str) -> str:
        return pattern.sub(lambda found: names[found[0]], text)

    def rows(table: Sequence[dict[str, str]]) -> list[dict[str, str]]:
        # A time, 1795337958.121710, may begin with an id, 1795337958.121.
        return [{key: value if key in TIMES else other(value) for key, value in row.items()} for row in table]

    frames = [other(line.decode()).encode() for line in recordings.frames(name)]
    return Variant(frames, oracle.Oracle(rows(recordings.cel(name)), rows(recordings.cdr(name)), oracle.watched(name)))


def cut(variant: Variant, at: int) -> Variant:
    """As to one who connects late: the first frames are missing."""
    return Variant(variant.frames[at:], variant.truth)


def interleaved(names: Sequence[str]) -> Variant:
    """Several recordings at once on one Asterisk, each frame when its own recording's clock says."""
    frames = sorted(
        (json.loads(line)["t"], place, number, line)
        for place, name in enumerate(names)
        for number, line in enumerate(recordings.frames(name))
    )
    cel = [row for name in names for row in recordings.cel(name)]
    cdr = [row for name in names for row in recordings.cdr(name)]
    return Variant([line for *_, line in frames], oracle.Oracle(cel, cdr))


def doubled(name: str) -> Variant:
    """Each frame comes twice."""
    frames, truth = original(name)
    return Variant([line for line in frames for _ in range(2)], truth)


def disturbed(name: str, seed: int) -> Variant:
    """One frame in twenty is missing, one in ten comes after the next, one in thirty comes twice."""
    frames, truth = original(name)
    chance = random.Random(seed)
    kept = [line for line in frames if chance.random() > 0.05]
    for at in range(len(kept) - 1):
        if chance.random() < 0.1:
            kept[at], kept[at + 1] = kept[at + 1], kept[at]
    return Variant([line for line in kept for _ in range(2 if chance.random() < 0.03 else 1)], truth)


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stripped(inner) for key, inner in value.items() if key != "channelvars"}
    if isinstance(value, list):
        return [_stripped(inner) for inner in value]
    return value


def _is_kept(event: dict[str, Any]) -> bool:
    if event["type"] == "ChannelVarset":
        return event["variable"] in KEPT_VARIABLES
    return event["type"] in KEPT


def short_names() -> Iterator[str]:
    """Recordings small enough to be made anew several times in a test run."""
    for name in recordings.names():
        if not name.startswith(("19c", "23", "24")):
            yield name
