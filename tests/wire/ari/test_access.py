"""wire/ari/access.py: addresses and credentials from settings."""

from pathlib import Path

import pytest

from conf.secrets import Secret
from conf.settings import Pbx
from wire.ari.access import MAX_SECRET_BYTES, access
from wire.ari.errors import AriDenied, Fault


def test_addresses() -> None:
    """Everything is subscribed to; a trailing slash changes nothing."""
    for url in ("ws://pbx:8088/ari", "ws://pbx:8088/ari/"):
        way_in = access(Pbx(name="p", url=url, app="mon"))
        assert way_in.events == "ws://pbx:8088/ari/events?app=mon&subscribeAll=true"


def test_repr_hides_the_credentials() -> None:
    """An Access may be in a traceback's locals or a log."""
    shown = repr(access(Pbx(name="p", password=Secret("hidden"))))
    assert "Authorization" not in shown
    assert "Basic" not in shown


def test_password_file_wins(tmp_path: Path) -> None:
    """Its last line feed is not part of the password; text of any script works."""
    path = tmp_path / "p"
    path.write_text("пароль:x\n")
    way_in = access(Pbx(name="p", username="u", password_file=path))
    assert way_in.headers == {"Authorization": "Basic dTrQv9Cw0YDQvtC70Yw6eA=="}


@pytest.mark.parametrize("content", [b"x" * (MAX_SECRET_BYTES + 1), b"\xff\xfe"])
def test_what_is_no_password_file(tmp_path: Path, content: bytes) -> None:
    """Too large, or no text: named, without its content."""
    path = tmp_path / "p"
    path.write_bytes(content)
    with pytest.raises(AriDenied, match="password_file") as caught:
        access(Pbx(name="p", password_file=path))
    assert caught.value.fault is Fault.MISCONFIGURED


def test_a_ca_file_without_certificates(tmp_path: Path) -> None:
    """Named."""
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    with pytest.raises(AriDenied, match=r"ca\.pem"):
        access(Pbx(name="p", url="wss://pbx/ari", ca_file=path))
