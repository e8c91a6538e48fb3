"""A PBX's rows in, its messages out: the same fold as the daemon's, with a dict where that has actors.

`replay` reads what the tests' recordings, the simulator's log and `arimon-ctl export` hold, one JSON object a line:

- a plain ARI event: `{"type": …}`
- a recorded one: `{"t": seconds, "event": {"type": …}}`
- a row of a journal: `{"n": int, "at_ms": int, "kind": str, "body": object}`; `"text": str` for a body that is no JSON

It is deterministic, byte for byte, and invents nothing at the end of the input: a call that has not ended is not
finished.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import orjson

from actors.call import host
from actors.call.events import DecodeError, interpret
from actors.call.state import Call
from actors.call.world import Rejected, Step, World, step, step_event
from conf.settings import Settings
from wire.message import OutboundMessage
from wire.store.row import Kind, Row


class Replay:
    """One input's world and calls, and what was counted on the way."""

    def __init__(self, server: str, settings: Settings) -> None:
        self.server = server
        self.settings = settings
        self.world = World.new(server)
        self.calls: dict[str, Call] = {}
        """Active calls."""
        self.lines = 0
        """Lines read."""
        self.rejected: list[Rejected] = []
        """The first hundred lines that were no use, with the reason; `n` is the line's number."""
        self.counts: Counter[str] = Counter()
        """`rejected:REASON` and `unexpected:WHAT` → how often."""

    def feed(self, line: bytes) -> list[OutboundMessage]:
        """Fold one line.

        Args:
            line: one JSON object, in any of the three forms; a blank line is nothing.

        Returns:
            The messages that it causes, in order.
        """
        self.lines += 1
        n = self.lines
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            if line.strip():
                self._reject(Rejected(n, "not-json", str(error)))
            return []
        frame = told
        if type(told) is dict:
            if "event" in told and "t" in told:
                frame = told["event"]
            elif "kind" in told and "n" in told:
                row = _row(told)
                if row is not None:
                    return self._take(step(self.world, row, self.settings), n)
                self._reject(Rejected(n, "not-a-row", "n, at_ms, kind, and body or text are needed"))
                return []
        try:
            event = interpret(frame, 0)
        except DecodeError as error:
            self._reject(Rejected(n, error.reason, error.detail))
            return []
        if event is None:
            return []
        return self._take(step_event(self.world, n, event, self.settings), n)

    def _take(self, done: Step, n: int) -> list[OutboundMessage]:
        self.world, routed, messages, reports, rejected = done
        if rejected is not None:
            self._reject(rejected._replace(n=n))
        for report in reports:
            self.counts[f"unexpected:{report.what}"] += 1
        calls = self.calls
        for one in routed:
            call_id = one[0]
            call, said, unexpected, ended = host.fold(calls.get(call_id), one, self.server, self.settings)
            if ended:
                calls.pop(call_id, None)
            else:
                calls[call_id] = call
            for report in unexpected:
                self.counts[f"unexpected:{report.what}"] += 1
            messages += said
        return messages

    def _reject(self, rejected: Rejected) -> None:
        self.counts[f"rejected:{rejected.reason}"] += 1
        if len(self.rejected) < 100:
            self.rejected.append(rejected)


def _row(told: dict[str, object]) -> Row | None:
    """Read an exported row; None if it is none."""
    n, at_ms, kind = told.get("n"), told.get("at_ms"), told.get("kind")
    if type(n) is not int or type(at_ms) is not int or kind not in set(Kind):
        return None
    text = told.get("text")
    if type(text) is str:
        return Row(n, at_ms, str(kind), text.encode("utf-8", "surrogateescape"))
    if "body" not in told:
        return None
    return Row(n, at_ms, str(kind), orjson.dumps(told["body"]))


def replay(lines: Iterable[bytes], server: str, settings: Settings) -> Iterator[bytes]:
    """Say what would be published.

    Args:
        lines: one JSON object each, see above.
        server: the PBX's name, `server` in every message.
        settings: what is configured.

    Yields:
        One message's body each, JSON without a line's end.
    """
    run = Replay(server, settings)
    for line in lines:
        for message in run.feed(line):
            yield message.body
