"""Recovery: decides when to look at what a PBX really does. Connection looks, Switchboard concludes.

After each link-up a snapshot at once, and a second look a little later, because only a channel that two snapshots lack
may be ended by absence. The same again as an audit now and then: Asterisk can drop a channel's events without any gap
(ari/facts.md 31).
"""

import time
from typing import Any, Literal

from actors.base import ProcessActor
from actors.messages import LinkChanged, TakeSnapshot
from supervision.messages import Identity, Peer, Place, Start
from wire.metrics import names


class RecoveryActor(ProcessActor):
    """One for all PBXs."""

    role = "recovery"

    def start(self, start: Start) -> None:
        self._options = start.settings.recovery
        self._links: dict[str, LinkChanged] = {}
        self._connections: dict[str, Identity] = {}
        self._down_since: dict[str, float] = {}
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
            if connection != self._connections.get(name):
                # Whatever was planned was planned for a link of the former process.
                self._links.pop(name, None)
                self.cancel(f"look {name}")
            if connection is None:
                self._connections.pop(name, None)
            else:
                self._connections[name] = connection

    def receive_LinkChanged(self, message: LinkChanged, sender: Peer) -> None:
        name = sender.identity.pbx
        assert name is not None
        if self._links.get(name) == message:
            return
        self._links[name] = message
        if message.up:
            self._down_since.pop(name, None)
            self._look(name, "link-up", 1)
        else:
            self._down_since[name] = time.monotonic()
            self.metrics.counter(names.GAPS).add()
            self.cancel(f"look {name}")

    def query_reconcile(self, pbx: str) -> bool:
        """Look now. False if the link is down: there is nothing to look through."""
        link = self._links.get(pbx)
        if link is None or not link.up:
            return False
        self._look(pbx, "operator", 1)
        return True

    def _look(self, name: str, purpose: Literal["link-up", "audit", "operator"], nth: Literal[1, 2]) -> None:
        link = self._links.get(name)
        if link is None or not link.up:
            return
        self.tell(Place("connection", name), TakeSnapshot(purpose, nth, link.link))
        if nth == 1:
            self.after(self._options.second_look, f"look {name}", lambda: self._look(name, purpose, 2))
        else:
            self.metrics.counter(names.AUDITS).add()
            self.after(self._options.audit_interval, f"look {name}", lambda: self._look(name, "audit", 1))
