"""A recording, loaded for playing: each frame a template, each event's time, and the timeline for REST.

A file has one event a line, plain (`{"type": …}`) or wrapped (`{"t": seconds, "event": {…}}`), `.gz` too: what the
recorder wrote, what the simulator logs, what `arimon-ctl replay` reads. Times of plain events come from their
timestamps. Lines of a simulator's log that are no events (`{"t", "kind": "frame", …}`) are passed over.
"""

import gzip
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson

from wire.simulator.ledger import LINKEDID
from wire.simulator.timeline import Timeline
from wire.simulator.tokens import Slot, Time, Vocabulary, channels_of, parse_time

DIRECTORY = Path(__file__).resolve().parents[2] / "tests" / "traces"
"""Where recordings are looked for by name."""

SUFFIXES = (".jsonl", ".jsonl.gz")
WRAPPED = re.compile(rb'\{\s*"t"\s*:\s*([0-9.eE+-]+)\s*,\s*"event"\s*:\s*(\{.*\})\s*\}\s*')

Pick = Callable[[Sequence[bytes]], Any]


class RecordingError(ValueError):
    """A recording that cannot be found or read; the text says which, where and why."""


class Recording:
    """One recording. Immutable once loaded, shared by all its runs.

    Attributes:
        name: the file's name without its suffixes.
        times: for each event, seconds since the first one.
        types: for each event, its ARI type.
        formats, picks: `formats[i] % picks[i](values)` is frame i.
        needs: for each event, how many slots must have values for it.
        slots: what stands for the values; None for the first two (application, asterisk_id).
        first_ms: the earliest timestamp, Unix milliseconds.
        timeline: what REST would say after each event.
    """

    def __init__(self, name: str, lines: Iterable[bytes], base: Path | None, channelvars: bool = False) -> None:
        frames: list[tuple[float | None, bytes, dict[str, Any]]] = []
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    frame = _parse(line)
                except (orjson.JSONDecodeError, TypeError, KeyError) as error:
                    raise RecordingError(f"{name}, line {number}: not an ARI event: {error}") from error
                if frame is not None:
                    frames.append(frame)
        if not frames:
            raise RecordingError(f"{name}: no events in it")
        self.name = name
        events = [event for _, _, event in frames]
        self.types = tuple(str(event["type"]) for event in events)
        self.times = _seconds([at for at, _, _ in frames], events)
        self.timeline = Timeline(events, base)
        vocabulary = Vocabulary()
        raws = [raw for _, raw, _ in frames]
        if channelvars:
            raws = [self._with_linkedids(index, raw, event) for index, (_, raw, event) in enumerate(frames)]
        for event in events:
            vocabulary.learn(event)
        self.formats: list[bytes] = []
        self.picks: list[Pick] = []
        self.needs: list[int] = []
        for raw in raws:
            template, slots = vocabulary.template(raw)
            self.formats.append(template)
            self.picks.append(_pick(slots))
            self.needs.append(len(vocabulary.slots))
        self.slots: Sequence[Slot | None] = vocabulary.slots
        self.slot_of = vocabulary.slot_of
        stamps = [slot.ms for slot in self.slots if isinstance(slot, Time)]
        stated = [time.ms for event in events if (time := parse_time(str(event.get("timestamp", ""))))]
        self.first_ms = min(stated or stamps or [0])

    def __len__(self) -> int:
        return len(self.formats)

    @property
    def seconds(self) -> float:
        """From the first event to the last, seconds."""
        return self.times[-1]

    @property
    def endpoints(self) -> set[str]:
        """`tech/resource` of the channels that belong to an endpoint."""
        names = (slot.text for slot in self.slots if slot is not None and hasattr(slot, "technology"))
        return {name.rpartition("-")[0] for name in names if not name.startswith(("Local/", "Snoop/", "CBAnn/"))}

    def _with_linkedids(self, index: int, raw: bytes, event: dict[str, Any]) -> bytes:
        """The frame as a PBX with `channelvars = CHANNEL(linkedid)` sends it."""
        bare = [channel for _, channel in channels_of(event) if "channelvars" not in channel]
        for channel in bare:
            channel["channelvars"] = {LINKEDID: self.timeline.linkedid(channel["id"], index + 1)}
        return orjson.dumps(event) if bare else raw


