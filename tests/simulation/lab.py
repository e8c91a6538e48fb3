"""One run: one seed, one schedule, and what came of it.

    calls begin, faults happen → all faults end → calls end, everything drains → the checker

The same seed and schedule give the same run, step by step: `Result.digest` says so.
"""

import hashlib
import os
import random
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from actors import standing
from actors.call import world
from actors.call.replay import Replay
from actors.call.state import Call
from actors.call_system import CallSystem
from conf.settings import Settings
from supervision.messages import Identity, Place
from tests.simulation import checker, faults
from tests.simulation.broker import Broker
from tests.simulation.bugs import Bugs
from tests.simulation.calls import PlainCalls, make_calls
from tests.simulation.checker import Damage
from tests.simulation.clock import Clock, Moment
from tests.simulation.disk import Death, Disk, cut_wal, installed, tear
from tests.simulation.faults import Fault
from tests.simulation.limits import LIMITS, ages, settings
from tests.simulation.machine import Doorbell, Machine, Mail
from tests.simulation.pbx import Pbx
from tests.simulation.places import CONNECTION, PBX, SWITCHBOARD
from tests.simulation.record import Record
from tests.simulation.result import Result
from tests.simulation.roles import ROLES, ConnectionMachine
from tests.simulation.switchboard import SwitchboardMachine
from wire.store.row import Kind, Position, Row

BEGIN_MS = 1_795_337_565_516
"""The host's clock at the beginning, Unix milliseconds."""
CALM_MS = 45_000
"""From here on nothing goes wrong any more."""
PATIENCE_MS = 180_000
"""Everything must be through by then."""
MOST_STEPS = 400_000
"""More than any run takes; beyond it something spins."""
ALARMS = frozenset(
    f"log.switchboard.{what}"
    for what in ("journal_short", "states_behind", "snapshot_refused", "rebuilt_in_part", "redrive_differs")
)
"""Lines of the log that tell of a loss."""
SHARED = Path("/dev/shm")


class _Log:
    """Counts what an operator would read."""

    def __init__(self, happened: Counter[str]) -> None:
        self._happened = happened

    def error(self, event: str, **_keys: Any) -> None:
        """A line of the log."""
        self._happened[f"log.{event}"] += 1

    warning = error


