"""Asks a running arimond, over its control socket. Blocking, standard library only (arimon-ctl must start fast).

    client = ControlClient(Path("/run/arimon/control.sock"))
    client.status()["healthy"]

One connection per question, so that a daemon that restarts in between is simply there again. Failures are api.py's
classes.
"""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from wire.control.api import (
    BadRequest,
    CallDetail,
    CallSummary,
    ControlError,
    Crash,
    CrashDetail,
    DaemonDown,
    Done,
    Gap,
    JournalStatus,
    Node,
    NotFound,
    NotPermitted,
    NotUnderstood,
    OutboxStatus,
    QuarantineDetail,
    QuarantineRow,
    Reconciled,
    Refused,
    Status,
    Unanswered,
    Unsupported,
)

TIMEOUT_SECONDS = 8.0
"""Longer than the server's own limit, so that its plain word comes first."""

RECONCILE_SECONDS = 50.0
"""Longest wait for a reconciliation, above the daemon's own limit."""

REDRIVE_SECONDS = 25.0
"""The same of a redrive, or a drop."""

RESTART_SECONDS = 70.0
"""The same of a restart."""

MAX_REPLY_BYTES = 256 * 1024 * 1024


_BY_STATUS = {error.status: error for error in (BadRequest, NotFound, Refused, Unsupported, Unanswered)}


