"""arimon-ctl: ask and steer a running arimond, and replay recordings without one.

    arimon-ctl status
    arimon-ctl tree --json
    arimon-ctl kill pbx/pbx1/call/1795336915.0 --yes
    arimon-ctl replay recording.jsonl.gz | jq .operation.type

Options that every command takes, before or after its name: --json, --socket, --config. The socket is the one given,
else the one of the configuration file given, else $ARIMON_CONTROL__SOCKET, else /run/arimon/control.sock.

Results go to standard output, everything else to standard error. The exit code says whose fault it was (`EXITS`);
there is never a traceback. It starts fast: rich, the client, the configuration and the call model are imported by the
commands that use them, pydantic only where something is configured, thespian by none.
"""

import gc
import json
import os
import sys
from collections.abc import Iterator

import click

from wire.control.api import ControlError, DaemonDown, NotPermitted, Unanswered, Unsupported
from wire.control.door import Door, common, door_of, path_argument, pbx_option, sure, uncollected, write, yes_option

EXITS = {
    0: "done",
    1: "refused: no such call, path or row, an unreadable file, or nothing that may be done now",
    2: "wrong command line or configuration",
    3: "arimond is down",
    4: "arimond did not answer in time",
    5: "this arimond cannot do it",
    6: "the control socket is not for this user",
    70: "a fault of arimon-ctl itself, or an arimond of another version",
    130: "interrupted",
}

_BY_ERROR = {DaemonDown: 3, Unanswered: 4, Unsupported: 5, NotPermitted: 6}


def _help() -> str:
    codes = "\n".join(f"  {code:<4}{meaning}" for code, meaning in EXITS.items())
    return f"\b\nExit codes:\n{codes}"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=_help())
@common
def arimon_ctl() -> None:
    """Ask and steer a running arimond, and replay recordings without one."""


@arimon_ctl.command()
@common
@door_of
def status(door: Door) -> None:
    """How everything is."""
    reply = door.client().status()
    from wire.control import show

    door.say(reply, show.status)


@arimon_ctl.command()
@common
@door_of
def tree(door: Door) -> None:
    """Processes and calls: state, restarts, since when, lag."""
    client = door.client()
    root, calls = client.tree(), client.calls()
    from wire.control import show

    door.say(show.with_calls(root, calls), show.tree)


@arimon_ctl.command()
@pbx_option
@common
@door_of
def calls(door: Door, pbx: str | None) -> None:
    """Active calls, oldest first."""
    reply = door.client().calls(pbx)
    from wire.control import show

    door.say(reply, show.calls)


@arimon_ctl.command()
@click.argument("call_id", metavar="ID")
@pbx_option
@common
@door_of
def call(door: Door, call_id: str, pbx: str | None) -> None:
    """One call: its whole state and its last messages."""
    reply = door.client().call(call_id, pbx)
    from wire.control import show

    door.say(reply, show.call)


@arimon_ctl.command("which-children")
@path_argument
@common
@door_of
def which_children(door: Door, path: str) -> None:
    """A supervisor's children, the one started last first."""
    reply = door.client().which_children(path)
    from wire.control import show

    door.say(reply, show.children)


@arimon_ctl.command("get-state")
@path_argument
@common
@door_of
def get_state(door: Door, path: str) -> None:
    """The state of a process or a call, secrets masked."""
    reply = door.client().get_state(path)
    from wire.control import show

    door.say(reply, show.plain)


@arimon_ctl.command()
@path_argument
@common
@door_of
def statistics(door: Door, path: str) -> None:
    """Messages of a process or a call, and what waits."""
    reply = door.client().statistics(path)
    from wire.control import show

    door.say(reply, show.plain)


