"""The log of every process: JSON lines (coloured text on a terminal), one `write` per line.

    from wire import log
    logger = log.get(__name__)                      # at the top of a module; nothing is set up yet
    log.setup(settings, role="connection", pbx="pbx1", generation=3)   # once, when the process begins
    logger.info("ari.connected", url=url)           # events are dotted names, the rest are keys
    logger.bind(call_id=call_id).info("call.ended", seconds=12.5)

A line carries timestamp, level, logger, event, role, pbx, generation, pid, and what was bound or given. Levels are per
logger, by the longest dotted prefix in `logging.levels`. Secrets are masked twice: by the name of their key, and
wherever a secret of the settings occurs in any text.

Lines go from each process straight to standard error or to a file opened with O_APPEND: whole lines of several
processes interleave, and nothing passes through Thespian, whose forwarding costs an actor message per record and enters
its transport from whatever thread logs. `take_over_stdlib_logging()` brings the records of libraries (aiohttp,
asyncio, thespian) here too. Logging never raises: a line that cannot be written is dropped and counted, and the next
one that can be written says how many were.
"""

import logging
import os
import re
import time
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import structlog
from structlog.typing import FilteringBoundLogger

from conf import secrets
from conf.settings import Settings

NAME = "_logger_name"
"""Key of the logger's name on its way down the chain; `logger` in the finished line."""

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}

SECRET_KEY = re.compile(r"passw(or)?d|secret|token|authorization|api_?key|cookie|credential", re.IGNORECASE)
"""A key with such a name has its value masked."""

URL_CREDENTIALS = re.compile(r"(?<=://)[^/\s@:]+:[^/\s@]+(?=@)")

LONGEST_LINE = 64 * 1024
"""A longer line is cut, bytes: what a frame or a state prints as must not fill the disk."""

DEEPEST = 12
"""Nesting of values beyond which their text is written instead."""

REOPEN_EVERY = 1.0
"""A log file that was moved away (logrotate) is noticed within this time, seconds."""

MOST_KINDS = 1000
"""Kinds remembered by a rate limit; beyond it the oldest is forgotten."""


@dataclass(slots=True)
class _Writer:
    """Where lines go. One per process."""

    path: Path | None = None
    fd: int = 2
    dropped: int = 0
    """Lines that could not be written since the last one that could."""
    total_dropped: int = 0
    checked: float = 0.0

    def write(self, line: bytes) -> None:
        """Write one line, or count it as dropped."""
        if self.path is not None:
            self._follow(self.path)
        try:
            os.write(self.fd, line)
        except OSError:  # disk full, reader gone, pipe full: logging must not stop the work it tells of
            self.dropped += 1
            self.total_dropped += 1
        else:
            self.dropped = 0  # the line said it

    def _follow(self, path: Path) -> None:
        """Open the file again when it was moved or removed."""
        now = time.monotonic()
        if self.fd != 2 and now - self.checked < REOPEN_EVERY:
            return
        self.checked = now
        try:
            there = os.stat(path)
            here = os.fstat(self.fd)
            if self.fd != 2 and (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev):
                return
        except FileNotFoundError:
            pass
        except OSError:
            return
        self.open(path)

    def open(self, path: Path) -> None:
        """Append to `path`; if that cannot be, lines go on to where they went."""
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            self.total_dropped += 1
            self.dropped += 1
            return
        if self.fd != 2:
            os.close(self.fd)
        self.fd = fd


@dataclass(slots=True)
class _State:
    """What `setup` decided. Loggers read it at every line, so it does not matter when they were made."""

    level: int = LEVELS["INFO"]
    levels: dict[str, int] = field(default_factory=dict)
    cache: dict[str, int] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    console: structlog.dev.ConsoleRenderer | None = None
    writer: _Writer = field(default_factory=_Writer)
    suppressed: int = 0
    """Lines that a `Limit` did not let through, in all."""


_state = _State()


