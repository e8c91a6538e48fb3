"""Exit reasons and reports as text and data."""

import pickle

from supervision.reasons import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Crash,
    FailedToStart,
    Killed,
    Reason,
    Shutdown,
    TimedOut,
    is_orderly,
)
from supervision.reports import Context, Report, ReportKind


def test_reasons_say_what_happened() -> None:
    """In OTP's words where it has them."""
    reasons: list[Reason] = [
        NORMAL,
        SHUTDOWN,
        Shutdown("upgrade"),
        KILLED,
        Killed("signal 9"),
        Crash("E", "why"),
        TimedOut(5),
    ]
    assert [str(reason) for reason in reasons] == [
        "normal",
        "shutdown",
        "shutdown: upgrade",
        "killed",
        "killed (signal 9)",
        "E: why",
        "not started within 5 ms",
    ]
    assert [is_orderly(reason) for reason in reasons] == [True, True, True, False, False, False, False]
    assert str(Shutdown(FailedToStart("a", KILLED))) == "shutdown: failed to start child a: killed"


def test_an_exception_keeps_its_traceback() -> None:
    """Also through a pickle, since it crosses processes."""
    try:
        raise KeyError("channel")
    except KeyError as error:
        crash = pickle.loads(pickle.dumps(Crash.of(error, message="ChannelHangup", state="…")))
    assert (crash.error, crash.text, crash.message) == ("KeyError", "'channel'", "ChannelHangup")
    assert 'raise KeyError("channel")' in crash.traceback


def test_a_report_says_only_what_there_is_to_say() -> None:
    """One shape for all three kinds; a traceback stands in the crash report alone."""
    crash = Crash("KeyError", "'x'", "Traceback …", "Hangup", "Talking")
    report = Report(
        ReportKind.CRASH, Context.CHILD_TERMINATED, "root/pbx1", "calls", 3, crash, 1, "permanent", "worker"
    )
    assert report.as_dict() == {
        "report": "crash",
        "context": "child_terminated",
        "supervisor": "root/pbx1",
        "child": "calls",
        "generation": 3,
        "reason": "KeyError: 'x'",
        "restart": "permanent",
        "type": "worker",
        "traceback": "Traceback …",
        "message": "Hangup",
        "state": "Talking",
    }
    assert Report(ReportKind.PROGRESS, Context.STARTED, "root", "a").as_dict() == {
        "report": "progress",
        "context": "started",
        "supervisor": "root",
        "child": "a",
    }
