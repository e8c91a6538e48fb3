"""Messages as consumers see them."""

import uuid
from typing import Any, Literal

import orjson
import pytest

from actors.call.envelope import Form, caused_ms, envelope, maybe_rfc3339, message_id, rfc3339, withheld
from tests.schemas import schemas
from wire.message import OutboundMessage

AT = 1_795_337_574_051


def make(form: Literal["v3", "legacy"] = "v3", **changes: object) -> OutboundMessage:
    fields: dict[str, Any] = {
        "call_id": "1.2", "timestamp_ms": AT, "row_ms": AT, "data": {"digit": "5"}, **changes,
    }  # fmt: skip
    return envelope(form, "pbx1", "call:1.2", 3, "dtmf-received", **fields)


def test_the_v3_form() -> None:
    """Envelope, routing key and lane are those of the design."""
    message = make(recovered=True)
    assert orjson.loads(message.body) == {
        "message_id": message.message_id,
        "schema": "arimon/3",
        "operation": {"type": "dtmf-received"},
        "server": "pbx1",
        "stream": "call:1.2",
        "sequence": 3,
        "call_id": "1.2",
        "timestamp": "2026-11-22T08:52:54.051Z",
        "recovered": True,
        "degraded": False,
        "data": {"digit": "5"},
    }
    assert message.routing_key == "call.pbx1.dtmf-received"
    assert message.lane == ("v3", "pbx1", "call:1.2")


def test_the_legacy_form() -> None:
    """Consumers of v2.7 find the data in `payload`."""
    message = make("legacy")
    told = orjson.loads(message.body)
    assert set(told) == {"operation", "payload"}
    assert told["operation"] == {"type": "dtmf-received"}
    assert told["payload"]["digit"] == "5"
    assert told["payload"]["call_id"] == "1.2"
    assert message.message_id != make().message_id


def test_an_id_is_a_uuid_of_version_7() -> None:
    """It begins with the row's time, and says version and variant."""
    identity = uuid.UUID(make().message_id)
    assert identity.version == 7
    assert identity.variant == uuid.RFC_4122
    assert identity.int >> 80 == AT


def test_an_id_is_a_function_of_what_the_message_is() -> None:
    """The same (form, server, stream, sequence, operation) and time give the same id, any other another."""
    base = ("v3", "pbx1", "call:1.2", 3, "dtmf-received", AT)
    others = [
        ("legacy", *base[1:]), ("v3", "pbx2", *base[2:]), (*base[:2], "call:1.3", *base[3:]),
        (*base[:3], 4, *base[4:]), (*base[:4], "held-call", AT), (*base[:5], AT + 1),
    ]  # fmt: skip
    assert message_id(*base) == message_id(*base)
    assert len({message_id(*one) for one in [base, *others]}) == 7


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [(0, "1970-01-01T00:00:00.000Z"), (999, "1970-01-01T00:00:00.999Z"), (AT, "2026-11-22T08:52:54.051Z")],
)
def test_times_are_rfc_3339(at_ms: int, text: str) -> None:
    """UTC, milliseconds, Z."""
    assert rfc3339(at_ms) == text
    assert maybe_rfc3339(at_ms) == text
    assert maybe_rfc3339(None) is None


@pytest.mark.parametrize("form", ["v3", "legacy"])
def test_what_is_withheld_is_said_in_the_last_one_s_place(form: Form) -> None:
    """In the same form and stream, with an id of the run and the age; valid, and its age is in words."""
    run = [
        envelope(form, "p", "call:1.1", n, "ringing-call", call_id="1.1", timestamp_ms=n, row_ms=n << 20, data={})
        for n in (3, 4)
    ]
    message = withheld(run, 60_000)
    assert message == withheld(run, 60_000)
    assert (message.lane, message.sequence, message.routing_key) == (run[1].lane, 4, "call.p.messages-withheld")
    assert caused_ms(message) == caused_ms(run[1]) == 4 << 20
    assert message.message_id not in (withheld(run[1:], 60_000).message_id, withheld(run, 60_001).message_id)
    told = orjson.loads(message.body)
    assert (schemas().errors if form == "v3" else schemas().legacy_errors)(told) == []
    data = told["data" if form == "v3" else "payload"]
    assert (data["operation"], data["sequences"], data["reason"]) == ("ringing-call", [[3, 4]], "older than 60 s")
