"""supervision.polling: what Thespian waits with says what the standard library's selector says."""

import errno
import os
import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from supervision import polling

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with ExitStack() as stack:
        one, other = (stack.enter_context(each) for each in socket.socketpair())
        yield one, other


def told(
    make: Callable[[], selectors.BaseSelector | polling.DefaultSelector], wanted: dict[int, int]
) -> dict[int, int]:
    """Descriptor → events of those that are ready."""
    selector = make()
    for fileno, events in wanted.items():
        selector.register(fileno, events)
    found = {key.fd: events for key, events in selector.select(0)}
    selector.close()
    return found


@pytest.mark.parametrize("state", ["idle", "readable", "shut down", "closed", "reset", "full"])
@pytest.mark.parametrize("events", [READ, WRITE, READ | WRITE])
def test_it_says_what_the_standard_one_says(pair: tuple[socket.socket, socket.socket], state: str, events: int) -> None:
    """Of a socket in any state."""
    one, other = pair
    match state:
        case "readable":
            other.send(b"x")
        case "shut down":
            other.shutdown(socket.SHUT_WR)
        case "closed":
            other.close()
        case "reset":
            one.send(b"x")
            other.close()
        case "full":
            one.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    one.send(bytes(65536))
    wanted = {one.fileno(): events}
    assert told(polling.DefaultSelector, wanted) == told(selectors.EpollSelector, wanted)


def test_only_what_is_ready_is_told(pair: tuple[socket.socket, socket.socket]) -> None:
    """Among several, with the events of each."""
    one, other = pair
    other.send(b"x")
    assert told(polling.DefaultSelector, {one.fileno(): READ, other.fileno(): READ}) == {one.fileno(): READ}


def test_a_descriptor_may_be_registered_twice(pair: tuple[socket.socket, socket.socket]) -> None:
    """It is then looked at for both."""
    selector = polling.DefaultSelector()
    selector.register(pair[0].fileno(), READ)
    selector.register(pair[0].fileno(), WRITE)
    assert selector.select(0) == [(polling.Key(pair[0].fileno()), WRITE)]
    pair[1].send(b"x")
    assert selector.select(0) == [(polling.Key(pair[0].fileno()), READ | WRITE)]


def test_a_wait_ends(pair: tuple[socket.socket, socket.socket]) -> None:
    """At once if something is ready, also where the wait would be for ever or for years; else with its time."""
    one, other = pair
    selector = polling.DefaultSelector()
    selector.register(one.fileno(), READ)
    assert selector.select(0.001) == []
    assert selector.select(-1.0) == []
    other.send(b"x")
    assert selector.select(None) == selector.select(1e9) == [(polling.Key(one.fileno()), READ)]


def test_what_is_not_open_is_an_error() -> None:
    """As Thespian expects it: it then looks for the bad one and leaves it out."""
    fileno = os.eventfd(0)
    os.close(fileno)
    selector = polling.DefaultSelector()
    selector.register(fileno, READ)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        selector.select(0)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(ValueError, match="no descriptor"):
        selector.register(-1, READ)
