"""What may be asked of a running arimond, and the shape of each reply.

The Monitor actor implements `Backend`; the server (server.py) turns HTTP on the Unix socket into calls of it and its
replies into JSON; the client (client.py) gives the same shapes back. Nothing here knows actors, HTTP or the terminal.

    arimon-ctl → client ──Unix socket──→ server → Backend (Monitor) ──messages──→ the tree

Every field of a reply is present; None where it is unknown. Moments are Unix milliseconds (`*_ms`), durations seconds
(`*_seconds`, float). Replies hold no secret.

**Paths** name what `kill`, `restart`, `get_state` and the like act on, and stand in `tree` beside each node:

    root                              publisher   recovery   monitor   services/NAME
    pbx/NAME                          the branch's supervisor
    pbx/NAME/connection               pbx/NAME/switchboard
    pbx/NAME/calls/3                  the fourth partition of calls
    pbx/NAME/call/ID                  one call; ID is everything after `call/` and may hold slashes

Errors, by whose fault it is, with the HTTP status that carries it:

    ControlError
    ├── BadRequest    400  the question makes no sense (ours who ask)
    ├── NotFound      404  there is no such call, path, row …
    ├── Refused       409  it makes sense, but not now, or never for this target
    ├── Unsupported   501  this arimond cannot do it
    ├── Unanswered    504  whoever knows did not answer in time
    ├── DaemonDown         nobody answers on the socket
    ├── NotPermitted       the socket is not for this user
    └── NotUnderstood      what answered is no arimond of our version
"""

from collections.abc import AsyncIterator
from typing import Any, ClassVar, Literal, TypedDict


class ControlError(Exception):
    """A question that got no answer, and why, in words for the operator."""

    status: ClassVar[int] = 500


class BadRequest(ControlError):
    status = 400


class NotFound(ControlError):
    status = 404


class Refused(ControlError):
    status = 409


class Unsupported(ControlError):
    status = 501


class Unanswered(ControlError):
    status = 504


class DaemonDown(ControlError):
    """Only who asks can see it, like the next two."""


class NotPermitted(ControlError):
    """The socket is not for this user."""


class NotUnderstood(ControlError):
    """What answered is no arimond of our version."""


class ErrorReply(TypedDict):
    """Body of every reply whose status is 400 or above."""

    error: str
    """One plain sentence."""


# --- status -----------------------------------------------------------------------------------------------------------


class Link(TypedDict):
    """A connection to the outside: a PBX's ARI, or the broker."""

    state: str
    """Name of the state machine's state: connected, connecting, backing_off, replaced, disconnected …"""
    since_ms: int | None
    """When it entered that state."""
    attempt: int
    """Attempts made since it was last connected; 0 while connected."""
    detail: str
    """Why it is not connected, in words; empty while it is."""


class PbxStatus(TypedDict):
    name: str
    link: Link
    calls: int
    """Active calls."""
    events: int
    """Rows of kind frame journalled since the start of Connection."""
    events_per_second: float
    journal_n: int
    """Last row of the journal."""
    lag_rows: int
    """Rows in the journal that the Switchboard has not folded yet."""
    lag_seconds: float
    """Age of the oldest of these rows; 0 when there is none."""
    outbox: int
    """Messages not confirmed yet, parked ones included."""
    parked: int
    """Messages that the broker returned as unroutable."""
    quarantined: int
    """Rows in quarantine."""


class PublisherStatus(TypedDict):
    link: Link
    sink: Literal["amqp", "file"]
    in_flight: int
    """Messages offered and not confirmed yet."""
    published: int
    confirmed: int
    returned: int
    nacked: int
    """Totals since the Publisher's start."""
    messages_per_second: float


class Status(TypedDict):
    application: str
    environment: str
    version: str
    pid: int
    """Process id of arimond."""
    started_ms: int
    now_ms: int
    healthy: bool
    problems: list[str]
    """What is wrong, one plain sentence each; empty when healthy."""
    pbx: list[PbxStatus]
    publisher: PublisherStatus


# --- tree -------------------------------------------------------------------------------------------------------------


class Budget(TypedDict):
    """A supervisor's restart intensity as a gauge."""

    used: int
    allowed: int
    """More than this many within the period and the supervisor gives up."""
    reset_seconds: float | None
    """Until the oldest restart leaves the window; None when none is used."""


Kind = Literal["supervisor", "worker", "calls", "call"]


