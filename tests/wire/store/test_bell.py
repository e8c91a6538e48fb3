"""wire.store.bell: a ring says "look", and nothing else."""

import os
import select
import stat
import threading
from pathlib import Path

import pytest

from wire.store.bell import Bell


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "bell"


def rang(bell: Bell) -> bool:
    """Whether its descriptor is readable now."""
    return bool(select.select([bell.fileno], [], [], 0)[0])


def test_a_ring_wakes_the_other_end_once(path: Path) -> None:
    """Rings that nobody has answered yet are one ring."""
    folding, committing = Bell(path), Bell(path)
    assert not rang(folding)
    committing.ring()
    committing.ring()
    assert rang(folding)
    assert folding.answer()
    assert not rang(folding)
    assert not folding.answer()


def test_a_bell_that_nobody_answers_never_makes_the_ringer_wait(path: Path) -> None:
    """A full pipe is a ring that has not been answered; more of them are not needed."""
    bell = Bell(path)
    for _ in range(100_000):
        bell.ring()
    assert bell.answer()
    assert not bell.answer()


def test_a_ring_while_the_other_end_is_being_replaced_is_heard_by_its_successor_or_not_needed(path: Path) -> None:
    """The pipe survives either end; a bell that is opened anew can be rung at once."""
    committing = Bell(path)
    folding = Bell(path)
    folding.close()
    committing.ring()
    successor = Bell(path)
    assert rang(successor)
    committing.close()
    assert successor.answer()
    Bell(path).ring()
    assert successor.answer()


def test_only_its_owner_may_ring(path: Path) -> None:
    """It is a pipe of mode 0600."""
    Bell(path)
    mode = path.stat().st_mode
    assert stat.S_ISFIFO(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_ends_that_hold_different_pipes_meet_again_at_the_path(path: Path) -> None:
    """A pipe that was deleted is made anew by whoever looks after it first; the watched number stays the same."""
    committing, folding = Bell(path), Bell(path)
    watched = folding.fileno
    path.unlink()
    committing.mend()
    committing.ring()
    assert not rang(folding)
    folding.mend()
    assert folding.fileno == watched
    assert rang(folding)
    assert folding.answer()


def test_a_pipe_that_is_well_is_left_alone(path: Path) -> None:
    """Looking after it takes no ring away."""
    bell = Bell(path)
    before = path.stat().st_ino
    bell.ring()
    bell.mend()
    assert bell.answer()
    assert path.stat().st_ino == before


def test_a_pipe_that_cannot_be_made_is_a_state(tmp_path: Path) -> None:
    """Nothing fails and nothing is readable meanwhile; once it can be made, it rings under the same number."""
    (tmp_path / "made").write_text("no folder")
    bell = Bell(tmp_path / "made" / "bell")
    watched = bell.fileno
    assert "made" in str(bell.problem)
    bell.ring()
    assert not rang(bell)
    assert not bell.answer()
    (tmp_path / "made").unlink()
    bell.mend()
    assert bell.problem is None
    bell.ring()
    assert bell.fileno == watched
    assert rang(bell)


def test_what_is_no_pipe_makes_room_for_one(path: Path) -> None:
    """A file would be readable for ever, and a link could lead anywhere."""
    path.parent.mkdir()
    elsewhere = path.with_name("elsewhere")
    for lay in (lambda: path.write_text("x"), lambda: path.symlink_to(elsewhere)):
        lay()
        bell = Bell(path)
        assert bell.problem is None
        assert not rang(bell)
        assert stat.S_ISFIFO(path.lstat().st_mode)
        assert not elsewhere.exists()
        path.unlink()


def test_a_bell_is_mended_while_another_thread_rings(path: Path) -> None:
    """The number under which a thread rings never belongs to anything but a pipe."""
    bell = Bell(path)
    done = threading.Event()

    def ring() -> None:
        while not done.is_set():
            bell.ring()

    ringing = threading.Thread(target=ring)
    ringing.start()
    try:
        for _ in range(500):
            path.unlink()
            bell.mend()
            assert stat.S_ISFIFO(os.fstat(bell.fileno).st_mode)
    finally:
        done.set()
        ringing.join()
    assert bell.problem is None
    bell.answer()
    bell.ring()
    assert rang(bell)
