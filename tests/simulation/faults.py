"""What goes wrong, and when: a schedule drawn from a seed, each fault a line that can be left out.

The schedule is all that a seed says about faults; what else is random (delays, jitter, which calls) comes from luck of
its own, so that a run without some of its faults differs from the run with them as little as it can.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.simulation import disk, orders
from tests.simulation.bugs import Where
from tests.simulation.places import CONNECTION, PUBLISHER, RECOVERY, SWITCHBOARD
from wire.ari.session import Down

if TYPE_CHECKING:
    from tests.simulation.lab import Lab

SPAN_MS = 20_000
"""Faults begin within so much time."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of a schedule."""

    number: int
    """Its place in the whole schedule."""
    at_ms: int
    kind: str
    given: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.number:3d}  {self.at_ms / 1000:7.3f} s  {self.kind} {' '.join(map(str, self.given))}"


Draw = Callable[[random.Random], tuple[Any, ...]]
Do = Callable[..., None]


def _nothing(_luck: random.Random) -> tuple[Any, ...]:
    return ()


def _span(least: int, most: int) -> Draw:
    return lambda luck: (luck.randint(least, most),)


def _crash(lab: "Lab", role: str) -> None:
    place = {"connection": CONNECTION, "switchboard": SWITCHBOARD, "publisher": PUBLISHER, "recovery": RECOVERY}[role]
    if (machine := lab.machines.get(place)) is not None:
        lab.happened[f"crash.{role}"] += 1
        lab.kill(machine)


def _crash_all(lab: "Lab") -> None:
    lab.happened["crash.all"] += 1
    for machine in list(lab.machines.values()):
        lab.kill(machine)


def _die_midway(lab: "Lab", stored: str, statements: int, after: bool) -> None:
    lab.disk.fatal[stored] = (statements, after)


def _disk_trouble(lab: "Lab", stored: str, kind: disk.Trouble, ms: int) -> None:
    lab.disk.trouble[stored] = kind
    lab.clock.after(ms, lambda: lab.disk.trouble.pop(stored, None))


def _disk_slow(lab: "Lab", stored: str, each_ms: int, ms: int) -> None:
    lab.disk.slow_ms[stored] = each_ms
    lab.clock.after(ms, lambda: lab.disk.slow_ms.pop(stored, None))


def _mail(lab: "Lab", loss: float, doubling: float, delay_ms: int, ms: int) -> None:
    lab.mail.loss, lab.mail.doubling, lab.mail.delay_ms = loss, doubling, delay_ms
    lab.clock.after(ms, lambda: _mail_well(lab))


def _mail_well(lab: "Lab") -> None:
    lab.mail.loss = lab.mail.doubling = 0.0
    lab.mail.delay_ms = 0


def _broker_flag(name: str) -> Do:
    def do(lab: "Lab", ms: int) -> None:
        setattr(lab.broker, name, True)
        if name == "paused":
            lab.happened["broker.pause"] += 1
        lab.clock.after(ms, lambda: setattr(lab.broker, name, False))

    return do


def _broker_block(lab: "Lab", ms: int) -> None:
    lab.broker.block(True)
    lab.clock.after(ms, lambda: lab.broker.block(False))


def _broker_count(name: str) -> Do:
    return lambda lab, count: setattr(lab.broker, name, count)


def _unroutable(lab: "Lab", operation: str, ms: int) -> None:
    lab.broker.unroutable.add(operation)
    lab.clock.after(ms, lambda: lab.broker.unroutable.discard(operation))


def _pbx_count(name: str) -> Do:
    return lambda lab, count: setattr(lab.pbx, name, count)


def _jump(lab: "Lab", ms: int) -> None:
    lab.happened["clock.jump"] += 1
    lab.happened["clock.back"] += ms < 0
    lab.clock.jump(ms)
    lab.pbx.clock_is_set()


def _kill_call(lab: "Lab", which: int) -> None:
    lab.kill_call(which)


def _power(lab: "Lab", hurt: str, off_ms: int) -> None:
    lab.power_cut(hurt)
    lab.happened["power.long"] += off_ms > 0
    lab.clock.boot(off_ms)


def _bug(lab: "Lab", where: Where, frames: int, then: str, ms: int, which: int) -> None:
    lab.pbx.bugs += [where] * frames
    match then:
        case "mend":
            lab.clock.after(ms, lambda: orders.try_again(lab, True, which))
        case "try":
            lab.clock.after(ms, lambda: orders.try_again(lab, False, which))
            lab.clock.after(2 * ms, lambda: orders.try_again(lab, True, which))
        case "drop":
            lab.clock.after(ms, lambda: orders.drop(lab, which))