def find(name: str | Path) -> list[Path]:
    """The files that a name means: a file, all recordings of a folder, or a name (or its beginning) in tests/traces.

    Raises:
        RecordingError: nothing has that name, or several recordings begin with it.
    """
    path = Path(name)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.name.endswith(SUFFIXES))
        if not found:
            raise RecordingError(f"{path}: no .jsonl or .jsonl.gz files in it")
        return found
    if path.is_file():
        return [path]
    if path.parent == Path():
        known = sorted(file for file in DIRECTORY.glob("*") if file.name.endswith(SUFFIXES))
        for match in (_is_named, _is_numbered, _begins):
            found = [file for file in known if match(file, str(name))]
            if len(found) > 1:
                raise RecordingError(f"{name}: which of {', '.join(map(_stem, found))}?")
            if found:
                return found
    raise RecordingError(f"{name}: no such file, and no recording of this name in {DIRECTORY}")


def load(path: str | Path, channelvars: bool = False) -> Recording:
    """Load one recording (kept in memory: the next load of the same file is free).

    Args:
        path: as `find` takes it; must mean one file.
        channelvars: put `channelvars: {"CHANNEL(linkedid)": …}` into every channel object that has none.

    Raises:
        RecordingError: no such recording, or a line of it is no event.
    """
    files = find(path)
    if len(files) != 1:
        raise RecordingError(f"{path}: {len(files)} recordings, one wanted")
    file = files[0].resolve()
    return _load(file, file.stat().st_mtime_ns, channelvars)


@lru_cache(maxsize=256)
def _load(path: Path, _changed: int, channelvars: bool) -> Recording:
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
            return Recording(_stem(path), file, path.with_name(_stem(path)), channelvars)
    except (OSError, EOFError) as error:
        raise RecordingError(f"{path}: {error}") from error


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".jsonl")


def _is_named(path: Path, name: str) -> bool:
    return _stem(path) == name or path.name == name


def _is_numbered(path: Path, name: str) -> bool:
    return _stem(path).startswith(f"{name}_")


def _begins(path: Path, name: str) -> bool:
    return _stem(path).startswith(name)


def _parse(line: bytes) -> tuple[float | None, bytes, dict[str, Any]] | None:
    """A line as (seconds or None, the frame as it was sent, the event); None for a log's line that is no event."""
    wrapped = WRAPPED.fullmatch(line)
    if wrapped is not None:
        raw = wrapped.group(2)
        with suppress(orjson.JSONDecodeError):  # the line has keys after the event: taken apart below
            return float(wrapped.group(1)), raw, _event(orjson.loads(raw))
    whole = orjson.loads(line)
    if isinstance(whole, dict) and "event" in whole and "type" not in whole:
        return float(whole.get("t", 0.0)), orjson.dumps(whole["event"]), _event(whole["event"])
    if isinstance(whole, dict) and "kind" in whole and "type" not in whole:
        return None
    return None, line.strip(), _event(whole)


def _event(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise TypeError("an object with a `type` is wanted")
    return value


def _seconds(stated: Sequence[float | None], events: Sequence[dict[str, Any]]) -> tuple[float, ...]:
    """Seconds since the first event, never going back."""
    times: list[float] = []
    latest = 0.0
    for index, at in enumerate(stated):
        if at is None:
            time = parse_time(str(events[index].get("timestamp", "")))
            at = time.ms / 1000 if time is not None else latest
        latest = at if index == 0 else max(latest, at)
        times.append(latest)
    return tuple(at - times[0] for at in times)


def _pick(slots: tuple[int, ...]) -> Pick:
    if len(slots) >= 2:
        return itemgetter(*slots)
    return lambda values: tuple(values[slot] for slot in slots)
