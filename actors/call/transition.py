"""Every transition of a call: `transition(state, input) -> (state, effects)`."""

from actors.call.effects import Effect
from actors.call.inputs import CallInput
from actors.call.state import Call


def transition(call: Call, given: CallInput) -> tuple[Call, list[Effect]]:
    """Fold one input into a call."""
    return call, []
