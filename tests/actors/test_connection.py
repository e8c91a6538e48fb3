"""actors.connection: what a new process can say of the one before it."""

from pathlib import Path

import pytest

from actors.connection import last_heard_ms
from conf.settings import Journal
from wire.store.journal import JournalWriter
from wire.store.row import Kind


def written(directory: Path, *rows: tuple[Kind, int, bytes]) -> None:
    """A journal with these rows."""
    writer = JournalWriter(directory, Journal(), lambda _uuid, _n: None)
    writer.start()
    for row in rows:
        writer.append(*row)
    assert writer.close()


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
    written(tmp_path, (Kind.LINK_UP, 1_000, b"{}"), (kind, 50_000, body))
    assert last_heard_ms(tmp_path, 10.0) == heard_ms


@pytest.mark.parametrize(
    ("kind", "at_ms", "body", "heard_ms"),
    [
        (Kind.SNAPSHOT, 48_000, b'{"heard_ms":20000}', 20_000),
        (Kind.CLOCK, 48_000, b'{"heard_ms":20000}', 20_000),
        (Kind.FRAME, 30_000, b"{}", 40_000),
        (Kind.FRAME, 48_000, b"{}", 48_000),
        (Kind.LINK_DOWN, 48_000, b"{}", 40_000),
    ],
)
def test_of_an_operators_command_the_row_before_it_tells(
    tmp_path: Path, kind: Kind, at_ms: int, body: bytes, heard_ms: int
) -> None:
    """However many there are; a look at a link that is suspect said that it was heard long ago."""
    commands = [(Kind.OPERATOR, 50_000, b"{}")] * 3
    written(tmp_path, (Kind.LINK_UP, 1_000, b"{}"), (kind, at_ms, body), *commands)
    assert last_heard_ms(tmp_path, 10.0) == heard_ms


def test_a_journal_of_commands_alone_is_read_too(tmp_path: Path) -> None:
    """Nothing else was ever written."""
    written(tmp_path, (Kind.OPERATOR, 50_000, b"{}"))
    assert last_heard_ms(tmp_path, 10.0) == 40_000
