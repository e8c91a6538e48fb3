"""actors.connection: what a new process can say of the one before it."""

from pathlib import Path

import pytest

from actors.connection import last_heard_ms
from conf.settings import Journal
from wire.store.journal import JournalWriter
from wire.store.row import Kind


@pytest.mark.parametrize(
    ("kind", "body", "heard_ms"),
    [
        (Kind.FRAME, b"{}", 50_000),
        (Kind.SNAPSHOT, b'{"heard_ms":20000}', 20_000),
        (Kind.SNAPSHOT, b"{}", 40_000),
        (Kind.CLOCK, b'{"heard_ms":20000}', 20_000),
        (Kind.CLOCK, b'{"heard_ms":null}', 40_000),
        (Kind.OPERATOR, b"{}", 40_000),
    ],
)
def test_only_a_frame_proves_that_the_event_link_lived(tmp_path: Path, kind: Kind, body: bytes, heard_ms: int) -> None:
    """A snapshot came by REST, and says itself when the link was heard, as a row of the host's clock does; else it was
    `dead_after` before a row."""
    assert last_heard_ms(tmp_path, 10.0) is None
    writer = JournalWriter(tmp_path, Journal(), lambda _uuid, _n: None)
    writer.start()
    writer.append(Kind.LINK_UP, 1_000, b"{}")
    writer.append(kind, 50_000, body)
    assert writer.close()
    assert last_heard_ms(tmp_path, 10.0) == heard_ms