def setup(settings: Settings, *, role: str, pbx: str | None = None, generation: int | None = None) -> None:
    """Set up the log of this process. Call it again after a fork, or when something of it changed.

    Args:
        settings: level, levels, format and file of `logging`, and the secrets to mask.
        role: `arimond`, `root`, `connection`, …; in every line.
        pbx: the PBX that the process serves; in every line, if given.
        generation: the process's incarnation; in every line, if given.

    Raises:
        OSError: the file cannot be opened for appending.
    """
    options = settings.logging
    previous = _state.writer
    writer = _Writer(options.file, dropped=previous.dropped, total_dropped=previous.total_dropped)
    if options.file is not None:
        writer.fd = os.open(options.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    context = {"role": role, "pbx": pbx, "generation": generation, "pid": os.getpid()}
    on_terminal = options.file is None and os.isatty(2)
    _state.level = LEVELS[options.level]
    _state.levels = {name: LEVELS[level] for name, level in options.levels.items()}
    _state.cache = {}
    _state.context = {key: value for key, value in context.items() if value is not None}
    _state.secrets = secrets.values(settings)
    console = options.format == "console" or (options.format == "auto" and on_terminal)
    _state.console = structlog.dev.ConsoleRenderer(colors=on_terminal) if console else None
    _state.writer = writer
    if previous.fd != 2:
        os.close(previous.fd)


def get(name: str, **bound: Any) -> FilteringBoundLogger:
    """The logger of a module.

    Args:
        name: dotted, as `__name__`; decides the level.
        bound: keys that all its lines carry.
    """
    # It may be cached for ever: chain and writer look into `_state`, which `setup` changes, at every line.
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _LINES,
        processors=_PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        context_class=dict,
        cache_logger_on_first_use=True,
        **{NAME: name},
        **bound,
    )
    return logger


def left_out() -> int:
    """Lines of this process that were rate limited or could not be written, in all."""
    return _state.suppressed + _state.writer.total_dropped


class Limit:
    """Lets through the first of each kind per interval, and counts the rest.

    limit = Limit()
    if (suppressed := limit.admit("bad-json", now)) is not None:
        logger.warning("frame.bad", suppressed=suppressed)
    """

    def __init__(self, interval: float = 60.0) -> None:
        """Args: interval: seconds in which one of a kind is let through."""
        self._interval = interval
        self._seen: dict[str, list[float]] = {}

    def admit(self, kind: str, now: float | None = None) -> int | None:
        """May one more of this kind be logged?

        Args:
            kind: what counts as the same.
            now: seconds of a monotonic clock; None reads it.

        Returns:
            None when it is to be suppressed, else how many were suppressed since the last one let through.
        """
        now = time.monotonic() if now is None else now
        entry = self._seen.get(kind)
        if entry is not None and now - entry[0] < self._interval:
            entry[1] += 1
            _state.suppressed += 1
            return None
        suppressed = int(entry[1]) if entry is not None else 0
        self._seen.pop(kind, None)
        if len(self._seen) >= MOST_KINDS:
            del self._seen[next(iter(self._seen))]
        self._seen[kind] = [now, 0]
        return suppressed


def take_over_stdlib_logging() -> None:
    """Bring the standard library's loggers here, and nowhere else.

    Call it in each process after `setup`; in an actor's process after Thespian has started it. There Thespian has put
    a root and a manager of its own in place, while loggers made before the fork still hang on the older ones. So the
    root and manager known since this module was imported come back, and every root that a logger could hang on gets our
    handler in place of its own.
    """
    thespians = logging.root
    logging.root = logging.Logger.root = _ROOT
    logging.Logger.manager = _MANAGER
    for root in (thespians, _ROOT):
        root.handlers = [_HANDLER]  # Thespian's root refuses addHandler and removeHandler
        root.setLevel(min([_state.level, *_state.levels.values()]))
    logging.captureWarnings(True)


class _StdlibHandler(logging.Handler):
    """Hands records of the standard library's loggers to our own chain, on the thread that logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as a line of ours."""
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a library's wrong format string is no reason to fail
            message = f"{record.msg!r} (cannot be formatted: {error})"
        event: dict[str, Any] = {NAME: record.name, "event": message}
        if record.exc_info and record.exc_info[0] is not None:
            event["exc_info"] = record.exc_info
        method = next(name for level, name in _METHODS if record.levelno >= level)
        try:
            line: Any = event
            for processor in _PROCESSORS:
                line = processor(_LINES, method, line)
        except structlog.DropEvent:
            return
        _state.writer.write(line)


_HANDLER = _StdlibHandler()
_ROOT = logging.root
_MANAGER = logging.Logger.manager
_METHODS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"), (-1, "debug"))


