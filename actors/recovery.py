"""Recovery: decides when to look at what a PBX really does. Connection looks, Switchboard concludes.

After each link-up a look at once, and a second one `recovery.second_look` after the first was answered, because only
what two looks agree on may be concluded from absence (`actors.call.recovery`). The same again as an audit now and then:
Asterisk can drop a channel's events without any gap (ari/facts.md 31). And when an operator wants it.

    link up → look 1 ──answered──→ second_look → look 2 ──answered──→ audit_interval → look 1 …
                 └──failed──→ again, later each time

A look that is never answered (Connection died) is made up for by the next audit, or by the next link-up.
"""

import time
from typing import Any

from actors.base import ProcessActor
from actors.messages import LinkChanged, SnapshotTaken, TakeSnapshot
from supervision.messages import Identity, Peer, Place, Start
from wire.metrics import names


class RecoveryActor(ProcessActor):
    """One for all PBXs."""

    role = "recovery"

    def start(self, start: Start) -> None:
        self._options = start.settings.recovery
        self._links: dict[str, LinkChanged] = {}
        self._connections: dict[str, Identity] = {}
        self._speakers: dict[str, Identity] = {}
        """Who last said how the link is."""
        self._down_since: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._names = [pbx.name for pbx in start.settings.pbx]

    def details(self) -> dict[str, Any]:
        now = time.monotonic()
        return {
            "links": {name: link.up for name, link in self._links.items()},
            "down_seconds": {name: now - since for name, since in self._down_since.items()},
        }

    def peers_changed(self) -> None:
        for name in self._names:
            connection = self.peer(Place("connection", name))
            link = self._links.get(name)
            if connection != self._connections.get(name):
                if self._speakers.get(name) != connection:
                    # Whatever was planned was planned for a link of the former process.
                    self._links.pop(name, None)
                    self.cancel(f"look {name}")
                elif link is not None and link.up:
                    # It spoke before Root told us of it, and the order to look reached nobody.
                    self._look(name, TakeSnapshot("link-up", 1, link.link))
            if connection is None:
                self._connections.pop(name, None)
            else:
                self._connections[name] = connection

    def receive_LinkChanged(self, message: LinkChanged, sender: Peer) -> None:
        name = sender.identity.pbx
        assert name is not None
        speaker = self._speakers.get(name)
        if speaker is not None and sender.identity.generation < speaker.generation:
            return  # late words of a former process
        if self._links.get(name) == message and speaker == sender.identity:
            return
        self._speakers[name] = sender.identity
        self._links[name] = message
        self._failures[name] = 0
        if message.up:
            self._down_since.pop(name, None)
            self._look(name, TakeSnapshot("link-up", 1, message.link))
        else:
            self._down_since[name] = time.monotonic()
            self.metrics.counter(names.GAPS).add()
            self.cancel(f"look {name}")

    def receive_SnapshotTaken(self, message: SnapshotTaken, sender: Peer) -> None:
        name = sender.identity.pbx
        assert name is not None
        order = message.order
        link = self._links.get(name)
        if link is None or not link.up or link.link != order.link or order.dry_run:
            return
        options = self._options
        if not message.taken:
            self._failures[name] += 1
            wait = min(options.second_look * 2 ** min(self._failures[name] - 1, 30), options.audit_interval)
            self._plan(name, wait, order)
            return
        self._failures[name] = 0
        if order.nth == 1:
            self._plan(name, options.second_look, TakeSnapshot(order.purpose, 2, order.link, order.name))
        else:
            self.metrics.counter(names.AUDITS).add()
            self._plan(name, options.audit_interval, TakeSnapshot("audit", 1, order.link))

    def query_reconcile(self, pbx: str, name: str, dry_run: bool) -> bool:
        """Look now; the outcome will have this name. False if the link is down: there is nothing to look through."""
        link = self._links.get(pbx)
        if link is None or not link.up:
            return False
        order = TakeSnapshot("operator", 1, link.link, name, dry_run)
        if dry_run:
            self.tell(Place("connection", pbx), order)
        else:
            self._look(pbx, order)
        return True

    def _plan(self, name: str, seconds: float, order: TakeSnapshot) -> None:
        self.after(seconds, f"look {name}", lambda: self._look(name, order))

    def _look(self, name: str, order: TakeSnapshot) -> None:
        self.tell(Place("connection", name), order)
        self._plan(name, self._options.audit_interval, TakeSnapshot("audit", 1, order.link))
