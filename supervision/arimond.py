"""arimond: the foreground process. It reads conf, boots the actor system, and is what systemd watches.

    arimond ── Thespian's Admin ── Root ── …          all but arimond share a process group

It watches the Admin and Root by pidfd, and asks Root now and then whether it lives. When one of them is gone, or Root
is silent, the group is killed and everything starts over: at most 5 times in 60 s, then exit 70.

Exit codes (sysexits.h): 0 stopped as told · 64 wrong command line · 70 given up · 78 wrong configuration ·
130 interrupted (SIGINT) before there was anything to stop.
"""

from supervision.signals import Signals, ToldToStop

if __name__ == "__main__":
    # Before all other imports, which take up to a second: a signal meanwhile is neither lost nor a traceback.
    _told = Signals()

import gc
import importlib
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import click
from thespian.actors import ActorAddress, ActorSystemException

from conf.load import ConfigurationError, check, load
from conf.settings import Settings
from supervision import links, tree
from supervision.child_spec import SupervisorSpec
from supervision.demo import Demo, DemoFailed
from supervision.intensity import Restarts, add_restart
from supervision.messages import Farewell, Identity, Init, Letter, Place, Probe, ProbeAnswered, Start, Started, Stop
from supervision.notify import notify
from supervision.starvation import Starved
from supervision.system import ActorHost
from wire import log
from wire.store.database import WriterLock
from wire.store.errors import StoreError

EXIT_OK = 0
EXIT_USAGE = 64
EXIT_GIVEN_UP = 70
EXIT_CONFIG = 78
EXIT_INTERRUPTED = 130

BOOT_LIMIT = 60.0
"""Seconds from a boot until Root says that all is started; folding a journal again is part of it."""
ASK_EVERY = 1.0
"""Seconds between two questions to Root."""
SILENT_LIMIT = 10.0
"""Seconds without an answer after which Root is taken for hung, waits for a CPU not counted."""
ATTEMPTS = 5
"""Times that everything may be started over within `ATTEMPTS_PERIOD_MS`."""
ATTEMPTS_PERIOD_MS = 60_000

ARIMOND = Identity("arimond", None, 1)
_ROOT = "supervision.root.Root"

_log = log.get("supervision.arimond")


class TreeLost(Exception):
    """The tree is gone or useless, and has been killed."""


