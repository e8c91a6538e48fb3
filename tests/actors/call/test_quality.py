"""What Asterisk's RTPAUDIOQOS variables say of a voice."""

import pytest

from actors.call.inputs import Quality
from actors.call.quality import measured


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("RTPAUDIOQOS", "ssrc=1;lp=5;rxjitter=0.1;rxcount=195;txcount=9;rlp=7", Quality(loss_percent=2.5)),
        ("RTPAUDIOQOS", "ssrc=1;lp=0;rxcount=0", None),
        ("RTPAUDIOQOSJITTER", "minrxjitter=000.1;maxrxjitter=000.9;avgrxjitter=000.000405;", Quality(jitter_ms=0.405)),
        ("RTPAUDIOQOSRTT", "     minrtt=000.1;     avgrtt=000.025000;", Quality(rtt_ms=25.0)),
        ("RTPAUDIOQOSRTT", "     minrtt=000.0;     avgrtt=000.000000;", None),
        ("RTPAUDIOQOSMES", "   minrxmes=1;   avgrxmes=088.087887;", Quality(mes=88.088)),
        ("RTPAUDIOQOSMES", "nonsense", None),
    ],
)
def test_a_variable_is_read(variable: str, value: str, expected: Quality | None) -> None:
    """Each variable gives one figure; zero round trip and zero score are none."""
    assert measured(None, variable, value) == expected


def test_figures_gather() -> None:
    """What one variable says stays when the next is read; what says nothing changes nothing."""
    first = measured(None, "RTPAUDIOQOSJITTER", "avgrxjitter=0.001")
    assert measured(first, "RTPAUDIOQOSMES", "avgrxmes=50.0") == Quality(mes=50.0, jitter_ms=1.0)
    assert measured(first, "RTPAUDIOQOSMES", "?") is first
