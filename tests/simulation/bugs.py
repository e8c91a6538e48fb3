"""Bugs of the product, put into it for some frames: the world, or a call, raises at them until they are mended.

Whether a frame is taken is decided by the frame, and by the order that is being carried out: so the daemon, a refold
and a replay of the journal meet the same bugs, as they would with the same code.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal
from unittest import mock

from actors import calls
from actors.call import host, replay, world
from actors.call.inputs import Routed
from actors.call.replay import Replay
from actors.call.state import Call
from actors.redrive import Redrive
from conf.settings import Settings
from wire.store.row import Kind, Row

Where = Literal["world", "call"]
MENDED = "mended"
"""Beginning of the id of an order that is given after the bug was mended."""
_fold = host.fold
_step = world.step
_carry_out = Redrive.carry_out
_carry_out_again = Redrive.carry_out_again
_redrive = Replay._redrive


class Bug(Exception):
    """What is raised."""


class Bugs:
    """Which frames cannot be taken, and by whom."""

    def __init__(self, happened: Counter[str]) -> None:
        self._happened = happened
        self._frames: dict[bytes, Where] = {}
        self._inputs: set[tuple[int, int]] = set()
        """Of frames that calls cannot take: row and its time."""
        self._mended = False

    def put(self, frame: bytes, where: Where) -> None:
        """A frame cannot be taken."""
        self._frames[frame] = where

    def step(self, before: world.World, row: Row, conf: Settings) -> world.Step:
        """As `world.step`."""
        where = self._frames.get(row.body) if self._frames and row.kind == Kind.FRAME else None
        if where == "world" and not self._mended:
            self._happened["bug.world"] += 1
            raise Bug("the world cannot take this frame")
        step = _step(before, row, conf)
        if where == "call":
            self._inputs.update((routed.input.n, routed.input.at_ms) for routed in step.routed)
        return step

    def fold(self, call: Call | None, routed: Routed, server: str, settings: Settings) -> host.Folded:
        """As `host.fold`."""
        if not self._mended and not routed.input.recovered and (routed.input.n, routed.input.at_ms) in self._inputs:
            self._happened["bug.call"] += 1
            raise Bug("the call cannot take this frame")
        return _fold(call, routed, server, settings)

    @contextmanager
    def _order(self, name: str) -> Iterator[None]:
        self._mended = name.startswith(MENDED)
        try:
            yield
        finally:
            self._mended = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within, the product has these bugs."""

        def carry_out(product: Redrive, order: Any, row: Row, at: Any) -> None:
            with self._order(order.id):
                known = len(product._standing.batch.attempts)
                _carry_out(product, order, row, at)
                for attempt in product._standing.batch.attempts[known:]:
                    applied = "redrive.applied" if attempt.error is None else "redrive.refused"
                    self._happened["dropped" if attempt.dropped else applied] += 1

        def carry_out_again(product: Redrive, order: Any, row: Row, at: Any) -> None:
            with self._order(MENDED):
                _carry_out_again(product, order, row, at)

        def redriven(product: Replay, order: Any, row: Row) -> Any:
            with self._order(order.id):
                return _redrive(product, order, row)

        with ExitStack() as stack:
            for owner, name, instead in (
                (host, "fold", self.fold),
                (calls, "fold", self.fold),
                (replay, "step", self.step),
                (Redrive, "carry_out", carry_out),
                (Redrive, "carry_out_again", carry_out_again),
                (Replay, "_redrive", redriven),
            ):
                stack.enter_context(mock.patch.object(owner, name, instead))
            yield
