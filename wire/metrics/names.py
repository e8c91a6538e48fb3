"""Every metric of arimon: its name, kind, unit and meaning, in one place. docs/metrics.md is generated from here.

A process counts with `wire.metrics.registry`, Monitor merges (`collector`) and hands on: to StatsD as
`<prefix>.[<pbx>.]<name>[.<label values>]`, to Prometheus as `arimon_<name>{pbx=…, …}`. Which PBX a figure belongs to is
known from the process that reports it, so it is no label here.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. A counter only grows, a gauge is the last value, a histogram keeps a distribution."""

    name: str
    kind: Kind
    unit: str
    """What one of it is: `events`, `seconds`, `bytes`, `0 or 1`, …"""
    meaning: str
    labels: tuple[str, ...] = ()
    """Names of the label values that its instruments are asked for by."""
    role: str = "any"
    """The process that counts it."""


# Connection
EVENTS = Metric(
    "events", "counter", "events", "ARI events received and journalled, by their type", ("type",), "connection"
)
FRAMES_BAD = Metric("frames_bad", "counter", "frames", "Frames that are no ARI event; quarantined", role="switchboard")
ARI_CONNECTED = Metric(
    "ari_connected", "gauge", "0 or 1", "1 while the WebSocket to the PBX is open and alive", role="connection"
)
ARI_ATTEMPTS = Metric("ari_attempts", "counter", "attempts", "Attempts to connect to the PBX", role="connection")
ARI_DISCONNECTS = Metric(
    "ari_disconnects", "counter", "disconnects", "Links lost, by reason", ("reason",), "connection"
)
SNAPSHOTS = Metric(
    "snapshots",
    "counter",
    "snapshots",
    "Snapshots asked of the PBX, by outcome (ok, failed)",
    ("outcome",),
    "connection",
)
SNAPSHOT_LATENCY = Metric("snapshot_latency", "histogram", "seconds", "Time that a snapshot took", role="connection")
JOURNAL_ROWS = Metric("journal_rows", "counter", "rows", "Rows committed to the journal", role="connection")
JOURNAL_ROWS_LOST = Metric(
    "journal_rows_lost", "counter", "rows", "Rows that neither disk nor reserve could take", role="connection"
)
JOURNAL_BYTES = Metric("journal_bytes", "gauge", "bytes", "Size of all journal segments", role="switchboard")
JOURNAL_RESERVE = Metric(
    "journal_reserve", "gauge", "bytes", "Rows held in memory because the disk refuses them", role="connection"
)

# Switchboard
JOURNAL_LAG = Metric("journal_lag", "gauge", "rows", "Rows in the journal that are not folded yet", role="switchboard")
JOURNAL_LAG_SECONDS = Metric(
    "journal_lag_seconds", "gauge", "seconds", "Age of the oldest row that is not folded yet", role="switchboard"
)
FOLD_LATENCY = Metric(
    "fold_latency",
    "histogram",
    "seconds",
    "Time from a frame's arrival to the commit of what it caused",
    role="switchboard",
)
CALLS_STARTED = Metric("calls_started", "counter", "calls", "Calls that began", role="switchboard")
CALLS_ENDED = Metric("calls_ended", "counter", "calls", "Calls that ended", role="switchboard")
CALLS_ACTIVE = Metric("calls_active", "gauge", "calls", "Calls that have a live actor", role="switchboard")
CALL_RESTARTS = Metric("call_restarts", "counter", "restarts", "Call actors replaced", role="switchboard")
EVENTS_UNEXPECTED = Metric(
    "events_unexpected",
    "counter",
    "events",
    "Events that the call model did not expect, by type",
    ("type",),
    "switchboard",
)
ROWS_QUARANTINED = Metric("rows_quarantined", "counter", "rows", "Poison rows set aside", role="switchboard")
MESSAGES_MADE = Metric(
    "messages_made",
    "counter",
    "messages",
    "Messages put into the outbox, by operation",
    ("operation",),
    "switchboard",
)
OUTBOX_DEPTH = Metric(
    "outbox_depth", "gauge", "messages", "Messages in the outbox that are not confirmed", role="switchboard"
)
OUTBOX_AGE = Metric("outbox_age", "gauge", "seconds", "Age of the oldest message in the outbox", role="switchboard")
MESSAGES_PARKED = Metric(
    "messages_parked",
    "gauge",
    "messages",
    "Messages that the broker returned as unroutable, kept for later",
    role="switchboard",
)

