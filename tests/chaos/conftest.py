"""What the tests share that break things from within."""

from pathlib import Path

import pytest


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the saboteur looks for what is to strike."""
    made = tmp_path / "faults"
    made.mkdir()
    monkeypatch.setenv("ARIMON_TEST_FAULTS", str(made))
    return made