@arimon_ctl.command()
@path_argument
@click.option("--max", "most", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Then it stops.")
@common
@door_of
def trace(door: Door, path: str, most: int) -> None:
    """The next messages into and out of a process or a call."""
    lines = door.client().trace(path, most)
    if door.as_json:
        write(lines, flush=True)
        return
    from wire.control import show

    for line in lines:
        door.draw(show.traced(json.loads(line)))
        sys.stdout.flush()


@arimon_ctl.command()
@path_argument
@common
@door_of
def suspend(door: Door, path: str) -> None:
    """Let a process or a call take nothing; what comes for it is kept until `resume`."""
    door.done(door.client().suspend(path))


@arimon_ctl.command()
@path_argument
@common
@door_of
def resume(door: Door, path: str) -> None:
    """Let it take what was kept, in order, and go on."""
    door.done(door.client().resume(path))


@arimon_ctl.command()
@path_argument
@yes_option
@common
@door_of
def kill(door: Door, path: str, yes: bool) -> None:
    """Kill a process or a call's actor at once; its supervisor decides what follows."""
    sure(yes, f"Kill {path}?")
    door.done(door.client().kill(path))


@arimon_ctl.command()
@path_argument
@yes_option
@common
@door_of
def restart(door: Door, path: str, yes: bool) -> None:
    """Stop a process or a call's actor in order and start it again; it costs no restart budget."""
    sure(yes, f"Restart {path}?")
    door.done(door.client().restart(path))


@arimon_ctl.command()
@pbx_option
@click.option("--dry-run", is_flag=True, help="Show the difference, change nothing.")
@common
@door_of
def reconcile(door: Door, pbx: str | None, dry_run: bool) -> None:
    """Compare arimon's calls with what the PBX says now, and correct them."""
    reply = door.client().reconcile(pbx, dry_run)
    from wire.control import show

    door.say(reply, show.reconciled)


@arimon_ctl.group(invoke_without_command=True)
@common
@click.pass_context
def outbox(context: click.Context) -> None:
    """Messages that are not confirmed yet."""
    if context.invoked_subcommand is not None:
        return
    door = context.ensure_object(Door)
    reply = door.client().outbox()
    from wire.control import show

    door.say(reply, show.outbox)


@outbox.command("redrive")
@pbx_option
@common
@door_of
def outbox_redrive(door: Door, pbx: str | None) -> None:
    """Offer parked messages again."""
    door.done(door.client().outbox_redrive(pbx))


@arimon_ctl.group()
@common
def quarantine() -> None:
    """Rows that raised, kept aside."""


@quarantine.command("list")
@pbx_option
@common
@door_of
def quarantine_list(door: Door, pbx: str | None) -> None:
    """All of them, oldest first."""
    reply = door.client().quarantine(pbx)
    from wire.control import show

    door.say(reply, show.quarantine)


@quarantine.command("show")
@click.argument("pbx")
@click.argument("row", type=click.IntRange(min=0))
@common
@door_of
def quarantine_show(door: Door, pbx: str, row: int) -> None:
    """One of them in full."""
    reply = door.client().quarantine_show(pbx, row)
    from wire.control import show

    door.say(reply, show.quarantined)


@quarantine.command("redrive")
@click.argument("pbx")
@click.argument("row", type=click.IntRange(min=0))
@common
@door_of
def quarantine_redrive(door: Door, pbx: str, row: int) -> None:
    """Apply a row once more, once what it met is mended."""
    door.done(door.client().quarantine_redrive(pbx, row))


@quarantine.command("drop")
@click.argument("pbx")
@click.argument("row", type=click.IntRange(min=0))
@yes_option
@common
@door_of
def quarantine_drop(door: Door, pbx: str, row: int, yes: bool) -> None:
    """Forget a row."""
    sure(yes, f"Forget row {row} of {pbx} for ever?")
    door.done(door.client().quarantine_drop(pbx, row))


@arimon_ctl.group(invoke_without_command=True)
@common
@click.pass_context
def journal(context: click.Context) -> None:
    """Range, size and lag of the journals."""
    if context.invoked_subcommand is not None:
        return
    door = context.ensure_object(Door)
    reply = door.client().journal()
    from wire.control import show

    door.say(reply, show.journal)


@journal.command("export")
@click.option("--pbx", metavar="NAME", required=True, help="Whose journal.")
@click.option("--from", "first", type=click.IntRange(min=0), metavar="N", help="First row; else the oldest kept.")
@click.option("--to", "last", type=click.IntRange(min=0), metavar="N", help="Last row; else the newest.")
@common
@door_of
def journal_export(door: Door, pbx: str, first: int | None, last: int | None) -> None:
    """Rows as JSON lines, as `replay` reads them."""
    write(door.client().journal_export(pbx, first, last))


@arimon_ctl.command()
@pbx_option
@common
@door_of
def gaps(door: Door, pbx: str | None) -> None:
    """Times in which a PBX was not seen."""
    reply = door.client().gaps(pbx)
    from wire.control import show

    door.say(reply, show.gaps)


@arimon_ctl.command()
@common
@door_of
def crashes(door: Door) -> None:
    """Crash reports kept, oldest first."""
    reply = door.client().crashes()
    from wire.control import show

    door.say(reply, show.crashes)


@arimon_ctl.command()
@click.argument("crash_id", metavar="ID")
@common
@door_of
def crash(door: Door, crash_id: str) -> None:
    """One crash report: message, state, traceback."""
    reply = door.client().crash(crash_id)
    from wire.control import show

    door.say(reply, show.crash)


@arimon_ctl.group()
@common
def config() -> None:
    """The configuration in force."""


@config.command("show")
@common
@door_of
def config_show(door: Door) -> None:
    """All settings of the running daemon, secrets masked."""
    click.echo(json.dumps(door.client().config(), indent=None if door.as_json else 2, ensure_ascii=False))


@arimon_ctl.command()
@click.option("--follow", is_flag=True, help="Go on as messages are published, until interrupted.")
@click.option("--call", "call_id", metavar="ID", help="Only of this call (with --follow).")
@click.option("--type", "operation", metavar="T", help="Only this operation, as finished-call (with --follow).")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many (without --follow)."
)
@common
@door_of
def events(door: Door, follow: bool, call_id: str | None, operation: str | None, limit: int) -> None:
    """Messages published: the last ones, or with --follow those to come."""
    if (call_id or operation) and not follow:
        raise click.UsageError("--call and --type go with --follow")
    client = door.client()
    lines: Iterator[bytes]
    if follow:
        lines = client.follow(call_id, operation)
    else:
        lines = (json.dumps(one, ensure_ascii=False).encode() for one in client.messages(limit))
    if door.as_json:
        write(lines, flush=True)
        return
    from wire.control import show

    for line in lines:
        door.draw(show.message(json.loads(line)))
        sys.stdout.flush()


