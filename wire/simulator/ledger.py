"""What Asterisk knows of a channel but ARI's events do not carry: its linkedid and when its CDR was answered.

Both come from the CEL and CDR files beside the recording (`NAME.cel.csv`, `NAME.cdr.csv`, `.gz` too). Without them the
linkedid is taken from `channelvars`, or derived by the rules of the call model as far as a simulator needs them (a
Dial's peer takes the caller's, `;2` takes `;1`'s, the oldest wins in a bridge), and the answer is when the channel
first was Up.
"""

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wire.simulator.tokens import channels_of, parse_time

LINKEDID = "CHANNEL(linkedid)"
MERGING = frozenset(("basic", "stasis"))
"""Classes of bridges in which the oldest linkedid wins."""

SAME_ANSWER_MS = 100
"""A CDR's answer this close to the channel's going Up is the same answer."""

Changes = dict[str, list[tuple[int, str]]]
"""Channel id → (number of the event from which on it holds, value), in order."""


def linkedids(events: Sequence[Mapping[str, Any]], base: Path | None) -> Changes:
    """Every channel's linkedid over the recording.

    Args:
        events: the recording's events, in order.
        base: the recording's path without `.jsonl[.gz]`, where its CEL is looked for; None looks nowhere.
    """
    changes = _derived(events)
    if base is not None:
        for channel, told in _from_cel(events, _rows(base, "cel")).items():
            # The CEL says which; the events' own order says when, closer than two clocks compared can.
            if channel not in changes or [linkedid for _, linkedid in changes[channel]] != [one for _, one in told]:
                changes[channel] = told
    return changes


def ends(events: Sequence[Mapping[str, Any]], base: Path | None) -> dict[str, int]:
    """Channel id → the number of the first event after its end, as the CEL has it."""
    if base is None:
        return {}
    stamps = _stamps(events)
    rows = (row for row in _rows(base, "cel") if row["eventtype"] == "CHAN_END")
    return {row["uniqueid"]: _index_at(stamps, int(float(row["eventtime"]) * 1000)) for row in rows}


def answers(events: Sequence[Mapping[str, Any]], base: Path | None) -> Changes:
    """Every channel's `CDR(answer,u)` over the recording: Unix seconds with six decimals."""
    stamps = _stamps(events)
    known: Changes = defaultdict(list)
    for row in _rows(base, "cdr") if base is not None else ():
        answer_ms = int(float(row["answer"]) * 1000)
        if answer_ms:
            known[row["uniqueid"]].append((_index_at(stamps, answer_ms), row["answer"]))
    up: set[str] = set()
    for index, event in enumerate(events):
        for _, channel in channels_of(event):
            identity = channel["id"]
            if channel.get("state") != "Up" or identity in up:
                continue
            up.add(identity)
            # The file has a row for the first party only, and no row yet for a call that the recording ends in.
            if not any(float(answer) * 1000 <= stamps[index] + SAME_ANSWER_MS for _, answer in known[identity]):
                known[identity].append((index, f"{stamps[index] // 1000}.{stamps[index] % 1000:03d}000"))
    return {channel: sorted(changes) for channel, changes in known.items()}


def _rows(base: Path, kind: str) -> Iterator[dict[str, str]]:
    plain, packed = base.with_name(f"{base.name}.{kind}.csv"), base.with_name(f"{base.name}.{kind}.csv.gz")
    if plain.exists():
        with plain.open(newline="", encoding="utf-8", errors="replace") as file:
            yield from csv.DictReader(file)
    elif packed.exists():
        with gzip.open(packed, "rt", newline="", encoding="utf-8", errors="replace") as file:
            yield from csv.DictReader(file)


def _stamps(events: Sequence[Mapping[str, Any]]) -> list[int]:
    """The time of each event, Unix milliseconds, made to never go back (Asterisk's do, by milliseconds)."""
    stamps: list[int] = []
    latest = 0
    for event in events:
        time = parse_time(str(event.get("timestamp", "")))
        latest = max(latest, time.ms if time is not None else 0)
        stamps.append(latest)
    return stamps


def _index_at(stamps: Sequence[int], ms: int) -> int:
    """The first event at or after a time."""
    low, high = 0, len(stamps)
    while low < high:
        middle = (low + high) // 2
        if stamps[middle] < ms:
            low = middle + 1
        else:
            high = middle
    return low


def _from_cel(events: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, str]]) -> Changes:
    stamps = _stamps(events)
    changes: Changes = {}
    for row in rows:
        channel, linkedid = row["uniqueid"], row["linkedid"]
        known = changes.get(channel)
        if known is None:
            # From its first row on a channel has one; it holds for the events just before the row too.
            changes[channel] = [(0, linkedid)]
        elif known[-1][1] != linkedid:
            known.append((_index_at(stamps, int(float(row["eventtime"]) * 1000)), linkedid))
    return changes


def _derived(events: Sequence[Mapping[str, Any]]) -> Changes:
    born: dict[str, int] = {}
    first_halves: dict[str, str] = {}
    parents: dict[str, str] = {}
    changes: Changes = defaultdict(list)
    for index, event in enumerate(events):
        for _, channel in channels_of(event):
            identity, name = channel["id"], channel["name"]
            born.setdefault(identity, index)
            if name.endswith(";1"):
                first_halves.setdefault(name[:-2], identity)
            if name.endswith(";2") and name[:-2] in first_halves:
                parents.setdefault(identity, first_halves[name[:-2]])
            told = channel.get("channelvars", {}).get(LINKEDID)
            if told and (not changes[identity] or changes[identity][-1][1] != told):
                changes[identity].append((index, told))
        if event.get("type") == "Dial" and not event.get("dialstatus") and "caller" in event and "peer" in event:
            parents.setdefault(event["peer"]["id"], event["caller"]["id"])
    if changes and any(changes.values()):
        return {channel: known for channel, known in changes.items() if known}

    now = {channel: _root(channel, parents) for channel in born}
    derived: Changes = {channel: [(0, linkedid)] for channel, linkedid in now.items()}
    for index, event in enumerate(events):
        bridge = event.get("bridge")
        if event.get("type") != "ChannelEnteredBridge" or not isinstance(bridge, dict):
            continue
        members = [member for member in bridge.get("channels", ()) if member in now]
        if bridge.get("bridge_class") not in MERGING or not members:
            continue
        oldest = min((now[member] for member in members), key=lambda linkedid: born.get(linkedid, -1))
        for member in members:
            if now[member] != oldest:
                now[member] = oldest
                derived[member].append((index, oldest))
    return derived


def _root(channel: str, parents: Mapping[str, str]) -> str:
    seen = {channel}
    while channel in parents and parents[channel] not in seen:
        channel = parents[channel]
        seen.add(channel)
    return channel
