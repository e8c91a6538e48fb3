"""supervision.signals: the order to stop, whenever it comes."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from supervision.signals import ORDERS, Signals, ToldToStop


@pytest.fixture
def told() -> Iterator[Signals]:
    """Whoever runs the tests has the signals back afterwards."""
    with closing(Signals()) as signals:
        yield signals


def come(number: int) -> None:
    """A signal to this process; it has been handled when this returns."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", ORDERS)
def test_a_signal_is_a_flag_that_stays(told: Signals, number: int) -> None:
    """It raises nothing where it strikes, but wherever somebody checks, and names the first that came."""
    told.check()
    assert not told.stop
    come(number)
    come(signal.SIGTERM)
    assert told.stop
    for _ in range(2):
        with pytest.raises(ToldToStop) as order:
            told.check()
        assert order.value.number == number


def test_a_signal_wakes_who_waits(told: Signals) -> None:
    """Also one that came before the waiting began."""
    come(signal.SIGTERM)
    told.wait(1000.0, [])
    assert told.stop


def test_only_a_second_ctrl_c_is_a_hurry(told: Signals) -> None:
    """SIGTERM may be sent twice by whoever stops a service."""
    come(signal.SIGINT)
    come(signal.SIGTERM)
    assert not told.hurry
    come(signal.SIGINT)
    assert told.hurry


def test_a_step_that_blocks_is_broken_off(told: Signals) -> None:
    """At once, where the signal strikes; later ones strike nothing any more."""
    passed = []

    def step() -> None:
        with told.at_once():
            come(signal.SIGINT)
            passed.append("the signal")

    with pytest.raises(ToldToStop):
        step()
    assert passed == []
    come(signal.SIGINT)


def test_what_was_raised_and_lost_is_raised_again(told: Signals) -> None:
    """A step that swallows it ends with it all the same."""
    passed = []

    def step() -> None:
        with told.at_once():
            with suppress(ToldToStop):
                come(signal.SIGINT)
            passed.append("swallowed")

    with pytest.raises(ToldToStop):
        step()
    assert passed == ["swallowed"]


def test_a_step_is_not_begun_after_a_signal(told: Signals) -> None:
    """What may block for ever is not begun."""
    begun = []
    come(signal.SIGTERM)
    with pytest.raises(ToldToStop), told.at_once():
        begun.append("the step")
    assert begun == []


def test_more_signals_than_a_pipe_holds_are_nothing(told: Signals) -> None:
    """The handler raises nothing then either."""
    for _ in range(70_000):
        come(signal.SIGTERM)
    assert told.stop


def test_closed_it_gives_the_signals_back() -> None:
    """To whoever had them before."""
    before = [signal.getsignal(number) for number in ORDERS]
    Signals().close()
    assert [signal.getsignal(number) for number in ORDERS] == before
