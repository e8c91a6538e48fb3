"""Runs a recording through arimon. The one place here that knows how; the checker does not."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from actors.call import replay as core
from actors.call.inputs import Routed
from actors.call.world import World, step
from conf.settings import Settings
from tests.truth import recordings

SERVER = "pbx1"
"""`server` in the messages."""


def replay(frames: Iterable[bytes]) -> Iterator[bytes]:
    """The messages that arimon publishes for frames.

    Args:
        frames: Recorded lines.

    Returns:
        JSON lines, in order.
    """
    return core.replay(frames, SERVER, Settings())


def replayed(name: str, folder: Path = recordings.FOLDER) -> Iterator[bytes]:
    """The messages that arimon publishes for a recording.

    Args:
        name: The recording's name.
        folder: Where it is.

    Returns:
        JSON lines, in order.
    """
    return replay(recordings.frames(name, folder))


def routed(name: str, settings: Settings, most: int | None = None) -> list[Routed]:
    """What the calls of a recording, or of its first `most` rows, are told."""
    world, found = World.new(SERVER), list[Routed]()
    for row in recordings.rows(name, most):
        done = step(world, row, settings)
        world = done.world
        found.extend(done.routed)
    return found