KINDS: dict[str, tuple[float, Draw, Do]] = {
    "crash": (3, lambda luck: (luck.choice(("connection", "switchboard", "publisher", "recovery")),), _crash),
    "crash-all": (0.5, _nothing, _crash_all),
    "crash-midway": (
        2,
        lambda luck: (luck.choice(("journal", "ledger", "ledger")), luck.randint(0, 40), luck.random() < 0.5),
        _die_midway,
    ),
    "restart-cleanly": (0.5, _nothing, lambda lab: lab.restart_cleanly()),
    "kill-call": (2, _span(0, 1000), _kill_call),
    "poison": (0.5, _nothing, lambda lab: lab.poison()),
    "bug": (
        1,
        lambda luck: (
            luck.choice(("call", "call", "world")),
            luck.randint(1, 3),
            luck.choice(("mend", "mend", "try", "drop", "leave")),
            luck.randint(50, 10_000),
            luck.randrange(100),
        ),
        _bug,
    ),
    "disk": (
        2,
        lambda luck: (
            luck.choice(("journal", "ledger")),
            luck.choice(("full", "readonly", "ioerr", "doubt")),
            luck.randint(50, 8000),
        ),
        _disk_trouble,
    ),
    "power": (
        0.7,
        lambda luck: (
            luck.choice(("nothing", "wal", "ledger", "journal", "no-ledger")),
            luck.choice((0, 0, 0, 7_200_000)),
        ),
        _power,
    ),
    "disk-slow": (
        0.5,
        lambda luck: (luck.choice(("journal", "ledger")), luck.randint(10, 800), luck.randint(500, 5000)),
        _disk_slow,
    ),
    "link-cut": (1, lambda luck: (luck.choice((Down.CLOSED, Down.LOST)),), lambda lab, why: lab.pbx.cut(why)),
    "link-stall": (1, _nothing, lambda lab: lab.pbx.stall()),
    "link-deaf": (0.5, _nothing, lambda lab: lab.pbx.deafen()),
    "link-replaced": (0.5, _nothing, lambda lab: lab.pbx.replace()),
    "pbx-halt": (0.5, _span(500, 15_000), lambda lab, ms: lab.pbx.halt(ms)),
    "pbx-restart": (0.5, _span(200, 3000), lambda lab, ms: lab.pbx.restart(ms)),
    "pbx-drop": (1, _span(1, 5), _pbx_count("drop")),
    "pbx-double": (0.5, _span(1, 3), _pbx_count("double")),
    "pbx-garble": (0.5, _span(1, 3), _pbx_count("garble")),
    "broker-kill": (1, _span(200, 4000), lambda lab, ms: lab.broker.kill(ms)),
    "broker-pause": (0.5, _span(500, 25_000), _broker_flag("paused")),
    "broker-silent": (0.5, _span(500, 5000), _broker_flag("silent")),
    "broker-block": (1, _span(500, 8000), _broker_block),
    "broker-nack": (1, _span(1, 10), _broker_count("nacks")),
    "broker-forget": (1, _span(1, 6), _broker_count("forgets")),
    "broker-return": (
        1,
        lambda luck: (luck.choice(("received-call", "ringing-call", "finished-call")), luck.randint(500, 8000)),
        _unroutable,
    ),
    "broker-close-channel": (0.5, _nothing, lambda lab: lab.broker.close_channel()),
    "mail": (
        1.5,
        lambda luck: (
            luck.choice((0.0, 0.1, 0.5, 1.0)),
            luck.choice((0.0, 0.3)),
            luck.choice((0, 0, 100, 3000)),
            luck.randint(200, 4000),
        ),
        _mail,
    ),
    "clock": (0.5, lambda luck: (luck.choice((-1, 1)) * luck.choice((500, 5000, 3_600_000)),), _jump),
}
"""Kind → weight, what it is given, and what it does."""

COUNTED = (
    "crash.connection",
    "crash.switchboard",
    "crash.publisher",
    "crash.recovery",
    "crash.all",
    "crash.midway",
    "crash.call",
    "restart.clean",
    "poison.death",
    "disk.full",
    "disk.readonly",
    "disk.ioerr",
    "disk.doubt",
    "disk.slow",
    "power.nothing",
    "power.wal",
    "power.ledger",
    "power.journal",
    "power.no-ledger",
    "power.long",
    "ledger.set_aside",
    "log.switchboard.states_behind",
    "link.closed",
    "link.lost",
    "link.stall",
    "link.deaf",
    "link.unheard",
    "link.given_up",
    "link.replaced",
    "link.late",
    "link.explained",
    "pbx.halt",
    "pbx.restart",
    "pbx.drop",
    "pbx.double",
    "pbx.garble",
    "broker.kill",
    "broker.pause",
    "broker.silent",
    "broker.block",
    "broker.nack",
    "broker.forgotten",
    "broker.seen_and_forgotten",
    "broker.return",
    "broker.close_channel",
    "mail.lost",
    "mail.doubled",
    "mail.delayed",
    "mail.repeated",
    "mail.stray",
    "ring.lost",
    "ring.doubled",
    "clock.jump",
    "snapshot",
    "rows.lost",
    "quarantined",
    "bug.call",
    "bug.world",
    "redrive.ordered",
    "redrive.applied",
    "redrive.refused",
    "dropped",
    "withheld",
    "journal.cut",
)
"""What must have happened over the seeds of the normal suite."""


def draw(luck: random.Random) -> list[Fault]:
    """The schedule of a seed."""
    names = list(KINDS)
    if luck.random() < 0.3:
        # A few kinds, and many of each.
        names = luck.sample(names, 2)
    count = luck.choice((0, 1, 2, 3, 5, 8, 13))
    chosen = luck.choices(names, [KINDS[name][0] for name in names], k=count)
    times = sorted(luck.randrange(300, SPAN_MS) for _ in chosen)
    return [
        Fault(number, at, kind, KINDS[kind][1](luck))
        for number, (at, kind) in enumerate(zip(times, chosen, strict=True), 1)
    ]
