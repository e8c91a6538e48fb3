"""One input's way through the supervisor machine: the state while it changes, and the commands so far.

Internal to machine.py, which says what each input means; here is what is done then: starting, restarting, stopping,
draining, probing. A `Turn` lives for one call of `handle` and is seen by nobody else.

At most one start or stop is outstanding. What follows it is kept with it, as data: `Starting.rest` and `why`,
`Stopping.rest` and `then`.
"""

from dataclasses import replace
from random import Random

from pyrsistent import pmap

from supervision.child_spec import BRUTAL_KILL, INFINITY, AutoShutdown, Budget, Restart, Strategy
from supervision.commands import (
    CallError,
    ChildRef,
    ChildState,
    Command,
    Exit,
    Initialised,
    KillChild,
    Ok,
    ProbeChild,
    Refused,
    Reply,
    SetTimer,
    StartChild,
    StopChild,
)
from supervision.inputs import ChildIgnored, ChildStarted, ChildStartFailed, Timer
from supervision.intensity import add_restart
from supervision.reasons import SHUTDOWN, Crash, FailedToStart, Killed, Reason, Shutdown, TimedOut, is_orderly
from supervision.reports import Context, Report, ReportKind
from supervision.state import (
    Answering,
    Booting,
    Child,
    Draining,
    Outstanding,
    Phase,
    Restarting,
    StartFor,
    Starting,
    State,
    Stopping,
    Then,
    ThenExit,
    ThenStart,
    ThenTell,
    ThenWait,
    TryAgain,
    is_temporary,
)

_PATIENCE = 10
"""Limits of a probe after which a child is killed all the same: so late, somebody else may make more of the CPU."""


