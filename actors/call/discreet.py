"""What people are shown of calls beside their messages: digits are masked in it as they are in these.

`get-state`, `trace`, `arimon-ctl call` and crash reports show states and inputs; what `call.mask_dtmf` and
`call.mask_dtmf_pattern` keep out of messages must not come out there, nor in the words of an exception, which may quote
the value that it choked on. Pure.
"""

import re
import traceback

from actors.call.account import mask
from actors.call.events import ChannelDtmfReceived
from actors.call.inputs import Routed
from actors.call.state import Call
from conf.settings import Settings

_DIGIT = re.compile(r"[0-9#]|\b[A-D]\b")
"""What may be a DTMF digit, in words of which nobody knows what they quote."""


def call_shown(call: Call) -> Call:
    """A call's state as it may be shown."""
    life = call.life
    if not life.digits:
        return call
    return call.lived(call.sequence, call.legs, life._replace(digits=mask(call, life.digits)))


def routed_shown(routed: Routed, call: Call | None, settings: Settings) -> Routed:
    """An input as it may be shown.

    Args:
        routed: the input.
        call: the state of its call before it; None where there is none.
        settings: what is configured.
    """
    body = routed.input.body
    if not isinstance(body, ChannelDtmfReceived):
        return routed
    if call is not None:
        digit = mask(call, call.life.digits + body.digit[:1])[-1:]
    elif _masks(settings):
        digit = "*"  # the run that a pattern would look at is not known
    else:
        return routed
    return routed._replace(input=routed.input._replace(body=body._replace(digit=digit)))


def words_shown(words: str, settings: Settings) -> str:
    """An exception's words as they may be shown."""
    return _DIGIT.sub("*", words) if _masks(settings) else words


def traceback_shown(problem: BaseException, settings: Settings) -> str:
    """An exception's traceback, as Python prints it, as it may be shown: where it happened is told in any case."""
    told = "".join(traceback.format_exception(problem)).splitlines(keepends=True)
    # Where it happened is indented; what stands at the margin are the words, of what it came from as well.
    return "".join(line if line.startswith("  ") else words_shown(line, settings) for line in told)


def _masks(settings: Settings) -> bool:
    return settings.call.mask_dtmf or bool(settings.call.mask_dtmf_pattern)
