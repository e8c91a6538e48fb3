"""What a supervisor is told about itself and its children: OTP's words and defaults, checked before anything starts.

    SupervisorSpec(
        strategy=Strategy.ONE_FOR_ONE,
        intensity=5,
        period_ms=10_000,
        children=(
            ChildSpec("connection", start=Connection),
            ChildSpec("calls", start=Calls, type=ChildType.SUPERVISOR),
        ),
    )

Deviations from OTP, each with its reason:

- Times are milliseconds everywhere (OTP: `period` in seconds, `shutdown` in milliseconds), so that no reader has to
  remember which is which. OTP's clock for the window has whole seconds, so a window of 5 s there lasts up to 6 s.
- `start` is opaque (OTP: `{M, F, A}`): the driver knows what to do with it. It has to be picklable where children are
  processes.
- There is no `modules`: nothing here changes code while it runs.
- An id is text (OTP: any term), since it stands in paths, metrics and process names.
- `start_timeout`, `delay` and `probe` of a child and `budget` of a supervisor do not exist in OTP. Their defaults
  switch them off.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from supervision.delay import Delay

BRUTAL_KILL: Final = "brutal_kill"
"""`ChildSpec.shutdown`: kill it at once."""
INFINITY: Final = "infinity"
"""`ChildSpec.shutdown` and `start_timeout`: wait for ever."""

Limit = int | Literal["infinity"]
"""Milliseconds, or for ever."""


class Strategy(StrEnum):
    """Who is started again when one child ends abnormally."""

    ONE_FOR_ONE = "one_for_one"
    """That child."""
    ONE_FOR_ALL = "one_for_all"
    """All children: stopped in reverse order, started in order."""
    REST_FOR_ONE = "rest_for_one"
    """That child and those started after it."""
    SIMPLE_ONE_FOR_ONE = "simple_one_for_one"
    """That child; all children are of one template and come and go while the supervisor runs."""


class Restart(StrEnum):
    """Whether a child that ended is started again."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """If it ended abnormally: not `normal`, `shutdown` or `{shutdown, x}`."""
    TEMPORARY = "temporary"
    """Never, not even with its group; it is forgotten when it ends."""


class ChildType(StrEnum):
    """What a child is."""

    WORKER = "worker"
    SUPERVISOR = "supervisor"


class AutoShutdown(StrEnum):
    """Whether a supervisor ends when its significant children have ended by themselves."""

    NEVER = "never"
    """No child may be significant."""
    ANY_SIGNIFICANT = "any_significant"
    """When one of them ends."""
    ALL_SIGNIFICANT = "all_significant"
    """When the last of them ends."""


class Budget(StrEnum):
    """Whose restarts are counted together against intensity and period."""

    SUPERVISOR = "supervisor"
    """All children's, as in OTP; too many end the supervisor."""
    CHILD = "child"
    """Each child's own; too many end that child, and nothing else.

    Deviation: calls are strangers to each other, and one that meets a bug again and again says nothing about the
    others. OTP would take all of them down.
    """


@dataclass(frozen=True, slots=True)
class LivenessProbe:
    """Ask a child whether it lives. Deviation: a hung Python process never exits, and a hung one of Erlang is rare."""

    interval_ms: int = 2000
    """Time from an answer to the next question, milliseconds."""
    limit_ms: int = 10_000
    """A child that has not answered for this long is killed, which then counts as any exit, milliseconds."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How one child is started, stopped and restarted."""

    id: str
    """Its name within the supervisor; of a simple_one_for_one template, the name of the template."""
    start: object
    """What the driver starts; opaque here. Started means initialised: the start answers when the child is ready."""
    restart: Restart = Restart.PERMANENT
    """Whether it is started again when it has ended."""
    significant: bool = False
    """Whether its end by itself counts for the supervisor's `auto_shutdown`; never for a permanent child."""
    shutdown: int | Literal["brutal_kill", "infinity"] | None = None
    """Milliseconds from the order to stop until it is killed; or `brutal_kill` or `infinity`.

    None is OTP's default: 5000 for a worker, `infinity` for a supervisor, which needs as long as its subtree."""
    type: ChildType = ChildType.WORKER
    """What it is."""
    start_timeout: Limit = INFINITY
    """Milliseconds that its start may take before it is killed and the start has failed.

    OTP has this as the option `timeout` of the child's own start_link; here the child cannot measure itself."""
    delay: Delay | None = None
    """Wait before it is started again; None tries at once, as OTP does."""
    probe: LivenessProbe | None = None
    """Ask it now and then whether it lives; None never asks, as OTP."""

    @property
    def stop_limit(self) -> int | Literal["brutal_kill", "infinity"]:
        """`shutdown`, its default resolved."""
        if self.shutdown is not None:
            return self.shutdown
        return INFINITY if self.type == ChildType.SUPERVISOR else 5000


@dataclass(frozen=True, slots=True)
class SupervisorSpec:
    """A supervisor: OTP's flags and the children that it starts with."""

    strategy: Strategy = Strategy.ONE_FOR_ONE
    """Who is started again when one child ends."""
    intensity: int = 1
    """Restarts tolerated within `period_ms`; one more, and the supervisor gives up."""
    period_ms: int = 5000
    """Window of `intensity`, milliseconds."""
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    """Whether it ends with its significant children."""
    budget: Budget = Budget.SUPERVISOR
    """Whose restarts are counted together."""
    children: tuple[ChildSpec, ...] = ()
    """In start order; of a simple_one_for_one, exactly the template."""


