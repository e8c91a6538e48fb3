"""wire/ari/errors.py: exceptions of others become ours."""

import ssl
from unittest.mock import Mock

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from wire.ari.errors import AriError, Fault, for_upgrade, translated

SECRET = "Basic c2VjcmV0"
REQUEST = aiohttp.RequestInfo(
    URL("http://pbx/ari"), "GET", CIMultiDictProxy(CIMultiDict({"Authorization": SECRET})), URL("http://pbx/ari")
)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (TimeoutError(), Fault.TIMEOUT),
        (aiohttp.ServerTimeoutError(), Fault.TIMEOUT),
        (ConnectionResetError(104, "Connection reset by peer"), Fault.UNREACHABLE),
        (aiohttp.ServerDisconnectedError(), Fault.UNREACHABLE),
        (aiohttp.ClientPayloadError(), Fault.UNREACHABLE),
        (aiohttp.ClientConnectorError(Mock(), OSError(111, "Connection refused")), Fault.UNREACHABLE),
        (ssl.SSLError(1, "wrong version"), Fault.TLS),
        (aiohttp.InvalidURL("x"), Fault.MISCONFIGURED),
        (aiohttp.ClientResponseError(REQUEST, (), message="bad"), Fault.PROTOCOL),
        (aiohttp.WSServerHandshakeError(REQUEST, (), status=401), Fault.UNAUTHORIZED),
        (aiohttp.WSServerHandshakeError(REQUEST, (), status=101), Fault.PROTOCOL),
    ],
)
def test_translated(error: Exception, fault: Fault) -> None:
    """Each kind has its fault, a sentence, and none of the secrets that aiohttp's own exception carries."""
    ours = translated(error, "GET http://pbx/ari")
    assert isinstance(ours, AriError)
    assert ours.fault is fault
    assert "http://pbx/ari" in ours.detail
    assert SECRET not in repr(ours)


def test_our_own_bugs_are_not_translated() -> None:
    """They must crash, not be retried."""
    assert translated(KeyError("x"), "w") is None


def test_a_missing_ari_says_what_to_look_at() -> None:
    """404 at the upgrade is nobody's channel but a wrong address."""
    assert for_upgrade(404, "ws://pbx/ari/events").fault is Fault.NOT_FOUND
