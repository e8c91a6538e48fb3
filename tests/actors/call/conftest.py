"""What the core's tests share: recordings, and events made by hand."""

import gzip
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from actors.call.events import Channel
from conf.settings import Settings
from tests.telling import SECOND, Told, stamp

TRACES = Path(__file__).parents[2] / "traces"


@pytest.fixture(scope="session")
def recording() -> Callable[[str], list[bytes]]:
    """Lines of a recording, found by the beginning of its name."""

    def lines(name: str) -> list[bytes]:
        path = next(iter(sorted(TRACES.glob(f"{name}*.jsonl*"))))
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return data.splitlines()

    return lines


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Nothing configured."""
    return Settings()


@pytest.fixture(scope="session")
def channel() -> Callable[..., Channel]:
    """A channel made by hand: `channel("a")` is PJSIP/a-1, a caller in from-trunk who dialled 700."""

    def make(
        key: str,
        name: str | None = None,
        state: str = "Ring",
        number: str = "",
        app: str = "",
        exten: str = "700",
        context: str = "from-trunk",
        priority: int = 1,
        linkedid: str | None = None,
        created: str = "2026-11-22T08:00:00.000+0000",
    ) -> Channel:
        return Channel(
            key,
            name or f"PJSIP/{key}-1",
            state,
            number or key,
            key.upper(),
            "",
            context,
            exten,
            priority,
            app,
            created,
            linkedid,
        )

    return make


@pytest.fixture(scope="session")
def frame() -> Callable[..., bytes]:
    """An ARI frame made by hand."""

    def make(kind: str, **fields: object) -> bytes:
        return orjson.dumps({"type": kind, "timestamp": "2026-11-22T08:00:01.250+0000", **fields})

    return make


@pytest.fixture
def told(settings: Settings) -> Told:
    """Nothing was told yet."""
    return Told(settings)


@pytest.fixture
def caller(channel: Callable[..., Channel]) -> Channel:
    """A call in an application, begun at 11 s."""
    return channel("a", state="Up", app="Echo", created=stamp(11 * SECOND))