class BadSpec(ValueError):
    """A specification that contradicts itself. Nothing was started."""

    def __init__(self, where: str, error: str, text: str) -> None:
        """
        Args:
            where: the child's id, or `supervisor`.
            error: OTP's word for it, as `bad_combination`.
            text: what is wrong and how to mend it.
        """
        super().__init__(f"{where}: {error}: {text}")
        self.where = where
        self.error = error


def check_supervisor(spec: SupervisorSpec) -> None:
    """Check a whole specification.

    Raises:
        BadSpec: with OTP's word for what is wrong.
    """
    who = "supervisor"
    if spec.strategy not in tuple(Strategy):
        raise BadSpec(who, "invalid_strategy", f"{spec.strategy!r} is none of {', '.join(Strategy)}")
    if not _is_count(spec.intensity):
        raise BadSpec(who, "invalid_intensity", f"{spec.intensity!r} is no whole number from 0")
    if not _is_count(spec.period_ms) or spec.period_ms == 0:
        raise BadSpec(who, "invalid_period", f"{spec.period_ms!r} is no whole number of milliseconds from 1")
    if spec.auto_shutdown not in tuple(AutoShutdown):
        raise BadSpec(who, "invalid_auto_shutdown", f"{spec.auto_shutdown!r} is none of {', '.join(AutoShutdown)}")
    if spec.auto_shutdown != AutoShutdown.NEVER and spec.strategy == Strategy.SIMPLE_ONE_FOR_ONE:
        # As OTP 29 does; 25 takes it.
        raise BadSpec(who, "bad_combination", "children of one template are all the same: auto_shutdown=never")
    if spec.budget not in tuple(Budget):
        raise BadSpec(who, "invalid_budget", f"{spec.budget!r} is none of {', '.join(Budget)}")
    if spec.budget == Budget.CHILD and spec.strategy in (Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE):
        raise BadSpec(
            who, "bad_combination", f"a restart under {spec.strategy} is no single child's: budget=supervisor"
        )
    if spec.strategy == Strategy.SIMPLE_ONE_FOR_ONE and len(spec.children) != 1:
        raise BadSpec(
            who, "bad_start_spec", f"simple_one_for_one takes one template, not {len(spec.children)} children"
        )
    seen: set[str] = set()
    for child in spec.children:
        check_child(child, spec)
        if child.id in seen:
            raise BadSpec(child.id, "duplicate_child_name", "each id occurs once")
        seen.add(child.id)


def check_child(child: ChildSpec, spec: SupervisorSpec) -> None:
    """Check a child's specification against itself and against its supervisor's.

    Raises:
        BadSpec: with OTP's word for what is wrong.
    """
    if not isinstance(child, ChildSpec):
        raise BadSpec("supervisor", "invalid_child_spec", f"{child!r} is no ChildSpec")
    if not isinstance(child.id, str) or not child.id:
        raise BadSpec(repr(child.id), "missing_id", "an id is text, and not empty")
    if child.start is None:
        raise BadSpec(child.id, "missing_start", "say what is to be started")
    if child.restart not in tuple(Restart):
        raise BadSpec(child.id, "invalid_restart_type", f"{child.restart!r} is none of {', '.join(Restart)}")
    if child.type not in tuple(ChildType):
        raise BadSpec(child.id, "invalid_child_type", f"{child.type!r} is none of {', '.join(ChildType)}")
    if not isinstance(child.significant, bool):
        raise BadSpec(child.id, "invalid_significant", f"{child.significant!r} is neither True nor False")
    if child.significant and spec.auto_shutdown == AutoShutdown.NEVER:
        raise BadSpec(child.id, "bad_combination", "significant=True means nothing while auto_shutdown is never")
    if child.significant and child.restart == Restart.PERMANENT:
        raise BadSpec(child.id, "bad_combination", "a permanent child never ends by itself: significant=False")
    if child.stop_limit not in (BRUTAL_KILL, INFINITY) and not _is_count(child.stop_limit):
        raise BadSpec(child.id, "invalid_shutdown", f"{child.shutdown!r}: milliseconds, {BRUTAL_KILL} or {INFINITY}")
    if child.start_timeout != INFINITY and not _is_count(child.start_timeout):
        raise BadSpec(child.id, "invalid_start_timeout", f"{child.start_timeout!r}: milliseconds or {INFINITY}")
    _check_delay(child, spec)
    _check_probe(child)


def _check_delay(child: ChildSpec, spec: SupervisorSpec) -> None:
    delay = child.delay
    if delay is None:
        return
    if not 0 < delay.minimum_ms <= delay.maximum_ms or delay.healthy_ms <= 0:
        raise BadSpec(child.id, "invalid_delay", f"{delay}: 0 < minimum_ms <= maximum_ms, and 0 < healthy_ms")
    # A start that fails at once must still exceed the window: its attempts are up to maximum_ms apart, so
    # intensity + 1 of them take up to intensity * maximum_ms, plus what the starts themselves take (hence not equal).
    if spec.intensity * delay.maximum_ms >= spec.period_ms:
        raise BadSpec(
            child.id,
            "bad_combination",
            f"with delays up to {delay.maximum_ms} ms, {spec.intensity} + 1 restarts might never fall within "
            f"{spec.period_ms} ms, and the supervisor would never give up: choose intensity * maximum_ms < period_ms",
        )


def _check_probe(child: ChildSpec) -> None:
    probe = child.probe
    if probe is not None and not (probe.interval_ms > 0 and probe.limit_ms > 0):
        raise BadSpec(child.id, "invalid_probe", f"{probe}: both times are positive")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
