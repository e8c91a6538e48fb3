"""Crash, supervisor and progress reports in one structured shape."""

from dataclasses import dataclass
from enum import StrEnum

from supervision.reasons import Crash, Reason


class ReportKind(StrEnum):
    """Which of OTP's three reports it is."""

    PROGRESS = "progress"
    """A child was started. None for dynamic children, as in OTP: there are too many."""
    SUPERVISOR = "supervisor"
    """A child ended, could not be started, or did not stop as it should."""
    CRASH = "crash"
    """What was known of a child whose exception ended it: once for each death.

    Deviation: in OTP the dying process writes it. Here the exception travels in the exit reason and is reported
    where deaths are counted, so that no death is reported twice."""


class Context(StrEnum):
    """What the supervisor was about; OTP's `errorContext`, and below the line what OTP has not."""

    STARTED = "started"
    """The child runs."""
    START_ERROR = "start_error"
    """The child could not be started."""
    CHILD_TERMINATED = "child_terminated"
    """The child ended by itself."""
    SHUTDOWN_ERROR = "shutdown_error"
    """The child was told to stop and ended in another way, as by being killed after its limit."""
    SHUTDOWN = "shutdown"
    """More restarts than the intensity allows: the supervisor gives up."""
    # -- beyond OTP
    ABANDONED = "abandoned"
    """More restarts of this child than its own budget allows: the child is given up, the supervisor goes on."""
    HUNG = "hung"
    """The child did not answer its probe, and is killed."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report. The driver adds the time and writes it to the log."""

    kind: ReportKind
    context: Context
    supervisor: str
    """Path of the supervisor."""
    id: str
    """The child; of dynamic children together, their template's id."""
    generation: int | None = None
    """The child's incarnation; None where it has none."""
    reason: Reason | None = None
    """Why; None in a progress report."""
    children: int = 1
    """How many dynamic children ended so (OTP: `nb_children`)."""
    restart: str = ""
    """The child's restart type."""
    type: str = ""
    """The child's type."""

    def as_dict(self) -> dict[str, object]:
        """The report for a log or a screen: plain JSON values, absent where there is nothing to say."""
        fields: dict[str, object] = {
            "report": str(self.kind),
            "context": str(self.context),
            "supervisor": self.supervisor,
            "child": self.id,
            "generation": self.generation,
            "reason": None if self.reason is None else str(self.reason),
            "children": self.children if self.children != 1 else None,
            "restart": self.restart,
            "type": self.type,
        }
        if isinstance(self.reason, Crash) and self.kind is ReportKind.CRASH:
            fields |= {
                "traceback": self.reason.traceback,
                "message": self.reason.message,
                "state": self.reason.state,
            }
        return {name: value for name, value in fields.items() if value not in (None, "")}