class _Lines:
    """What structlog wraps: whatever the level, the finished line goes to the writer."""

    def msg(self, line: bytes) -> None:
        """Write a line."""
        _state.writer.write(line)

    debug = info = warning = error = critical = msg


_LINES = _Lines()


# The chain. Each processor takes (logger, method name, event) and gives the event on; the last one writes.

Event = MutableMapping[str, Any]


def _threshold(name: str) -> int:
    """The lowest level written for a logger: that of the longest prefix in `logging.levels`, else the general one."""
    found = _state.cache.get(name)
    if found is None:
        found, longest = _state.level, -1
        for prefix, level in _state.levels.items():
            if (name == prefix or name.startswith(prefix + ".")) and len(prefix) > longest:
                found, longest = level, len(prefix)
        if len(_state.cache) < MOST_KINDS:
            _state.cache[name] = found
    return found


def _filter(_: Any, method: str, event: Event) -> Event:
    if LEVELS[method.upper()] < _threshold(event.get(NAME, "")):
        raise structlog.DropEvent
    event["level"] = method
    return event


def _context(_: Any, __: str, event: Event) -> Event:
    """Put the line in order: when, how bad, who, what; then the rest."""
    ordered: dict[str, Any] = {
        "timestamp": _timestamp(time.time()),
        "level": event.pop("level"),
        "logger": event.pop(NAME, ""),
        "event": event.pop("event", ""),
    }
    ordered.update(_state.context)
    ordered.update(event)
    if _state.writer.dropped:
        ordered["lines_dropped"] = _state.writer.dropped
    return ordered


def _timestamp(now: float) -> str:
    seconds, milliseconds = divmod(int(now * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"


def mask(value: Any, known: Iterable[str] | None = None, depth: int = 0) -> Any:
    """A copy of `value`, as plain JSON types, in which no secret is left.

    Args:
        value: anything; what JSON does not know becomes its text.
        known: secrets to look for; None takes those of the settings given to `setup`.
    """
    known = _state.secrets if known is None else known
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _mask_text(value, known)
    if isinstance(value, bytes | bytearray):
        return _mask_text(bytes(value).decode("utf-8", "replace"), known)
    if depth < DEEPEST:
        if isinstance(value, Mapping):
            return {
                _mask_text(str(key), known): secrets.MASK
                if SECRET_KEY.search(str(key)) and item is not None
                else mask(item, known, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [mask(item, known, depth + 1) for item in value]
    try:
        text = str(value)
    except Exception as error:  # noqa: BLE001 - whatever a foreign __str__ raises, the line is written
        text = f"<{type(value).__name__} whose text cannot be made: {type(error).__name__}>"
    return _mask_text(text, known)


def _mask_text(text: str, known: Iterable[str]) -> str:
    for secret in known:
        if secret in text:
            text = text.replace(secret, secrets.MASK)
    if "://" in text and "@" in text:
        text = URL_CREDENTIALS.sub(secrets.MASK, text)
    return text


def _mask_event(_: Any, __: str, event: Event) -> Event:
    masked: Event = mask(event)
    return masked


def _render(_: Any, __: str, event: Event) -> bytes:
    """The finished line."""
    if _state.console is not None:
        line = str(_state.console(None, "", event)).encode("utf-8", "replace")
    else:
        try:
            line = orjson.dumps(event)
        except TypeError:  # integers beyond 64 bits, lone surrogates
            line = orjson.dumps({key: _plain(item) for key, item in event.items()})
    if len(line) > LONGEST_LINE:
        line = _shortened(event, len(line))
    return line + b"\n"


def _plain(value: Any) -> str:
    return str(value).encode("utf-8", "replace").decode()


def _shortened(event: Event, length: int) -> bytes:
    """The line with its long values cut, still valid JSON."""
    room = LONGEST_LINE // (4 * max(1, len(event)))
    cut = {key[:100]: _plain(item)[:room] for key, item in list(event.items())[:200]}
    return orjson.dumps(cut | {"cut": True, "length": length})


_PROCESSORS: list[Any] = [
    _filter,
    structlog.contextvars.merge_contextvars,
    structlog.processors.format_exc_info,
    _context,
    _mask_event,
    _render,
]