STREAMS_HELD_UP = Metric(
    "streams_held_up",
    "gauge",
    "streams",
    "Streams that wait because their message is unroutable and publisher.parked_max is reached",
    role="switchboard",
)
MESSAGES_WITHHELD = Metric(
    "messages_withheld",
    "counter",
    "messages",
    "Messages not published because of their age (publisher.withhold_after), by operation",
    ("operation",),
    "switchboard",
)
LEDGERS_IN_PART = Metric(
    "ledgers_in_part",
    "counter",
    "databases",
    "Lost Switchboard databases made good from a part of the journal only: what was unconfirmed before is gone",
    role="switchboard",
)
TOTAL_LATENCY = Metric(
    "total_latency",
    "histogram",
    "seconds",
    "Time from a frame's arrival to the confirm of its message",
    role="switchboard",
)

# Publisher
MESSAGES_PUBLISHED = Metric(
    "messages_published", "counter", "messages", "Messages handed to the sink, repeats included", role="publisher"
)
MESSAGES_CONFIRMED = Metric(
    "messages_confirmed", "counter", "messages", "Messages that the sink confirmed", role="publisher"
)
MESSAGES_RETURNED = Metric(
    "messages_returned", "counter", "messages", "Messages that the broker returned as unroutable", role="publisher"
)
MESSAGES_FAILED = Metric(
    "messages_failed",
    "counter",
    "messages",
    "Publishes nacked, timed out or cut off; they are tried again",
    role="publisher",
)
MESSAGES_IN_FLIGHT = Metric(
    "messages_in_flight", "gauge", "messages", "Messages published and not yet confirmed", role="publisher"
)
PUBLISH_LATENCY = Metric("publish_latency", "histogram", "seconds", "Time from publish to confirm", role="publisher")
SINK_CONNECTED = Metric("sink_connected", "gauge", "0 or 1", "1 while the sink takes messages", role="publisher")
SINK_BLOCKED = Metric(
    "sink_blocked", "gauge", "0 or 1", "1 while RabbitMQ blocks publishers (memory or disk alarm)", role="publisher"
)

# Recovery
GAPS = Metric("gaps", "counter", "gaps", "Times in which events could not be seen", role="recovery")
AUDITS = Metric("audits", "counter", "audits", "Comparisons of the PBX's channels with ours", role="recovery")

# Supervision
RESTARTS = Metric("restarts", "counter", "restarts", "Children restarted, by role", ("child",), "supervisor")
BUDGET_USED = Metric(
    "restart_budget_used",
    "gauge",
    "restarts",
    "Restarts within the period that a supervisor's intensity allows",
    ("supervisor",),
    "supervisor",
)
PROCESSES = Metric("processes", "gauge", "processes", "Live processes of the tree", role="monitor")
HEARTBEAT = Metric("heartbeat", "gauge", "0 or 1", "1 while every process of the tree answers", role="monitor")

# Every process; the label is its role, as several processes of one PBX report it
PROCESS_MEMORY = Metric("process_memory", "gauge", "bytes", "Proportional memory (PSS) of the process", ("role",))
PROCESS_CPU = Metric("process_cpu", "counter", "seconds", "CPU time of the process", ("role",))
MAIL_DROPPED = Metric(
    "mail_dropped", "counter", "messages", "Actor messages for another role or generation, dropped", ("role",)
)
ACTOR_FRAMES_REFUSED = Metric(
    "actor_frames_refused", "counter", "frames", "Actor frames with a wrong signature, refused", ("role",)
)
LOG_SUPPRESSED = Metric(
    "log_suppressed", "counter", "lines", "Log lines left out: rate limited, or not writable", ("role",)
)
STATSD_FAILED = Metric("statsd_failed", "counter", "flushes", "Flushes that StatsD could not be sent", role="monitor")

ALL: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
BY_NAME: dict[str, Metric] = {metric.name: metric for metric in ALL}
