"""A process of the tree, and what passes between processes: mail, and the rings of the doorbell.

A machine is one incarnation of a place. When it dies its timers and its mail die with it; the tree then starts a
successor of the next generation and tells everybody. Lines of credit one are the product's (`actors.line`); the mail
under them may lose, double and delay what it carries.
"""

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from actors.line import Line, Sent
from actors.messages import StreamAnswered, Streamed
from supervision.messages import Identity, Peer, Place
from tests.simulation.clock import Action
from tests.simulation.disk import Death

if TYPE_CHECKING:
    from tests.simulation.lab import Lab

OVERDUE_MS = 1000
"""How often a process looks for overdue lines, milliseconds (the product's tick)."""
REPEAT_AFTER = 2.0
"""Seconds after which an unanswered message of a line is sent again (the product's)."""


def latest(_older: Any, newer: Any) -> Any:
    """The merge of a line where only the newest counts."""
    return newer


class Machine:
    """One incarnation."""

    def __init__(self, lab: "Lab", identity: Identity) -> None:
        self.lab = lab
        self.identity = identity
        self.alive = True
        self.told_at = 0
        """When the last word about its peers reaches it."""
        self.peers: dict[Place, Identity] = {}
        self._lines: dict[str, tuple[Place, Line[Any]]] = {}
        self._known: dict[str, Identity | None] = {}

    # --- what a role overrides ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""

    def die(self) -> None:
        """The process is gone: let go of what the kernel would."""

    def stop(self) -> None:
        """End in order, then call `leave`."""
        self.leave()

    def peers_changed(self) -> None:
        """The directory has changed."""

    def rung(self) -> None:
        """Somebody rang."""

    # --- what a role uses ---------------------------------------------------------------------------------------------

    def later(self, ms: float, action: Action) -> None:
        """A timer; it dies with the process."""
        self.lab.clock.after(ms, partial(self.do, action))

    def do(self, action: Action) -> None:
        """Do something in this process, if it lives."""
        if not self.alive:
            return
        try:
            action()
        except Death:
            self.lab.happened["crash.midway"] += 1
            self.lab.kill(self)
        except Exception as problem:  # noqa: BLE001  # what would end the process, ends it here, and is reported
            self.lab.crashed(self, problem)
            self.lab.kill(self)

    def peer(self, place: Place) -> Identity | None:
        """Who stands in a place now, as far as we know."""
        return self.peers.get(place)

    def tell(self, place: Place, body: Any) -> None:
        """Send a message to whoever stands in a place now, as far as we know."""
        if (to := self.peers.get(place)) is not None:
            self.lab.mail.post(self.identity, to, body)

    def open_line(self, name: str, place: Place, merge: Callable[[Any, Any], Any]) -> None:
        """As the product's."""
        if not self._lines:
            self.later(OVERDUE_MS, self._look_for_overdue)
        self._lines[name] = (place, Line(merge, REPEAT_AFTER))

    def say(self, line: str, item: Any) -> None:
        """As the product's."""
        self._transmit(line, self._lines[line][1].put(item, self.lab.clock.seconds))

    def leave(self) -> None:
        """End in order."""
        self.lab.left(self)

    # --- machinery ----------------------------------------------------------------------------------------------------

    def _transmit(self, name: str, sent: Sent[Any] | None) -> None:
        if sent is not None:
            self.tell(self._lines[name][0], Streamed(name, sent.token, sent.item))

    def _look_for_overdue(self) -> None:
        for name, (_place, line) in self._lines.items():
            if (sent := line.overdue(self.lab.clock.seconds)) is not None:
                self.lab.happened["mail.repeated"] += 1
                self._transmit(name, sent)
        self.later(OVERDUE_MS, self._look_for_overdue)

    def directory(self, peers: dict[Place, Identity]) -> None:
        """Root has told who is where."""
        self.peers = peers
        for name, (place, line) in self._lines.items():
            now = peers.get(place)
            if now is not None and now != self._known.get(name):
                self._transmit(name, line.reset(self.lab.clock.seconds))
            self._known[name] = now
        self.peers_changed()

    def take(self, body: Any, author: Peer) -> None:
        """A message came."""
        match body:
            case Streamed(line, token, item):
                getattr(self, f"receive_{type(item).__name__}")(item, author)
                self.lab.mail.post(self.identity, author.identity, StreamAnswered(line, token))
            case StreamAnswered(line, token):
                if line in self._lines:
                    self._transmit(line, self._lines[line][1].answered(token, self.lab.clock.seconds))
            case _:
                getattr(self, f"receive_{type(body).__name__}")(body, author)


class Mail:
    """Messages between processes."""

    def __init__(self, lab: "Lab", luck: random.Random) -> None:
        self._lab = lab
        self._luck = luck
        self.loss = 0.0
        """Share of messages that get lost."""
        self.doubling = 0.0
        """Share of messages that come twice."""
        self.delay_ms = 0
        """Longest extra delay. What one process says to another keeps its order, as over one TCP connection."""
        self._due: dict[tuple[Identity, Identity], int] = {}

    def post(self, author: Identity, to: Identity, body: Any) -> None:
        """Send. It is dropped if its addressee is another incarnation by then."""
        happened: Counter[str] = self._lab.happened
        if self.loss and self._luck.random() < self.loss:
            happened["mail.lost"] += 1
            return
        copies = 1
        if self.doubling and self._luck.random() < self.doubling:
            happened["mail.doubled"] += 1
            copies = 2
        for _ in range(copies):
            delay = 1 + self._luck.random() * 3
            if self.delay_ms and self._luck.random() < 0.5:
                happened["mail.delayed"] += 1
                delay += self._luck.random() * self.delay_ms
            now = self._lab.clock.now
            due = self._due[author, to] = max(self._due.get((author, to), 0), now + round(delay))
            self._lab.clock.after(due - now, lambda: self._deliver(author, to, body))

    def _deliver(self, author: Identity, to: Identity, body: Any) -> None:
        machine = self._lab.machines.get(to.place)
        if machine is not None and machine.identity == to:
            machine.do(lambda: machine.take(body, Peer(author, None)))
        else:
            self._lab.happened["mail.stray"] += 1


class Doorbell:
    """The pipe between Connection and Switchboard. Whoever watches it then hears a ring, if it is not lost."""

    def __init__(self, lab: "Lab", luck: random.Random) -> None:
        self._lab = lab
        self._luck = luck

    def ring(self, place: Place) -> None:
        """Ring for whoever stands in a place. What befalls the mail befalls rings: a pipe can be missing for a time."""
        mail, happened = self._lab.mail, self._lab.happened
        if mail.loss and self._luck.random() < mail.loss:
            happened["ring.lost"] += 1
            return
        copies = 1
        if mail.doubling and self._luck.random() < mail.doubling:
            happened["ring.doubled"] += 1
            copies = 2
        for _ in range(copies):
            delay = self._luck.randint(0, 2) + (self._luck.random() * mail.delay_ms if mail.delay_ms else 0)
            self._lab.clock.after(round(delay), lambda: self._rung(place))

    def _rung(self, place: Place) -> None:
        machine = self._lab.machines.get(place)
        if machine is not None:
            machine.do(machine.rung)
