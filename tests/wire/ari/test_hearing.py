"""wire/ari/hearing.py: when a link is deaf, and until when the PBX was heard."""

from wire.ari.hearing import Hearing, Suspicion

AHEAD = 1_000_000


def heard(events: int = 3) -> Hearing:
    """A link that came up at 100 and brought its last event at 200."""
    hearing = Hearing()
    hearing.up(100)
    for _ in range(events):
        hearing.event(200)
    return hearing


def suspect(events: int = 3) -> tuple[Hearing, Suspicion]:
    """A link of which two looks show that a channel came and another went without an event."""
    hearing = heard(events)
    assert hearing.shown(events, {"a", "b"}) is None
    suspicion = hearing.shown(events, {"b", "c"})
    assert suspicion == Suspicion(1, events, 2)
    return hearing, suspicion


def test_a_link_is_deaf_if_channels_come_and_go_without_an_event() -> None:
    """Judged when nothing came for a while after that either."""
    hearing, suspicion = suspect()
    assert hearing.judged(suspicion) == "no event came while 2 channels came or went, and none since"


def test_an_event_that_was_on_its_way_acquits() -> None:
    """Nothing is suspect any more."""
    hearing, suspicion = suspect()
    hearing.event(300)
    assert hearing.judged(suspicion) is None
    assert hearing.heard_ms(AHEAD) is None


def test_another_link_is_not_judged_for_the_one_before() -> None:
    """Even if it has brought nothing either."""
    hearing, suspicion = suspect()
    hearing.up(300)
    assert hearing.judged(suspicion) is None
    assert hearing.heard_ms(AHEAD) is None
    assert hearing.shown(3, {"d"}) is None  # its first look is compared with nothing


def test_the_same_channels_say_nothing() -> None:
    """A PBX on which nothing happens tells nothing."""
    hearing = heard()
    assert hearing.shown(3, {"a"}) is None
    assert hearing.shown(3, {"a"}) is None
    assert hearing.heard_ms(AHEAD) is None


def test_an_event_between_two_looks_explains_what_they_show() -> None:
    """Also one that came after the first was asked for, and before it was answered."""
    hearing = heard()
    hearing.event(300)
    assert hearing.shown(3, {"a"}) is None
    assert hearing.shown(4, {"b"}) is None
    assert hearing.shown(4, {"c"}) is not None


def test_a_suspect_link_was_heard_when_its_last_event_came() -> None:
    """As the host's clock counts now; at its link-up, if it brought none."""
    assert heard().heard_ms(AHEAD) is None
    hearing, _ = suspect()
    assert hearing.heard_ms(AHEAD) == AHEAD + 200
    assert hearing.heard_ms(AHEAD - 50) == AHEAD + 150
    mute, _ = suspect(events=0)
    assert mute.heard_ms(AHEAD) == AHEAD + 100
