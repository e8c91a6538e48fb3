"""Why a child or a supervisor ended, as data, kept to the end.

    Reason
    ├── Normal       `normal`          it had nothing left to do
    ├── Shutdown     `shutdown`, `{shutdown, detail}`   it was told to stop, or stopped in an orderly way on its own
    ├── Killed       `killed`          it ended without a farewell: a signal, `os._exit`, the kill after a stop's limit
    ├── Crash        an exception left its receive, its start or its event loop
    └── TimedOut     its start was not done within its limit (an OTP start_link's `{error, timeout}`)

`Normal` and `Shutdown` are the orderly ends: a transient child that ends so is not started again. All others are
abnormal.
"""

import traceback as tracebacks
from dataclasses import dataclass
from typing import Final, Self


@dataclass(frozen=True, slots=True)
class Normal:
    """It had nothing left to do."""

    def __str__(self) -> str:
        return "normal"


@dataclass(frozen=True, slots=True)
class Shutdown:
    """It was told to stop (no detail), or stopped in an orderly way and says why."""

    detail: object = None
    """None is OTP's bare `shutdown`; anything else is `{shutdown, detail}`."""

    def __str__(self) -> str:
        return "shutdown" if self.detail is None else f"shutdown: {self.detail}"


@dataclass(frozen=True, slots=True)
class Killed:
    """It ended without a farewell."""

    detail: str = ""
    """What is known of it, as `signal 9` or `exit status 3`."""

    def __str__(self) -> str:
        return f"killed ({self.detail})" if self.detail else "killed"


@dataclass(frozen=True, slots=True)
class Crash:
    """An exception ended it."""

    error: str
    """Class of the exception."""
    text: str = ""
    """The exception's own words."""
    traceback: str = ""
    """As Python prints it."""
    message: str = ""
    """What it was handling; empty where it handled nothing."""
    state: str = ""
    """Its state before that message, secrets masked; empty where unknown."""

    def __str__(self) -> str:
        return f"{self.error}: {self.text}" if self.text else self.error

    @classmethod
    def of(cls, error: BaseException, message: str = "", state: str = "") -> Self:
        """The reason that an exception gives."""
        return cls(
            error=type(error).__name__,
            text=str(error),
            traceback="".join(tracebacks.format_exception(error)),
            message=message,
            state=state,
        )


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Its start was not done in time, and it was killed."""

    limit_ms: int
    """The limit that it exceeded, milliseconds."""

    def __str__(self) -> str:
        return f"not started within {self.limit_ms} ms"


@dataclass(frozen=True, slots=True)
class FailedToStart:
    """Detail of the `Shutdown` with which a supervisor ends when one of its children cannot be started at boot."""

    id: str
    """The child's id."""
    reason: "Reason"
    """Why it could not be started."""

    def __str__(self) -> str:
        return f"failed to start child {self.id}: {self.reason}"


Reason = Normal | Shutdown | Killed | Crash | TimedOut

NORMAL: Final = Normal()
SHUTDOWN: Final = Shutdown()
KILLED: Final = Killed()


def is_orderly(reason: Reason) -> bool:
    """Whether a transient child that ended so stays ended: `normal`, `shutdown`, `{shutdown, x}`."""
    return isinstance(reason, Normal | Shutdown)
