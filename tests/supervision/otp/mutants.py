"""Our machine with one mistake each, to show that the comparison with Erlang/OTP finds such mistakes."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest import mock

import supervision

FILES = ("intensity", "turn", "views", "machine")
"""In the order in which they import each other."""


@dataclass(frozen=True)
class Mutant:
    """One mistake: in a file, instead of a piece of text that occurs there once."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = (
    Mutant("gives up one restart too early", "intensity", "len(recent) <= intensity", "len(recent) < intensity"),
    Mutant(
        "the window is open at its old end", "intensity", "at_ms >= now_ms - period_ms", "at_ms > now_ms - period_ms"
    ),
    Mutant(
        "restarts are never forgotten",
        "intensity",
        "(now_ms, *_recent(restarts, now_ms, period_ms))",
        "(now_ms, *restarts)",
    ),
    Mutant("stops in start order", "turn", "tuple(reversed(self.order)), ThenExit", "self.order, ThenExit"),
    Mutant("a group is stopped in start order", "turn", "for id in reversed(group) if id", "for id in group if id"),
    Mutant(
        "rest_for_one takes an elder along",
        "turn",
        "[self.order.index(child.id) :]",
        "[max(0, self.order.index(child.id) - 1) :]",
    ),
    Mutant(
        "rest_for_one restarts the child alone",
        "turn",
        "return self.order[self.order.index(child.id) :]",
        "return (child.id,)",
    ),
    Mutant(
        "a transient child is always restarted",
        "turn",
        "(child.spec.restart == Restart.TRANSIENT and not is_orderly(reason))",
        "child.spec.restart == Restart.TRANSIENT",
    ),
    Mutant("an orderly end is reported", "turn", "if permanent or not is_orderly(reason):", "if True:"),
    Mutant(
        "a repeated attempt is not counted",
        "turn",
        "            self.restart(child)\n\n    def restart",
        "            self.stop(_others(self.group(child), child), ThenStart(self.group(child)))\n\n    def restart",
    ),
    Mutant(
        "a failed start is tried again before what waits",
        "turn",
        "self.queue.append(TryAgain(child.id))",
        "self.queue.appendleft(TryAgain(child.id))",
    ),
    Mutant("temporary children are remembered", "turn", "if self.simple or is_temporary(child):", "if self.simple:"),
    Mutant("a dead child is told to stop", "turn", "elif id in self.dead:", "elif False:"),
    Mutant("every child is significant", "turn", "if not child.spec.significant:", "if False:"),
    Mutant("the first significant end is the last", "turn", "next(others, None) is None", "True"),
    Mutant(
        "a failed boot hides its reason",
        "turn",
        "self.end(Shutdown(FailedToStart(child.id, reason)))",
        "self.end(SHUTDOWN)",
    ),
    Mutant("brutal_kill asks first", "turn", "if limit == BRUTAL_KILL:", "if False:"),
    Mutant("any orderly end is as told", "turn", "else reason == SHUTDOWN", "else is_orderly(reason)"),
    Mutant(
        "nobody is killed after the limit", "turn", "self.commands.append(KillChild(now.id, now.generation))", "pass"
    ),
    Mutant("dynamic children are stopped without a limit", "turn", "if waiting else None", "if False else None"),
    Mutant(
        "generations are not looked at",
        "turn",
        "is ChildState.RUNNING and child.generation == generation",
        "is ChildState.RUNNING",
    ),
    Mutant("the last of two notices counts", "machine", " or id in turn.dead:", ":"),
    Mutant(
        "calls do not wait",
        "machine",
        "    if turn.outstanding is None:\n        _act(turn, given)",
        "    if not isinstance(given, ChildExited):\n        _act(turn, given)",
    ),
    Mutant(
        "a running child can be deleted", "machine", "case _ if child.state is ChildState.RUNNING:", "case _ if False:"
    ),
    Mutant(
        "a restarting child can be started",
        "machine",
        "case _ if child.state is ChildState.RESTARTING:",
        "case _ if False:",
    ),
    Mutant("the dead count as active", "views", "(state.simple or c.id not in state.dead)", "True"),
)


def mutated(mutant: Mutant) -> ModuleType:
    """The module supervision.machine with a mistake in it, or in what it is made of. The real one is left alone."""
    fresh: dict[str, ModuleType] = {}
    for file in FILES:
        name = f"supervision.{file}"
        source = Path(str(supervision.__path__[0]), f"{file}.py").read_text(encoding="utf-8")
        if file == mutant.file:
            assert source.count(mutant.old) == 1, (
                f"{mutant.name}: {mutant.old!r} occurs {source.count(mutant.old)} times"
            )
            source = source.replace(mutant.old, mutant.new)
        fresh[name] = _load(name, source, fresh)
    return fresh["supervision.machine"]


def _load(name: str, source: str, others: Mapping[str, ModuleType]) -> ModuleType:
    module = ModuleType(name)
    with mock.patch.dict(sys.modules, {**others, name: module}):
        exec(compile(source, f"<{name}, mutated>", "exec"), module.__dict__)
    return module