class Node(TypedDict):
    """A node of the tree: a supervisor, a process, a partition of calls, or a call.

    The daemon counts calls per partition; `arimon-ctl tree` puts the calls themselves in, from `calls`.
    """

    path: str
    """See the module's docstring."""
    kind: Kind
    role: str
    """Root, Publisher, Recovery, Monitor, Pbx, Connection, Switchboard, Calls …"""
    pbx: str | None
    pid: int | None
    """None for what has no process of its own (`calls`) or is down."""
    state: str
    """running, starting, stopping, suspended (by an operator), waiting (for another attempt to start), down (stopped,
    until somebody restarts it), hung (about to be killed)."""
    generation: int
    """1 for the first incarnation."""
    restarts: int
    since_ms: int | None
    """Start of this incarnation."""
    last_exit: str | None
    """Why the previous incarnation ended; None if there was none."""
    probe_age_seconds: float | None
    """Since its last answer to a liveness probe."""
    lag_seconds: float | None
    """How long its last probe waited in the mailbox."""
    strategy: str | None
    """Of a supervisor: one_for_one …"""
    budget: Budget | None
    """Of a supervisor."""
    calls: int | None
    """Of `calls` and above: active calls below it."""
    children: list["Node"]


def down(path: str, kind: Kind, role: str, pbx: str | None) -> Node:
    """A node of which no more is known than that it ought to be there."""
    return {
        "path": path,
        "kind": kind,
        "role": role,
        "pbx": pbx,
        "pid": None,
        "state": "down",
        "generation": 0,
        "restarts": 0,
        "since_ms": None,
        "last_exit": None,
        "probe_age_seconds": None,
        "lag_seconds": None,
        "strategy": None,
        "budget": None,
        "calls": None,
        "children": [],
    }


# --- calls ------------------------------------------------------------------------------------------------------------


class CallSummary(TypedDict):
    call_id: str
    pbx: str
    state: str
    """Of the call model: ringing, answered …"""
    origin: str | None
    destiny: str | None
    since_ms: int
    """When the call began, by the PBX's clock."""
    answered_ms: int | None
    legs: int
    """Channels alive in it."""
    generation: int
    """Of the call's actor."""
    degraded: bool
    """A row of this call is in quarantine."""


class CallDetail(TypedDict):
    summary: CallSummary
    state: dict[str, Any]
    """The actor's whole state, as JSON."""
    messages: list[dict[str, Any]]
    """Its last messages, oldest first."""


# --- outbox, quarantine, journal, gaps, crashes -----------------------------------------------------------------------


class OutboxStatus(TypedDict):
    owner: str
    """Path of the process that owns this outbox."""
    depth: int
    """Messages not confirmed, parked ones included."""
    oldest_ms: int | None
    in_flight: int
    """Messages on their way, each of another stream."""
    parked: int
    held_up: int
    """Streams that wait because their message is unroutable, and publisher.parked_max is reached."""
    withheld: int
    """Messages not published because of their age, since the start of the owner's process."""
    bytes: int
    """Size on disk."""


class QuarantineRow(TypedDict):
    pbx: str
    n: int
    """The row's position in the journal."""
    at_ms: int
    call_id: str | None
    where: str
    """What raised: decode, correlate, call …"""
    error: str
    """Type and text of the exception, at the last attempt."""
    attempts: int
    """Times that it was redriven."""


class QuarantineDetail(TypedDict):
    row: QuarantineRow
    body: str
    """The row as it came, undecodable bytes replaced."""
    traceback: str


class JournalStatus(TypedDict):
    pbx: str
    uuid: str
    first_n: int
    last_n: int
    rows: int
    bytes: int
    segments: int
    first_ms: int | None
    last_ms: int | None
    folded_n: int
    """The Switchboard's checkpoint."""
    lost: int
    """Rows that the disk refused and memory could not hold."""


class Gap(TypedDict):
    pbx: str
    from_ms: int
    to_ms: int | None
    """None while it lasts."""
    reason: str
    adopted: list[str]
    corrected: list[str]
    ended: list[str]
    """Call ids."""
    inferred: int
    """Events inferred; each may make some messages, or none."""
    rows_lost: int


class Crash(TypedDict):
    id: str
    at_ms: int
    path: str
    """Who crashed."""
    generation: int
    reason: str
    """`exception`, or the report's context: child_terminated, start_error, shutdown_error; shutdown (its supervisor
    gave up) or abandoned (a call that was given up)."""
    error: str
    """Type and text of the exception, or how the process ended."""


class CrashDetail(TypedDict):
    crash: Crash
    message: str | None
    """What it was handling."""
    state: str | None
    """Its state, secrets masked."""
    traceback: str


class Reconciled(TypedDict):
    """What a snapshot of the PBX showed against what arimon believed."""

    pbx: str
    dry_run: bool
    channels: int
    """In the snapshot."""
    adopted: list[str]
    corrected: list[str]
    ended: list[str]
    """Call ids; what was done, or with `dry_run` would be done."""


class Done(TypedDict):
    """A command was carried out (or, where it takes time, handed to who carries it out)."""

    done: str
    """One plain sentence."""


