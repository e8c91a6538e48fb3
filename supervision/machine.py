"""The supervisor as a pure machine: `handle(state, input, now_ms) -> (state, commands)`.

It decides as Erlang/OTP's `supervisor` does (stdlib/src/supervisor.erl, which tests/supervision/otp runs beside it),
and does nothing itself: a driver performs the commands and tells what came of them. There are two drivers, for children
that are processes and for children inside this process; the second may answer each command at once, in order.

    state = new(SupervisorSpec(intensity=3, period_ms=5000, children=(a, b)), "root")
    state, todo = handle(state, Boot(), 0)                       # StartChild(a, 1)
    state, todo = handle(state, ChildStarted("a", 1), 3)         # Report(progress), StartChild(b, 2)
    state, todo = handle(state, ChildStarted("b", 2), 5)         # Report(progress), Initialised()
    state, todo = handle(state, ChildExited("a", 1, KILLED), 9)  # Report(child_terminated), StartChild(a, 3)

**Options** and their defaults stand in child_spec.py: strategy one_for_one, intensity 1 in period_ms 5000,
auto_shutdown never, budget supervisor; of a child: restart permanent, not significant, type worker, shutdown 5000 ms
(of a supervisor: infinity), no start_timeout, no delay, no probe.

**Start.** One after the other, in the order of the specification; each has to be initialised before the next. If one
fails, those before it are stopped in reverse order and the supervisor exits with `{shutdown, failed_to_start_child}`.

**Restart.** A child that ends is started again if it is permanent, or transient and ended abnormally: alone
(one_for_one, simple_one_for_one), with those started after it (rest_for_one) or with all (one_for_all): stopped in
reverse, started in order. Every attempt counts against the intensity, the restart of a group once. A failed attempt is
tried again, after what came in meanwhile, from the child that failed. More than `intensity` within `period_ms`, and the
supervisor stops all children and exits with `shutdown`: its own supervisor decides then.

**Shutdown.** In reverse start order, one after the other: told to stop, killed after `shutdown` ms. Dynamic children
all at once, under one timer. The exit reason is the one that the parent gave.

**One thing at a time.** While a start or a stop is outstanding all else waits in the state's queue, as in the mailbox
of OTP's supervisor, which blocks. A child that dies meanwhile is not told to stop any more: its exit is its stop.

Deviations from OTP, each with its reason:

- *Generations.* OTP has pids, which never come again. Each start attempt here has a new generation, so that late and
  second notices of a death (Thespian sends some), and timers, do nothing.
- *Start limit* (`start_timeout`), *delayed restart* (`delay`), *liveness probe* (`probe`), *budget of one child*
  (`budget`): child_spec.py and delay.py say why. A delayed attempt counts when it is made. While a child waits, its
  group stands stopped; if the group is restarted meanwhile, it starts with it. Probes are looked after even while
  something is outstanding, since they change no order; a supervisor that was itself asleep asks once more before it
  kills, and time without a CPU does not count (starvation.py).
- *Dynamic children have ids*, which outlive restarts, where OTP has pids: of one that is gone, terminate_child says
  `not_found` (OTP says ok of any dead pid).
- *A dynamic child whose restart is ignored is forgotten.* OTP 25 files it under the pid `undefined`, and crashes on it
  at its shutdown.
- *count_children after terminate_child of a restarting dynamic child is right.* OTP 25 counts it as restarting for
  ever.
- *Calls that come too late are refused* with `noproc`; in OTP the caller exits with it.
- *A start of the wrong kind is refused* (a specification to a simple_one_for_one, arguments to another); OTP's
  simple_one_for_one crashes on it.
- *The report that the intensity is exceeded* gives the child's last exit reason; OTP repeats the context there.
- *The window* is counted in milliseconds: intensity.py.
- *No hot code change*, hence no `code_change` and no `modules`.
"""

from dataclasses import replace

from supervision.child_spec import BadSpec, ChildSpec, SupervisorSpec, check_child, check_supervisor
from supervision.commands import CallError, ChildRef, ChildState, Command, Ok, Refused
from supervision.inputs import (
    Ask,
    AskChildSpec,
    AskCountChildren,
    AskDeleteChild,
    AskRestartChild,
    AskStartChild,
    AskStartDynamic,
    AskTerminateChild,
    AskWhichChildren,
    Boot,
    ChildAnswered,
    ChildExited,
    ChildIgnored,
    ChildStarted,
    ChildStartFailed,
    Input,
    ProbeSwitched,
    ShutDown,
    TimerFired,
)
from supervision.state import Answering, Child, Phase, State, ThenTell, TryAgain
from supervision.turn import Turn
from supervision.views import count_children, which_children


def new(spec: SupervisorSpec, name: str, generation: int = 0, seed: int = 0) -> State:
    """A supervisor before its `Boot`.

    Args:
        spec: checked here, before anything starts.
        name: its path, for reports.
        generation: generations of children are greater than this; give what is greater than any that an earlier
            incarnation of this supervisor gave (as the milliseconds of the clock), so that nothing of then matches.
        seed: of the jitter of delayed restarts.

    Raises:
        BadSpec: the specification contradicts itself.
    """
    check_supervisor(spec)
    return State(name=name, spec=spec, generation=generation, seed=seed)


