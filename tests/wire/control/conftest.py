"""What tests of wire/control start and stop."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.control.fakes import FakeBackend, ServerThread


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a Unix socket's path has 107 bytes, pytest's own folders may be longer."""
    with tempfile.TemporaryDirectory(prefix="ctl-") as name:
        yield Path(name)


@pytest.fixture
def daemon(folder: Path) -> Iterator[ServerThread]:
    """A running server that answers from FakeBackend."""
    with ServerThread(folder / "control.sock", FakeBackend, answer_seconds=0.2) as server:
        yield server
