"""A process actor with an asyncio loop: Connection, Publisher and Monitor."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from actors.base import ProcessActor
from actors.bridge import Bridge
from supervision.reasons import SHUTDOWN


@dataclass(frozen=True, slots=True)
class _ProbePassed:
    """A probe on its way back from the loop."""

    token: int


@dataclass(frozen=True, slots=True)
class _MainReturned:
    """The loop's main work is over."""


class WorkerActor(ProcessActor):
    """Runs `main` in the loop of a daemon thread.

    A subclass writes `main`, and `from_loop_<Message>(self, message)` for what it posts from there with
    `self.bridge.post`. An exception that leaves `main`, or any task of the loop, is a crash of this actor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bridge = Bridge(self.role)

    async def main(self) -> None:
        """The work in the loop. When it returns, `main_returned` is called in the actor."""
        raise NotImplementedError

    def main_returned(self) -> None:
        """Nothing more happens in the loop: the end of a stop."""
        self.leave(SHUTDOWN)

    def run_loop(self) -> None:
        """From `start`: begin with `main`."""
        self.watch(self.bridge.fileno, self._from_loop)
        self.bridge.start(self._main)

    def in_loop(self, work: Coroutine[Any, Any, None]) -> None:
        """From the actor: run something in the loop."""
        self.bridge.spawn(work)

    def answer_probe(self, token: int) -> None:
        # By way of the loop and back: both of them may hang.
        self.bridge.call(self.bridge.post, _ProbePassed(token))

    async def _main(self) -> None:
        await self.main()
        # One more turn of the loop, so that what it posted last comes before the word that it is over.
        await asyncio.sleep(0)
        self.bridge.post(_MainReturned())

    def _from_loop(self) -> None:
        for item in self.bridge.drain():
            match item:
                case _ProbePassed(token):
                    super().answer_probe(token)
                case _MainReturned():
                    self.main_returned()
                case _:
                    getattr(self, f"from_loop_{type(item).__name__}")(item)
