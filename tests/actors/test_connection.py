"""actors.connection: what a new process can say of the one before it."""

from pathlib import Path

import pytest

from actors.connection import last_heard_ms
from conf.settings import Journal
from wire.store.journal import JournalWriter
from wire.store.row import Kind


@pytest.mark.parametrize(("kind", "heard_ms"), [(Kind.FRAME, 50_000), (Kind.SNAPSHOT, 40_000)])
def test_a_snapshot_does_not_prove_that_the_event_link_lived(tmp_path: Path, kind: Kind, heard_ms: int) -> None:
    """It came by REST: the link was heard `dead_after` before it at the latest, and when a frame came."""
    assert last_heard_ms(tmp_path, 10.0) is None
    writer = JournalWriter(tmp_path, Journal(), lambda _uuid, _n: None)
    writer.start()
    writer.append(Kind.LINK_UP, 1_000, b"{}")
    writer.append(kind, 50_000, b"{}")
    assert writer.close()
    assert last_heard_ms(tmp_path, 10.0) == heard_ms
