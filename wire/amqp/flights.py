"""What was sent on this connection and has no verdict yet. Pure bookkeeping; time is an argument.

Delivery tags count 1, 2, 3 … per channel, ours as the broker's, so a tag names a message without being sent. A broker
returns an unroutable message (Basic.Return, naming its message_id) before it acks it.

Mutable on purpose: it is touched twice per message, and a persistent map would double the Publisher's cost.
"""

from collections.abc import Iterator
from itertools import takewhile

from wire.sink import Outcome, Verdict


class Flights:
    """The ledger of one connection; a new connection starts with a new one."""

    def __init__(self) -> None:
        self._last_tag = 0
        self._by_tag: dict[int, tuple[str, float]] = {}  # in the order of sending
        self._returned: dict[str, str] = {}
        self._ids: set[str] = set()
        self._clock_from = 0.0

    def __len__(self) -> int:
        return len(self._by_tag)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._ids

    def send(self, message_id: str, now: float) -> None:
        """A message was written. `now` is seconds on any monotonic clock."""
        self._last_tag += 1
        self._by_tag[self._last_tag] = (message_id, now)
        self._ids.add(message_id)

    def returned(self, message_id: str, detail: str) -> None:
        """The broker had no queue for it; its ack follows."""
        if message_id in self._ids:
            self._returned[message_id] = detail

    def settle(self, delivery_tag: int, multiple: bool, ack: bool, now: float) -> Iterator[Outcome]:
        """The broker confirmed (or nacked) a tag, or all up to it. A tag that is not in flight settles nothing."""
        if not multiple:
            if delivery_tag in self._by_tag:
                yield self._end(delivery_tag, ack, now)
            return
        # Tag 0 with `multiple` means all.
        for tag in list(takewhile(lambda tag: tag <= delivery_tag or not delivery_tag, self._by_tag)):
            yield self._end(tag, ack, now)

    def fail_all(self, detail: str, now: float) -> Iterator[Outcome]:
        """The connection is lost: nobody will ever say what became of these."""
        for message_id, sent in self._by_tag.values():
            yield Outcome(message_id, Verdict.FAILED, detail, now - sent)
        self._by_tag.clear()
        self._ids.clear()
        self._returned.clear()

    def restart_clock(self, now: float) -> None:
        """The broker was blocked until now: the time before does not count as waiting for a confirm."""
        self._clock_from = now

    def waiting(self, now: float) -> float:
        """How long the oldest has waited for its confirm, seconds; 0 when nothing is in flight."""
        for _, sent in self._by_tag.values():
            return now - max(sent, self._clock_from)
        return 0.0

    def _end(self, tag: int, ack: bool, now: float) -> Outcome:
        message_id, sent = self._by_tag.pop(tag)
        self._ids.discard(message_id)
        returned = self._returned.pop(message_id, None)
        if not ack:
            return Outcome(message_id, Verdict.FAILED, "the broker nacked it", now - sent)
        if returned is not None:
            return Outcome(message_id, Verdict.RETURNED, returned, now - sent)
        return Outcome(message_id, Verdict.CONFIRMED, "", now - sent)