class Arimond:
    """Keeps one tree running until told to stop."""

    def __init__(self, settings: Settings, told: Signals) -> None:
        self._settings = settings
        self._generation = 0
        self._told = told
        self._deadline: float | None = None

    def run(self, demo: Demo | None, seconds: float | None) -> int:
        """Run until a signal, or for some time. Returns the exit code.

        Raises:
            ToldToStop: while there was no tree.
        """
        attempts: Restarts = ()
        _load_actors(tree.root(self._settings))
        while True:
            self._told.check()
            self._generation += 1
            booted = _Tree(self._settings, self._generation)
            try:
                with booted:
                    self._serve(booted, demo, seconds)
                    if demo is not None:
                        demo.stop_traffic()
                    booted.stop(self._settings.supervision.stop_timeout, self._told)
                return EXIT_OK
            except TreeLost as lost:
                _log.error("arimond.tree_lost", reason=str(lost), generation=self._generation)
            attempts, tolerated = add_restart(attempts, _now_ms(), ATTEMPTS, ATTEMPTS_PERIOD_MS)
            if not tolerated:
                _log.error("arimond.given_up", restarts=ATTEMPTS, seconds=ATTEMPTS_PERIOD_MS // 1000)
                click.echo(f"arimond: the tree fell {ATTEMPTS + 1} times in a minute; the log says why", err=True)
                return EXIT_GIVEN_UP

    def _serve(self, booted: "_Tree", demo: Demo | None, seconds: float | None) -> None:
        booted.boot(self._told)
        if self._told.stop:
            return
        notify("READY=1", f"MAINPID={os.getpid()}", "STATUS=all is started")
        if demo is not None:
            demo.show()
        if seconds is not None and self._deadline is None:
            self._deadline = time.monotonic() + seconds
        while not self._told.stop and not self._is_over():
            if booted.check():
                notify("WATCHDOG=1")
            pause = ASK_EVERY if self._deadline is None else min(ASK_EVERY, max(0.0, self._deadline - time.monotonic()))
            self._told.wait(pause, booted.filenos)
            if demo is not None:
                demo.check()
        notify("STOPPING=1", "STATUS=draining")

    def _is_over(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline


class _Tree:
    """One boot of the actor system with Root on top; as a context it leaves no process behind."""

    def __init__(self, settings: Settings, generation: int) -> None:
        self._settings = settings
        self._root = Identity("root", None, generation)
        self._host: ActorHost | None = None
        self._address: ActorAddress | None = None
        self._pidfds: dict[int, str] = {}
        self._answered = 0.0
        self._root_pid = 0
        self._starved = Starved(self._root_pid)
        self._keep: set[int] = set()

    def __enter__(self) -> "_Tree":
        self._keep = set(links.children_of(os.getpid()))
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._host is not None:
            self._host.kill()
        for fileno in self._pidfds:
            # A killed process is dead when its pidfd is readable; then its zombie can be waited for.
            select.select([fileno], [], [], 5.0)
            links.close_pidfd(fileno)
        self._pidfds.clear()
        until = time.monotonic() + 5.0
        while (left := self._left()) and time.monotonic() < until:
            for pid in left:
                links.kill_process(pid)
            links.reap(keep=set(links.children_of(os.getpid())) - left)
            select.select([], [], [], 0.01)

    def _left(self) -> set[int]:
        """Children of ours that came of this boot: the Admin, and whoever has lost it; the demo's are none of ours."""
        left = set()
        for pid in set(links.children_of(os.getpid())) - self._keep:
            with suppress(ProcessLookupError):
                if self._host is None or os.getpgid(pid) == self._host.group:
                    left.add(pid)
        return left

    @property
    def filenos(self) -> list[int]:
        """Readable when the Admin or Root has ended."""
        return list(self._pidfds)

    def boot(self, told: Signals) -> None:
        """Start everything; returns when Root says that all is started, or somebody told us to stop.

        Raises:
            TreeLost: it was not, in time.
        """
        try:
            self._host = ActorHost()
            self._address = self._host.create(_ROOT)
        except (ActorSystemException, RuntimeError) as problem:
            raise TreeLost(f"the actor system did not come up: {problem}") from problem
        self._watch(self._host.admin_pid, "Thespian's Admin")
        start = Start(_ROOT, Place("root", None), self._settings, tree.root(self._settings), os.getpid())
        body = self._say(Init(self._root, ARIMOND, None, start), 0.25)
        until = time.monotonic() + BOOT_LIMIT
        while time.monotonic() < until and not told.stop:
            if isinstance(body, Started):
                self._watch(body.pid, "Root")
                self._root_pid = body.pid
                self._root_answered()
                _log.info("arimond.started", root=body.pid, admin=self._host.admin_pid)
                return
            if isinstance(body, Farewell):
                raise TreeLost(f"Root could not be started: {body.reason}")
            self._look_for_deaths()
            body = self._listen(0.25)
        if not told.stop:
            raise TreeLost(f"not started within {BOOT_LIMIT:.0f} s")

    def check(self) -> bool:
        """Ask Root whether it lives.

        Returns:
            Whether it has answered at once; it may be busy.

        Raises:
            TreeLost: somebody has ended, or Root does not answer any more.
        """
        self._look_for_deaths()
        body = self._say(Letter(self._root, ARIMOND, Probe(self._root.generation)), 0.2)
        while body is not None:
            if isinstance(body, ProbeAnswered):
                self._root_answered()
                return True
            if isinstance(body, Farewell):
                raise TreeLost(f"Root has left: {body.reason}")
            body = self._listen(0.2)
        if time.monotonic() - self._answered - self._starved.seconds() > SILENT_LIMIT:
            raise TreeLost(f"Root has not answered for {SILENT_LIMIT:.0f} s")
        return False

    def _root_answered(self) -> None:
        self._answered, self._starved = time.monotonic(), Starved(self._root_pid)

    def stop(self, seconds: float, told: Signals) -> None:
        """Stop the tree in order; what is not done in time is killed when the context ends."""
        assert self._host is not None
        body = self._say(Letter(self._root, ARIMOND, Stop(int(seconds * 1000))), 0.1)
        until = time.monotonic() + seconds
        while time.monotonic() < until and not told.hurry:
            if isinstance(body, Farewell):
                self._host.shutdown()
                return
            body = self._listen(0.1)
            if select.select(self.filenos, [], [], 0)[0]:
                return
        _log.error("arimond.stop_cut_short", seconds=seconds, told=told.hurry)

    def _say(self, message: Any, seconds: float) -> Any:
        """Send to Root, and wait for the next thing that it says."""
        assert self._host is not None
        try:
            # Not `tell`: Thespian's waits a minute for a hung receiver to take the message, then raises.
            return self._said(self._host.ask(self._address, message, seconds))
        except ActorSystemException as problem:
            raise TreeLost(f"Root cannot be reached: {problem}") from problem

    def _listen(self, seconds: float) -> Any:
        assert self._host is not None
        return self._said(self._host.listen(seconds))

    def _said(self, letter: Any) -> Any:
        if isinstance(letter, Letter) and letter.sender == self._root:
            if isinstance(letter.body, Farewell):
                _log.info("arimond.root_farewell", reason=str(letter.body.reason))
            return letter.body
        return letter

    def _watch(self, pid: int, name: str) -> None:
        fileno = links.open_pidfd(pid)
        if fileno is None:
            raise TreeLost(f"{name} has ended")
        self._pidfds[fileno] = name

    def _look_for_deaths(self) -> None:
        for fileno in select.select(self.filenos, [], [], 0)[0]:
            raise TreeLost(f"{self._pidfds[fileno]} has ended")


def _load_actors(spec: SupervisorSpec) -> None:
    """Load the code of all actors, before anything is forked.

    Every process then has it from the start: no restart, of Root or of what is below, pays for imports (half a second
    of CPU, most of it for aiohttp and aio-pika), and all processes share the memory. Frozen, it costs no collection of
    garbage anything, and none writes into the shared pages.
    """
    for actor in (_ROOT, *tree.actors(spec)):
        importlib.import_module(actor.rpartition(".")[0])
    gc.collect()
    gc.freeze()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Your settings (YAML).")
@click.option("--check", "only_check", is_flag=True, help="Say everything that is wrong with the settings, and exit.")
@click.option("--demo", is_flag=True, help="Run on recorded traffic: no Asterisk, no RabbitMQ, no settings needed.")
@click.option("--for", "seconds", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop by itself after this.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to keep state (wins over the settings).",
)
@click.pass_obj
def command(
    told: Signals, config: Path | None, only_check: bool, demo: bool, seconds: float | None, state_dir: Path | None
) -> int:
    """Watch Asterisk PBXs over ARI and publish every call's life to RabbitMQ."""
    told.check()
    with ExitStack() as stack:
        try:
            show = stack.enter_context(Demo(state_dir, told)) if demo else None
            overrides = show.overrides if show is not None else {}
            if state_dir is not None:
                overrides |= {"state_dir": str(state_dir.absolute())}
            with told.at_once():
                if only_check:
                    return _say_check(config, overrides)
                settings = load(config, overrides)
            log.setup(settings, role="arimond")
            lock = stack.enter_context(WriterLock(settings.state_dir / "arimond.lock"))
        except ConfigurationError as error:
            first, *others = error.problems
            more = f" ({len(others)} more: arimond --check says them all)" if others else ""
            return _refused(f"wrong configuration: {first}{more}", EXIT_CONFIG)
        except (StoreError, OSError) as error:
            return _refused(str(error), EXIT_CONFIG)
        except DemoFailed as error:
            return _refused(str(error), EXIT_GIVEN_UP)
        assert lock.held
        try:
            return Arimond(settings, told).run(show, seconds)
        except DemoFailed as error:
            return _refused(str(error), EXIT_GIVEN_UP)


def _say_check(config: Path | None, overrides: dict[str, Any]) -> int:
    problems = check(config, overrides)
    for problem in problems:
        click.echo(str(problem))
    if not problems:
        click.echo("the configuration is right")
    return EXIT_CONFIG if problems else EXIT_OK


def _refused(text: str, code: int) -> int:
    click.echo(f"arimond: {text}", err=True)
    return code


def main(arguments: Sequence[str] | None = None, told: Signals | None = None) -> int:
    """Run arimond.

    Args:
        arguments: the command line without the program's name; None takes the process's.
        told: the process's signals, if they have been taken already; else they are meanwhile.

    Returns:
        The exit code.
    """
    if told is None:
        with closing(Signals()) as told:
            return main(arguments, told)
    try:
        code = command.main(arguments, prog_name="arimond", standalone_mode=False, obj=told)
    except click.ClickException as error:
        # click's own code for a wrong command line is 2, which is no word of sysexits.h's.
        error.show()
        return EXIT_USAGE
    except ToldToStop as order:
        return EXIT_INTERRUPTED if order.number == signal.SIGINT else EXIT_OK
    return int(code)


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


if __name__ == "__main__":
    sys.exit(main(told=_told))
