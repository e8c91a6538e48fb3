"""arimon against a real Asterisk, where there is one.

Runs where `ARIMON_TEST_ARI_URL` is set (as `ws://127.0.0.1:8088/ari`), with `ARIMON_TEST_ARI_USER` and
`ARIMON_TEST_ARI_PASSWORD` (default: arimon) of a user who may originate, and `ARIMON_TEST_ARI_ENDPOINT` (default:
`Local/7001@from-internal`), something that answers when it is called.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from conf.settings import Pbx
from tests.daemon import Daemon, assert_complete, by_stream, replayed, wait_for
from wire.ari.rest import AriRest

URL = os.environ.get("ARIMON_TEST_ARI_URL")
USER = os.environ.get("ARIMON_TEST_ARI_USER", "arimon")
PASSWORD = os.environ.get("ARIMON_TEST_ARI_PASSWORD", "arimon")
ENDPOINT = os.environ.get("ARIMON_TEST_ARI_ENDPOINT", "Local/7001@from-internal")

pytestmark = pytest.mark.skipif(URL is None, reason="needs a real Asterisk: set ARIMON_TEST_ARI_URL")

CALLS = 5


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(
        tmp_path, [{"name": "pbx1", "url": URL, "username": USER, "password": PASSWORD, "app": "arimon-test"}]
    )
    made.start()
    yield made
    made.end()


async def originate(pbx: Pbx) -> list[str]:
    """Have the PBX call the endpoint a few times and play to it; returns the channels' ids."""
    async with AriRest(pbx) as rest:
        answers = [
            await rest.post("channels", endpoint=ENDPOINT, app=pbx.app, callerId=f"Live <10{number}>")
            for number in range(CALLS)
        ]
        return [answer["id"] for answer in answers]


async def hang_up(pbx: Pbx, channels: list[str]) -> None:
    """End these channels."""
    async with AriRest(pbx) as rest:
        for channel in channels:
            await rest.delete("channels", channel)


def test_calls_appear_while_they_last_and_are_told_to_their_end(daemon: Daemon) -> None:
    """Each originated channel is a call in `arimon-ctl calls`, and has one finished-call when it is over."""
    pbx = daemon.settings.pbx[0]
    wait_for(lambda: daemon.client.status()["pbx"][0]["link"]["state"] == "connected", "the link is up")
    channels = asyncio.run(originate(pbx))
    wait_for(lambda: set(channels) <= {call["call_id"] for call in daemon.client.calls()}, "the calls are seen")
    asyncio.run(hang_up(pbx, channels))
    wait_for(lambda: not set(channels) & {call["call_id"] for call in daemon.client.calls()}, "the calls have ended")
    daemon.wait_drained()
    assert daemon.stop() == 0
    streams = by_stream(daemon.messages())
    for channel in channels:
        operations = [message["operation"]["type"] for message in streams["pbx1", f"call:{channel}"]]
        assert operations[0] == "received-call"
        assert operations[-1] == "finished-call"
        assert operations.count("finished-call") == 1
    assert_complete(daemon.messages(), replayed(daemon.exported(), daemon.settings))
