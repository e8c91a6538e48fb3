"""Runs a recording through arimon. The one place here that knows how; the checker does not."""

import importlib
from collections.abc import Iterator
from pathlib import Path

from conf.settings import Settings
from tests.truth import recordings

SERVER = "pbx1"
"""`server` in the messages."""


def replayed(name: str, folder: Path = recordings.FOLDER) -> Iterator[bytes]:
    """The messages that arimon publishes for a recording.

    Args:
        name: The recording's name.
        folder: Where it is.

    Returns:
        JSON lines, in order.
    """
    replay = importlib.import_module("actors.call.replay")
    lines: Iterator[bytes] = replay.replay(recordings.frames(name, folder), SERVER, Settings())
    return lines
