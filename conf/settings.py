"""Every option of arimon: its type, default, unit and meaning, in one place.

Read once at the start (`conf.load`), frozen, and passed down the tree. Durations are seconds and sizes are bytes unless
the description says otherwise.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from conf.rules import Rule
from conf.secrets import Secret


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return pattern


Positive = Annotated[float, Rule(gt=0)]
Count = Annotated[int, Rule(ge=0)]
Port = Annotated[int, Rule(ge=0, le=65535)]
Host = Annotated[str, Rule(pattern=r"^[^\s/@]+$", words="host name or address, and nothing else")]
Name = Annotated[str, Rule(pattern=r"^[A-Za-z0-9_-]{1,64}$", words="name of up to 64 letters, digits, `_` and `-`")]
AriUrl = Annotated[
    str,
    Rule(
        pattern=r"^wss?://[^/@\s]+(/[^\s?#]*)?$",
        words="`ws://HOST:PORT/ari` or `wss://HOST:PORT/ari`, without user and password",
    ),
]
UrlPath = Annotated[str, Rule(pattern=r"^/[A-Za-z0-9._~/-]*$", words="path that begins with `/`")]
Dotted = Annotated[
    str,
    Rule(pattern=r"^[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$", words="letters, digits, `_` and `-`, with dots between"),
]
Regex = Annotated[str, Rule(check=_compiles, words="regular expression")]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A group of options: frozen, and an unknown key in it is an error. `conf.keys` reads what stands below each.

    Plain dataclasses, so that the defaults cost nothing but themselves. They trust what they are made with:
    `conf.load` and `conf.validation` are where values are checked.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - pydantic's name for it; nobody changes it


@dataclass(frozen=True, kw_only=True)
class Application(Section):
    name: Name = "arimon"
    """Name of this installation in logs and process titles."""
    environment: Literal["production", "development"] = "production"
    """Which of production.yaml and development.yaml is laid over default.yaml."""


@dataclass(frozen=True, kw_only=True)
class Control(Section):
    socket: Path = Path("/run/arimon/control.sock")
    """Unix socket that arimon-ctl speaks to; mode 0660."""
    group: str | None = None
    """Group that may use the socket; None leaves the daemon's own group."""


@dataclass(frozen=True, kw_only=True)
class Retry(Section):
    minimum: Positive = 0.5
    """Upper bound of the second retry's delay, seconds (the first retry comes at once)."""
    maximum: Positive = 5.0
    """Upper bound of every delay, seconds. What is away costs an attempt; what is back and not noticed costs a gap."""

    def __post_init__(self) -> None:
        """Raises: ValueError: the two do not fit together."""
        if self.minimum > self.maximum:
            raise ValueError("minimum is above maximum")


@dataclass(frozen=True, kw_only=True)
class Pbx(Section):
    name: Name
    """`server` in every message; names the branch of the tree."""
    url: AriUrl = "ws://127.0.0.1:8088/ari"
    """ARI's address, ws:// or wss://, without credentials."""
    username: str = "arimon"
    """ARI user (ari.conf); a read-only user is enough for watching."""
    password: Secret = Secret("arimon")  # noqa: RUF009 - it never changes
    """ARI password."""
    password_file: Path | None = None
    """File that holds the password (systemd credential, Docker secret); wins over `password`."""
    app: Name = "arimon"
    """Stasis application to register; must be nobody else's."""
    ca_file: Path | None = None
    """CA bundle that the PBX's certificate must chain to (wss); None uses the system's."""
    verify_tls: bool = True
    """Check the PBX's certificate and host name (wss)."""
    connect_timeout: Positive = 5.0
    """Longest time for TCP, TLS and the WebSocket upgrade, seconds."""
    request_timeout: Positive = 10.0
    """Longest time for one REST request, seconds."""
    dead_after: Positive = 10.0
    """A link that gave no byte for this long, pings included, is dead, seconds."""
    max_frame_bytes: Annotated[int, Rule(ge=1024)] = 4 * 1024 * 1024
    """A larger WebSocket message closes the link."""
    max_response_bytes: Annotated[int, Rule(ge=1024)] = 64 * 1024 * 1024
    """A larger REST answer is an error (10,000 channels are about 8 MB)."""
    retry: Retry = Retry()
    """Delays between attempts to connect."""
    replaced_retry: Positive = 60.0
    """Wait before taking the name back from another client (ApplicationReplaced), seconds; doubled each time up to an
    hour."""
    trunks: tuple[str, ...] = ()
    """Endpoint patterns (fnmatch on `tech/resource`) that are trunks; empty decides by `trunk_contexts`."""
    trunk_contexts: Regex = "from-trunk|from-pstn|trunk"
    """Regular expression: an endpoint whose channels start in a matching context is a trunk (if `trunks` is empty)."""


