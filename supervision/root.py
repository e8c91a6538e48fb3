"""Root: the supervisor above all, and the directory of who is where.

Three things it does that no other supervisor does. It sends `Peers` to everybody at every change. It watches arimond,
its own supervisor, which is no parent of it (Thespian's Admin is): when arimond ends, so does the whole process group.
And it loads the code of all actors before it starts the first: who is forked then has it already, so a restart does not
pay for imports (half a second of them for aiohttp and aio-pika), and all processes share the memory.
"""

import importlib
import os
from typing import Any

from supervision import links
from supervision.child_spec import SupervisorSpec
from supervision.messages import Letter, Peer, Peers, Start
from supervision.supervisor import Supervisor


class Root(Supervisor):
    """The top of the tree."""

    role = "root"
    unsuspendable = "arimond would take it for hung, and start everything over"

    def start(self, start: Start) -> None:
        self._watch_arimond(start)
        assert start.supervisor is not None
        _load(start.supervisor)
        super().start(start)

    def details(self) -> dict[str, Any]:
        return super().details() | {"arimond": self._start.arimond_pid}

    def _watch_arimond(self, start: Start) -> None:
        arimond = links.open_pidfd(start.arimond_pid)
        if arimond is None:
            links.kill_group(os.getpgrp())
            return
        self.watch(arimond, lambda: links.kill_group(os.getpgrp()))

    def _peers_moved(self) -> None:
        peers = Peers((Peer(self.identity, self.myAddress), *self._peers_below()))
        for peer in peers.peers[1:]:
            self.send(peer.address, Letter(peer.identity, self.identity, peers))
        self.receive_Peers(peers, peers.peers[0])


def _load(spec: SupervisorSpec) -> None:
    for child in spec.children:
        start = child.start
        assert isinstance(start, Start)
        importlib.import_module(start.actor.rpartition(".")[0])
        if start.supervisor is not None:
            _load(start.supervisor)
