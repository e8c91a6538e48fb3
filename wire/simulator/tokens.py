"""What must change when a recording is played again: ids, channel names and times, wherever they stand in a frame.

A frame becomes a template once, when the recording is loaded: `fmt % values` then makes a played frame in about a
microsecond. The replacing is done on string values only (never on keys or numbers), so it cannot break the JSON, and
everything else of the frame stays byte for byte as Asterisk sent it.

What is looked for:

- channel ids and bridge ids, also inside longer strings (`channel:ID`, `rec-ID.wav`), at the edge of a word only, the
  longest first: `1795337565.1` is not found in `1795337565.10`;
- channel names without their `;1`/`;2`, so that both halves of a Local pair keep one new name, also in variables
  (BRIDGEPEER, DIALEDPEERNAME …);
- playback ids and recording names;
- times: a string that is a timestamp as a whole.

An id that is a plain short word (`1121` is a legal channel id) would be found in places that mean something else; it
is replaced only where an id is expected by its key.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

import orjson

_INSIDE = rb'[^"\\]*(?:\\.[^"\\]*)*'
STRING = re.compile(rb'"(%b)"(\s*:\s*(?:"(%b)")?)?' % (_INSIDE, _INSIDE))
"""A JSON string: group 2 says that it is a key, group 3 is the key's value where that is a string too."""

TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)")
UNIQUEID = re.compile(r"(.*?)(\d{9,11})\.(\d+)")
CHANNEL_NAME = re.compile(r"([A-Za-z0-9]+)/(.*)-([0-9a-f]{8})")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NAMES_VARIABLE = "BRIDGEPEER"
"""The variable that lists channel names, of channels too that ARI never shows (CBAnn, Recorder)."""

ID_KEYS = frozenset((b"id", b"channels", b"channel_ids", b"name", b"CHANNEL(linkedid)", b"destination_bridge"))
"""Keys whose value may be an id that looks like an ordinary word. A list's elements count under the list's key."""

SHORTEST_SURE = 6
"""An id shorter than this, or without any of `.-_/`, is replaced under ID_KEYS only."""

APPLICATION, ASTERISK = 0, 1
"""The two slots that every recording has first: the client's application and the PBX's entity id."""


@dataclass(frozen=True, slots=True)
class Text:
    """An id of any other form: `agent-fhw7fa`. Played again it gets a suffix."""

    text: str
    role: str
    """`channel`, `bridge`, `playback` or `recording`."""


@dataclass(frozen=True, slots=True)
class Uniqueid:
    """An id that Asterisk made: [systemname-]epoch.counter."""

    text: str
    role: str
    prefix: str
    epoch: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Uuid:
    """A bridge's or playback's id that Asterisk made."""

    text: str
    role: str


@dataclass(frozen=True, slots=True)
class ChannelName:
    """A channel's name without `;1`/`;2`: technology/head-counter in eight hex digits."""

    text: str
    technology: str
    head: tuple[str | int, ...]
    """What stands between the slash and the counter: text, and slots of ids in it (Snoop/ID-00000000)."""


@dataclass(frozen=True, slots=True)
class Time:
    """A timestamp, in the form in which the recording has it."""

    text: str
    ms: int
    """Unix milliseconds."""
    zone: timezone
    digits: int
    """Digits after the second's point; 0 for none."""
    suffix: str
    """`Z`, `+0530` or `+05:30`."""


Slot = Text | Uniqueid | Uuid | ChannelName | Time


@lru_cache(maxsize=1 << 16)  # a recording names each of its times about twenty times
def parse_time(text: str) -> Time | None:
    """A whole string as a timestamp; None if it is none."""
    found = TIME.fullmatch(text)
    if found is None:
        return None
    local, fraction, suffix = found.group(1), found.group(2) or "", found.group(3)
    zone = UTC
    if suffix != "Z":
        sign = -1 if suffix[0] == "-" else 1
        zone = timezone(sign * timedelta(hours=int(suffix[1:3]), minutes=int(suffix[-2:])))
    try:
        seconds = int(datetime.fromisoformat(local).replace(tzinfo=zone).timestamp())
    except ValueError:
        return None
    return Time(text, seconds * 1000 + int((fraction + "000")[:3]), zone, len(fraction), suffix)


def escaped(text: str) -> bytes:
    """The inside of a JSON string."""
    return orjson.dumps(text)[1:-1]


