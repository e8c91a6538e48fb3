"""What every command of arimon-ctl has in common: which daemon is meant, and how a reply is printed."""

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wire.control.client import ControlClient

DEFAULT_SOCKET = "/run/arimon/control.sock"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Door:
    """What the common options say, and what follows from them."""

    as_json: bool = False
    socket: Path | None = None
    config: Path | None = None

    def client(self) -> "ControlClient":
        """A client of the socket that is meant."""
        from wire.control.client import ControlClient

        if self.socket is not None:
            return ControlClient(self.socket)
        if self.config is not None:
            return ControlClient(self.settings().control.socket)
        return ControlClient(Path(os.environ.get("ARIMON_CONTROL__SOCKET", DEFAULT_SOCKET)))

    def settings(self) -> Any:
        """The configuration, as arimond would read it."""
        from conf.load import ConfigurationError, load

        try:
            return load(self.config)
        except ConfigurationError as error:
            raise click.UsageError(f"the configuration is wrong:\n{error}") from None

    def say(self, reply: Any, picture: "Callable[[Any], RenderableType]") -> None:
        """Print a reply, as JSON or for people."""
        if self.as_json:
            click.echo(json.dumps(reply, ensure_ascii=False))
        else:
            self.draw(picture(reply))

    def draw(self, what: "RenderableType") -> None:
        """Print something of rich's."""
        from rich.console import Console

        # Into a pipe there is no width to fit into: fold nothing.
        width = None if sys.stdout.isatty() else 1000
        Console(width=width, highlight=False, soft_wrap=width is not None).print(what)

    def done(self, reply: Any) -> None:
        """Print what a command did."""
        click.echo(json.dumps(reply, ensure_ascii=False) if self.as_json else reply["done"])


def _common(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(context.ensure_object(Door), name, value)

    return keep


def common(command: F) -> F:
    """The options of every command, on the group and on each command alike."""
    for option in (
        click.option(
            "--json",
            is_flag=True,
            default=None,
            expose_value=False,
            callback=_common("as_json"),
            help="Print JSON, for programs.",
        ),
        click.option(
            "--socket",
            type=click.Path(path_type=Path),
            expose_value=False,
            callback=_common("socket"),
            help="The daemon's control socket.",
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            expose_value=False,
            callback=_common("config"),
            help="The daemon's configuration file.",
        ),
    ):
        command = option(command)
    return command


pbx_option = click.option("--pbx", metavar="NAME", help="Only this PBX.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def path_argument(command: F) -> F:
    """The path of a process or of a call, and where the command's help says what that is."""
    command.__doc__ = f"""{command.__doc__}

    PATH is as `arimon-ctl tree --json` shows it: publisher, pbx/NAME/connection, pbx/NAME/call/ID.
    """
    return click.argument("path")(command)


door_of = click.make_pass_decorator(Door, ensure=True)


def sure(yes: bool, question: str) -> None:
    """Ask before something is destroyed; `--yes` answers."""
    if not yes:
        click.confirm(question, abort=True, err=True)


def write(lines: Iterator[bytes], flush: bool = False) -> None:
    """Lines to standard output, as they come on a terminal."""
    out = sys.stdout.buffer
    flush = flush or sys.stdout.isatty()
    for line in lines:
        out.write(line + b"\n")  # in one piece: with PYTHONUNBUFFERED each is a system call
        if flush:
            out.flush()
    out.flush()


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection: neither modules that come nor the call model's core leave cycles that are worth looking
    for, and to look costs a tenth of a start and a third of a large conference."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