@dataclass(frozen=True, kw_only=True)
class Journal(Section):
    synchronous: Literal["normal", "full"] = "normal"
    """`normal`: the process's death loses nothing received, a power cut at most what the disk had not yet synced
    since the last checkpoint; `full`: a power cut loses nothing committed."""
    segment_bytes: Annotated[int, Rule(ge=65536)] = 64 * 1024 * 1024
    """A segment file is closed and the next one begun at this size."""
    max_bytes: Annotated[int, Rule(ge=65536)] = 4 * 1024 * 1024 * 1024
    """Oldest segments are unlinked above this size, once nothing needs them."""
    max_age: Positive = 7 * 86400.0
    """Segments older than this are unlinked, once nothing needs them, seconds."""
    reserve_bytes: Annotated[int, Rule(ge=65536)] = 64 * 1024 * 1024
    """Rows kept in memory while the disk refuses them; beyond it rows are lost, counted and told."""


@dataclass(frozen=True, kw_only=True)
class Switchboard(Section):
    partitions: Annotated[int, Rule(ge=1, le=64)] = 8
    """Call supervisors in each Switchboard process."""
    slice_seconds: Positive = 0.05
    """Longest time spent on rows before the mailbox is looked at again, seconds."""
    batch_rows: Annotated[int, Rule(ge=1)] = 2000
    """Most journal rows in one transaction."""
    snapshot_rows: Annotated[int, Rule(ge=100)] = 5_000
    """A snapshot is stored each time this many rows have been folded, with few calls oftener: after 20 rows for each
    active call, but 1000 at least. A restart folds up to about as many again, of which one CPU does some 14,000 a
    second. A snapshot costs 0.1 ms of CPU per active call."""
    rebuild_window: Positive = 3600.0
    """A lost database is refolded from at most this much journal, seconds; a pause without rows (the host was off)
    counts for two minutes at most. Streams that began before have their numbers from 1 again."""


@dataclass(frozen=True, kw_only=True)
class Bounds(Section):
    """How much of one call is kept, whatever the PBX sends. What overflows is counted and said."""

    legs: Annotated[int, Rule(ge=2)] = 1000
    """Legs in the record of one call."""
    segments: Annotated[int, Rule(ge=1)] = 1000
    """Segments in the record of one call."""
    entries: Annotated[int, Rule(ge=1)] = 500
    """Holds, transfers and recordings, each."""
    dtmf: Annotated[int, Rule(ge=0)] = 1000
    """Digits kept in the record of one call."""
    text: Annotated[int, Rule(ge=16)] = 256
    """Characters of any text taken from the PBX."""
    pending: Annotated[int, Rule(ge=1)] = 200
    """Events held back per channel until its call is known."""


@dataclass(frozen=True, kw_only=True)
class Call(Section):
    bounds: Bounds = Bounds()
    """Bounds of one call's state."""
    mask_dtmf: bool = False
    """Show `*` in place of every DTMF digit in messages, logs and control output."""
    mask_dtmf_pattern: Regex | None = None
    """Regular expression: digits that match within a call's run of digits are shown as `*`."""


