"""The quality of a voice, from the variables that Asterisk sets on a channel at its end."""

import re

from actors.call.inputs import Quality

_NUMBER = r"=\s*(-?\d+(?:\.\d+)?)"
_LOST = re.compile(r";\s*lp" + _NUMBER)
_COUNT = re.compile(r";\s*rxcount" + _NUMBER)
_JITTER = re.compile(r"avgrxjitter" + _NUMBER)
_RTT = re.compile(r"avgrtt" + _NUMBER)
_MES = re.compile(r"avgrxmes" + _NUMBER)


def _found(pattern: re.Pattern[str], text: str) -> float | None:
    match = pattern.search(text)
    return float(match.group(1)) if match else None


def measured(known: Quality | None, variable: str, value: str) -> Quality | None:
    """Read one of Asterisk's RTPAUDIOQOS variables. Zero MES and zero RTT mean that nothing was measured.

    Args:
        known: what the variables before it said; None for the first.
        variable: its name.
        value: its value, as "minrxjitter=000.000000;maxrxjitter=000.000500;avgrxjitter=000.000405;…".

    Returns:
        What is known with it; the same object if it says nothing.
    """
    before = known
    known = known or Quality()
    value = value[:512]
    if variable == "RTPAUDIOQOS":
        value = ";" + value  # what begins alike everywhere is found three times as fast
        lost, count = _found(_LOST, value), _found(_COUNT, value)
        if lost is not None and count is not None and lost + count > 0:
            return known._replace(loss_percent=round(100 * lost / (lost + count), 3))
    elif variable == "RTPAUDIOQOSJITTER":
        jitter = _found(_JITTER, value)
        if jitter is not None:
            return known._replace(jitter_ms=round(jitter * 1000, 3))
    elif variable == "RTPAUDIOQOSRTT":
        rtt = _found(_RTT, value)
        if rtt:
            return known._replace(rtt_ms=round(rtt * 1000, 3))
    else:
        mes = _found(_MES, value)
        if mes:
            return known._replace(mes=round(mes, 3))
    return before
