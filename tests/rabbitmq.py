"""A real RabbitMQ for tests: Debian's package, on ports, directories, a cookie and an epmd of its own.

Runs as root and as an ordinary user; needs no service, touches neither /etc/rabbitmq nor /var/lib/rabbitmq, listens on
loopback only, and leaves nothing: the broker and its epmd are children of the test process, killed at the end, and by
the kernel if the test process itself dies.

Start-up takes about 7 s on two cores, most of it Erlang loading; so there is one broker per test session (and per
pytest-xdist worker), and a test that wants a clean one takes a vhost of its own. What makes it shorter: a configuration
in Erlang's own syntax (cuttlefish would compile a schema), a plugins folder without the forty plugins that RabbitMQ
would otherwise read at each start, and a hosts file for Erlang (no inet_gethost processes).
"""

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.processes import halt

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
PLUGINS = Path("/usr/lib/rabbitmq/lib")
START_SECONDS = 90.0


def free_port() -> int:
    """A port, of TCP and UDP, that nobody has, and that no other test is given while this process lives.

    Below the range that the kernel hands out: a port of that range could be taken by anybody's outgoing connection
    before its owner listens, or while it is down between two starts.
    """
    for _ in range(200):
        port = random.randrange(20_000, 32_000)
        # Whoever is given a port listens on it seconds later. Until then a name tells other test processes, and this
        # one, that it is given away; the kernel forgets the name with the process. Nobody else has to know of it.
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0arimon-test-port-{port}")
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        claim.detach()
        return port
    raise RuntimeError("no free port between 20000 and 32000 on 127.0.0.1")


@dataclass(frozen=True)
class Vhost:
    """A virtual host of one test, where `guest` may do everything."""

    broker: "RabbitMQ"
    name: str

    @property
    def url(self) -> str:
        """For AMQP clients."""
        return f"amqp://guest:guest@127.0.0.1:{self.broker.port}/{self.name}"


