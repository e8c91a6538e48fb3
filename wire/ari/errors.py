"""What can go wrong between arimon and a PBX's ARI, split by who can mend it.

    AriError                .fault says what exactly, in one word
    ├── AriUnreachable      the network's: refused, reset, no route, no such host, too slow → try again
    ├── AriUnavailable      the PBX's, for now: HTTP 5xx (Asterisk is loading or stopping) → try again
    ├── AriProtocolError    the PBX's: what came is no ARI, not JSON, or larger than allowed → log, count, go on
    ├── AriDenied           the operator's: certificate, password, user, ari.conf, our own settings → say what to mend
    └── AriRejected         ours: ARI refused this one request (400, 404, 409, 422 …)

No text of these errors holds a credential. aiohttp's own exceptions may (their `request_info` carries the
Authorization header), so they are translated here and never chained to: raise what `translated` gives `from None`.
"""

import ssl
from enum import StrEnum

import aiohttp

from wire import os_error


class Fault(StrEnum):
    """What went wrong, in one word, for state, metrics and decisions."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    PROTOCOL = "protocol"
    TLS = "tls"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    MISCONFIGURED = "misconfigured"
    REJECTED = "rejected"


NEEDS_OPERATOR = frozenset({Fault.TLS, Fault.UNAUTHORIZED, Fault.FORBIDDEN, Fault.NOT_FOUND, Fault.MISCONFIGURED})
"""Faults that do not pass by themselves; retried, but slowly."""


class AriError(Exception):
    """ARI did not give what was asked.

    Args:
        fault: what went wrong.
        detail: one sentence for the operator, without credentials.
        status: the HTTP status, where there was one.
    """

    def __init__(self, fault: Fault, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail
        self.status = status


class AriUnreachable(AriError):
    """The network or the host did not let us through."""


class AriUnavailable(AriError):
    """Asterisk answers, but cannot serve now."""


class AriProtocolError(AriError):
    """What answered does not speak ARI as we know it."""


class AriDenied(AriError):
    """Somebody has to change a configuration."""


class AriRejected(AriError):
    """ARI refused this request."""


def for_status(status: int, where: str, message: str = "") -> AriError:
    """The error that an HTTP status means.

    Args:
        status: as answered; not a success.
        where: method and address asked, without credentials.
        message: what ARI said, if anything; cut at 200 characters.
    """
    said = f": {message[:200]}" if message else ""
    if status == 401:
        return AriDenied(
            Fault.UNAUTHORIZED,
            f"{where} refused user or password (401); compare pbx.username and pbx.password with ari.conf",
            status,
        )
    if status == 403:
        return AriDenied(
            Fault.FORBIDDEN,
            f"{where} is forbidden to this user (403{said}); see read_only and acl in ari.conf",
            status,
        )
    if status >= 500:
        return AriUnavailable(Fault.UNAVAILABLE, f"{where} answered {status}{said}", status)
    if 400 <= status < 500:
        return AriRejected(Fault.REJECTED, f"{where} answered {status}{said}", status)
    return AriProtocolError(Fault.PROTOCOL, f"{where} answered {status}, which no ARI does", status)


def for_upgrade(status: int, where: str) -> AriError:
    """The error that a status other than 101 means when the WebSocket was to be opened."""
    if status == 404:
        return AriDenied(
            Fault.NOT_FOUND,
            f"there is no ARI at {where} (404); compare pbx.url with `prefix` in http.conf, and see that ari.conf has "
            "enabled = yes and res_ari_events is loaded",
            status,
        )
    if status == 101 or status < 400:
        return AriProtocolError(Fault.PROTOCOL, f"{where} is no WebSocket (answered {status})", status)
    return for_status(status, where)


def translated(error: Exception, where: str) -> AriError | None:
    """What an exception of aiohttp, asyncio or ssl means here; None if it is none of the outside's doing.

    Args:
        error: as caught.
        where: method and address, without credentials.
    """
    match error:
        case AriError():
            return error
        case aiohttp.WSServerHandshakeError():
            return for_upgrade(error.status, where)
        case aiohttp.ClientConnectorCertificateError():
            return AriDenied(
                Fault.TLS,
                f"the certificate of {where} does not pass: {_certificate(error.certificate_error)}; "
                "see pbx.ca_file and pbx.url",
            )
        case aiohttp.ClientSSLError() | ssl.SSLError():
            reason = getattr(error, "reason", None) or getattr(getattr(error, "os_error", None), "reason", None)
            return AriDenied(Fault.TLS, f"TLS with {where} failed: {reason or type(error).__name__}")
        case TimeoutError():  # aiohttp's ServerTimeoutError is one too
            return AriUnreachable(Fault.TIMEOUT, f"{where} did not answer in time")
        case aiohttp.InvalidURL():
            return AriDenied(Fault.MISCONFIGURED, f"{where} is not an address; see pbx.url")
        case aiohttp.ClientConnectorError():
            return AriUnreachable(Fault.UNREACHABLE, f"{where} cannot be reached: {os_error.said(error.os_error)}")
        case aiohttp.ClientResponseError():
            return AriProtocolError(Fault.PROTOCOL, f"{where} does not speak HTTP: {error.message[:200]}")
        case aiohttp.ClientPayloadError():
            return AriUnreachable(Fault.UNREACHABLE, f"{where} broke off in the middle of its answer")
        case aiohttp.ClientConnectionError() | OSError():
            return AriUnreachable(Fault.UNREACHABLE, f"{where} broke the connection: {os_error.said(error)}")
    return None


def _certificate(error: Exception) -> str:
    return getattr(error, "verify_message", None) or os_error.said(error)
