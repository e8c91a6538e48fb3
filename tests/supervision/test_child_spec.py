"""Specifications are checked before anything starts."""

from dataclasses import replace

import pytest

from supervision.child_spec import (
    AutoShutdown,
    BadSpec,
    Budget,
    ChildSpec,
    ChildType,
    LivenessProbe,
    Restart,
    Strategy,
    SupervisorSpec,
    check_supervisor,
)
from supervision.delay import Delay

CHILD = ChildSpec("a", start="anything")


def test_the_defaults_are_otp_s() -> None:
    """One restart in five seconds, one_for_one; a permanent worker that has five seconds to stop."""
    spec = SupervisorSpec()
    assert (spec.strategy, spec.intensity, spec.period_ms, spec.auto_shutdown) == ("one_for_one", 1, 5000, "never")
    assert (CHILD.restart, CHILD.type, CHILD.significant, CHILD.stop_limit) == ("permanent", "worker", False, 5000)
    assert replace(CHILD, type=ChildType.SUPERVISOR).stop_limit == "infinity"


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (SupervisorSpec(strategy="all_for_one"), "invalid_strategy"),  # type: ignore[arg-type]
        (SupervisorSpec(intensity=-1), "invalid_intensity"),
        (SupervisorSpec(intensity=True), "invalid_intensity"),
        (SupervisorSpec(period_ms=0), "invalid_period"),
        (SupervisorSpec(auto_shutdown="often"), "invalid_auto_shutdown"),  # type: ignore[arg-type]
        (SupervisorSpec(budget="none"), "invalid_budget"),  # type: ignore[arg-type]
        (SupervisorSpec(Strategy.ONE_FOR_ALL, budget=Budget.CHILD), "bad_combination"),
        (SupervisorSpec(Strategy.SIMPLE_ONE_FOR_ONE, auto_shutdown=AutoShutdown.ANY_SIGNIFICANT), "bad_combination"),
        (SupervisorSpec(Strategy.SIMPLE_ONE_FOR_ONE), "bad_start_spec"),
        (SupervisorSpec(children=(CHILD, CHILD)), "duplicate_child_name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_supervisor_that_contradicts_itself_is_refused(spec: SupervisorSpec, word: str) -> None:
    """The error has OTP's word for it."""
    with pytest.raises(BadSpec) as error:
        check_supervisor(spec)
    assert error.value.error == word


@pytest.mark.parametrize(
    ("child", "word"),
    [
        ("a", "invalid_child_spec"),
        (replace(CHILD, id=""), "missing_id"),
        (replace(CHILD, start=None), "missing_start"),
        (replace(CHILD, restart="sometimes"), "invalid_restart_type"),  # type: ignore[arg-type]
        (replace(CHILD, type="boss"), "invalid_child_type"),  # type: ignore[arg-type]
        (replace(CHILD, significant=1), "invalid_significant"),  # type: ignore[arg-type]
        (replace(CHILD, significant=True), "bad_combination"),
        (replace(CHILD, shutdown=-1), "invalid_shutdown"),
        (replace(CHILD, shutdown="soon"), "invalid_shutdown"),  # type: ignore[arg-type]
        (replace(CHILD, start_timeout=-1), "invalid_start_timeout"),
        (replace(CHILD, delay=Delay(0, 10, 10)), "invalid_delay"),
        (replace(CHILD, delay=Delay(20, 10, 10)), "invalid_delay"),
        (replace(CHILD, delay=Delay(10, 5000, 10)), "bad_combination"),
        (replace(CHILD, probe=LivenessProbe(0, 10)), "invalid_probe"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_child_that_contradicts_itself_is_refused(child: ChildSpec, word: str) -> None:
    """The error has OTP's word for it, and names the child."""
    spec = SupervisorSpec(auto_shutdown=AutoShutdown.ANY_SIGNIFICANT, children=(child,))
    with pytest.raises(BadSpec) as error:
        check_supervisor(spec)
    assert error.value.error == word


def test_a_significant_child_needs_an_auto_shutdown() -> None:
    """Otherwise its significance means nothing."""
    child = replace(CHILD, restart=Restart.TRANSIENT, significant=True)
    with pytest.raises(BadSpec, match="a: bad_combination"):
        check_supervisor(SupervisorSpec(children=(child,)))
    check_supervisor(SupervisorSpec(auto_shutdown=AutoShutdown.ALL_SIGNIFICANT, children=(child,)))
