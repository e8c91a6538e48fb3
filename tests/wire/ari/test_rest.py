"""wire/ari/rest.py against a real HTTP server."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from tests.wire.ari.fakes import PASSWORD, Certificates, FakePbx, settings
from wire.ari.errors import (
    AriDenied,
    AriError,
    AriProtocolError,
    AriRejected,
    AriUnavailable,
    AriUnreachable,
    Fault,
)
from wire.ari.rest import CONCURRENT, AriRest

Serve = Callable[..., Awaitable[FakePbx]]

INFO = {"status": {"startup_time": "2026-11-22T08:52:45.516+0000"}}


def variable(channel_id: str, name: str) -> tuple[str, str]:
    quoted = name.replace("(", "%28").replace(")", "%29").replace(",", "%2C")
    return "GET", f"/ari/channels/{channel_id}/variable?variable={quoted}"


def filled(pbx: FakePbx, channels: list[str]) -> None:
    pbx.resources[("GET", "/ari/asterisk/info")] = (200, orjson.dumps(INFO))
    pbx.resources[("GET", "/ari/channels")] = (200, orjson.dumps([{"id": one, "name": one} for one in channels]))
    pbx.resources[("GET", "/ari/bridges")] = (200, b'[{"id":"b1","channels":[]}]')
    for one in channels:
        pbx.resources[variable(one, "CHANNEL(linkedid)")] = (200, orjson.dumps({"value": f"linked-{one}"}))
        pbx.resources[variable(one, "CDR(answer,u)")] = (200, b'{"value":"1795336915.516"}')
        pbx.resources[variable(one, "CALLERID(dnid)")] = (200, b'{"value":"700"}')


async def test_snapshot_is_the_body_of_a_snapshot_row(serve: Serve) -> None:
    """Answers as ARI gave them, and the variables of the channels that were wanted."""
    pbx = await serve()
    filled(pbx, ["1.1", "1.2"])
    before = time.time_ns() // 1_000_000
    async with AriRest(settings(pbx.port)) as ari:
        body = await ari.snapshot({"1.2", "9.9"}.__contains__, snapshot_id="s1", purpose="audit", nth=2)
    after = time.time_ns() // 1_000_000
    assert before <= body.pop("asked_ms") <= body.pop("answered_ms") <= after
    assert body == {
        "id": "s1",
        "purpose": "audit",
        "nth": 2,
        "info": INFO,
        "channels": [{"id": "1.1", "name": "1.1"}, {"id": "1.2", "name": "1.2"}],
        "bridges": [{"id": "b1", "channels": []}],
        "variables": {
            "1.2": {"CHANNEL(linkedid)": "linked-1.2", "CDR(answer,u)": "1795336915.516", "CALLERID(dnid)": "700"}
        },
    }


async def test_a_channel_that_ended_in_between_is_no_error(serve: Serve) -> None:
    """404 and 409 to a variable leave it out."""
    pbx = await serve()
    filled(pbx, ["1.1", "1.2"])
    del pbx.resources[variable("1.1", "CHANNEL(linkedid)")]
    pbx.resources[variable("1.1", "CDR(answer,u)")] = (409, b'{"message":"Channel not in Stasis application"}')
    del pbx.resources[variable("1.1", "CALLERID(dnid)")]
    async with AriRest(settings(pbx.port)) as ari:
        body = await ari.snapshot(lambda _: True, snapshot_id="s", purpose="link-up")
    assert list(body["variables"]) == ["1.2"]


async def test_any_other_failure_fails_the_snapshot(serve: Serve) -> None:
    """There is no half snapshot: it would end calls that live."""
    pbx = await serve()
    filled(pbx, ["1.1"])
    pbx.resources[variable("1.1", "CDR(answer,u)")] = (500, b"")
    async with AriRest(settings(pbx.port)) as ari:
        with pytest.raises(AriUnavailable):
            await ari.snapshot(lambda _: True, snapshot_id="s", purpose="audit")


@pytest.mark.parametrize("body", [b"{}", b"[1]", b'[{"id":5}]', b'[{"name":"x"}]', b"null"])
async def test_channels_must_be_a_list_of_objects_with_ids(serve: Serve, body: bytes) -> None:
    """What is not, is the PBX's fault and said so."""
    pbx = await serve()
    filled(pbx, [])
    pbx.resources[("GET", "/ari/channels")] = (200, body)
    async with AriRest(settings(pbx.port)) as ari:
        with pytest.raises(AriProtocolError):
            await ari.snapshot(lambda _: True, snapshot_id="s", purpose="audit")


async def test_a_thousand_variables_use_no_more_than_the_slots(serve: Serve) -> None:
    """At most CONCURRENT requests are under way at once."""
    pbx = await serve()
    filled(pbx, [f"1.{n}" for n in range(500)])
    async with AriRest(settings(pbx.port)) as ari:
        body = await ari.snapshot(lambda _: True, snapshot_id="s", purpose="audit")
    assert len(body["variables"]) == 500
    assert 1 < pbx.most_under_way <= CONCURRENT


async def test_ids_may_be_any_text(serve: Serve) -> None:
    """Slashes, spaces and question marks in a channel's id stay in its part of the path."""
    pbx = await serve()
    pbx.resources[("DELETE", "/ari/channels/c2c%2F1121%2Fa%20b%3Fc")] = (204, b"")
    async with AriRest(settings(pbx.port)) as ari:
        assert await ari.delete("channels", "c2c/1121/a b?c") is None