def channels_of(event: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """The channel objects of an event, each with the field that holds it."""
    for field, value in event.items():
        if type(value) is dict and "dialplan" in value and "id" in value:
            yield field, value


def bridges_of(event: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """The bridge objects of an event, each with the field that holds it."""
    for field, value in event.items():
        if type(value) is dict and "bridge_class" in value and "id" in value:
            yield field, value


class Vocabulary:
    """The tokens of one recording, and the slots that stand for them, in the order in which they are first used."""

    def __init__(self) -> None:
        self.slots: list[Slot | None] = [None, None]
        self._roles: dict[str, str] = {}
        self._unsure: set[str] = set()
        self._slot_of: dict[str, int] = {}
        self._lengths: tuple[int, ...] = ()
        # What each string was cut into, under ID_KEYS and elsewhere; None is left as it is.
        self._id_parts: dict[bytes, tuple[bytes | int, ...] | None] = {}
        self._other_parts: dict[bytes, tuple[bytes | int, ...] | None] = {}

    def learn(self, event: Mapping[str, Any]) -> None:
        """Note the tokens of one event. All events are learnt before the first is made a template."""
        for _, channel in channels_of(event):
            self._add(channel["id"], "channel")
            self._add(channel["name"].removesuffix(";1").removesuffix(";2"), "name")
            for linkedid in channel.get("channelvars", {}).values():
                if type(linkedid) is str and UNIQUEID.fullmatch(linkedid):
                    self._add(linkedid, "channel")
        for _, bridge in bridges_of(event):
            self._add(bridge["id"], "bridge")
        playback = event.get("playback")
        if type(playback) is dict:
            self._add(playback.get("id"), "playback")
        recording = event.get("recording")
        if type(recording) is dict:
            self._add(recording.get("name"), "recording")
        if event.get("variable") == NAMES_VARIABLE:
            for name in str(event.get("value", "")).split(","):
                base = name.removesuffix(";1").removesuffix(";2")
                if CHANNEL_NAME.fullmatch(base):
                    self._add(base, "name")

    def _add(self, token: Any, role: str) -> None:
        if type(token) is not str or not token or token in self._roles:
            return
        if role == "name" and CHANNEL_NAME.fullmatch(token) is None:
            return
        self._roles[token] = role
        if len(token) < SHORTEST_SURE or not any(mark in token for mark in ".-_/"):
            self._unsure.add(token)

    def template(self, raw: bytes) -> tuple[bytes, tuple[int, ...]]:
        """A frame as a format for `%` and the slots whose values it takes, in order."""
        if not self._lengths:
            sure = {len(token) for token in self._roles if token not in self._unsure}
            self._lengths = tuple(sorted(sure, reverse=True)) or (1 << 30,)
        pieces: list[bytes] = []
        slots: list[int] = []
        key = b""
        start = 0
        id_parts, other_parts = self._id_parts, self._other_parts
        for found in STRING.finditer(raw):
            content, colon, value = found.groups()
            group = 1
            if colon is not None:
                key = content
                if value is None:
                    continue
                content, group = value, 3
            memo = id_parts if key in ID_KEYS else other_parts
            if content in memo:
                parts = memo[content]
            else:
                parts = memo[content] = self._parts(memo is id_parts, content)
            if key == b"application":
                parts = (APPLICATION,)
            elif key == b"asterisk_id":
                parts = (ASTERISK,)
            if parts is None:
                continue
            pieces.append(raw[start : found.start(group)].replace(b"%", b"%%"))
            for part in parts:
                if type(part) is int:
                    pieces.append(b"%b")
                    slots.append(part)
                else:
                    pieces.append(part.replace(b"%", b"%%"))  # type: ignore[union-attr]
            start = found.end(group)
        pieces.append(raw[start:].replace(b"%", b"%%"))
        return b"".join(pieces), tuple(slots)

    def slot_of(self, token: str) -> int | None:
        """The slot of an id, None if no frame has it."""
        return self._slot_of.get(token)

    def _parts(self, is_id: bool, content: bytes) -> tuple[bytes | int, ...] | None:
        text: str = orjson.loads(b'"' + content + b'"') if b"\\" in content else content.decode()
        if is_id and text in self._unsure:
            return (self._slot(text),)
        if (time := parse_time(text)) is not None:
            return (self._time_slot(time),)
        parts = self._scan(text)
        if parts is None:
            return None
        return tuple(part if type(part) is int else escaped(part) for part in parts)  # type: ignore[arg-type]

    def _scan(self, text: str) -> tuple[str | int, ...] | None:
        """Cut a string at its tokens: at every edge of a word, the longest token that ends at an edge too."""
        parts: list[str | int] = []
        start = at = 0
        while at <= len(text) - self._lengths[-1]:
            token = None
            if at == 0 or not (text[at - 1].isalnum() and text[at].isalnum()):
                token = self._token_at(text, at)
            if token is None:
                at += 1
                continue
            if start < at:
                parts.append(text[start:at])
            parts.append(self._slot(token))
            at += len(token)
            start = at
        if not parts:
            return None
        if start < len(text):
            parts.append(text[start:])
        return tuple(parts)

    def _token_at(self, text: str, at: int) -> str | None:
        for length in self._lengths:
            end = at + length
            if end > len(text):
                continue
            token = text[at:end]
            if token in self._roles and token not in self._unsure and (end == len(text) or not text[end].isalnum()):
                return token
        return None

    def _time_slot(self, time: Time) -> int:
        number = self._slot_of.get(time.text)
        if number is None:
            number = self._slot_of[time.text] = len(self.slots)
            self.slots.append(time)
        return number

    def _slot(self, token: str) -> int:
        number = self._slot_of.get(token)
        if number is not None:
            return number
        slot = self._make(token, self._roles[token])
        number = self._slot_of[token] = len(self.slots)
        self.slots.append(slot)
        return number

    def _make(self, token: str, role: str) -> Slot:
        if role == "name":
            found = CHANNEL_NAME.fullmatch(token)
            assert found is not None  # _add took it as a name
            # Ids inside the name get their slots first, so that their values exist when the name is made.
            return ChannelName(token, found.group(1), self._scan(found.group(2)) or (found.group(2),))
        if UUID.fullmatch(token):
            return Uuid(token, role)
        found = UNIQUEID.fullmatch(token)
        if found is not None:
            return Uniqueid(token, role, found.group(1), int(found.group(2)))
        return Text(token, role)
