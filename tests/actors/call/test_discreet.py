"""What is shown of a call, its inputs and its death has no digit that its messages mask."""

import traceback

import pytest

from actors import calls
from actors.call.discreet import call_shown, routed_shown, traceback_shown, words_shown
from actors.call.events import ChannelDtmfReceived
from actors.call.host import Folded, fold
from actors.call.inputs import Routed
from actors.call.state import Call
from actors.call_system import CallSystem
from actors.inspection import call_state
from conf.settings import Settings
from conf.validation import validated
from supervision.reports import ReportKind
from tests.truth import run

RECORDING = "07_dtmf_during_call"
MASKED = validated(Settings, {"call": {"mask_dtmf": True}})


def typed(inputs: list[Routed]) -> list[int]:
    """Where digits are typed."""
    return [index for index, each in enumerate(inputs) if isinstance(each.input.body, ChannelDtmfReceived)]


@pytest.mark.parametrize(
    ("conf", "kept", "digit"),
    [({"mask_dtmf": True}, "***", "*"), ({"mask_dtmf_pattern": "^.2"}, "**3", "3"), ({}, "123", "3")],
)
def test_digits_are_shown_as_in_messages(conf: dict[str, object], kept: str, digit: str) -> None:
    """Those of the state by its whole run of digits, that of an input as the last of the run."""
    settings = validated(Settings, {"call": conf})
    inputs = run.routed(RECORDING, settings)
    routed = inputs[typed(inputs)[0]]
    body = routed.input.body
    assert isinstance(body, ChannelDtmfReceived)
    call = Call.new(routed.call_id, "pbx1", settings)
    before = call.lived(0, {}, call.life._replace(digits="12"))
    after = call.lived(0, {}, call.life._replace(digits="123"))
    third = routed._replace(input=routed.input._replace(body=body._replace(digit="3")))
    shown = routed_shown(third, before, settings).input.body
    assert isinstance(shown, ChannelDtmfReceived)
    assert (call_shown(after).life.digits, shown.digit) == (kept, digit)
    assert call_state(after)["life"]["digits"] == kept


def test_no_digit_in_state_trace_and_crash_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """get-state, trace and the crash report of a call in which digits are typed, one of them its death."""
    inputs = run.routed(RECORDING, MASKED)
    call_id = inputs[typed(inputs)[-1]].call_id
    inputs = [each for each in inputs if each.call_id == call_id]
    last = typed(inputs)[-1]
    system = CallSystem("pbx1", MASKED)
    system.deliver(inputs[0])
    system.enquire(f"call/{call_id}", "trace", {"most": 1000})
    for each in inputs[1:last]:
        assert isinstance(system.deliver(each), Folded)
    failures = [1]

    def failing(call: Call | None, routed: Routed, server: str, settings: Settings) -> Folded:
        if routed is inputs[last] and failures:
            failures.pop()
            raise ZeroDivisionError("on purpose")
        return fold(call, routed, server, settings)

    monkeypatch.setattr(calls, "fold", failing)
    system.deliver(inputs[last])
    [crash] = [report.as_dict() for report in system.take_reports() if report.kind is ReportKind.CRASH]
    state = system.enquire(f"call/{call_id}", "get_state", {})
    traced = system.enquire(f"call/{call_id}", "traced", {})["records"]
    digits = system.states[call_id].life.digits
    assert set(digits) - {"*"}
    assert state["state"]["life"]["digits"] == "*" * len(digits)
    assert f"digits='{'*' * (len(digits) - 1)}'" in str(crash["state"])
    told = [each["message"] for each in traced if "ChannelDtmfReceived" in each["message"]]
    assert len(told) == len(digits) + 1  # the last one was given twice
    for text in (str(crash["message"]), *told):
        assert "digit='*'" in text


def choke() -> None:
    """A bug of ours."""
    try:
        int("12#A")
    except ValueError as first:
        raise KeyError("7") from first


@pytest.fixture
def problem() -> Exception:
    """What it says of a digit, and what that came from."""
    with pytest.raises(KeyError) as caught:
        choke()
    return caught.value


@pytest.mark.parametrize("conf", [{"mask_dtmf": True}, {"mask_dtmf_pattern": "^.2"}])
def test_no_digit_in_the_words_of_an_exception(problem: Exception, conf: dict[str, object]) -> None:
    """Neither in its own nor in those of what it came from; where it happened is told."""
    settings = validated(Settings, {"call": conf})
    told = traceback_shown(problem, settings)
    assert words_shown(repr(problem), settings) == "KeyError('*')"
    assert "KeyError: '*'" in told
    assert "with base **: '****'" in told
    for frame in traceback.extract_tb(problem.__traceback__):
        assert f"line {frame.lineno}, in {frame.name}" in told


def test_words_are_whole_where_nothing_is_masked(problem: Exception) -> None:
    """They help to find the bug."""
    assert words_shown(repr(problem), Settings()) == "KeyError('7')"
    assert traceback_shown(problem, Settings()) == "".join(traceback.format_exception(problem))