class Backend:
    """Who answers. A method that is not overridden answers `Unsupported`.

    Each may raise any `ControlError`. The server gives every answer a time limit of its own and says `Unanswered` when
    it is over (the method is then cancelled), so a method may simply wait.
    """

    async def status(self) -> Status:
        """How everything is, in one reply."""
        raise Unsupported("this arimond gives no status")

    async def tree(self) -> Node:
        """The process tree from Root down; calls are counted per partition, not listed."""
        raise Unsupported("this arimond shows no tree")

    async def calls(self, pbx: str | None) -> list[CallSummary]:
        """The active calls, oldest first, of one PBX or (None) of all."""
        raise Unsupported("this arimond lists no calls")

    async def call(self, call_id: str, pbx: str | None) -> CallDetail:
        """One call, active or lately ended. `pbx` is needed only if two PBXs use the same id (`Refused` says so)."""
        raise Unsupported("this arimond shows no single call")

    async def messages(self, limit: int) -> list[dict[str, Any]]:
        """The last `limit` messages published, oldest first (fewer if fewer are remembered)."""
        raise Unsupported("this arimond remembers no messages")

    async def which_children(self, path: str) -> list[dict[str, Any]]:
        """A supervisor's children as OTP lists them, the one started last first: id, state, type, restart, …"""
        raise Unsupported("this arimond lists no children")

    async def get_state(self, path: str) -> dict[str, Any]:
        """The state of a process or a call, as plain data, secrets masked. `Unanswered` says that it is hung."""
        raise Unsupported("this arimond shows no states")

    async def statistics(self, path: str) -> dict[str, Any]:
        """Messages of a process or a call by class since `since_ms`, and what waits."""
        raise Unsupported("this arimond gives no statistics")

    async def trace(self, path: str, most: int) -> AsyncIterator[bytes]:
        """The next `most` messages into and out of a process or a call (JSON, without line feeds), then the end.

        Each has `at_ms`, `way` (in, out), `other` (from or to whom), `message` (its text).
        """
        raise Unsupported("this arimond traces nothing")

    async def suspend(self, path: str) -> Done:
        """Let a process or a call take nothing but questions about it; what comes for it is kept."""
        raise Unsupported("this arimond suspends nothing")

    async def resume(self, path: str) -> Done:
        """Let it take what was kept, in order, and go on."""
        raise Unsupported("this arimond suspends nothing")

    async def kill(self, path: str) -> Done:
        """Kill a process (SIGKILL) or a call's actor at once; its supervisor decides what follows."""
        raise Unsupported("this arimond kills nothing on request")

    async def restart(self, path: str) -> Done:
        """Stop in order and start again; costs no restart budget."""
        raise Unsupported("this arimond restarts nothing on request")

    async def reconcile(self, pbx: str | None, dry_run: bool) -> list[Reconciled]:
        """Take a snapshot of one PBX or all, and apply (or only show) the difference."""
        raise Unsupported("this arimond does not reconcile on request")

    async def outbox(self) -> list[OutboxStatus]:
        """Every outbox."""
        raise Unsupported("this arimond shows no outbox")

    async def outbox_redrive(self, pbx: str | None) -> Done:
        """Offer parked messages again, of one PBX or all."""
        raise Unsupported("this arimond does not redrive its outbox on request")

    async def quarantine(self, pbx: str | None) -> list[QuarantineRow]:
        """Rows in quarantine, oldest first."""
        raise Unsupported("this arimond lists no quarantine")

    async def quarantine_show(self, pbx: str, n: int) -> QuarantineDetail:
        """One of them in full."""
        raise Unsupported("this arimond shows no quarantined row")

    async def quarantine_redrive(self, pbx: str, n: int) -> Done:
        """Apply it once more: to its call (call-amended, if that has ended), or to the world; `Refused` if it fails."""
        raise Unsupported("this arimond does not redrive quarantined rows")

    async def quarantine_drop(self, pbx: str, n: int) -> Done:
        """Forget it."""
        raise Unsupported("this arimond does not drop quarantined rows")

    async def journal(self, pbx: str | None) -> list[JournalStatus]:
        """Range, size and lag of the journals."""
        raise Unsupported("this arimond shows no journal")

    async def journal_export(self, pbx: str, first_n: int | None, last_n: int | None) -> AsyncIterator[bytes]:
        """Rows as JSON lines that `arimon-ctl replay` reads, without line feeds; None is the end of the range."""
        raise Unsupported("this arimond exports no journal")

    async def gaps(self, pbx: str | None) -> list[Gap]:
        """Times in which a PBX was not seen, oldest first."""
        raise Unsupported("this arimond lists no gaps")

    async def crashes(self) -> list[Crash]:
        """The crash reports kept, oldest first."""
        raise Unsupported("this arimond keeps no crash reports")

    async def crash(self, crash_id: str) -> CrashDetail:
        """One of them in full."""
        raise Unsupported("this arimond keeps no crash reports")

    async def config(self) -> dict[str, Any]:
        """The settings in force, secrets masked."""
        raise Unsupported("this arimond shows no configuration")

    async def follow(self, call_id: str | None, operation: str | None) -> AsyncIterator[bytes]:
        """Messages as they are published (JSON, without line feeds), optionally of one call or one operation.

        The iterator ends when the daemon stops. A reader too slow for the traffic is cut off, never waited for.
        """
        raise Unsupported("this arimond streams no messages")
