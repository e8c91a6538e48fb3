"""Root: the supervisor above all, and the directory of who is where.

Two things it does that no other supervisor does. It sends `Peers` to everybody at every change. It watches arimond,
its own supervisor, which is no parent of it (Thespian's Admin is): when arimond ends, so does the whole process group.
"""

import os
from typing import Any

from supervision import links
from supervision.messages import Letter, Peer, Peers, Start
from supervision.supervisor import Supervisor


class Root(Supervisor):
    """The top of the tree."""

    role = "root"
    unsuspendable = "arimond would take it for hung, and start everything over"

    def start(self, start: Start) -> None:
        self._watch_arimond(start)
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