class Turn:
    """The state of a supervisor while it changes."""

    def __init__(self, state: State, now_ms: int) -> None:
        self.name = state.name
        self.spec = state.spec
        self.simple = state.simple
        self.seed = state.seed
        self.now_ms = now_ms
        self.commands: list[Command] = []
        self.generation = state.generation
        self.phase = state.phase
        self.children = state.children
        self.order = state.order
        self.restarts = state.restarts
        self.serial = state.serial
        self.outstanding: Outstanding | None = state.outstanding
        self.queue = state.queue
        self.dead = state.dead

    def state(self) -> State:
        """The state as it is now."""
        return State(
            name=self.name,
            spec=self.spec,
            generation=self.generation,
            seed=self.seed,
            phase=self.phase,
            children=self.children,
            order=self.order,
            restarts=self.restarts,
            serial=self.serial,
            outstanding=self.outstanding,
            queue=self.queue,
            dead=self.dead,
        )

    # -- the children that are known -----------------------------------------------------------------------------------

    def runs(self, id: str, generation: int) -> bool:
        """Whether this incarnation of a child is the one that runs."""
        child = self.children.get(id)
        return child is not None and child.state is ChildState.RUNNING and child.generation == generation

    def died_meanwhile(self, child: Child, reason: Reason) -> None:
        """A child's exit has to wait in the queue: until then nobody tells it to stop, probes or kills it."""
        self.dead = self.dead.set(child.id, reason)
        self.store(_unwatched(child))

    def store(self, child: Child) -> None:
        if not self.simple and child.id not in self.children:
            self.order = (*self.order, child.id)
        self.children = self.children.set(child.id, child)

    def forget(self, child: Child) -> None:
        self.children = self.children.discard(child.id)
        if not self.simple:
            self.order = tuple(id for id in self.order if id != child.id)

    def put_away(self, child: Child) -> None:
        """A child does not run and is not about to: temporary and dynamic ones are forgotten."""
        self.dead = self.dead.discard(child.id)
        if self.simple or is_temporary(child):
            self.forget(child)
        else:
            self.store(replace(_unwatched(child), state=ChildState.STOPPED, generation=None, retry=None))

    # -- boot and end --------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        assert self.phase is Phase.NEW, f"{self.name} was booted before"
        self.phase = Phase.BOOTING
        if not self.simple:
            for spec in self.spec.children:
                self.store(Child(spec.id, spec))
        self.start(self.order, Booting())

    def end(self, reason: Reason) -> None:
        """Stop all children, then exit."""
        self.phase = Phase.ENDING
        if self.simple:
            self.drain(reason)
        else:
            self.stop(tuple(reversed(self.order)), ThenExit(reason))

    def exit(self, reason: Reason) -> None:
        self.outstanding = None
        self.phase = Phase.ENDED
        self.commands.append(Exit(reason))

    # -- starting ------------------------------------------------------------------------------------------------------

    def start(self, ids: tuple[str, ...], why: StartFor) -> None:
        """Start these, one after the other."""
        if ids:
            self.begin(self.children[ids[0]], ids[1:], why)
            return
        self.outstanding = None
        if isinstance(why, Booting):
            self.phase = Phase.RUNNING
            self.commands.append(Initialised())

    def begin(self, child: Child, rest: tuple[str, ...], why: StartFor) -> None:
        self.generation += 1
        self.commands.append(StartChild(child.id, self.generation, child.spec, child.args, child.ran))
        limit = child.spec.start_timeout
        timer = None if limit == INFINITY else self.set_timer("start", child.id, limit)
        self.outstanding = Starting(child, self.generation, timer, rest, why)

    def start_answered(self, given: ChildStarted | ChildIgnored | ChildStartFailed) -> None:
        now = self.outstanding
        if not isinstance(now, Starting) or (now.child.id, now.generation) != (given.id, given.generation):
            return  # of an attempt that is over
        match given:
            case ChildStarted(info=info) if not now.late:
                self.started(now, info)
            case ChildIgnored():
                self.put_away(now.child)
                self.start_done(now, Ok(None))
            case ChildStartFailed(reason=reason):
                self.start_failed(now, reason)

    def started(self, now: Starting, info: object) -> None:
        child = replace(
            now.child,
            state=ChildState.RUNNING,
            generation=now.generation,
            born=now.child.born or now.generation,
            ran=True,
            since_ms=self.now_ms,
            args=() if is_temporary(now.child) else now.child.args,
            retry=None,
        )
        if not self.simple:
            self.report(child, ReportKind.PROGRESS, Context.STARTED)
        self.store(self.watched(child))
        self.start_done(now, Ok(ChildRef(child.id, now.generation, info)))

    def start_done(self, now: Starting, result: Ok) -> None:
        if isinstance(now.why, Answering):
            self.outstanding = None
            self.reply(now.why.caller, result)
        else:
            self.start(now.rest, now.why)

    def start_failed(self, now: Starting, reason: Reason) -> None:
        if now.late and isinstance(now.child.spec.start_timeout, int):
            reason = TimedOut(now.child.spec.start_timeout)
        child = replace(now.child, reason=reason)
        self.outstanding = None
        self.report_crash(child, now.generation)
        if isinstance(now.why, Answering):
            if child.id in self.children:
                self.put_away(child)
            self.reply(now.why.caller, Refused(CallError.START_FAILED, reason))
            return
        self.report(child, ReportKind.SUPERVISOR, Context.START_ERROR)
        if isinstance(now.why, Booting):
            self.put_away(child)
            self.end(Shutdown(FailedToStart(child.id, reason)))
            return
        child, delay_ms = self.next_attempt(replace(child, state=ChildState.RESTARTING))
        self.store(child)
        if delay_ms:
            self.wait(child, delay_ms)
        else:
            self.queue = self.queue.append(TryAgain(child.id))

    # -- restarting ----------------------------------------------------------------------------------------------------

    def exited(self, child: Child, reason: Reason) -> None:
        """A child ended by itself."""
        child = replace(_unwatched(child), reason=reason)
        self.report_crash(child, child.generation)
        permanent = child.spec.restart == Restart.PERMANENT
        if permanent or not is_orderly(reason):
            self.report(child, ReportKind.SUPERVISOR, Context.CHILD_TERMINATED)
        child = replace(child, state=ChildState.RESTARTING, generation=None)
        if permanent or (child.spec.restart == Restart.TRANSIENT and not is_orderly(reason)):
            self.revive(child)
        else:
            self.put_away(child)
            self.auto_shutdown(child)

    def revive(self, child: Child) -> None:
        if child.spec.delay is not None and self.now_ms - child.since_ms >= child.spec.delay.healthy_ms:
            child = replace(child, attempts=0)
        child, delay_ms = self.next_attempt(child)
        self.store(child)
        if delay_ms:
            self.stop(_others(self.group(child), child), ThenWait(child.id, delay_ms))
        else:
            self.restart(child)

    def try_again(self, id: str | None, timer: int | None) -> None:
        """A failed or delayed restart's turn has come, unless something else came between."""
        child = self.children.get(id) if id is not None else None
        if child is not None and child.state is ChildState.RESTARTING and child.retry == timer:
            self.restart(child)

    def restart(self, child: Child) -> None:
        counted, tolerated = self.count_restart(child)
        if tolerated:
            # Stopped, not restarting: if another of its group fails to start first, it waits for that one as all do.
            self.store(replace(counted, state=ChildState.STOPPED, retry=None))
            group = self.group(child)
            self.stop(_others(group, child), ThenStart(group))
            return
        self.put_away(counted)
        if self.spec.budget == Budget.CHILD:
            self.report(child, ReportKind.SUPERVISOR, Context.ABANDONED)
            self.auto_shutdown(child)
        else:
            self.report(child, ReportKind.SUPERVISOR, Context.SHUTDOWN)
            self.end(SHUTDOWN)

    def count_restart(self, child: Child) -> tuple[Child, bool]:
        """The child after one more restart, and whether that is within the budget."""
        intensity, period_ms = self.spec.intensity, self.spec.period_ms
        if self.spec.budget == Budget.CHILD:
            restarts, tolerated = add_restart(child.restarts, self.now_ms, intensity, period_ms)
            return replace(child, restarts=restarts), tolerated
        self.restarts, tolerated = add_restart(self.restarts, self.now_ms, intensity, period_ms)
        return child, tolerated

    def group(self, child: Child) -> tuple[str, ...]:
        """Who is restarted with a child, itself included, in start order."""
        match self.spec.strategy:
            case Strategy.ONE_FOR_ALL:
                return self.order
            case Strategy.REST_FOR_ONE:
                return self.order[self.order.index(child.id) :]
            case _:
                return (child.id,)

    def next_attempt(self, child: Child) -> tuple[Child, int]:
        """The child with one more attempt, and how long that one has to wait, milliseconds."""
        delay = child.spec.delay
        if delay is None:
            return child, 0
        attempt = child.attempts + 1
        # Seeded, so that the same inputs give the same commands; nothing secret depends on it.
        draw = Random(f"{self.seed}/{child.id}/{self.generation}").random()  # noqa: S311
        return replace(child, attempts=attempt), delay.delay_ms(attempt, draw)

    def wait(self, child: Child, delay_ms: int) -> None:
        self.store(replace(child, retry=self.set_timer("restart", child.id, delay_ms)))

    def auto_shutdown(self, child: Child) -> None:
        """A child ended and will not come again: perhaps it was the one that all was about."""
        if not child.spec.significant:
            return
        others = (c for c in self.children.values() if c.spec.significant and c.state is not ChildState.STOPPED)
        if self.spec.auto_shutdown == AutoShutdown.ANY_SIGNIFICANT or next(others, None) is None:
            self.end(SHUTDOWN)

    # -- stopping ------------------------------------------------------------------------------------------------------

    def stop(self, ids: tuple[str, ...], then: Then) -> None:
        """Stop these, one after the other; then go on."""
        for position, id in enumerate(ids):
            child = self.children[id]
            if child.generation is None:
                self.put_away(child)
            elif id in self.dead:
                self.stopped(child, self.dead[id])
            else:
                self.tell_to_stop(child)
                timer = self.stop_timer(child.id, child.spec.stop_limit)
                self.outstanding = Stopping(id, child.generation, timer, ids[position + 1 :], then)
                return
        self.outstanding = None
        match then:
            case ThenStart(group):
                self.start(tuple(id for id in group if id in self.children), Restarting())
            case ThenWait(id, delay_ms):
                self.wait(self.children[id], delay_ms)
            case ThenTell(caller):
                self.reply(caller, Ok())
            case ThenExit(reason):
                self.exit(reason)

    def tell_to_stop(self, child: Child) -> None:
        assert child.generation is not None, f"{child.id} does not run"
        if child.probe is not None:
            self.store(_unwatched(child))
        limit = child.spec.stop_limit
        if limit == BRUTAL_KILL:
            self.commands.append(KillChild(child.id, child.generation))
        else:
            self.commands.append(StopChild(child.id, child.generation, limit))

    def stop_timer(self, id: str | None, limit: int | str) -> int | None:
        return self.set_timer("stop", id, limit) if isinstance(limit, int) else None

    def stopped(self, child: Child, reason: Reason) -> None:
        child = replace(child, reason=reason)
        self.report_crash(child, child.generation)
        if not _as_told(child, reason):
            self.report(child, ReportKind.SUPERVISOR, Context.SHUTDOWN_ERROR)
        self.put_away(child)

    def exit_awaited(self, id: str, generation: int, reason: Reason) -> bool:
        """Whether this exit is what is outstanding; then it goes on."""
        match self.outstanding:
            case Starting(child=Child(id=who), generation=which) as now if (who, which) == (id, generation):
                self.start_failed(now, reason)
            case Stopping(id=who, generation=which) as now if (who, which) == (id, generation):
                self.stopped(self.children[id], reason)
                self.stop(now.rest, now.then)
            case Draining(waiting=waiting) as now if waiting.get(id) == generation:
                self.drained(replace(now, waiting=waiting.remove(id)), self.children[id], reason)
                self.drain_done()
            case _:
                return False
        return True

    def out_of_time(self, timer: Timer) -> None:
        """If this timer is the outstanding start's or stop's, its child is killed."""
        now = self.outstanding
        if now is None or now.timer != timer.serial:
            return
        match now:
            case Starting():
                self.outstanding = replace(now, late=True)
                self.commands.append(KillChild(now.child.id, now.generation))
            case Stopping():
                self.commands.append(KillChild(now.id, now.generation))
            case Draining():
                self.commands.extend(KillChild(id, generation) for id, generation in now.waiting.items())

    # -- stopping all dynamic children ---------------------------------------------------------------------------------

    def drain(self, reason: Reason) -> None:
        """Stop all dynamic children at once, under one timer."""
        draining = Draining(waiting=pmap(), timer=None, strays=pmap(), reason=reason)
        waiting: dict[str, int] = {}
        self.outstanding = draining
        for child in self.state().newest_first():
            if child.generation is None:
                self.put_away(child)
            elif child.id in self.dead:
                draining = self.drained(draining, child, self.dead[child.id])
            else:
                self.tell_to_stop(child)
                waiting[child.id] = child.generation
        timer = self.stop_timer(None, self.spec.children[0].stop_limit) if waiting else None
        self.outstanding = replace(draining, waiting=pmap(waiting), timer=timer)
        self.drain_done()

    def drained(self, now: Draining, child: Child, reason: Reason) -> Draining:
        child = replace(child, reason=reason)
        self.report_crash(child, child.generation)
        self.put_away(child)
        if not _as_told(child, reason):
            key = repr(reason)
            count = now.strays.get(key, (reason, 0))[1] + 1
            now = replace(now, strays=now.strays.set(key, (reason, count)))
        self.outstanding = now
        return now

    def drain_done(self) -> None:
        now = self.outstanding
        if not isinstance(now, Draining) or now.waiting:
            return
        template = self.spec.children[0]
        for reason, count in now.strays.values():
            child = Child(template.id, template, reason=reason)
            self.report(child, ReportKind.SUPERVISOR, Context.SHUTDOWN_ERROR, children=count)
        self.exit(now.reason)

    # -- probing -------------------------------------------------------------------------------------------------------

    def watched(self, child: Child) -> Child:
        """The child, to be asked after its interval whether it lives."""
        probe = child.spec.probe
        if probe is None:
            return child
        return replace(child, probe=self.set_timer("probe", child.id, probe.interval_ms), asked_ms=None)

    def answered(self, child: Child) -> None:
        if child.asked_ms is not None:
            self.store(self.watched(child))

    def probe_switched(self, child: Child, on: bool) -> None:
        if child.generation is not None and child.id not in self.dead and on == (child.probe is None):
            self.store(self.watched(child) if on else _unwatched(child))

    def probe_due(self, timer: Timer, starved_ms: int) -> None:
        """Time to ask, or time for the answer is over, unless there was no CPU to answer with."""
        child = self.children.get(timer.id) if timer.id is not None else None
        if child is None or child.probe != timer.serial or child.spec.probe is None or child.generation is None:
            return  # of an earlier question or an earlier life
        probe = child.spec.probe
        waited_ms = None if child.asked_ms is None else self.now_ms - child.asked_ms
        had_ms = None if waited_ms is None else waited_ms - starved_ms
        # A timer that fires far too late means that this process was asleep (SIGSTOP, a suspended host): the answer
        # may lie behind it in the mailbox, so one that is long overdue is no proof, and the child is asked once more.
        if waited_ms is None or had_ms is None or had_ms > probe.limit_ms + probe.interval_ms:
            self.commands.append(ProbeChild(child.id, child.generation))
            serial = self.set_timer("probe", child.id, probe.limit_ms)
            self.store(replace(child, probe=serial, asked_ms=self.now_ms))
        elif had_ms < probe.limit_ms and waited_ms < _PATIENCE * probe.limit_ms:
            serial = self.set_timer("probe", child.id, probe.limit_ms - max(0, had_ms))
            self.store(replace(child, probe=serial))
        else:
            self.report(child, ReportKind.SUPERVISOR, Context.HUNG)
            self.commands.append(KillChild(child.id, child.generation))
            self.store(_unwatched(child))

    # -- what goes out -------------------------------------------------------------------------------------------------

    def set_timer(self, purpose: str, id: str | None, after_ms: int | str) -> int:
        """Returns the timer's serial."""
        self.serial += 1
        self.commands.append(SetTimer(Timer(purpose, id, self.serial), self.now_ms + int(after_ms)))
        return self.serial

    def reply(self, caller: object, result: Ok | Refused) -> None:
        self.commands.append(Reply(caller, result))

    def report(self, child: Child, kind: ReportKind, context: Context, children: int = 1) -> None:
        self.commands.append(
            Report(
                kind=kind,
                context=context,
                supervisor=self.name,
                id=child.id,
                generation=child.generation,
                reason=None if kind is ReportKind.PROGRESS else child.reason,
                children=children,
                restart=child.spec.restart,
                type=child.spec.type,
            )
        )

    def report_crash(self, child: Child, generation: int | None) -> None:
        """Only an exception has more to tell than the supervisor's report."""
        if isinstance(child.reason, Crash):
            child = replace(child, generation=generation)
            self.report(child, ReportKind.CRASH, Context.CHILD_TERMINATED)


def _others(group: tuple[str, ...], child: Child) -> tuple[str, ...]:
    """A group without the child, in the order of stopping."""
    return tuple(id for id in reversed(group) if id != child.id)


def _unwatched(child: Child) -> Child:
    return child if child.probe is None else replace(child, probe=None, asked_ms=None)


def _as_told(child: Child, reason: Reason) -> bool:
    """Whether a child that was told to stop ended as it should; else OTP reports a `shutdown_error`."""
    if child.spec.restart != Restart.PERMANENT and is_orderly(reason):
        return True
    return isinstance(reason, Killed) if child.spec.stop_limit == BRUTAL_KILL else reason == SHUTDOWN
