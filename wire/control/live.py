"""The live view of `arimond --demo`: the tree, calls now, events and messages a second, the last messages.

    python -m wire.control.live --socket PATH [--parent PID]

A client of the control socket like any other. `view` is pure: replies in, something to draw out. `watch` polls twice a
second and draws; on a terminal in place, else as plain lines: each message as it is seen, and a line of figures every
few seconds. It ends with SIGTERM, Ctrl-C, or with the process that started it.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from wire.control import show
from wire.control.api import CallSummary, ControlError, Node, Status, Unsupported
from wire.control.client import ControlClient

POLL_SECONDS = 0.5
FIGURES_SECONDS = 5.0
"""Time between two lines of figures when the output is no terminal."""
LAST_MESSAGES = 50
"""Messages asked for at each poll; more than come in half a second of a demonstration."""
ANSWER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What one poll saw."""

    status: Status
    tree: Node
    calls: list[CallSummary]
    messages: list[dict[str, Any]]


def view(seen: Seen, height: int) -> RenderableType:
    """One picture.

    Args:
        seen: the replies.
        height: lines of the terminal; what does not fit is counted, not drawn.
    """
    now = seen.status["now_ms"]
    processes = show.tree(seen.tree, now, fold=False)
    room = max(4, height - _lines(seen.tree) - 9)
    shown_calls = seen.calls[: room // 2]
    more = len(seen.calls) - len(shown_calls)
    shown_messages = seen.messages[-(room - len(shown_calls)) :]
    calls: list[RenderableType] = [show.calls(shown_calls, now, fold=False)]
    if more:
        calls.append(Text(f"and {more} more", style="dim"))
    messages = [show.message(one) for one in shown_messages] or [Text("none yet", style="dim")]
    for line in messages:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(
        figures(seen.status),
        Panel(processes, title="processes", title_align="left", border_style="dim"),
        Panel(Group(*calls), title=f"calls: {len(seen.calls)}", title_align="left", border_style="dim"),
        Panel(Group(*messages), title="last messages", title_align="left", border_style="dim"),
    )


def figures(status: Status) -> Text:
    """The figures in one line, and what is wrong."""
    events = sum(pbx["events_per_second"] for pbx in status["pbx"])
    calls = sum(pbx["calls"] for pbx in status["pbx"])
    down = [pbx["name"] for pbx in status["pbx"] if pbx["link"]["state"] != "connected"]
    line = Text.assemble(
        (show.clean(status["application"]), "bold"),
        f" · calls: {calls} · {events:.0f} events/s · {status['publisher']['messages_per_second']:.1f} messages/s · "
        f"{status['publisher']['confirmed']} confirmed · {len(status['pbx']) - len(down)} of {len(status['pbx'])} PBXs",
    )
    for problem in status["problems"]:
        line.append(f"\n! {show.clean(problem)}", style="red")
    return line


def _lines(node: Node) -> int:
    return 1 + sum(_lines(child) for child in node["children"] if child["kind"] != "calls" or child["calls"])


@dataclass(slots=True)
class Plain:
    """What has been printed already, when the output is no terminal."""

    known: dict[str, None] = field(default_factory=dict)
    figures_at: float = float("-inf")
    down: bool = False

    def lines(self, seen: Seen, now: float) -> list[Text]:
        """The lines that are new.

        Args:
            seen: the replies.
            now: monotonic seconds.
        """
        self.down = False
        new = []
        for one in seen.messages:
            name = str(one.get("message_id"))
            if name not in self.known:
                self.known[name] = None
                new.append(show.message(one))
        while len(self.known) > 10 * LAST_MESSAGES:
            del self.known[next(iter(self.known))]
        if now - self.figures_at >= FIGURES_SECONDS:
            self.figures_at = now
            new.append(figures(seen.status))
        return new

    def failed(self, error: ControlError) -> list[Text]:
        """A line for the first of several failures in a row."""
        if self.down:
            return []
        self.down = True
        return [Text(str(error), style="yellow")]


def look(client: ControlClient) -> Seen:
    """One poll.

    Raises:
        ControlError: the daemon did not answer.
    """
    try:
        messages = client.messages(LAST_MESSAGES)
    except Unsupported:
        messages = []
    return Seen(client.status(), client.tree(), client.calls(), messages)


def watch(client: ControlClient, console: Console, over: Callable[[float], bool]) -> None:
    """Poll and draw until told to end.

    Args:
        client: whom to ask.
        console: where to draw.
        over: waits for at most so many seconds, and says whether to end.
    """
    plain = Plain()
    with ExitStack() as stack:
        live = None
        if console.is_terminal:
            live = stack.enter_context(Live(console=console, auto_refresh=False, transient=False))
        while True:
            try:
                seen = look(client)
            except ControlError as error:
                if live is not None:
                    live.update(Text(str(error), style="yellow"), refresh=True)
                else:
                    _print(console, plain.failed(error))
            else:
                if live is not None:
                    live.update(view(seen, console.height), refresh=True)
                else:
                    _print(console, plain.lines(seen, time.monotonic()))
            if over(POLL_SECONDS):
                return


def _print(console: Console, lines: list[Text]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True)
    console.file.flush()


def _ender(parent: int) -> Callable[[float], bool]:
    """Ends with a signal, or with whoever started us."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(writer, b"\0"))

    def over(seconds: float) -> bool:
        told = bool(select.select([reader], [], [], seconds)[0])
        return told or os.getppid() != parent

    return over


@click.command()
@click.option("--socket", required=True, type=click.Path(path_type=Path), help="The daemon's control socket.")
@click.option(
    "--parent", type=int, help="End with this process, which started it; else with whoever is the parent now."
)
def main(socket: Path, parent: int | None) -> None:
    """Show a running arimond live."""
    console = Console(file=sys.stdout, highlight=False)
    try:
        watch(
            ControlClient(socket, timeout=ANSWER_SECONDS), console, _ender(os.getppid() if parent is None else parent)
        )
    except BrokenPipeError:
        # Nobody reads any more; what is left in the buffer must not fail at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
