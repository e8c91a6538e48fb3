"""wire/os_error.py."""

import asyncio
import errno
import socket
import ssl

import pytest

from wire.os_error import said


async def test_a_refused_connection_is_told_in_the_systems_words(unused_tcp_port: int) -> None:
    """asyncio's own words would say the address once more, and not why."""
    with pytest.raises(OSError, match="Connect call failed") as refused:
        await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", unused_tcp_port)
    assert said(refused.value) == "Connection refused"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (ssl.SSLError(1, "[SSL] record layer failure"), "[SSL] record layer failure"),
        (OSError(errno.EHOSTUNREACH, "whatever"), "No route to host"),
        (OSError("Multiple exceptions: …"), "Multiple exceptions: …"),
        (ConnectionResetError(), "ConnectionResetError"),
        (ValueError("bad"), "bad"),
    ],
)
def test_each_error_says_something(error: Exception, words: str) -> None:
    """Numbers of TLS and of name resolution are not the system's; what has no number has its text, or its name."""
    assert said(error) == words