class Lab:
    """Everything that a run consists of."""

    def __init__(self, seed: int, schedule: Sequence[Fault], folder: Path) -> None:
        self.seed = seed
        self.folder = folder
        self.happened: Counter[str] = Counter()
        self.figures: Counter[str] = Counter()
        """The most there ever was of something."""
        self.wrong: list[str] = []
        self.clock = Clock(BEGIN_MS)
        self.disk = Disk(folder, self.happened)
        self.log = _Log(self.happened)
        self.settings = settings(self.luck("settings"), self.luck("retention").choice((65536, 1 << 30)))
        self.record = Record(folder / "journal", self.disk)
        self._unsaid: frozenset[Row] = frozenset()
        """Rows that the journal did not have any more when the ledger was lost: what came of them and no broker had yet
        is gone."""
        self.in_part_since_ms: int | None = None
        """When we had the oldest row from which a lost ledger was made good in part, the last time; None if none was,
        or no row could be read."""
        self._may_be_damaged = any(fault.kind == "power" for fault in schedule)
        self.limits = replace(LIMITS, ages=ages(self.luck("ages")))
        self.damage = Damage.NONE
        self._journal_order: dict[str, int] = {}
        self._folded = self._furthest = (0, 0)
        """Up to which row of which journal the ledger knows what was published, and a ledger ever knew it."""
        self.bugs = Bugs(self.happened)
        self.mail = Mail(self, self.luck("mail"))
        self.doorbell = Doorbell(self, self.luck("doorbell"))
        self.pbx = Pbx(self, self.luck("pbx"), self.luck("calls").randint(1, 4))
        self.broker = Broker(self, self.luck("broker"))
        self.machines: dict[Place, Machine] = {}
        self._generations: Counter[Place] = Counter()
        self._hosts = self.luck("calls")
        self._tree = self.luck("tree")
        self._damage = self.luck("damage")
        self._restarting: list[Place] = []
        self._told: dict[tuple[int, bytes], Moment] = {}
        """When rows other than frames were told to the journal, by their time and body."""
        self.suspect: dict[bytes, int] = {}
        """Looks that say by their body that a link may be deaf, and its number."""
        for fault in schedule:
            do = faults.KINDS[fault.kind][2]
            self.clock.after(fault.at_ms, lambda do=do, fault=fault: do(self, *fault.given))  # type: ignore[misc]

    @property
    def boot_id(self) -> str:
        """What the kernel calls this boot."""
        return f"boot {self.clock.boots}"

    def moment(self) -> Moment:
        """Now."""
        return Moment(self.clock.now, self.clock.settings, self.clock.boots, self.clock.wall)

    def row_told(self, at_ms: int, body: bytes) -> None:
        """A Connection has told the journal a row that is no frame."""
        self._told[at_ms, body] = self.moment()

    def luck(self, of: str) -> random.Random:
        """A source of randomness that nobody else draws from."""
        return random.Random(f"{self.seed} {of}")

    def most(self, what: str, figure: int) -> None:
        """Note a size that must stay bounded."""
        self.figures[what] = max(self.figures[what], figure)

    # --- the tree -----------------------------------------------------------------------------------------------------

    def begin(self, place: Place) -> None:
        """Start a process, unless there is one, or all are being stopped."""
        if place in self.machines or self._restarting:
            return
        self._generations[place] += 1
        machine = ROLES[place](self, Identity(*place, self._generations[place]))
        self.machines[place] = machine
        machine.do(machine.start)
        self._tell_peers()

    def kill(self, machine: Machine) -> None:
        """A process ends, however; its supervisor starts another."""
        if not machine.alive:
            return
        machine.alive = False
        machine.die()
        self.disk.process_died()
        place = machine.identity.place
        del self.machines[place]
        self._tell_peers()
        if self._restarting and self._restarting[0] == place:
            self._next_of_restart()
        elif place not in self._restarting:
            self.clock.after(self._tree.randint(5, 60), lambda: self.begin(place))

    def crashed(self, machine: Machine, problem: Exception) -> None:
        """A process ended by an exception of ours."""
        where = "".join(traceback.format_exception(problem)[-3:])
        sentence = f"{machine.identity.place} crashed: {problem!r}\n{where}"
        if sentence not in self.wrong:
            self.wrong.append(sentence)

    def _tell_peers(self) -> None:
        peers = {place: machine.identity for place, machine in self.machines.items()}
        for machine in list(self.machines.values()):
            # Root's messages to one process keep their order.
            machine.told_at = max(machine.told_at, self.clock.now + self._tree.randint(1, 5))
            machine.later(machine.told_at - self.clock.now, lambda machine=machine: machine.directory(peers))  # type: ignore[misc]

    def power_cut(self, hurt: str) -> None:
        """The host loses its power, and with it what a disk may lose; then all starts again.

        Args:
            hurt: `nothing`; `wal`: the ends of what was written last, if the policy lets them be lost; `ledger`,
                `journal`: a file; `no-ledger`.
        """
        if hurt == "wal" and self.settings.journal.synchronous == "full":
            hurt = "nothing"
        self.happened[f"power.{hurt}"] += 1
        luck = self._damage
        # A ledger that was never checkpointed is all WAL, and has nothing to tear: that one is closed first.
        with self.disk.as_it_is() if hurt != "ledger" else nullcontext():
            for machine in list(self.machines.values()):
                self.kill(machine)
        self.disk.journal_touched += 1
        ledger = sorted(self.folder.glob("ledger.db*"))
        # Without its WAL a database is what it was at the last checkpoint.
        journal = sorted(path for path in (self.folder / "journal").glob("*.journal*") if path.stat().st_size)
        match hurt:
            case "wal":
                for path in (*ledger, *journal):
                    if path.name.endswith("-wal") and path.stat().st_size:
                        cut_wal(path, luck)
            case "ledger" if (self.folder / "ledger.db").exists():  # another power cut may have taken it just before
                tear(self.folder / "ledger.db", luck)
            case "journal" if journal:
                tear(luck.choice(journal), luck)
            case "no-ledger":
                for path in ledger:
                    path.unlink()
        # A ledger that was lost knows of nothing until the rows were folded again: those that are gone now never are.
        unaware = hurt == "journal" and self._folded < self._furthest
        if hurt in ("wal", "journal"):
            self.disk.torn = True
            self.damage = max(self.damage, Damage.BOTH if hurt == "wal" or unaware else Damage.JOURNAL)
        elif hurt != "nothing" and (self.damage is Damage.JOURNAL or self.record.is_cut()):
            self.damage = Damage.BOTH  # what was cut off cannot be folded again
        if hurt in ("ledger", "no-ledger"):
            self._folded = (0, 0)
        if self.damage is Damage.BOTH and (hurt != "journal" or unaware):
            self._unsaid |= self.record.gone()

    def folded(self, position: Position | None) -> None:
        """The ledger's checkpoint is here."""
        if position is not None:
            ordinal = self._journal_order.setdefault(position.uuid, len(self._journal_order))
            self._folded = (ordinal, position.n)
            self._furthest = max(self._furthest, self._folded)

    def journal_needed(self) -> None:
        """The journal was told what is needed of it. Where a power cut is to come, the checker knows it up to here."""
        if self._may_be_damaged:
            self.record.keep()

    def restart_cleanly(self) -> None:
        """As an upgrade does: stop in order, Switchboard after Connection, then start."""
        if self._restarting or len(self.machines) < len(ROLES):
            return
        self.happened["restart.clean"] += 1
        self._restarting = [CONNECTION, SWITCHBOARD, *(place for place in ROLES if place.pbx is None)]
        self._stop_next()

    def _stop_next(self) -> None:
        machine = self.machines.get(self._restarting[0])
        if machine is not None:
            machine.do(machine.stop)
            # Whoever takes longer than allowed is killed.
            self.clock.after(5000, lambda: self.kill(machine))
        else:
            self._next_of_restart()

    def left(self, machine: Machine) -> None:
        """A process ended in order, as it was told to."""
        if machine.alive:
            machine.alive = False
            machine.die()
            place = machine.identity.place
            del self.machines[place]
            self._next_of_restart()

    def _next_of_restart(self) -> None:
        self._restarting.pop(0)
        if self._restarting:
            self._stop_next()
        else:
            for place in ROLES:
                self.clock.after(50, lambda place=place: self.begin(place))  # type: ignore[misc]

    # --- what faults need ---------------------------------------------------------------------------------------------

    def make_calls(self) -> PlainCalls | CallSystem:
        """A host for the calls of a Switchboard."""
        return make_calls(self.settings, self._hosts)

    def kill_call(self, which: int) -> None:
        """End a call's actor, if calls are actors now."""
        machine = self.machines.get(SWITCHBOARD)
        if isinstance(machine, SwitchboardMachine) and isinstance(machine.calls, CallSystem) and machine.calls.states:
            names = sorted(machine.calls.states)
            self.happened["crash.call"] += machine.calls.kill(names[which % len(names)])

    def poison(self) -> None:
        """A frame comes at which the process that folds it dies."""
        self.pbx.poison(str(self.clock.now).encode())

    def fold(self, before: world.World, row: Row, conf: Settings) -> world.Step:
        """`world.step`, which no row kills but those that are marked."""
        if row.kind == Kind.FRAME and row.body.startswith(b'{"type":"Poison"'):
            self.happened["poison.death"] += 1
            raise Death
        return self.bugs.step(before, row, conf)

    # --- the run ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """From the beginning until everything is through, or patience is."""
        for place in ROLES:
            self.begin(place)
        clock = self.clock
        while clock.now <= faults.SPAN_MS + 5000 and self._go_on():
            pass
        while clock.now < CALM_MS and (not self.pbx.quiet or self._trouble()) and self._go_on():
            pass
        self._calm()
        until = self.clock.now + PATIENCE_MS
        looked = 0
        while self._go_on():
            if self.clock.now - looked < 50:
                continue
            looked = self.clock.now
            why = self._waiting_for()
            if why is None and self._stored():
                break
            if self.clock.now > until:
                self.wrong.append(f"not through after {PATIENCE_MS / 1000:.0f} s without any fault: {why}")
                break

    def _stored(self) -> bool:
        """Have Switchboard store all anew; False if it dies of that, as it may of what was damaged long ago."""
        switchboard = self.machines[SWITCHBOARD]
        assert isinstance(switchboard, SwitchboardMachine)
        switchboard.do(switchboard.store)
        return switchboard.alive

    def _go_on(self) -> bool:
        if self.clock.steps > MOST_STEPS:
            self.wrong.append(f"more than {MOST_STEPS} steps: something spins")
            return False
        return self.clock.step()

    def _trouble(self) -> bool:
        broker = self.broker
        return bool(
            self.disk.trouble
            or self.disk.slow_ms
            or broker.paused
            or broker.blocked
            or broker.silent
            or broker.unroutable
            or self.mail.loss
            or self.mail.delay_ms
        )

    def _calm(self) -> None:
        """Whatever is still wrong is mended."""
        self.disk.trouble.clear()
        self.disk.slow_ms.clear()
        self.disk.fatal.clear()
        self.broker.paused = self.broker.silent = False
        self.broker.block(False)
        self.broker.nacks = self.broker.forgets = 0
        self.broker.unroutable.clear()
        self.mail.loss = self.mail.doubling = 0.0
        self.mail.delay_ms = 0
        self.pbx.drop = self.pbx.double = self.pbx.garble = 0

    def _waiting_for(self) -> str | None:
        """What is not through yet."""
        connection, switchboard = self.machines.get(CONNECTION), self.machines.get(SWITCHBOARD)
        if not isinstance(connection, ConnectionMachine) or not isinstance(switchboard, SwitchboardMachine):
            return "a process is away"
        link = self.pbx.link
        if link is not None and link.deaf:
            if self.pbx.quiet:
                self.pbx.call()  # where nothing happens nobody can notice it
            return "the link is deaf"
        if not self.pbx.quiet:
            return "calls are under way"
        if link is None or link.stalled or link.replaced or link.due > self.clock.now:
            return "the link is down"
        health = connection.journal.health()
        if health.waiting_rows or health.losing_rows:
            return f"the journal: {health}"
        assert health.uuid is not None
        folded = switchboard.folding.position
        if not switchboard.ledger.is_open or folded != Position(health.uuid, health.last_n):
            return f"the fold stands at {folded}, the journal at {health.last_n}"
        counts = switchboard.ledger.outbox.counts()
        if counts.parked and not counts.waiting:
            switchboard.do(switchboard.redrive)
        if counts.waiting or counts.parked or switchboard.outgoing.unwritten:
            return f"the outbox: {counts}, {switchboard.outgoing.unwritten} commands unwritten"
        if switchboard.calls.states:
            # The PBX has none left; what arimon missed of their ends, a look at it tells.
            return f"calls {sorted(switchboard.calls.states)} are not ended"
        gap = switchboard.folding.watch.gap
        return None if gap is None or gap.from_ms is None else f"{gap} is not told"

    # --- the check ----------------------------------------------------------------------------------------------------

    def check(self) -> Result:
        """End it, and look at what came of it."""
        states = None
        switchboard = self.machines.get(SWITCHBOARD)
        if isinstance(switchboard, SwitchboardMachine):
            states = dict(switchboard.calls.states)
            if not self.wrong:
                self.wrong += switchboard.left()
        for machine in list(self.machines.values()):
            machine.alive = False
            machine.die()
        self.happened["journal.cut"] += self.record.is_cut()
        rows, exported = self.record.all()
        self.happened["withheld"] += sum(b'"messages-withheld"' in body for body in self.broker.received)
        self.happened["rows.lost"] += sum(row.kind == Kind.LOST for row in rows)
        links = tuple(checker.Stretch(link.number, tuple(link.sent)) for link in self.pbx.links)
        replay = Replay(PBX, self.settings)
        replayed = [message.body for line in exported for message in replay.feed(line)]
        told = {row: self._told[row.at_ms, row.body] for row in rows if (row.at_ms, row.body) in self._told}
        happened = self.pbx.happened({self.suspect[row.body] for row in rows if row.body in self.suspect})
        bodies, returned, redriven = self.broker.received, self.broker.returned, self.broker.redriven
        wrong = self.wrong + checker.verdict(
            bodies, rows, replayed, links, PBX, returned, self.damage, redriven, self._unsaid,
            set_back=self.happened["clock.back"] > 0,
        )  # fmt: skip
        if self.in_part_since_ms is not None:
            wrong += checker.uncovered(checker.consumed(bodies)[0], self.in_part_since_ms, PBX)
        wrong += self._memory()
        if self.damage is Damage.NONE:
            wrong += self._complaints()
        if self.damage is Damage.NONE:
            streams, _ = checker.consumed(self.broker.received)
            wrong += checker.adopted(streams, rows, happened, PBX, aside=self.happened["bug.world"] > 0)
            wrong += checker.unseen(streams, rows, happened, told, PBX)
        if states is not None and not wrong and self.damage is Damage.NONE:
            wrong += self._states(states, replay.calls)
        digest = hashlib.blake2b(digest_size=16)
        # What a refusing disk says names a file, and so this run's folder.
        folder = os.fsencode(self.folder)
        for part in (*self.broker.received, *exported):
            digest.update(part.replace(folder, b""))
        return Result(
            self.seed,
            (),
            tuple(wrong),
            self.happened,
            digest.hexdigest(),
            tuple(self.broker.received),
            tuple(rows),
            tuple(replayed),
            links,
            tuple(happened),
            told,
            self.clock.steps,
        )

    def _states(self, states: dict[str, Call], replayed: dict[str, Call]) -> list[str]:
        """The calls that are left are those that the replay has left."""
        if states.keys() != replayed.keys():
            return [f"calls {sorted(states.keys() ^ replayed.keys())} are not what a replay leaves"]
        return [f"call {key}: its state is not what a replay leaves" for key in states if states[key] != replayed[key]]

    def _complaints(self) -> list[str]:
        """What an operator is told of rows or numbers that are gone, though nothing was damaged."""
        if self.happened["power.ledger"]:
            return []  # a page that is zeroed within a blob is met by whoever reads it
        return [f"{what} was said, and nothing was damaged" for what in sorted(self.happened) if what in ALARMS]

    def _memory(self) -> list[str]:
        bounds = {
            "journal waiting bytes": self.settings.journal.reserve_bytes + (1 << 20),
            "messages held": LIMITS.entries,
            "messages at the publisher": 2 * LIMITS.window,
            "commands unwritten": 2 * LIMITS.entries,
        }
        return [
            f"{what}: {self.figures[what]}, allowed are {bound}"
            for what, bound in bounds.items()
            if self.figures[what] > bound
        ]


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="arimon-simulation-", dir=SHARED if SHARED.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def schedule_of(seed: int) -> tuple[Fault, ...]:
    """What goes wrong in a seed."""
    return tuple(faults.draw(random.Random(f"{seed} schedule")))


def run(seed: int, schedule: Sequence[Fault] | None = None) -> Result:
    """Run a seed.

    Args:
        seed: decides everything.
        schedule: which of its faults happen; None is all.
    """
    chosen = schedule_of(seed) if schedule is None else tuple(schedule)
    with _folder() as folder:
        lab = Lab(seed, chosen, folder)
        stepping = mock.patch.object(standing, "world", SimpleNamespace(step=lab.fold))
        buggy = any(fault.kind == "bug" for fault in chosen)
        storing = installed(lab.disk, lab.luck("disk"), before_cut=lab.record.keep)
        with stepping, storing, lab.bugs.installed() if buggy else nullcontext():
            lab.run()
            result = lab.check()
            # All that is in it refers to it: most of it goes at once, and leaves the garbage collector little to find.
            vars(lab).clear()
    return replace(result, schedule=chosen)