@arimon_ctl.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--server", metavar="NAME", help="`server` in the messages; else the first PBX of the configuration.")
@common
@door_of
def replay(door: Door, files: tuple[str, ...], server: str | None) -> None:
    """Print the messages that recordings would cause, one JSON object a line. Needs no daemon.

    A FILE holds plain ARI events, recorded ones ({"t": …, "event": …}) or exported journal rows, one a line; gzipped or
    not; `-` is standard input. Each FILE is a world of its own. Lines of no use are told on standard error.
    """
    with uncollected():
        from wire.control.replay import replayed

        settings = door.settings()
        name = server or next((pbx.name for pbx in settings.pbx), "pbx1")
        for file in files:
            write(replayed(file, name, settings, lambda problem: click.echo(f"arimon-ctl: {problem}", err=True)))


def main(arguments: list[str] | None = None) -> int:
    """Run arimon-ctl.

    Args:
        arguments: the command line without the program's name; None takes the process's.

    Returns:
        The exit code, one of `EXITS`, or 141 when nobody reads the output any more.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a caller's name must not hide the call.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        code = arimon_ctl.main(arguments, prog_name="arimon-ctl", standalone_mode=False, obj=Door())
        sys.stdout.flush()
    except ControlError as error:
        return _failed(str(error), next((code for kind, code in _BY_ERROR.items() if isinstance(error, kind)), 1))
    except click.Abort:
        return _failed("not done", 1)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except (BrokenPipeError, SystemExit):  # click makes SystemExit of a broken pipe, and of nothing else here
        # As `| head` does. What is left in the buffer must not fail at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:  # noqa: BLE001 - whatever it is, an operator gets a sentence and a code, no traceback
        return _failed(f"this should not happen ({type(error).__name__}: {error}); is arimond of another version?", 70)
    return code if isinstance(code, int) else 0


def _failed(text: str, code: int) -> int:
    click.echo(f"arimon-ctl: {text}", err=True)
    return code


if __name__ == "__main__":
    code = main()
    gc.freeze()  # else the interpreter looks through all that was imported once more before it ends
    sys.exit(code)
