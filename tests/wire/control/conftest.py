"""What tests of wire/control start and stop."""

import tempfile
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from tests.wire.control.fakes import FakeBackend, ServerThread
from wire.control import server


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a Unix socket's path has 107 bytes, pytest's own folders may be longer."""
    with tempfile.TemporaryDirectory(prefix="ctl-") as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def logs(monkeypatch: pytest.MonkeyPatch) -> list[MutableMapping[str, Any]]:
    """What the server logs, kept away from the standard error that tests of arimon-ctl look at."""
    capture = LogCapture()
    monkeypatch.setattr(server, "logger", structlog.wrap_logger(None, processors=[capture]))
    return capture.entries


@pytest.fixture
def daemon(folder: Path) -> Iterator[ServerThread]:
    """A running server that answers from FakeBackend."""
    with ServerThread(folder / "control.sock", FakeBackend, answer_seconds=0.2) as running:
        yield running
