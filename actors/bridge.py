"""The one place where an asyncio loop meets an actor's mailbox.

A process actor that needs asyncio runs one loop in one daemon thread. Loop → actor goes through a queue and an eventfd
that the actor watches; actor → loop through `call_soon_threadsafe`. Nothing else is shared.

An exception that nobody in the loop caught is handed to the actor, which raises it: a worker whose loop is broken is
broken. That holds for what we started (`spawn`, `call`) whatever the exception, and for everything else of the loop but
one kind: an `OSError` (a lost connection, a TLS error: `ssl.SSLError` is one) that a library's transport or abandoned
task leaves behind. Nobody of ours asked for that, whoever uses the connection has been told of its end by other means,
and the broker or the PBX must not be able to cost a restart. It is logged, once a minute of each kind.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from wire import log


class LoopFailed(RuntimeError):
    """The loop's thread met an exception that nobody there expected; it is the `__cause__`."""


class Bridge:
    """A loop in a daemon thread, and its two ways to and from the actor."""

    def __init__(self, name: str) -> None:
        """
        Args:
            name: of the thread, as seen in `ps -L` and py-spy.
        """
        self.fileno = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable when `drain` has something; for the actor's watch."""
        self._items: deque[Any] = deque()
        self._name = name
        self._log = log.get("actors.bridge")
        self._limit = log.Limit()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._unhandled)
        # A daemon: a thread that does not end would keep a crashed process alive.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start the thread and run `main` in its loop until it returns; the loop goes on after that."""
        self._thread.start()
        self.spawn(main())

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """From the actor: run a coroutine in the loop; its exception is the actor's crash."""
        self.call(self._spawn, work)

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """From the actor: call something in the loop."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def post(self, item: Any) -> None:
        """From any thread: hand something to the actor."""
        self._items.append(item)
        os.eventfd_write(self.fileno, 1)

    def drain(self) -> list[Any]:
        """From the actor: what was posted since, in order.

        Raises:
            LoopFailed: the loop's thread met an unexpected exception.
        """
        try:
            os.eventfd_read(self.fileno)
        except BlockingIOError:
            return []
        items: list[Any] = []
        while self._items:
            item = self._items.popleft()
            if isinstance(item, _Failure):
                raise LoopFailed(f"{self._name}: {item.problem!r}") from item.problem
            items.append(item)
        return items

    def close(self) -> None:
        """End the loop and its thread; nothing that runs in it is waited for. A process that ends need not call it."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()
        os.close(self.fileno)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (problem := task.exception()) is not None:
            self.post(_Failure(problem))

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        problem = context.get("exception")
        # A callback of our own (`call`) comes here with the handle that ran it; a transport's or a task's has none.
        is_noise = isinstance(problem, OSError) and "handle" not in context
        if isinstance(problem, BaseException) and not is_noise:
            self.post(_Failure(problem))
            return
        said = str(context.get("message"))
        if (suppressed := self._limit.admit(f"{said[:50]} {type(problem).__name__}")) is not None:
            self._log.warning("loop.noise", loop=self._name, said=said, error=repr(problem), suppressed=suppressed)


class _Failure:
    """An exception on its way from the loop to the actor."""

    def __init__(self, problem: BaseException) -> None:
        self.problem = problem