async def test_post_sends_json_and_query(serve: Serve) -> None:
    """As click-to-call will."""
    pbx = await serve()
    pbx.resources[("POST", "/ari/channels?app=arimon")] = (200, b'{"id":"1.5"}')
    async with AriRest(settings(pbx.port)) as ari:
        assert await ari.post("channels", json={"endpoint": "PJSIP/1121"}, app="arimon") == {"id": "1.5"}
    assert pbx.bodies == [b'{"endpoint":"PJSIP/1121"}']


@pytest.mark.parametrize(
    ("status", "error", "fault"),
    [
        (400, AriRejected, Fault.REJECTED),
        (404, AriRejected, Fault.REJECTED),
        (409, AriRejected, Fault.REJECTED),
        (401, AriDenied, Fault.UNAUTHORIZED),
        (403, AriDenied, Fault.FORBIDDEN),
        (500, AriUnavailable, Fault.UNAVAILABLE),
        (503, AriUnavailable, Fault.UNAVAILABLE),
        (302, AriProtocolError, Fault.PROTOCOL),
    ],
)
async def test_errors_are_split_by_fault(serve: Serve, status: int, error: type[AriError], fault: Fault) -> None:
    """Each status has its class, keeps its number and says what ARI said."""
    pbx = await serve()
    pbx.resources[("GET", "/ari/x")] = (status, b'{"message":"because"}')
    async with AriRest(settings(pbx.port)) as ari:
        with pytest.raises(error) as caught:
            await ari.get("x")
    assert (caught.value.fault, caught.value.status) == (fault, status)
    assert f"GET http://127.0.0.1:{pbx.port}/ari/x" in str(caught.value)


async def test_a_slow_answer_is_given_up(serve: Serve) -> None:
    """request_timeout covers connection, request and the whole answer."""
    pbx = await serve()
    async with AriRest(settings(pbx.port, request_timeout=0.1)) as ari:
        with pytest.raises(AriUnreachable) as caught:
            await ari.get("hangs")
    assert caught.value.fault is Fault.TIMEOUT


async def test_a_huge_answer_is_given_up(serve: Serve) -> None:
    """max_response_bytes, counted as it comes."""
    pbx = await serve()
    pbx.resources[("GET", "/ari/x")] = (200, b'"' + b"x" * 5000 + b'"')
    async with AriRest(settings(pbx.port, max_response_bytes=4096)) as ari:
        with pytest.raises(AriProtocolError, match="max_response_bytes"):
            await ari.get("x")


async def test_no_json_is_the_pbxs_fault(serve: Serve) -> None:
    """An HTML page from a proxy, for instance."""
    pbx = await serve()
    pbx.resources[("GET", "/ari/x")] = (200, b"<html>")
    async with AriRest(settings(pbx.port)) as ari:
        with pytest.raises(AriProtocolError, match="no JSON"):
            await ari.get("x")


async def test_broken_utf8_in_one_name_hides_nothing(serve: Serve) -> None:
    """It becomes U+FFFD, as in Asterisk's own events."""
    pbx = await serve()
    pbx.resources[("GET", "/ari/x")] = (200, b'["caf\xe9"]')
    async with AriRest(settings(pbx.port)) as ari:
        assert await ari.get("x") == ["caf�"]


async def test_nobody_listens(free_port: Callable[[], int]) -> None:
    """The network's fault."""
    async with AriRest(settings(free_port())) as ari:
        with pytest.raises(AriUnreachable):
            await ari.get("x")


async def test_a_connection_broken_in_mid_answer() -> None:
    """Half an answer is none."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
        writer.close()

    server = await asyncio.start_server(half, "127.0.0.1", 0)
    async with server, AriRest(settings(server.sockets[0].getsockname()[1])) as ari:
        with pytest.raises(AriUnreachable, match="middle"):
            await ari.get("x")


async def test_tls(serve: Serve, certificates: Callable[[str], Certificates]) -> None:
    """https with the CA given, refused with another."""
    good, other = certificates("localhost"), certificates("localhost")
    pbx = await serve(tls=good.server)
    pbx.resources[("GET", "/ari/x")] = (200, b"1")
    url = f"wss://localhost:{pbx.port}/ari"
    async with AriRest(settings(0, url=url, ca_file=good.ca_file)) as ari:
        assert await ari.get("x") == 1
    async with AriRest(settings(0, url=url, ca_file=other.ca_file)) as ari:
        with pytest.raises(AriDenied) as caught:
            await ari.get("x")
    assert caught.value.fault is Fault.TLS


async def test_errors_hold_no_credentials(serve: Serve) -> None:
    """Neither the text nor the chain of an error leads to the Authorization header."""
    pbx = await serve(status=401)
    async with AriRest(settings(pbx.port, password="wrong-" + PASSWORD)) as ari:
        with pytest.raises(AriDenied) as caught:
            await ari.get("x")
    assert caught.value.__cause__ is None
    assert "Basic" not in repr(caught.value)
    assert PASSWORD not in repr(caught.value)


async def test_a_mended_password_file_is_read_again(serve: Serve, tmp_path: Path) -> None:
    """A client that lives for days needs no restart for it."""
    path = tmp_path / "password"
    pbx = await serve()
    pbx.resources[("GET", "/ari/x")] = (200, b"1")
    async with AriRest(settings(pbx.port, password_file=path)) as ari:
        with pytest.raises(AriDenied, match="password_file"):
            await ari.get("x")
        path.write_text("wrong")
        with pytest.raises(AriDenied, match="401"):
            await ari.get("x")
        path.write_text(PASSWORD)
        assert await ari.get("x") == 1
