"""actors.bridge: the one place where an asyncio loop meets a mailbox."""

import asyncio
import select
import threading
from collections.abc import Iterator

import pytest

from actors.bridge import Bridge, LoopFailed

LIMIT = 10.0


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


def test_an_empty_bridge_gives_nothing(bridge: Bridge) -> None:
    """A drain without a ring is harmless: level-triggered watches ring once more than needed."""
    assert bridge.drain() == []
