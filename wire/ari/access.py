"""How one PBX's ARI is entered: addresses, credentials and TLS, from its settings.

Built anew for each attempt to connect, so that a password or a CA file that was mended on disk is used without a
restart. The Authorization header exists only inside `Access` (its repr hides it) and in the request itself.
"""

import base64
import ssl
from dataclasses import dataclass, field

from conf.settings import Pbx
from wire.ari.errors import AriDenied, Fault

MAX_SECRET_BYTES = 4096
"""A password file larger than this is no password file."""


@dataclass(frozen=True, slots=True)
class Access:
    """Ready to be used by aiohttp."""

    events: str
    """Address of the event WebSocket, without credentials; safe to log."""
    headers: dict[str, str] = field(repr=False)
    """The Authorization header."""
    tls: ssl.SSLContext | bool = field(repr=False)
    """For aiohttp's `ssl`."""


def access(pbx: Pbx) -> Access:
    """Read what is needed to enter.

    Raises:
        AriDenied: a password or CA file cannot be read.
    """
    base = pbx.url.rstrip("/")
    credentials = f"{pbx.username}:{_password(pbx)}".encode()
    return Access(
        events=f"{base}/events?app={pbx.app}&subscribeAll=true",
        headers={"Authorization": "Basic " + base64.b64encode(credentials).decode()},
        tls=_tls(pbx) if base.startswith("wss:") else True,
    )


def _password(pbx: Pbx) -> str:
    if pbx.password_file is None:
        return pbx.password.get_secret_value()
    try:
        with pbx.password_file.open("rb") as file:
            text = file.read(MAX_SECRET_BYTES + 1)
        if len(text) > MAX_SECRET_BYTES:
            raise AriDenied(Fault.MISCONFIGURED, f"pbx.password_file {pbx.password_file} is too large for a password")
        return text.decode().rstrip("\r\n")
    except OSError as error:
        raise AriDenied(
            Fault.MISCONFIGURED, f"pbx.password_file {pbx.password_file} cannot be read: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        # Not chained: the exception carries the file's bytes.
        raise AriDenied(Fault.MISCONFIGURED, f"pbx.password_file {pbx.password_file} is not UTF-8 text") from None


def _tls(pbx: Pbx) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if pbx.ca_file is None else str(pbx.ca_file))
    except OSError as error:  # ssl.SSLError is one: the file holds no certificate
        raise AriDenied(
            Fault.MISCONFIGURED, f"pbx.ca_file {pbx.ca_file} cannot be used: {error.strerror or error}"
        ) from None
    if not pbx.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
