"""wire/ari/client.py against real sockets: a fake PBX, a deaf proxy, TLS."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from conf.settings import Pbx, Retry
from tests.wire.ari.fakes import (
    LIMIT,
    PASSWORD,
    Certificates,
    Doorway,
    Facts,
    FakePbx,
    Proxy,
    Watched,
    listen,
    settings,
)
from wire import host_clock
from wire.ari import client
from wire.ari.client import AriLink
from wire.ari.session import BackingOff, Connecting, Down, Late
from wire.simulator import Simulator

Serve = Callable[..., Awaitable[FakePbx]]
Watch = Callable[[Pbx], Watched]
Logs = list[MutableMapping[str, Any]]


def sends(*frames: bytes) -> Callable[[FakePbx, web.WebSocketResponse], Awaitable[None]]:
    async def script(pbx: FakePbx, socket: web.WebSocketResponse) -> None:
        for frame in frames:
            await socket.send_frame(frame, web.WSMsgType.TEXT)
        await listen(pbx, socket)

    return script


def states(watched: Watched) -> list[str]:
    return [what[1].name for what in watched.of("state")]


async def test_frames_come_raw_and_in_order(serve: Serve, watch: Watch) -> None:
    """Up first, then each message as the PBX sent it; the address asks for everything and holds no credential."""
    frames = [b'{"type":"ChannelCreated","n":%d}' % n for n in range(100)]
    pbx = await serve(sends(*frames))
    watched = watch(settings(pbx.port))
    await watched.until(lambda me: len(me.frames) == 100)
    assert watched.frames == frames
    assert watched.of("up") == [("up", 1)]
    assert pbx.requests == [("WS", "/ari/events?app=arimon&subscribeAll=true")]


async def test_bad_utf8_and_bad_json_do_not_close_the_link(serve: Serve, watch: Watch) -> None:
    """A frame is bytes; what it means is decided elsewhere."""
    frames = [b'{"type":"\xff\xfe"}', b"not json", b"", b'{"type":"ok"}']
    pbx = await serve(sends(*frames))
    watched = watch(settings(pbx.port))
    await watched.until(lambda me: len(me.frames) == 4)
    assert watched.frames == frames
    assert watched.of("down") == []


async def test_binary_messages_are_frames_too(serve: Serve, watch: Watch) -> None:
    """Whatever the PBX says is kept."""

    async def script(pbx: FakePbx, socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(b'{"type":"x"}')
        await listen(pbx, socket)

    pbx = await serve(script)
    watched = watch(settings(pbx.port))
    await watched.until(lambda me: me.frames == [b'{"type":"x"}'])


async def test_an_oversized_frame_closes_the_link_and_it_comes_back(serve: Serve, watch: Watch) -> None:
    """A message of max_frame_bytes passes, one byte more is refused before it is buffered."""
    good, bad = b"x" * 2048, b"x" * 2049

    async def script(pbx: FakePbx, socket: web.WebSocketResponse) -> None:
        if len(pbx.sockets) == 1:
            await socket.send_frame(good, web.WSMsgType.TEXT)
            await socket.send_frame(bad, web.WSMsgType.TEXT)
        await listen(pbx, socket)

    pbx = await serve(script)
    watched = watch(settings(pbx.port, max_frame_bytes=2048))
    await watched.up(2)
    assert watched.frames == [good]
    assert [what[1] for what in watched.of("down")] == [Down.OVERSIZED]
    assert "max_frame_bytes" in watched.of("down")[0][2]


async def test_broken_frames_close_the_link(serve: Serve, watch: Watch) -> None:
    """Bytes that are no WebSocket frame: down with reason broken, and again up."""

    async def script(pbx: FakePbx, socket: web.WebSocketResponse) -> None:
        if len(pbx.sockets) == 1:
            transport = socket._req.transport  # type: ignore[union-attr]
            assert transport is not None
            transport.write(b"\xff\xff garbage")
        await listen(pbx, socket)

    pbx = await serve(script)
    watched = watch(settings(pbx.port))
    await watched.up(2)
    assert [what[1] for what in watched.of("down")] == [Down.BROKEN]


async def test_close_frame_and_broken_connection_are_told_apart(serve: Serve, watch: Watch) -> None:
    """A close frame is `closed` with its code; EOF without one (a crash, a cut-off reader) is `lost`."""

    async def script(pbx: FakePbx, socket: web.WebSocketResponse) -> None:
        if len(pbx.sockets) == 1:
            await socket.close(code=1001, message=b"restart")
        elif len(pbx.sockets) == 2:
            transport = socket._req.transport  # type: ignore[union-attr]
            assert transport is not None
            transport.close()
        elif len(pbx.sockets) == 3:
            transport = socket._req.transport  # type: ignore[union-attr]
            assert transport is not None
            transport.abort()
        else:
            await listen(pbx, socket)

    pbx = await serve(script)
    watched = watch(settings(pbx.port))
    await watched.up(4)
    downs = watched.of("down")
    assert [what[1] for what in downs] == [Down.CLOSED, Down.LOST, Down.LOST]
    assert "1001" in downs[0][2]
    assert "restart" in downs[0][2]
    assert [what[1] for what in watched.of("up")] == [1, 2, 3, 4]


async def test_what_was_sent_before_the_end_is_read(serve: Serve, watch: Watch) -> None:
    """A PBX that cuts us off still has its last events read, before down is said."""

    async def script(pbx: FakePbx, socket: web.WebSocketResponse) -> None:
        if len(pbx.sockets) == 1:
            for n in range(500):
                await socket.send_frame(b"%d" % n, web.WSMsgType.TEXT)
            transport = socket._req.transport  # type: ignore[union-attr]
            assert transport is not None
            transport.close()
        await listen(pbx, socket)

    pbx = await serve(script)
    watched = watch(settings(pbx.port))
    await watched.up(2)
    kinds = [what[0] for what in watched.said if what[0] != "state"]
    assert kinds == ["up", *["frame"] * 500, "down", "up"]


async def test_replaced_is_a_disconnect_and_not_fought(serve: Serve, watch: Watch, logs: Logs) -> None:
    """The event itself is kept, the link is closed, and nobody takes the name back before replaced_retry."""
    event = b'{"type":"ApplicationReplaced","timestamp":"2026-11-22T09:01:39.458+0000","application":"arimon"}'
    gone = asyncio.Event()

    async def script(pbx: FakePbx, socket: web.WebSocketResponse) -> None:
        await socket.send_frame(event, web.WSMsgType.TEXT)
        await listen(pbx, socket)
        gone.set()

    pbx = await serve(script)
    watched = watch(settings(pbx.port, replaced_retry=3600.0))
    await watched.until(lambda me: "replaced" in states(me))
    await asyncio.wait_for(gone.wait(), LIMIT)
    assert watched.frames == [event]
    assert watched.of("down")[0][1] is Down.REPLACED
    assert len(pbx.sockets) == 1
    shown = watched.link.describe()
    assert shown.until_ms is not None
    assert shown.until_ms - time.time() * 1000 > 3_590_000
    assert [entry["log_level"] for entry in logs if entry["event"] == "ari.link.replaced"] == ["error"]


async def test_replaced_takes_the_name_back_in_the_end(serve: Serve, watch: Watch) -> None:
    """After replaced_retry a new link is opened."""

    async def script(pbx: FakePbx, socket: web.WebSocketResponse) -> None:
        if len(pbx.sockets) == 1:
            await socket.send_str('{"type":"ApplicationReplaced","application":"arimon"}')
        await listen(pbx, socket)

    pbx = await serve(script)
    watched = watch(settings(pbx.port, replaced_retry=0.02))
    await watched.up(2)


async def taken(watched: Watched, times: int) -> None:
    """Wait until the name was taken so often, and the link is up again, or left alone."""
    await watched.until(lambda me: len(me.of("down")) == times)
    await watched.until(lambda me: "replaced" in states(me) or len(me.of("up")) > times)


async def test_a_late_answer_to_an_attempt_of_ours_is_no_other_client(
    facts: Facts, watch: Watch, doorway: Callable[[int], Awaitable[Doorway]], logs: Logs
) -> None:
    """A PBX that was halted gives our name to an attempt that was given up: connected anew, once for each of these.

    Who takes the name after that is another client, and left alone.
    """
    async with Simulator(password=PASSWORD) as sim:
        door = await doorway(sim.pbxs[0].port)
        watched = watch(settings(door.port, app="arimon", connect_timeout=0.5, replaced_retry=3600.0))
        await facts.until(lambda: len(door.waiting) == 2)
        door.halted = False
        await watched.up()
        request = door.waiting[0]
        downs = 0
        while "replaced" not in states(watched):
            await door.ask(door.waiting.pop(0) if door.waiting else request)
            downs += 1
            await taken(watched, downs)
        given_up = [what[1] for what in watched.of("state") if what[1].why == "timeout"]
        assert downs == len(given_up) + 1
        told = watched.of("down")
        assert {what[1] for what in told} == {Down.REPLACED}
        assert ["another client" in what[2] for what in told] == [False] * len(given_up) + [True]
        assert [entry["event"] for entry in logs].count("ari.link.replaced") == 1


async def test_only_the_event_itself_means_replaced(serve: Serve, watch: Watch) -> None:
    """A variable with these words, broken JSON around them, another application: nothing happens."""
    frames = [
        b'{"type":"ChannelVarset","value":"ApplicationReplaced"}',
        b'{"type":"ApplicationReplaced","application":"another"}',
        b'"ApplicationReplaced"',
        b'{"ApplicationReplaced"',
    ]
    pbx = await serve(sends(*frames))
    watched = watch(settings(pbx.port))
    await watched.until(lambda me: len(me.frames) == 4)
    assert watched.of("down") == []


async def test_a_silent_link_without_fin_is_dead_within_dead_after(
    serve: Serve, watch: Watch, proxy: Callable[[int], Awaitable[Proxy]]
) -> None:
    """A proxy stops forwarding and closes nothing: noticed after dead_after, told since when, and mended."""
    pbx = await serve(sends(b"{}"))
    between = await proxy(pbx.port)
    began_ms = host_clock.now_ms()
    watched = watch(settings(between.port, dead_after=0.5))
    await watched.until(lambda me: len(me.frames) == 1)
    between.deaf.set()
    await watched.until(lambda me: bool(me.of("down")))
    _, why, _, heard_ms = watched.of("down")[0]
    assert why is Down.DEAD
    # How soon after dead_after is for the machine of the link to say, by its own clock: test_session.py.
    assert began_ms <= heard_ms <= host_clock.now_ms() - 500 + 1  # whole milliseconds of two clocks
    between.deaf.clear()
    await watched.up(2)


async def test_the_last_byte_is_told_as_a_clock_that_was_set_counts_now(
    serve: Serve, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host's clock goes forward an hour while the link is silent: so does what is told, and no further."""
    end = asyncio.Event()

    async def script(pbx: FakePbx, socket: web.WebSocketResponse) -> None:
        if len(pbx.sockets) > 1:
            await listen(pbx, socket)
            return
        await socket.send_bytes(b"{}")
        await end.wait()
        transport = socket._req.transport  # type: ignore[union-attr]
        assert transport is not None
        transport.abort()

    watched = watch(settings((await serve(script)).port))
    await watched.until(lambda me: len(me.frames) == 1)
    until_ms = host_clock.now_ms()
    monkeypatch.setattr(client, "now_ms", lambda: time.time_ns() // 1_000_000 + 3_600_000)
    end.set()
    await watched.until(lambda me: bool(me.of("down")))
    _, why, _, heard_ms = watched.of("down")[0]
    assert why is Down.LOST
    assert 3_590_000 < heard_ms - until_ms <= 3_600_001  # whole milliseconds of two clocks


async def test_a_quiet_pbx_is_not_a_dead_one(
    facts: Facts, serve: Serve, watch: Watch, proxy: Callable[[int], Awaitable[Proxy]]
) -> None:
    """Nothing happens on the PBX, but it answers pings: the link stays up for several times dead_after."""
    pbx = await serve()
    between = await proxy(pbx.port)
    watched = watch(settings(between.port, dead_after=0.6))
    await watched.up()
    enough = between.pieces + 20  # 10 pings and their pongs: 3 × dead_after
    await facts.until(lambda: between.pieces >= enough)
    assert watched.of("down") == []


async def test_a_dripping_pbx_is_not_a_dead_one(serve: Serve, watch: Watch) -> None:
    """One message that takes far longer than dead_after to arrive, byte by byte, no pong between: any byte is life."""
    body = b'{"type":"x"}'

    async def script(pbx: FakePbx, socket: web.WebSocketResponse) -> None:
        transport = socket._req.transport  # type: ignore[union-attr]
        assert transport is not None
        for byte in bytes([0x81, len(body)]) + body:
            transport.write(bytes([byte]))
            await asyncio.sleep(0.1)
        await listen(pbx, socket)

    pbx = await serve(script)
    watched = watch(settings(pbx.port, dead_after=0.5))
    await watched.until(lambda me: me.frames == [body])
    assert watched.of("down") == []


@pytest.mark.parametrize(
    ("status", "word", "hint"),
    [
        (401, "unauthorized", "password"),
        (403, "forbidden", "ari.conf"),
        (404, "not-found", "prefix"),
        (503, "unavailable", "503"),
        (200, "protocol", "no WebSocket"),
    ],
)
async def test_refusals_are_told_apart(serve: Serve, watch: Watch, status: int, word: str, hint: str) -> None:
    """Each has its word and tells the operator what to look at; none ends the link's life."""
    pbx = await serve(status=status)
    watched = watch(settings(pbx.port))
    await watched.until(lambda me: states(me).count("backing_off") >= 3)
    shown = [what[1] for what in watched.of("state") if what[1].name == "backing_off"]
    assert {one.why for one in shown} == {word}
    assert hint in shown[0].detail
    assert watched.of("up") == []
    pbx.status = 101
    await watched.up()


async def test_a_wrong_password_is_unauthorized(serve: Serve, watch: Watch) -> None:
    """Basic auth in the Authorization header is what the PBX judges."""
    pbx = await serve()
    watched = watch(settings(pbx.port, password="wrong"))
    await watched.until(lambda me: "backing_off" in states(me))
    assert watched.link.describe().why in ("unauthorized", "")


async def test_a_mended_password_file_is_read_again(serve: Serve, watch: Watch, tmp_path: Path) -> None:
    """No restart is needed; an unreadable file is said by name."""
    path = tmp_path / "password"
    pbx = await serve()
    watched = watch(settings(pbx.port, password_file=path))
    await watched.until(lambda me: "backing_off" in states(me))
    shown = next(what[1] for what in watched.of("state") if what[1].name == "backing_off")
    assert (shown.why, str(path) in shown.detail) == ("misconfigured", True)
    path.write_text(PASSWORD + "\n")
    await watched.up()


async def test_nobody_listens(watch: Watch, free_port: Callable[[], int]) -> None:
    """A refused connection is `unreachable`."""
    watched = watch(settings(free_port()))
    await watched.until(lambda me: states(me).count("backing_off") >= 3)
    shown = next(what[1] for what in watched.of("state") if what[1].name == "backing_off")
    assert shown.why == "unreachable"


async def test_a_pbx_that_accepts_and_says_nothing_times_out(watch: Watch) -> None:
    """connect_timeout covers TCP, TLS and the upgrade together."""

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with server:
        watched = watch(settings(server.sockets[0].getsockname()[1], connect_timeout=0.1))
        await watched.until(lambda me: states(me).count("backing_off") >= 2)
        shown = next(what[1] for what in watched.of("state") if what[1].name == "backing_off")
        assert shown.why == "timeout"


async def test_who_has_asked_nothing_is_answered_by_nobody(watch: Watch) -> None:
    """An attempt that is given up before its request was written does not explain why the name is taken later."""

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with server:
        url = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/ari"
        watched = watch(settings(0, url=url, verify_tls=False, connect_timeout=0.1))
        await watched.until(lambda me: states(me).count("backing_off") >= 2)
        assert {what[1].why for what in watched.of("state")} == {"", "timeout"}
        state = watched.link.state
        assert isinstance(state, BackingOff | Connecting)
        assert state.late == Late()


async def test_tls_with_the_right_ca(serve: Serve, watch: Watch, certificates: Callable[[str], Certificates]) -> None:
    """wss with a certificate that chains to ca_file."""
    good = certificates("localhost")
    pbx = await serve(sends(b"{}"), tls=good.server)
    watched = watch(settings(0, url=f"wss://localhost:{pbx.port}/ari", ca_file=good.ca_file))
    await watched.until(lambda me: me.frames == [b"{}"])


async def test_tls_with_a_wrong_ca_or_host_is_refused(
    serve: Serve, watch: Watch, certificates: Callable[[str], Certificates]
) -> None:
    """Each is a TLS refusal with its own words; no request, so no credential, reaches such a server."""
    one, other, stranger = certificates("localhost"), certificates("localhost"), certificates("pbx.example")
    for server, ca_file, words in (
        (one.server, other.ca_file, "certificate"),
        (stranger.server, stranger.ca_file, "localhost"),
    ):
        pbx = await serve(tls=server)
        watched = watch(settings(0, url=f"wss://localhost:{pbx.port}/ari", ca_file=ca_file))
        await watched.until(lambda me: "backing_off" in states(me))
        shown = next(what[1] for what in watched.of("state") if what[1].name == "backing_off")
        assert shown.why == "tls"
        assert words in shown.detail
        assert pbx.requests == []


async def test_verify_tls_off_takes_any_certificate(
    serve: Serve, watch: Watch, certificates: Callable[[str], Certificates]
) -> None:
    """Only where the operator said so."""
    pbx = await serve(tls=certificates("pbx.example").server)
    watched = watch(settings(0, url=f"wss://localhost:{pbx.port}/ari", verify_tls=False))
    await watched.up()


async def test_tls_against_a_plain_server_is_a_tls_refusal(serve: Serve, watch: Watch) -> None:
    """wss:// in the configuration, plain HTTP on the port."""
    pbx = await serve()
    watched = watch(settings(0, url=f"wss://127.0.0.1:{pbx.port}/ari"))
    await watched.until(lambda me: "backing_off" in states(me))
    assert next(what[1] for what in watched.of("state") if what[1].name == "backing_off").why == "tls"


async def test_a_missing_ca_file_is_said_by_name(watch: Watch, tmp_path: Path) -> None:
    """And does not end the link's life."""
    watched = watch(settings(0, url="wss://127.0.0.1:1/ari", ca_file=tmp_path / "no-ca.pem"))
    await watched.until(lambda me: states(me).count("backing_off") >= 2)
    shown = next(what[1] for what in watched.of("state") if what[1].name == "backing_off")
    assert (shown.why, "no-ca.pem" in shown.detail) == ("misconfigured", True)


async def test_credentials_are_in_no_log_state_or_error(
    serve: Serve,
    watch: Watch,
    logs: Logs,
    caplog: pytest.LogCaptureFixture,
    certificates: Callable[[str], Certificates],
) -> None:
    """Through every kind of refusal and loss, neither the password nor its Basic form is written anywhere."""
    caplog.set_level(logging.DEBUG)
    said: list[object] = []
    for status in (401, 403, 404, 500, 200):
        pbx = await serve(status=status)
        watched = watch(settings(pbx.port, retry=Retry(minimum=5, maximum=5)))
        await watched.until(lambda me: "backing_off" in states(me))
        said += watched.said
    pbx = await serve(sends(b"x" * 2000), tls=certificates("localhost").server)
    watched = watch(settings(0, url=f"wss://localhost:{pbx.port}/ari", verify_tls=False, max_frame_bytes=1024))
    await watched.until(lambda me: "backing_off" in states(me))
    said += watched.said
    said.append(repr(watched.link.__dict__))
    written = json.dumps(logs, default=repr) + caplog.text + repr(said)
    assert "ari.link.refused" in written
    assert PASSWORD not in written
    assert "YXJpbW9u" not in written  # base64 of "arimon"


async def test_ten_links_at_once(serve: Serve, watch: Watch) -> None:
    """Ten PBXs in one loop: each gets its own events, and the loss of one touches no other."""
    pbxs = [await serve(sends(*[b"%d:%d" % (n, m) for m in range(200)])) for n in range(10)]
    links = [watch(settings(pbx.port, name=f"pbx{n}")) for n, pbx in enumerate(pbxs)]
    for n, watched in enumerate(links):
        await watched.until(lambda me: len(me.frames) >= 200)
        assert watched.frames == [b"%d:%d" % (n, m) for m in range(200)]
    await pbxs[3].sockets[0].close()
    await links[3].up(2)
    assert [len(watched.of("down")) for watched in links] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


async def test_stop_says_goodbye_and_down(serve: Serve, watch: Watch) -> None:
    """The PBX gets a close frame; down has the reason stopped; run returns."""
    codes: list[int | None] = []

    async def script(pbx: FakePbx, socket: web.WebSocketResponse) -> None:
        await listen(pbx, socket)
        codes.append(socket.close_code)
        pbx.facts.changed()

    pbx = await serve(script)
    watched = watch(settings(pbx.port))
    await watched.up()
    watched.link.stop()
    await watched.until(lambda me: bool(codes))
    assert codes == [1000]
    assert watched.of("down")[0][1] is Down.STOPPED


async def test_a_callback_that_raises_ends_run(serve: Serve) -> None:
    """Our own bug is not the PBX's doing: it comes out of run, and the socket is closed."""
    pbx = await serve(sends(b"{}"))

    def broken(data: bytes) -> None:
        raise ZeroDivisionError

    link = AriLink(settings(pbx.port), on_frame=broken, on_up=lambda n: None, on_down=lambda *what: None)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(link.run(), LIMIT)
    assert link.describe().name == "stopped"


async def test_cancelling_run_closes_the_socket(serve: Serve, facts: Facts) -> None:
    """A loop that is shut down leaves no open link."""
    pbx = await serve()
    link = AriLink(
        settings(pbx.port), on_frame=lambda data: None, on_up=lambda n: facts.changed(), on_down=lambda *what: None
    )
    task = asyncio.create_task(link.run())
    await facts.until(lambda: link.links == 1)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await facts.until(lambda: pbx.ended == 1)


async def test_a_link_stopped_before_it_began_never_opens(serve: Serve) -> None:
    """A stop that overtakes the start of the loop is kept."""
    pbx = await serve()
    link = AriLink(settings(pbx.port), on_frame=lambda b: None, on_up=lambda n: None, on_down=lambda *what: None)
    link.stop()
    await asyncio.wait_for(link.run(), LIMIT)
    assert pbx.requests == []