class ControlClient:
    """The questions of api.Backend, asked from outside.

    Args:
        path: the control socket.
        timeout: longest wait for an answer, seconds.

    Every method raises ControlError (see the module) and nothing else.
    """

    def __init__(self, path: Path, timeout: float = TIMEOUT_SECONDS) -> None:
        self.path = path
        self._timeout = timeout

    def status(self) -> Status:
        return cast(Status, self.ask("GET", "/status"))

    def tree(self) -> Node:
        return cast(Node, self.ask("GET", "/tree"))

    def calls(self, pbx: str | None = None) -> list[CallSummary]:
        return cast(list[CallSummary], self.ask("GET", "/calls", pbx=pbx))

    def call(self, call_id: str, pbx: str | None = None) -> CallDetail:
        return cast(CallDetail, self.ask("GET", "/call", id=call_id, pbx=pbx))

    def messages(self, limit: int) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], self.ask("GET", "/messages", limit=limit))

    def kill(self, path: str) -> Done:
        return cast(Done, self.ask("POST", "/kill", path=path))

    def restart(self, path: str) -> Done:
        return cast(Done, self.ask("POST", "/restart", seconds=RESTART_SECONDS, path=path))

    def which_children(self, path: str) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], self.ask("GET", "/which-children", path=path))

    def get_state(self, path: str) -> dict[str, Any]:
        return cast(dict[str, Any], self.ask("GET", "/state", path=path))

    def statistics(self, path: str) -> dict[str, Any]:
        return cast(dict[str, Any], self.ask("GET", "/statistics", path=path))

    def trace(self, path: str, most: int) -> Iterator[bytes]:
        return self.stream("/trace", patient=True, path=path, max=most)

    def suspend(self, path: str) -> Done:
        return cast(Done, self.ask("POST", "/suspend", path=path))

    def resume(self, path: str) -> Done:
        return cast(Done, self.ask("POST", "/resume", path=path))

    def reconcile(self, pbx: str | None = None, dry_run: bool = False) -> list[Reconciled]:
        answer = self.ask("POST", "/reconcile", seconds=RECONCILE_SECONDS, pbx=pbx, dry_run=dry_run)
        return cast(list[Reconciled], answer)

    def outbox(self) -> list[OutboxStatus]:
        return cast(list[OutboxStatus], self.ask("GET", "/outbox"))

    def outbox_redrive(self, pbx: str | None = None) -> Done:
        return cast(Done, self.ask("POST", "/outbox/redrive", pbx=pbx))

    def quarantine(self, pbx: str | None = None) -> list[QuarantineRow]:
        return cast(list[QuarantineRow], self.ask("GET", "/quarantine", pbx=pbx))

    def quarantine_show(self, pbx: str, n: int) -> QuarantineDetail:
        return cast(QuarantineDetail, self.ask("GET", "/quarantine/row", pbx=pbx, n=n))

    def quarantine_redrive(self, pbx: str, n: int) -> Done:
        return cast(Done, self.ask("POST", "/quarantine/redrive", seconds=REDRIVE_SECONDS, pbx=pbx, n=n))

    def quarantine_drop(self, pbx: str, n: int) -> Done:
        return cast(Done, self.ask("POST", "/quarantine/drop", seconds=REDRIVE_SECONDS, pbx=pbx, n=n))

    def journal(self, pbx: str | None = None) -> list[JournalStatus]:
        return cast(list[JournalStatus], self.ask("GET", "/journal", pbx=pbx))

    def journal_export(self, pbx: str, first: int | None = None, last: int | None = None) -> Iterator[bytes]:
        return self.stream("/journal/export", pbx=pbx, first=first, last=last)

    def gaps(self, pbx: str | None = None) -> list[Gap]:
        return cast(list[Gap], self.ask("GET", "/gaps", pbx=pbx))

    def crashes(self) -> list[Crash]:
        return cast(list[Crash], self.ask("GET", "/crashes"))

    def crash(self, crash_id: str) -> CrashDetail:
        return cast(CrashDetail, self.ask("GET", "/crash", id=crash_id))

    def config(self) -> dict[str, Any]:
        return cast(dict[str, Any], self.ask("GET", "/config"))

    def follow(self, call_id: str | None = None, operation: str | None = None) -> Iterator[bytes]:
        return self.stream("/events", patient=True, call=call_id, type=operation)

    def ask(self, method: str, question: str, /, *, seconds: float | None = None, **arguments: Any) -> Any:
        """One question and its JSON answer; `seconds` where the longest wait is not the usual one."""
        limit = self._timeout if seconds is None else seconds
        connection = _Connection(self.path, limit)
        try:
            response = _asked(connection, method, question, arguments)
            content = response.read(MAX_REPLY_BYTES + 1)
        except TimeoutError:
            raise Unanswered(f"no answer on {self.path} within {limit:g} s") from None
        except (OSError, http.client.IncompleteRead):  # RemoteDisconnected is an OSError
            raise DaemonDown("arimond went away while it was asked") from None
        except http.client.HTTPException:
            raise NotUnderstood(f"what answers on {self.path} is no arimond") from None
        finally:
            connection.close()
        if len(content) > MAX_REPLY_BYTES:
            raise NotUnderstood(f"the answer on {self.path} is larger than {MAX_REPLY_BYTES} bytes")
        reply = _decoded(content, self.path)
        if response.status != 200:
            raise _failure(response.status, reply)
        return reply

    def stream(self, question: str, /, *, patient: bool = False, **arguments: Any) -> Iterator[bytes]:
        """JSON lines, as they come, without line feeds; `patient` waits for the next one for ever."""
        connection = _Connection(self.path, self._timeout)
        try:
            response = _asked(connection, "GET", question, arguments)
            if response.status != 200:
                raise _failure(response.status, _decoded(response.read(MAX_REPLY_BYTES), self.path))
            if patient:
                connection.sock.settimeout(None)
            while line := response.readline():
                text = line.rstrip(b"\n")
                if text.startswith(b'{"error":'):
                    raise _failure(500, _decoded(text, self.path))
                yield text
        except TimeoutError:
            raise Unanswered(f"no answer on {self.path} within {self._timeout:g} s") from None
        except (OSError, http.client.IncompleteRead):
            raise DaemonDown("arimond went away in the middle of its answer") from None
        except http.client.HTTPException:
            raise NotUnderstood(f"what answers on {self.path} is no arimond") from None
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("arimond", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        # AF_UNIX, and errors that name the socket in place of the host.
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError):
            raise DaemonDown(f"arimond is down: nobody answers on {self._path}") from None
        except PermissionError:
            raise NotPermitted(f"{self._path} is not for you; become a member of its group (control.group)") from None
        except OSError as error:
            if isinstance(error, TimeoutError | BlockingIOError):
                raise Unanswered(f"arimond takes no connection on {self._path}") from None
            raise DaemonDown(f"{self._path} cannot be used: {error.strerror or error}") from None


def _asked(connection: _Connection, method: str, path: str, arguments: dict[str, Any]) -> http.client.HTTPResponse:
    given = {name: value for name, value in arguments.items() if value is not None}
    if method == "GET":
        connection.request("GET", f"{path}?{urlencode(given)}" if given else path)
    else:
        connection.request("POST", path, json.dumps(given), {"Content-Type": "application/json"})
    return connection.getresponse()


def _decoded(content: bytes, path: Path) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        raise NotUnderstood(f"what answers on {path} is no arimond") from None


def _failure(status: int, reply: Any) -> ControlError:
    text = reply.get("error") if isinstance(reply, dict) else None
    return _BY_STATUS.get(status, ControlError)(text if isinstance(text, str) else f"the daemon answered {status}")