@dataclass(frozen=True, kw_only=True)
class Rabbitmq(Section):
    host: Host = "127.0.0.1"
    """Broker's host name or address."""
    port: Port = 5672
    """Broker's AMQP port."""
    username: str = "guest"
    """AMQP user."""
    password: Secret = Secret("guest")  # noqa: RUF009 - it never changes
    """AMQP password."""
    password_file: Path | None = None
    """File that holds the password; wins over `password`."""
    vhost: str = "/"
    """Virtual host."""
    exchange: str = "arimon.calls"
    """Durable topic exchange of the v3 form."""
    legacy_exchange: str = "arimon.legacy"
    """Durable topic exchange of the legacy form."""
    tls: bool = False
    """Speak AMQPS."""
    ca_file: Path | None = None
    """CA bundle for AMQPS; None uses the system's."""
    heartbeat: Annotated[int, Rule(ge=1, le=3600)] = 10
    """AMQP heartbeat, seconds."""
    connect_timeout: Positive = 5.0
    """Longest time for TCP, TLS and AMQP's handshake, seconds."""
    retry: Retry = Retry()
    """Delays between attempts to connect."""


@dataclass(frozen=True, kw_only=True)
class FileSink(Section):
    path: Path | None = None
    """JSON Lines file; None is `messages.jsonl` in state_dir."""
    max_bytes: Annotated[int, Rule(ge=1024)] = 256 * 1024 * 1024
    """The file is rotated at this size."""
    keep: Annotated[int, Rule(ge=1)] = 10
    """Rotated files kept beside it."""
    fsync: bool = False
    """Sync the file to the disk before messages count as confirmed: a power cut then loses none of them. Without it
    the death of a process loses none, a power cut what the kernel had not written yet (some 30 s)."""


Withholdable = Literal[
    "answered-call",
    "call-amended",
    "dtmf-received",
    "finished-call",
    "held-call",
    "joined-conference",
    "left-conference",
    "left-queue",
    "parked-call",
    "pbx-connected",
    "pbx-disconnected",
    "queued-call",
    "received-call",
    "recording-finished",
    "recording-started",
    "resumed-call",
    "ringing-call",
    "transferred-call",
    "unparked-call",
]
"""Every operation but `messages-withheld` itself and `monitoring-gap`: what could not be seen is always said."""


@dataclass(frozen=True, kw_only=True)
class Publisher(Section):
    sink: Literal["amqp", "file"] = "amqp"
    """Where messages go."""
    form: Literal["v3", "legacy", "both"] = "v3"
    """Which form of each message is made."""
    window: Annotated[int, Rule(ge=1, le=10_000)] = 100
    """Streams with a message in flight at once, per owner of an outbox."""
    confirm_timeout: Positive = 30.0
    """A publish unconfirmed for this long counts as failed, and the connection is opened anew, seconds."""
    withhold_after: Annotated[
        dict[Withholdable, Positive],
        Rule(words="mapping of operations to numbers above 0"),
    ] = field(default_factory=dict)
    """Age policy, as `{ringing-call: 60.0}`: a message of this operation whose cause was received longer ago, when its
    turn comes, is not published; a `messages-withheld` says which were not. Empty publishes everything. seconds."""
    parked_max: Annotated[int, Rule(ge=1)] = 100_000
    """Unroutable messages parked, per owner of an outbox. Beyond it a stream waits at such a message, tried again every
    10 s."""
    file: FileSink = FileSink()
    """Options of the file sink."""


@dataclass(frozen=True, kw_only=True)
class Statsd(Section):
    enabled: bool = True
    """Send metrics to StatsD."""
    host: Host = "127.0.0.1"
    """StatsD's host."""
    port: Port = 8125
    """StatsD's UDP port."""
    prefix: Dotted = "arimon"
    """First part of every metric's name."""
    interval: Positive = 1.0
    """Time between flushes, seconds."""


@dataclass(frozen=True, kw_only=True)
class HealthCheck(Section):
    enabled: bool = True
    """Serve the health check."""
    host: Host = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8081
    """TCP port; 0 takes a free one."""
    path: UrlPath = "/health"
    """Path of the check."""


