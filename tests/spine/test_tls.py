"""wss:// to a PBX: its certificate is checked, and what is wrong with it is said."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.daemon import Daemon, Simulator, assert_complete, replayed, wait_for
from tests.spine.tools import CALM, finish, pbx_status, problems, restarts, wait_for_messages


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def simulator(tmp_path: Path, ca: trustme.CA) -> Iterator[Simulator]:
    """A PBX that speaks TLS only."""
    certificate, key = tmp_path / "pbx.pem", tmp_path / "pbx.key"
    issued = ca.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    tls = ("--tls-cert", str(certificate), "--tls-key", str(key))
    made = Simulator(tmp_path / "simulator", "--rate", "100", "--lanes", "4", "--loop", "forever", *tls)
    yield made
    made.end()


def secured(simulator: Simulator, ca: trustme.CA, path: Path) -> dict[str, object]:
    """Settings for this PBX, with a CA."""
    ca.cert_pem.write_to_path(str(path))
    return simulator.pbx() | {"url": f"wss://127.0.0.1:{simulator.ports[0]}/ari", "ca_file": str(path)}


def test_a_certificate_is_checked(tmp_path: Path, simulator: Simulator, ca: trustme.CA) -> None:
    """With a strange CA it is a state with its reason, not a crash; when the file is mended, the link comes up."""
    file = tmp_path / "ca.pem"
    daemon = Daemon(tmp_path / "daemon", [secured(simulator, trustme.CA(), file)], supervision=CALM)
    try:
        daemon.start()
        shown = wait_for(
            lambda: found if (found := pbx_status(daemon)) and "certificate" in found["link"]["detail"] else None,
            "the certificate is refused",
        )
        assert shown["link"]["state"] == "backing_off"
        assert "pbx.ca_file" in shown["link"]["detail"]
        wait_for(lambda: "certificate" in problems(daemon), "it is told as a problem")
        assert set(restarts(daemon).values()) == {0}
        assert daemon.client.crashes() == []
        ca.cert_pem.write_to_path(str(file))
        wait_for_messages(daemon)
        assert set(restarts(daemon).values()) == {0}
        finish(daemon, simulator)
        assert_complete(daemon.messages(), replayed(simulator.sent(), daemon.settings))
    finally:
        daemon.end()
