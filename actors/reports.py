"""Crash, supervisor and progress reports, kept on disk: what `arimon-ctl crashes` still knows after a restart.

    state_dir/crashes/publisher.jsonl                reports of one process, one JSON object a line, oldest first
    state_dir/crashes/pbx%2Fpbx1%2Fcall.jsonl        reports of all calls of a PBX together: each has few, and they go

Of each actor the last `KEPT` of each kind are kept; a file that has grown to twice as many is written anew. Files are
0600 and their folder 0700: states hold callers' numbers. Secrets are masked before anything is written. Monitor is the
only writer.

A report may come twice (a line of credit repeats what was not answered); it is kept once. A disk that refuses costs the
copy on disk, and is logged.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from supervision.reasons import Crash
from supervision.reports import Context, Report, ReportKind
from wire import log

KEPT = 50
"""Reports of one kind kept of one actor; a crash report has up to 30 kilobytes."""
MOST_ACTORS = 200
"""Files kept; beyond it those untouched longest go: actors of PBXs that are not configured any more."""
_TRACEBACK = 20_000
"""Characters of a traceback that are kept."""

Kept = dict[str, Any]
"""A report as it is kept: `Report.as_dict`, and `id`, `at_ms`, `path`, `reason_kind`."""

_DEATHS = (Context.CHILD_TERMINATED, Context.START_ERROR, Context.SHUTDOWN_ERROR)
_ESCALATIONS = (Context.SHUTDOWN, Context.ABANDONED)

_log = log.get("actors.reports")


class Reports:
    """The reports of all actors."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: where the files are; made if it is not there. What it holds is read.
        """
        self._folder = folder
        self._kept: dict[str, dict[str, deque[Kept]]] = {}
        self._lines: dict[str, int] = {}
        self._refused = False
        self._last_id = 0
        self._read()

    def add(self, at_ms: int, report: Report) -> bool:
        """Keep a report; False if it is kept already.

        Args:
            at_ms: when it was made, Unix milliseconds.
            report: the report.
        """
        path = path_of(report)
        kept: Kept = log.mask(report.as_dict())
        kept["traceback"] = kept.get("traceback", "")[-_TRACEBACK:]
        kept |= {
            "at_ms": at_ms,
            "path": path,
            "reason_kind": "exception" if isinstance(report.reason, Crash) else str(report.context),
        }
        actor = _actor_of(path)
        same_kind = self._kind(actor, str(report.kind))
        if any(_is_same(each, kept) for each in same_kind):
            return False
        self._last_id += 1
        kept["id"] = str(self._last_id)
        same_kind.append(kept)
        self._write(actor, kept)
        return True

    def deaths(self) -> list[Kept]:
        """One for each death, failed start and escalation, oldest first.

        An exception gives a crash report and a supervisor report; the first says more. What is no exception has only
        the second.
        """
        return sorted(filter(_is_told, self._all()), key=lambda each: int(each["id"]))

    def get(self, id: str) -> Kept | None:
        """One of them; None if there is none of that id."""
        return next((each for each in self._all() if each["id"] == id), None)

    def of(self, path: str) -> list[Kept]:
        """All reports of one actor, of whatever kind, oldest first."""
        return sorted((each for each in self._all() if each["path"] == path), key=lambda each: int(each["id"]))

    # --- machinery ----------------------------------------------------------------------------------------------------

    def _all(self) -> Iterator[Kept]:
        for kinds in self._kept.values():
            for kept in kinds.values():
                yield from kept

    def _kind(self, actor: str, kind: str) -> deque[Kept]:
        return self._kept.setdefault(actor, {}).setdefault(kind, deque(maxlen=KEPT))

    def _file(self, actor: str) -> Path:
        return self._folder / f"{quote(actor, safe='')}.jsonl"

    def _read(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            files = sorted(self._folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
            for file in files[MOST_ACTORS:]:
                file.unlink()
            for file in files[:MOST_ACTORS]:
                self._take(_lines_of(file))
        except OSError as problem:
            self._refuse(problem)

    def _take(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            try:
                kept = orjson.loads(line)
                id, actor, kind = int(kept["id"]), _actor_of(kept["path"]), str(kept["report"])
            except (ValueError, KeyError, TypeError):
                continue  # torn by a death in the middle of writing it
            self._kind(actor, kind).append(kept)
            self._lines[actor] = self._lines.get(actor, 0) + 1
            self._last_id = max(self._last_id, id)

    def _write(self, actor: str, kept: Kept) -> None:
        self._lines[actor] = self._lines.get(actor, 0) + 1
        try:
            if self._lines[actor] > 2 * KEPT * len(self._kept[actor]):
                self._write_anew(actor)
            else:
                _append(self._file(actor), orjson.dumps(kept) + b"\n")
        except OSError as problem:
            self._refuse(problem)
        else:
            self._refused = False

    def _write_anew(self, actor: str) -> None:
        kept = sorted((each for kind in self._kept[actor].values() for each in kind), key=lambda each: int(each["id"]))
        scratch = self._file(actor).with_suffix(".new")
        scratch.unlink(missing_ok=True)
        _append(scratch, b"".join(orjson.dumps(each) + b"\n" for each in kept))
        scratch.rename(self._file(actor))
        self._lines[actor] = len(kept)

    def _refuse(self, problem: OSError) -> None:
        if not self._refused:
            _log.error("reports.disk_refuses", folder=str(self._folder), error=str(problem))
        self._refused = True


def path_of(report: Report) -> str:
    """The path, as arimon-ctl uses it, of whom a report is about."""
    place, calls, _index = report.supervisor.rpartition("/calls/")
    return f"{place}/call/{report.id}" if calls else report.id


def _actor_of(path: str) -> str:
    """The name under which a path's reports are kept."""
    place, call, _id = path.partition("/call/")
    return f"{place}/call" if call else path


_SAME = ("at_ms", "report", "context", "supervisor", "child", "generation", "reason")


def _is_same(one: Kept, other: Kept) -> bool:
    return all(one.get(name) == other.get(name) for name in _SAME)


def _is_told(kept: Kept) -> bool:
    """Whether a report tells a death, or an escalation, that no other report tells better."""
    if kept["report"] == ReportKind.CRASH:
        return True
    exception = kept["reason_kind"] == "exception"
    return (kept["context"] in _DEATHS and not exception) or kept["context"] in _ESCALATIONS


def _append(file: Path, content: bytes) -> None:
    fileno = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # A line that a death tore must not spoil the one that follows it.
        if os.fstat(fileno).st_size and not _ends_with_line_feed(file):
            content = b"\n" + content
        os.write(fileno, content)
    finally:
        os.close(fileno)


def _ends_with_line_feed(file: Path) -> bool:
    with file.open("rb") as reader:
        reader.seek(-1, os.SEEK_END)
        return reader.read(1) == b"\n"


def _lines_of(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines()
