"""The fold of one PBX: rows of its journal in, inputs of its calls out.

`step` is pure: it decodes a frame, finds out whom it concerns (`correlation`), and says on the PBX's own stream what
happened to the link, and which gaps there were (`watch`, `recovery`). `World` is picklable and holds no settings.

Each kind of row has one function in `_ROWS`; a kind without one concerns no call.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from actors.call import decoding, recovery
from actors.call.correlation import correlate
from actors.call.effects import Unexpected
from actors.call.envelope import FORMS, envelope, maybe_rfc3339, rfc3339
from actors.call.events import Event
from actors.call.gap import Gap
from actors.call.inputs import Routed
from actors.call.recovery import Found
from actors.call.register import Correlation
from actors.call.watch import Watch, clock, link_down, link_up, rows_lost
from conf.settings import Settings
from wire.message import OutboundMessage
from wire.store.row import Kind, Row


class World(NamedTuple):
    """What is known of one PBX, except what its calls know themselves."""

    server: str
    """The PBX's name in conf."""
    correlation: Correlation
    """Which channel belongs to which call, and the segments under way."""
    sequence: int
    """Sequence of the last message of the stream `pbx:NAME`."""
    up_since_ms: int | None
    """Since when the link is up; None while it is down or was never up."""
    down_since_ms: int | None
    """Since when the link is down; None while it is up, or was never up."""
    watch: Watch
    """How well the PBX is seen: gaps, and what is doubtful after them."""

    @classmethod
    def new(cls, server: str) -> "World":
        """Make the world of a PBX of which nothing is known yet."""
        return cls(server, Correlation.new(), 0, None, None, Watch.new())


class Rejected(NamedTuple):
    """A row that the PBX got wrong: to be quarantined."""

    n: int
    """The row."""
    reason: str
    """`not-json`, `not-an-event` or `wrong-shape`."""
    detail: str
    """What exactly is wrong."""


class Step(NamedTuple):
    """What one row made of a world."""

    world: World
    """The state after it."""
    routed: list[Routed]
    """Inputs for calls, in order."""
    pbx_messages: list[OutboundMessage]
    """Messages of the stream `pbx:NAME`, in order."""
    reports: list[Unexpected]
    """To be counted and logged."""
    rejected: Rejected | None
    """The row is the peer's fault, and changed nothing."""


def step(world: World, row: Row, settings: Settings) -> Step:
    """Fold one row.

    Args:
        world: the state before it.
        row: the row.
        settings: what is configured.

    Returns:
        The state after it, and what came of it.

    Raises:
        Exception: a bug of ours; the row is to be set aside.
    """
    if row.kind == Kind.FRAME:
        try:
            event = decoding.decode(row)
        except decoding.DecodeError as error:
            return Step(world, [], [], [], Rejected(row.n, error.reason, error.detail))
        if event is None:
            return _nothing(world)
        watch = world[5]
        done = _heard(world, row, event, settings) if watch.silent else step_event(world, row.n, event, settings)
        if watch.gap is not None and done.world[1].calls is not world[1].calls:
            watch = recovery.met(done.world.watch, world.correlation, done.world.correlation, done.routed)
            done = done._replace(world=done.world._replace(watch=watch))
        return done
    fold = _ROWS.get(row.kind)
    return fold(world, row, settings) if fold is not None else _nothing(world)


def _nothing(world: World) -> Step:
    return Step(world, [], [], [], None)


def step_event(world: World, n: int, event: Event, settings: Settings, recovered: bool = False) -> Step:
    """Fold one event, however it was come by.

    Args:
        world: the state before it.
        n: the row that it came in.
        event: the event.
        settings: what is configured.
        recovered: the event was inferred after a gap.

    Returns:
        The state after it, and what came of it.
    """
    server, before, sequence, up_since_ms, down_since_ms, watch = world
    correlation, routed, reports = correlate(before, event, n, settings.call.bounds, recovered)
    if correlation is not before:
        world = _new(World, (server, correlation, sequence, up_since_ms, down_since_ms, watch))
    done: Step = _new(Step, (world, routed, [], reports, None))
    return done


_new: Callable[..., Any] = tuple.__new__
"""Makes a named tuple of its fields at half the cost of calling its class."""


def say(world: World, row: Row, operation: str, data: dict[str, Any], settings: Settings) -> Step:
    """Publish one message on the PBX's own stream.

    Args:
        world: the state before it.
        row: the row that caused it.
        operation: `pbx-connected`, `pbx-disconnected` or `monitoring-gap`.
        data: its data.
        settings: what is configured.

    Returns:
        The state after it, with the message in each configured form.
    """
    sequence = world.sequence + 1
    messages = [
        envelope(
            form,
            world.server,
            f"pbx:{world.server}",
            sequence,
            operation,
            call_id=None,
            timestamp_ms=row.at_ms,
            row_ms=row.at_ms,
            data=data,
        )
        for form in FORMS[settings.publisher.form]
    ]
    return Step(world._replace(sequence=sequence), [], messages, [], None)