class RabbitMQ:
    """One broker. Every method blocks until what it asks for is so; call them from a thread in asyncio tests."""

    def __init__(self) -> None:
        if not SERVER.exists():
            raise RuntimeError(
                "RabbitMQ is not installed, and its tests never skip. Run ./bin/test once, or as root:"
                " apt-get install --no-install-recommends rabbitmq-server"
            )
        self.port = free_port()
        self.tls_port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="arimon-rabbitmq-"))
        self.ca_file = self.folder / "ca.pem"
        self._dist_port = free_port()
        self._epmd_port = free_port()
        self._cookie = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        self._vhosts = 0
        self._calls = 0
        # The kernel kills a child with PDEATHSIG when the *thread* that made it ends: so one thread, which lives as
        # long as the broker, makes all of them.
        self._spawner = ThreadPoolExecutor(1, "rabbitmq-spawner")
        self._write_folder()
        self._epmd = self._spawn(["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"], {})
        _wait(lambda: _listens(self._epmd_port), 20.0, "epmd does not listen")

    def _write_folder(self) -> None:
        folder = self.folder
        (folder / ".erlang.cookie").write_text(self._cookie)
        (folder / ".erlang.cookie").chmod(0o400)
        (folder / "env").touch()
        (folder / "enabled_plugins").write_text("[].\n")
        (folder / "inetrc").write_text('{lookup,[file]}. {host,{127,0,0,1},["localhost"]}.\n')
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(self.ca_file))
        certificate = ca.issue_cert("127.0.0.1", "localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        (folder / "rabbitmq.config").write_text(
            f"""[{{rabbit, [
                {{tcp_listeners, [{{"127.0.0.1", {self.port}}}]}},
                {{ssl_listeners, [{{"127.0.0.1", {self.tls_port}}}]}},
                {{ssl_options, [{{certfile, "{folder}/server.pem"}}, {{keyfile, "{folder}/server.pem"}}]}},
                {{vm_memory_high_watermark, {{absolute, 4000000000}}}},
                {{disk_free_limit, 1000000}}
            ]}}].\n"""
        )
        plugins = folder / "plugins"
        plugins.mkdir()
        for plugin in next(PLUGINS.glob("rabbitmq_server-*/plugins")).iterdir():
            if not plugin.name.startswith("rabbitmq_") or plugin.name.startswith("rabbitmq_prelaunch"):
                (plugins / plugin.name).symlink_to(plugin)

    def _spawn(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        def spawn() -> subprocess.Popen[bytes]:
            with open(self.folder / "output", "ab") as output:
                return subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", "--", *command],
                    env={"PATH": os.environ["PATH"], **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self.folder,
                    start_new_session=True,
                )

        return self._spawner.submit(spawn).result()

    def start(self) -> None:
        """Start it and wait until it speaks AMQP; nothing if it runs."""
        if self._process is not None:
            return
        folder = str(self.folder)
        environment = {
            "HOME": folder,
            "LANG": "C.UTF-8",
            "RUNNING_UNDER_SYSTEMD": "true",  # makes the script exec Erlang, so that our child is the broker
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_INETRC": f"{folder}/inetrc",
            "ERL_CRASH_DUMP_BYTES": "0",
            "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/env",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_PLUGINS_DIR": f"{folder}/plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        self._process = process = self._spawn([str(SERVER)], environment)

        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"RabbitMQ ended with {process.returncode}:\n{self._tail()}")
            return self._speaks()

        _wait(ready, START_SECONDS, lambda: f"RabbitMQ does not answer:\n{self._tail()}")

    def stop(self) -> None:
        """Stop it in an orderly way (SIGTERM); its data stays."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9; its data stays as it lies on the disk."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60.0)
            self._process = None

    @property
    def running(self) -> bool:
        """True between `start` and `stop` or `kill`, paused or not."""
        return self._process is not None

    def pids(self) -> tuple[int, ...]:
        """Process ids of the running broker and its epmd."""
        assert self._process is not None
        return self._process.pid, self._epmd.pid

    def pause(self) -> None:
        """SIGSTOP: from the return on it keeps its sockets and says nothing."""
        assert self._process is not None
        halt(self._process.pid)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def alarm(self, on: bool) -> None:
        """Raise or clear the memory alarm: who publishes from now on is blocked.

        The broker only notes an alarm down; its answer to a question asked after it says that all connections know.
        """
        if on:
            change = "rabbit_alarm:set_alarm({{resource_limit, memory, node()}, []})"
        else:
            change = "rabbit_alarm:clear_alarm({resource_limit, memory, node()})"
        self.call(f"{change}, rabbit_alarm:get_alarms()")

    def vhost(self) -> Vhost:
        """A new virtual host."""
        self._vhosts += 1
        name = f"v{self._vhosts}"
        self.call(f'rabbit_vhost:add(<<"{name}">>, <<"test">>)')
        self.permit("guest", name)
        return Vhost(self, name)

    def delete_vhost(self, vhost: Vhost) -> None:
        """Delete it and all that is in it."""
        self.call(f'rabbit_vhost:delete(<<"{vhost.name}">>, <<"test">>)')

    def add_user(self, name: str, password: str) -> None:
        """A user without any permission."""
        self.call(f'rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"{password}">>, <<"test">>)')

    def permit(self, user: str, vhost: str, configure: str = ".*", write: str = ".*", read: str = ".*") -> None:
        """Set a user's permissions in a vhost: regular expressions, as rabbitmqctl set_permissions."""
        patterns = ", ".join(f'<<"{pattern}">>' for pattern in (user, vhost, configure, write, read, "test"))
        self.call(f"rabbit_auth_backend_internal:set_permissions({patterns})")

    def close_connections(self) -> None:
        """Close all connections, as an operator may. A channel keeps the permissions that it began with.

        The broker notes a new connection down by the way; after `sync` it has noted all of them.
        """
        close = 'rabbit_networking:close_connections(rabbit_networking:connections(), <<"test">>)'
        self.call(f"pg_local:sync(), {close}")

    def close_all_connections(self, why: str) -> None:
        """The same in an operator's words, as `rabbitmqctl close_all_connections`."""
        self.call(f'pg_local:sync(), rabbit_networking:close_all_connections(<<"{why}">>)')

    def call(self, expression: str) -> str:
        """Evaluate Erlang in the broker (some 5 ms, where rabbitmqctl takes a second).

        Raises:
            RuntimeError: it did not evaluate.
        """
        # A name per call: all would be c17, and the broker refuses a c17 while it has not seen the last one go.
        self._calls += 1
        address = f"127.0.0.1:{self._dist_port}"
        command = ["erl_call", "-h", f"test{self._calls}", "-c", self._cookie, "-address", address, "-e"]
        done = subprocess.run(command, input=f"{expression}.\n", capture_output=True, text=True, timeout=60)
        if done.returncode or not done.stdout.startswith("{ok,"):
            raise RuntimeError(f"{expression}: {done.stdout}{done.stderr}")
        return done.stdout[4:-1].strip()

    def close(self) -> None:
        """Kill the broker and its epmd, and delete its files."""
        self.kill()
        self._epmd.kill()
        self._epmd.wait()
        self._spawner.shutdown()
        shutil.rmtree(self.folder)

    def _speaks(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as probe:
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                return probe.recv(1) == b"\x01"
        except OSError:
            return False

    def _tail(self) -> str:
        return (self.folder / "output").read_text(errors="replace")[-3000:]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


def _wait(fact: Callable[[], bool], seconds: float, complaint: str | Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise RuntimeError(complaint if isinstance(complaint, str) else complaint())
        time.sleep(0.05)
