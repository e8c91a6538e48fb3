"""What arimon says: its published messages, by call, with the faults of form that can be seen without Asterisk.

Facts of form: each message is valid by its schema, has an id of its own, and the sequence of each stream is 1, 2, 3 …
in the order of publication; nothing but `call-amended` follows a finished-call in its stream.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.schemas import Schemas, schemas


def microseconds(text: str | None) -> int | None:
    """A message's "2026-11-22T08:52:45.516Z" as integer microseconds; None for null."""
    if text is None:
        return None
    at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z")
    return int(at.replace(microsecond=0).timestamp()) * 1_000_000 + at.microsecond


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that does not agree."""

    fact: str
    """One of `checker.FACTS`."""
    subject: str
    """Whose fact: a channel, a call, a row, a message."""
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.fact}: {self.subject}: expected {self.expected}, got {self.got}"


@dataclass(slots=True)
class Account:
    """All messages of one run."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    finished: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """`data` of each finished-call, by call id."""
    called: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Ids of the calls whose messages name a channel as theirs, by channel id."""
    parks: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """Messages parked-call and unparked-call, by call id."""
    faults: list[Fault] = field(default_factory=list)


def read(lines: Iterable[bytes | str], known: Schemas | None = None) -> Account:
    """Read published messages of the v3 form.

    Args:
        lines: One JSON object each.
        known: The schemas to hold them against.

    Returns:
        The account, with the faults of form found in it.
    """
    known = known or schemas()
    account = Account()
    last: dict[tuple[str, str], int] = defaultdict(int)
    ended: set[tuple[str, str]] = set()
    ids: set[str] = set()
    for number, line in enumerate(lines, start=1):
        message = json.loads(line)
        errors = known.errors(message)
        if errors:
            account.faults.append(Fault("schema", f"message {number}", "a valid message", "; ".join(errors)))
        if known.errors_in_envelope(message):
            continue
        account.messages.append(message)
        operation, stream = message["operation"]["type"], (message["server"], message["stream"])
        subject = f"message {number} ({operation} of {message['stream']})"
        if message["sequence"] != last[stream] + 1:
            account.faults.append(Fault("sequence", subject, str(last[stream] + 1), str(message["sequence"])))
        last[stream] = message["sequence"]
        if stream in ended and operation != "call-amended":
            account.faults.append(Fault("sequence", subject, "nothing after finished-call", operation))
        if message["message_id"] in ids:
            account.faults.append(Fault("sequence", subject, "an id of its own", message["message_id"]))
        ids.add(message["message_id"])
        if message["call_id"] is not None and stream[1] != f"call:{message['call_id']}":
            account.faults.append(Fault("sequence", subject, f"stream call:{message['call_id']}", stream[1]))
        if operation == "finished-call":
            ended.add(stream)
        if not errors:
            _note(account, message, operation)
    return account


def _note(account: Account, message: dict[str, Any], operation: str) -> None:
    data, call_id = message["data"], message["call_id"]
    if operation == "finished-call":
        account.finished[call_id].append(data)
        for leg in data["legs"]:
            account.called[leg["channel_id"]].add(call_id)
    elif operation in ("parked-call", "unparked-call"):
        account.parks[call_id].append(message)
    if call_id is not None and data.get("channel_id"):
        account.called[data["channel_id"]].add(call_id)