def _heard(world: World, row: Row, event: Event, settings: Settings) -> Step:
    """A frame while channels are doubtful: what it shows of the time before goes first."""
    found = recovery.heard(world.correlation, world.watch, event, row.n, settings.call.bounds)
    before = _concluded(world, row, found, settings)
    after = step_event(before.world, row.n, event, settings)
    return after._replace(routed=before.routed + after.routed, reports=before.reports + after.reports)


def _concluded(world: World, row: Row, found: Found, settings: Settings) -> Step:
    done = _tell_gaps(world._replace(correlation=found.correlation, watch=found.watch), row, found.told, settings)
    return done._replace(routed=found.routed, reports=found.reports)


def _tell_gaps(world: World, row: Row, gaps: list[Gap], settings: Settings) -> Step:
    """Publish a `monitoring-gap` for each."""
    messages: list[OutboundMessage] = []
    for gap in gaps:
        assert gap.from_ms is not None
        data = {
            "from": rfc3339(gap.from_ms),
            "to": rfc3339(gap.to_ms if gap.to_ms is not None else row.at_ms),
            "reason": gap.reason,
            "adopted": gap.adopted,
            "corrected": gap.corrected,
            "ended": gap.ended,
            "inferred": gap.inferred,
            "rows_lost": gap.rows_lost,
        }
        done = say(world, row, "monitoring-gap", data, settings)
        world = done.world
        messages += done.pbx_messages
    return Step(world, [], messages, [], None)


def _link_up(world: World, row: Row, settings: Settings) -> Step:
    return _come_up(world, row, orjson.loads(row.body), settings)


def _come_up(world: World, row: Row, told: dict[str, Any], settings: Settings) -> Step:
    app = next((pbx.app for pbx in settings.pbx if pbx.name == world.server), settings.application.name)
    watch, gaps = link_up(world.watch, world.correlation, row, told, world.up_since_ms is not None)
    before = _tell_gaps(world._replace(watch=watch), row, gaps, settings)
    data = {"app": app, "since": maybe_rfc3339(world.down_since_ms)}
    world = before.world._replace(up_since_ms=row.at_ms, down_since_ms=None)
    done = say(world, row, "pbx-connected", data, settings)
    return done._replace(pbx_messages=before.pbx_messages + done.pbx_messages)


def _link_down(world: World, row: Row, settings: Settings) -> Step:
    told = orjson.loads(row.body)
    watch, gaps = link_down(world.watch, row, told)
    before = _tell_gaps(world._replace(watch=watch), row, gaps, settings)
    limit = settings.call.bounds.text
    data = {"reason": str(told["reason"])[:limit], "detail": str(told["detail"])[:limit]}
    since_ms = world.down_since_ms if world.down_since_ms is not None else row.at_ms
    world = before.world._replace(up_since_ms=None, down_since_ms=since_ms)
    done = say(world, row, "pbx-disconnected", data, settings)
    return done._replace(pbx_messages=before.pbx_messages + done.pbx_messages)


def _snapshot(world: World, row: Row, settings: Settings) -> Step:
    up_ms = world.up_since_ms
    messages: list[OutboundMessage] = []
    if up_ms is None:
        up_ms = row.at_ms  # the journal's beginning is gone, and with it the link-up
        if world.down_since_ms is not None:
            # A look is taken through a link that is up, and journalled only if it still is: the link-up is lost.
            world, _, messages, *_ = _come_up(world, row, {}, settings)
    found = recovery.snapshot(world.correlation, world.watch, row, settings.call.bounds, up_ms)
    done = _concluded(world, row, found, settings)
    return done._replace(pbx_messages=messages + done.pbx_messages)


def _lost(world: World, row: Row, settings: Settings) -> Step:
    watch = rows_lost(world.watch, world.correlation, row, orjson.loads(row.body))
    return _nothing(world._replace(watch=watch))


def _clock(world: World, row: Row, settings: Settings) -> Step:
    watch, gaps = clock(world.watch, row, orjson.loads(row.body), world.up_since_ms is not None)
    return _tell_gaps(world._replace(watch=watch), row, gaps, settings)


_ROWS: dict[str, Callable[[World, Row, Settings], Step]] = {
    Kind.LINK_UP: _link_up,
    Kind.LINK_DOWN: _link_down,
    Kind.SNAPSHOT: _snapshot,
    Kind.LOST: _lost,
    Kind.CLOCK: _clock,
}
"""Kind of row, other than a frame → its fold."""