def handle(state: State, given: Input, now_ms: int) -> tuple[State, tuple[Command, ...]]:
    """One step.

    Args:
        state: as the last step left it.
        given: what happened.
        now_ms: on a clock that never goes back, milliseconds.

    Returns:
        The next state, and what is to be done, in this order.
    """
    turn = Turn(state, now_ms)
    _take(turn, given)
    while turn.queue and turn.outstanding is None:
        waiting, turn.queue = turn.queue.left, turn.queue.popleft()
        _act(turn, waiting)
    return turn.state(), tuple(turn.commands)


def _take(turn: Turn, given: Input) -> None:
    """An answer that is awaited goes on at once; all else acts at once only if nothing is outstanding."""
    match given:
        case ChildStarted() | ChildIgnored() | ChildStartFailed():
            turn.start_answered(given)
        case ChildExited(id, generation, reason):
            if turn.exit_awaited(id, generation, reason) or not turn.runs(id, generation) or id in turn.dead:
                return  # dealt with, of an earlier life, or told before: the first reason is the one that counts
            if turn.outstanding is not None:
                turn.died_meanwhile(turn.children[id], reason)
            _in_turn(turn, given)
        case TimerFired(timer) if timer.purpose == "restart":
            _in_turn(turn, given)
        case TimerFired(timer, starved_ms) if timer.purpose == "probe":
            turn.probe_due(timer, starved_ms)
        case TimerFired(timer):
            turn.out_of_time(timer)
        case ChildAnswered(id, generation):
            if turn.runs(id, generation):
                turn.answered(turn.children[id])
        case ProbeSwitched(id, on):
            if id in turn.children:
                turn.probe_switched(turn.children[id], on)
        case _:
            _in_turn(turn, given)


def _in_turn(turn: Turn, given: Input) -> None:
    if turn.outstanding is None:
        _act(turn, given)
    else:
        turn.queue = turn.queue.append(given)


def _act(turn: Turn, given: Input | TryAgain) -> None:
    """Nothing is outstanding: this is next."""
    match given:
        case _ if turn.phase is Phase.ENDED:
            if isinstance(given, Ask):
                turn.reply(given.caller, Refused(CallError.NOPROC))
        case Boot():
            turn.boot()
        case ChildExited(id, generation, reason):
            if turn.runs(id, generation):
                turn.dead = turn.dead.discard(id)
                turn.exited(turn.children[id], reason)
        case TryAgain(id):
            turn.try_again(id, None)
        case TimerFired(timer):
            turn.try_again(timer.id, timer.serial)
        case ShutDown(reason):
            turn.end(reason)
        case AskWhichChildren(caller):
            turn.reply(caller, Ok(which_children(turn.state())))
        case AskCountChildren(caller):
            turn.reply(caller, Ok(count_children(turn.state())))
        case AskStartChild(caller, spec):
            _start_child(turn, caller, spec)
        case AskStartDynamic(caller, id, args):
            _start_dynamic(turn, caller, id, args)
        case AskRestartChild(caller) | AskDeleteChild(caller) if turn.simple:
            turn.reply(caller, Refused(CallError.SIMPLE_ONE_FOR_ONE))
        case AskTerminateChild() | AskRestartChild() | AskDeleteChild() | AskChildSpec():
            _about_child(turn, given)


def _start_child(turn: Turn, caller: object, spec: ChildSpec) -> None:
    if turn.simple:
        turn.reply(caller, Refused(CallError.SIMPLE_ONE_FOR_ONE, "its children are of one template: AskStartDynamic"))
        return
    try:
        check_child(spec, turn.spec)
    except BadSpec as error:
        turn.reply(caller, Refused(CallError.BAD_SPEC, str(error)))
        return
    _start_new(turn, caller, Child(spec.id, spec))


def _start_dynamic(turn: Turn, caller: object, id: str, args: tuple[object, ...]) -> None:
    if turn.simple:
        _start_new(turn, caller, Child(id, turn.spec.children[0], args))
    else:
        turn.reply(caller, Refused(CallError.BAD_SPEC, f"{turn.spec.strategy} has no template: AskStartChild"))


def _start_new(turn: Turn, caller: object, child: Child) -> None:
    match turn.children.get(child.id):
        case None:
            turn.begin(child, (), Answering(caller))
        case Child(state=ChildState.RUNNING, generation=int(generation)):
            turn.reply(caller, Refused(CallError.ALREADY_STARTED, ChildRef(child.id, generation)))
        case _:
            turn.reply(caller, Refused(CallError.ALREADY_PRESENT))


def _about_child(turn: Turn, given: AskTerminateChild | AskRestartChild | AskDeleteChild | AskChildSpec) -> None:
    """A call about a child that exists, or should."""
    child = turn.children.get(given.id)
    if child is None:
        turn.reply(given.caller, Refused(CallError.NOT_FOUND))
        return
    match given:
        case AskChildSpec():
            turn.reply(given.caller, Ok(child.spec))
        case AskTerminateChild():
            turn.stop((child.id,), ThenTell(given.caller))
        case _ if child.state is ChildState.RUNNING:
            turn.reply(given.caller, Refused(CallError.RUNNING))
        case _ if child.state is ChildState.RESTARTING:
            turn.reply(given.caller, Refused(CallError.RESTARTING))
        case AskRestartChild():
            turn.begin(replace(child, attempts=0), (), Answering(given.caller))
        case AskDeleteChild():
            turn.forget(child)
            turn.reply(given.caller, Ok())
