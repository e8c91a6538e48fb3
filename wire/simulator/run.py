"""One run of a recording: its own ids and times, and how far it has come."""

from typing import Any

import orjson

from wire.simulator.minting import Minter, as_recorded
from wire.simulator.recording import Recording
from wire.simulator.timeline import Place
from wire.simulator.tokens import Text, Time, Uniqueid, Uuid, escaped


class Run:
    """A recording that happens on a PBX, now.

    Values are made when the first frame needs them, so that ids come in the order in which the channels do, also when
    several runs are interleaved.

    Attributes:
        position: how many events have happened.
        ended: whether it is over (all played, or the PBX went down).
    """

    __slots__ = ("_ids", "_minter", "_owners", "_values", "ended", "position", "recording", "shift_ms", "verbatim")

    def __init__(
        self,
        recording: Recording,
        minter: Minter,
        owners: "dict[str, tuple[Run, str]]",
        asterisk_id: str,
        start_ms: int,
        verbatim: bool = False,
    ) -> None:
        """
        Args:
            recording: what is played.
            minter: the PBX's counters.
            owners: the PBX's index, played id → (run, recorded id); kept up by the run.
            asterisk_id: the PBX's entity id.
            start_ms: the time of the first event, Unix milliseconds.
            verbatim: keep ids and times as recorded.
        """
        self.recording = recording
        self.position = 0
        self.ended = False
        self.verbatim = verbatim
        self.shift_ms = 0 if verbatim else start_ms - recording.first_ms
        self._minter = minter
        self._owners = owners
        self._ids: list[str] = []
        self._values: list[bytes] = [b"", escaped(asterisk_id)]

    def frame(self, index: int, app: bytes) -> bytes:
        """Frame number `index` for the client of an application (its name as the inside of a JSON string)."""
        if self.recording.needs[index] > len(self._values):
            self._fill(self.recording.needs[index])
        values = self._values
        values[0] = app
        frame: bytes = self.recording.formats[index] % self.recording.picks[index](values)
        return frame

    def frames(self, stop: int, app: bytes) -> list[bytes]:
        """The frames from `position` up to `stop`, for one client."""
        return [self.frame(index, app) for index in range(self.position, stop)]

    def advance(self, stop: int) -> None:
        """The events up to `stop` have happened."""
        self._fill(self.recording.needs[stop - 1] if stop else 0)
        self.position = stop

    def _fill(self, count: int) -> None:
        for number in range(len(self._values), count):
            slot = self.recording.slots[number]
            assert slot is not None  # the first two are filled from the start
            if self.verbatim:
                self._values.append(as_recorded(slot))
                text = slot.text
            else:
                text = self._minter.mint(slot, self._values, self.shift_ms)
                self._values.append(text.encode() if isinstance(slot, Time | Uniqueid | Uuid) else escaped(text))
            if isinstance(slot, Uniqueid | Uuid | Text) and slot.role in ("channel", "bridge"):
                self._owners[text] = (self, slot.text)
                self._ids.append(text)

    def end(self) -> None:
        """It is over: what it left alive is gone without a word."""
        self.ended = True
        for identity in self._ids:
            if self._owners.get(identity, (None,))[0] is self:
                del self._owners[identity]

    def now(self, recorded: str) -> str:
        """An id of the recording as this run has it."""
        slot = self.recording.slot_of(recorded)
        if slot is None or slot >= len(self._values):
            return recorded
        text: str = orjson.loads(b'"' + self._values[slot] + b'"')
        return text

    def object_at(self, place: Place) -> dict[str, Any]:
        """The channel or bridge object that stands at a place."""
        index, field = place
        found: dict[str, Any] = orjson.loads(self.frame(index, b""))[field]
        return found

    def channels(self) -> list[dict[str, Any]]:
        """The channels alive in it, as REST shows them."""
        return [self.object_at(place) for _, place in self.recording.timeline.live_channels(self.position)]

    def bridges(self) -> list[dict[str, Any]]:
        """The bridges alive in it, as REST shows them."""
        timeline, position = self.recording.timeline, self.position
        alive = {self.now(channel) for channel, _ in timeline.live_channels(position)}
        bridges = []
        for _, place in timeline.live_bridges(position):
            bridge = self.object_at(place)
            members = bridge["channels"]
            bridge["channels"] = [channel for channel in members if channel in alive] if place[0] < position else []
            # Where the recorder missed the end of its last channel, an ordinary bridge ended too.
            if bridge["channels"] or not members or bridge["bridge_class"] != "basic":
                bridges.append(bridge)
        return bridges

    def variable(self, channel: str, name: str) -> str | None:
        """A channel variable or function, as `GET /channels/{id}/variable` answers it; None if it is not set.

        Args:
            channel: the channel's id in the recording.
            name: a variable's name, or one of the functions CHANNEL(linkedid), CDR(answer,u), CALLERID(dnid).
        """
        timeline = self.recording.timeline
        match name:
            case "CHANNEL(linkedid)":
                return self.now(timeline.linkedid(channel, self.position))
            case "CDR(answer,u)":
                answer = timeline.answer(channel, self.position)
                if answer is None:
                    return "0.000000"
                seconds, _, fraction = answer.partition(".")
                moved = int(seconds) * 1_000_000 + int(fraction) + self.shift_ms * 1000
                return f"{moved // 1_000_000}.{moved % 1_000_000:06d}"
            case "CALLERID(dnid)":
                return timeline.dialled(channel)
        index = timeline.variable(channel, name, self.position)
        if index is None:
            return None
        value: str = orjson.loads(self.frame(index, b""))["value"]
        return value or None
