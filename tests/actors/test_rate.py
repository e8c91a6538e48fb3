"""actors.rate: how fast a count grows."""

from actors.rate import Rate


def test_the_rate_is_the_growth_between_two_looks() -> None:
    """Per second, from the second look on."""
    rate = Rate()
    assert rate.look(100, 10.0) == 0.0
    assert rate.look(150, 12.0) == 25.0
    assert rate.look(150, 13.0) == 0.0


def test_looks_in_quick_succession_change_nothing() -> None:
    """Closer than half a second they would measure noise: the last rate stays, and no growth is lost."""
    rate = Rate()
    rate.look(0, 0.0)
    assert rate.look(10, 1.0) == 10.0
    assert rate.look(1000, 1.1) == 10.0
    assert rate.look(1010, 2.0) == 1000.0
