"""actors.bridge: the one place where an asyncio loop meets a mailbox."""

import asyncio
import gc
import select
import ssl
import threading
from collections.abc import Iterator

import pytest

from actors.bridge import Bridge, LoopFailed

LIMIT = 60.0


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    made = Bridge("test")
    yield made
    made.close()


def items(bridge: Bridge, count: int) -> list[object]:
    """Wait as an actor does, until so many items have come."""
    found: list[object] = []
    while len(found) < count:
        assert select.select([bridge.fileno], [], [], LIMIT)[0], f"only {found} after {LIMIT} s"
        found.extend(bridge.drain())
    return found


def test_what_the_loop_posts_reaches_the_actor_in_order(bridge: Bridge) -> None:
    """The descriptor is readable as soon as something was posted."""

    async def main() -> None:
        for number in range(100):
            bridge.post(number)

    bridge.start(main)
    assert items(bridge, 100) == list(range(100))


def test_what_the_actor_calls_runs_in_the_loops_thread(bridge: Bridge) -> None:
    """And not in the actor's own."""

    async def main() -> None:
        await asyncio.Event().wait()

    bridge.start(main)
    bridge.call(lambda: bridge.post(threading.current_thread().name))
    assert items(bridge, 1) == ["test"]


def test_an_exception_that_leaves_a_task_is_the_actors_crash(bridge: Bridge) -> None:
    """The actor's drain raises, with the exception as the cause."""

    async def main() -> None:
        raise ValueError("broken")

    bridge.start(main)
    with pytest.raises(LoopFailed) as caught:
        items(bridge, 1)
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_exception_in_a_callback_is_the_actors_crash(bridge: Bridge) -> None:
    """What nobody awaits is not lost either."""

    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.Event().wait()

    bridge.start(main)
    with pytest.raises(LoopFailed) as caught:
        items(bridge, 1)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_transports_network_error_is_noise(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library leaves behind of a lost connection is logged, and costs the worker nothing."""
    said = []
    monkeypatch.setattr(bridge._log, "warning", lambda event, **keys: said.append(keys["error"]))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for error in (ConnectionResetError("gone"), ssl.SSLError("torn")):
            loop.call_exception_handler({"message": "Fatal error on transport", "exception": error, "transport": 1})
        loop.call_exception_handler({"message": "Task was destroyed but it is pending!"})
        bridge.post("through")

    bridge.start(main)
    assert items(bridge, 1) == ["through"]
    assert [error.partition("(")[0] for error in said] == ["ConnectionResetError", "SSLError", "None"]


def test_a_task_that_a_library_abandoned_is_noise(bridge: Bridge) -> None:
    """Its exception, never retrieved, is of a connection that somebody else has given up."""

    async def fail() -> None:
        raise ConnectionResetError("gone")

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(fail())
        await asyncio.wait([task])
        del task
        gc.collect()
        bridge.post("through")

    bridge.start(main)
    assert items(bridge, 1) == ["through"]


@pytest.mark.parametrize("is_ours", ["call", "spawn"])
def test_a_network_error_in_what_we_started_is_a_crash(bridge: Bridge, is_ours: str) -> None:
    """Our own code expects what the network does, or is wrong; and a full disk is an OSError too."""

    def refuse() -> None:
        raise OSError(28, "No space left on device")

    async def main() -> None:
        await asyncio.Event().wait()

    async def fail() -> None:
        refuse()

    bridge.start(main)
    if is_ours == "call":
        bridge.call(refuse)
    else:
        bridge.spawn(fail())
    with pytest.raises(LoopFailed) as caught:
        items(bridge, 1)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_librarys_own_bug_is_a_crash(bridge: Bridge) -> None:
    """A protocol that raises anything else has left its transport in a state that nobody knows."""

    async def main() -> None:
        context = {"message": "Fatal error: protocol.data_received()", "exception": KeyError(1), "transport": 1}
        asyncio.get_running_loop().call_exception_handler(context)

    bridge.start(main)
    with pytest.raises(LoopFailed):
        items(bridge, 1)


def test_an_empty_bridge_gives_nothing(bridge: Bridge) -> None:
    """A drain without a ring is harmless: level-triggered watches ring once more than needed."""
    assert bridge.drain() == []