@dataclass(frozen=True, kw_only=True)
class MetricsEndpoint(Section):
    enabled: bool = True
    """Serve metrics in Prometheus's text format."""
    host: Host = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8080
    """TCP port; 0 takes a free one."""
    path: UrlPath = "/metrics"
    """Path of the metrics."""


@dataclass(frozen=True, kw_only=True)
class Monitoring(Section):
    health_check: HealthCheck = HealthCheck()
    """Health for load balancers and monitors."""
    metrics: MetricsEndpoint = MetricsEndpoint()
    """Metrics for Prometheus."""

    def __post_init__(self) -> None:
        """Raises: ValueError: the two would be at one place."""
        health, metrics = self.health_check, self.metrics
        if (health.host, health.port, health.path) == (metrics.host, metrics.port, metrics.path):
            raise ValueError("health_check and metrics have the same address and path")


@dataclass(frozen=True, kw_only=True)
class Logging(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level written."""
    levels: dict[str, Literal["DEBUG", "INFO", "WARNING", "ERROR"]] = field(default_factory=dict)
    """Level per logger name, as `wire.ari: DEBUG`."""
    format: Literal["json", "console", "auto"] = "auto"
    """`json` lines, `console` for people, or `auto`: console on a terminal, else json."""
    file: Path | None = None
    """File to append to; None is standard error."""


@dataclass(frozen=True, kw_only=True)
class Recovery(Section):
    audit_interval: Positive = 60.0
    """Time between audits of the PBX's channels against ours, seconds."""
    second_look: Annotated[float, Rule(ge=2)] = 2.0
    """Time between the two snapshots that must both lack a channel before it is ended by absence, seconds."""


@dataclass(frozen=True, kw_only=True)
class Supervision(Section):
    intensity: Count = 5
    """Restarts tolerated within `period` before a supervisor gives up."""
    period: Positive = 10.0
    """Window of `intensity`, seconds."""
    call_intensity: Count = 20
    """Restarts tolerated within `period` before one call's actor is given up; the call keeps its state, and gets
    another actor with a budget of its own. (An input that kills an actor twice goes to quarantine, whatever the
    budget.)"""
    shutdown: Positive = 5.0
    """Time that a process has to stop before SIGKILL, seconds."""
    start_silence: Positive = 30.0
    """A process that gives no sign of life for this long during its start is killed, and its start has failed,
    seconds. What it had to wait for a CPU does not count."""
    probe_interval: Positive = 2.0
    """Time between liveness probes, seconds."""
    probe_limit: Positive = 10.0
    """A process that has not answered a probe for this long is killed and restarted, seconds. What it had to wait for
    a CPU does not count."""
    stop_timeout: Positive = 20.0
    """Time for the whole tree to drain and stop before everything is killed, seconds."""


@dataclass(frozen=True, kw_only=True)
class Settings(Section):
    application: Application = Application()
    """This installation."""
    state_dir: Path = Path("/var/lib/arimon")
    """Journals, outboxes, quarantine, crash reports; mode 0700."""
    control: Control = Control()
    """The control socket."""
    pbx: tuple[Pbx, ...] = ()
    """One branch of the tree each."""
    journal: Journal = Journal()
    """The journal of each PBX."""
    switchboard: Switchboard = Switchboard()
    """The fold of each PBX."""
    call: Call = Call()
    """The model of a call."""
    rabbitmq: Rabbitmq = Rabbitmq()
    """The broker."""
    publisher: Publisher = Publisher()
    """What is published, and where to."""
    recovery: Recovery = Recovery()
    """Gaps and audits."""
    statsd: Statsd = Statsd()
    """StatsD."""
    monitoring: Monitoring = Monitoring()
    """HTTP endpoints for monitors."""
    logging: Logging = Logging()
    """The log."""
    supervision: Supervision = Supervision()
    """Restart budgets and limits of the process tree."""
