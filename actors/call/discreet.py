"""What people are shown of calls beside their messages: digits are masked in it as they are in these.

`get-state`, `trace`, `arimon-ctl call` and crash reports show states and inputs; what `call.mask_dtmf` and
`call.mask_dtmf_pattern` keep out of messages must not come out there. Pure.
"""

from actors.call.account import mask
from actors.call.events import ChannelDtmfReceived
from actors.call.inputs import Routed
from actors.call.state import Call
from conf.settings import Settings


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
    elif settings.call.mask_dtmf or settings.call.mask_dtmf_pattern:
        digit = "*"  # the run that a pattern would look at is not known
    else:
        return routed
    return routed._replace(input=routed.input._replace(body=body._replace(digit=digit)))
