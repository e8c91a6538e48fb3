"""New ids, names and times for a run of a recording, as one Asterisk would give them out."""

import random
from collections import defaultdict
from datetime import datetime
from uuid import UUID

from wire.simulator.tokens import ChannelName, Slot, Text, Time, Uniqueid, Uuid, escaped


class Minter:
    """One PBX's counters.

    Channel names count from 00000000 in each technology, and start again when the PBX restarts, as a real one's do.
    Unique ids never repeat, not even across a restart within one second (a real one's counter starts again too, but
    no real PBX restarts within a second).

    Args:
        seed: for the UUIDs of bridges and playbacks; the same seed gives the same ones.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 (no secrets; they must be repeatable)
        self._channels = 0
        self._names: defaultdict[str, int] = defaultdict(int)
        self._suffix = 0
        self._seconds: dict[tuple[int, str], str] = {}

    def restarted(self) -> None:
        """The PBX starts anew: channel names begin again."""
        self._names.clear()

    def mint(self, slot: Slot, values: list[bytes], shift_ms: int) -> str:
        """The new text of a slot.

        Args:
            slot: what it is.
            values: the values of the slots before it, as JSON.
            shift_ms: what a time of the recording is moved by, milliseconds.
        """
        match slot:
            case Time():
                return self.time(slot, shift_ms)
            case Uniqueid(prefix=prefix, epoch=epoch):
                number = self._channels
                self._channels += 1
                return f"{prefix}{epoch + shift_ms // 1000}.{number}"
            case Uuid():
                return str(UUID(int=self._random.getrandbits(128), version=4))
            case ChannelName(technology=technology, head=head):
                number = self._names[technology]
                self._names[technology] += 1
                text = "".join(part if isinstance(part, str) else values[part].decode() for part in head)
                return f"{technology}/{text}-{number:08x}"
            case Text(text=text):
                self._suffix += 1
                return f"{text}-{self._suffix}"

    def time(self, slot: Time, shift_ms: int) -> str:
        """A timestamp of the recording, moved."""
        seconds, ms = divmod(slot.ms + shift_ms, 1000)
        key = (seconds, slot.suffix)
        local = self._seconds.get(key)
        if local is None:
            if len(self._seconds) > 10_000:
                self._seconds.clear()
            local = self._seconds[key] = datetime.fromtimestamp(seconds, slot.zone).strftime("%Y-%m-%dT%H:%M:%S")
        if slot.digits == 0:
            return local + slot.suffix
        fraction = (f"{ms:03d}" + "0" * slot.digits)[: slot.digits]
        return f"{local}.{fraction}{slot.suffix}"


def as_recorded(slot: Slot) -> bytes:
    """A slot's own text, as JSON: for playing verbatim."""
    return escaped(slot.text)
