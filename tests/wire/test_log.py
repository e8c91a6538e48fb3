"""The log: what a line holds, who may write, and what never appears in one."""

import base64
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from conf.load import load
from conf.settings import Logging, Settings
from wire import log

ROOT = Path(__file__).resolve().parents[2]
HUNTER = "hunter2-very-secret"

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """The standard library's logging as it was, and our own as at the beginning."""
    handlers, level, manager, root = logging.root.handlers[:], logging.root.level, logging.Logger.manager, logging.root
    show_warning = warnings.showwarning
    yield
    logging.root = logging.Logger.root = root
    logging.Logger.manager = manager
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.captureWarnings(False)
    warnings.showwarning = show_warning
    log.setup(Settings(), role="test")


def configured(path: Path, **options: Any) -> Settings:
    return Settings(logging=Logging(file=path, **options))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "arimon.log"


@pytest.fixture
def lines(file: Path) -> Lines:
    """The log's lines so far."""
    return lambda: [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_line_says_when_how_bad_who_and_what(file: Path, lines: Lines) -> None:
    """Timestamp, level, logger, event, role, pbx, generation, pid, then what was bound and given, in this order."""
    log.setup(configured(file), role="connection", pbx="pbx1", generation=3)
    log.get("wire.ari").bind(call_id="1.2").info("ari.connected", url="ws://h/ari", took=0.5)
    [line] = lines()
    assert list(line) == [
        "timestamp", "level", "logger", "event", "role", "pbx", "generation", "pid", "call_id", "url", "took",
    ]  # fmt: skip
    assert line["timestamp"][10] == "T"
    assert line["timestamp"][-1] == "Z"
    assert (line["level"], line["logger"], line["event"]) == ("info", "wire.ari", "ari.connected")
    assert (line["role"], line["pbx"], line["generation"], line["pid"]) == ("connection", "pbx1", 3, os.getpid())


def test_a_logger_made_before_setup_follows_every_setup(file: Path, lines: Lines) -> None:
    """Modules make their loggers when they are imported; levels and context are those of the last setup."""
    logger = log.get("actors.switchboard")
    log.setup(configured(file), role="one")
    logger.debug("left out")
    logger.info("kept")
    log.setup(configured(file, level="DEBUG"), role="two")
    logger.debug("kept too")
    assert [(line["role"], line["event"]) for line in lines()] == [("one", "kept"), ("two", "kept too")]


def test_the_longest_prefix_decides_the_level(file: Path, lines: Lines) -> None:
    """`wire.ari` is not `wire.arithmetic`; a module's own entry wins over its package's."""
    levels = {"wire": "ERROR", "wire.ari": "DEBUG", "wire.ari.rest": "WARNING"}
    log.setup(configured(file, levels=levels), role="x")
    for name in ("wire.ari", "wire.ari.link", "wire.ari.rest", "wire.arithmetic", "wire", "actors"):
        log.get(name).debug("debug")
        log.get(name).info("info")
        log.get(name).warning("warning")
        log.get(name).error("error")
    written: dict[str, list[str]] = {}
    for line in lines():
        written.setdefault(line["logger"], []).append(line["event"])
    assert written == {
        "wire.ari": ["debug", "info", "warning", "error"],
        "wire.ari.link": ["debug", "info", "warning", "error"],
        "wire.ari.rest": ["warning", "error"],
        "wire.arithmetic": ["error"],
        "wire": ["error"],
        "actors": ["info", "warning", "error"],
    }


def test_context_variables_are_bound(file: Path, lines: Lines) -> None:
    """What structlog's context variables hold is in every line of that context."""
    log.setup(configured(file), role="x")
    with structlog.contextvars.bound_contextvars(call_id="1.5"):
        log.get("a").info("inside")
    log.get("a").info("outside")
    assert [line.get("call_id") for line in lines()] == ["1.5", None]


def test_an_exception_comes_with_its_traceback(file: Path, lines: Lines) -> None:
    """The traceback is text in the same line."""
    log.setup(configured(file), role="x")
    try:
        raise KeyError("lost")
    except KeyError:
        log.get("a").exception("it.broke")
    [line] = lines()
    assert line["level"] == "error"
    assert "KeyError: 'lost'" in line["exception"]
    assert "Traceback" in line["exception"]


# Secrets


def test_secrets_are_masked_by_key_and_by_value(file: Path, lines: Lines) -> None:
    """By the name of the key at any depth, by value in any text, in URLs, keys, exceptions and libraries' records."""
    settings = load(environ={"ARI_PASSWORD": HUNTER})
    log.setup(replace(settings, logging=Logging(file=file)), role="x")
    log.take_over_stdlib_logging()
    logger = log.get("a")
    header = base64.b64encode(f"arimon:{HUNTER}".encode()).decode()
    logger.info("one", password="hush1", deep={"Authorization": "hush2", "list": [{"api_key": "hush3"}]}, token=None)
    logger.info(f"two {HUNTER}", said=f"it was {HUNTER}", seen=[{HUNTER: (HUNTER,)}], raw=HUNTER.encode())
    logger.info("three", header=f"Basic {header}", url="amqp://u:hush4@h/", other="ws://u:hush5%20@h:1/x?y")
    try:
        raise ValueError(HUNTER)
    except ValueError:
        logger.exception("four")
    logging.getLogger("aiohttp").error("five %s", HUNTER)
    logger.info("six", settings=settings)
    text = file.read_text()
    assert len(lines()) == 6
    assert HUNTER not in text
    assert header not in text
    assert not any(f"hush{number}" in text for number in range(1, 6))
    assert lines()[0]["token"] is None


def test_what_is_public_is_not_masked(file: Path, lines: Lines) -> None:
    """The default passwords are also the program's and the broker's user's names, and stay readable."""
    log.setup(configured(file), role="x")
    log.get("a").info("arimon", username="guest", passenger="bus")
    assert (lines()[0]["event"], lines()[0]["username"]) == ("arimon", "guest")


# Never in the way


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner),
            max_leaves=10,
        ),
        max_size=4,
    )
)
def test_anything_becomes_one_valid_line(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    """Whatever is logged, a line of JSON comes out: huge integers, NaN, lone surrogates, line breaks, odd keys."""
    path = tmp_path_factory.mktemp("log") / "log"
    log.setup(configured(path), role="x")
    log.get("a").info("event", **{f"k{key}": value for key, value in values.items()})
    [line] = path.read_bytes().splitlines()
    assert json.loads(line)["event"] == "event"


def test_lone_surrogates_and_huge_integers(file: Path, lines: Lines) -> None:
    """What JSON's writer refuses is written as its text."""
    log.setup(configured(file), role="x")
    log.get("a").info("odd", text="\ud800", number=10**40)
    assert lines()[0]["number"] == str(10**40)


def test_a_value_without_text_is_named(file: Path, lines: Lines) -> None:
    """An object whose __str__ raises does not stop the line."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    log.setup(configured(file), role="x")
    log.get("a").info("odd", value=Broken())
    assert lines()[0]["value"] == "<Broken whose text cannot be made: RuntimeError>"


def test_a_long_line_is_cut(file: Path, lines: Lines) -> None:
    """A frame of megabytes makes a line of at most 64 KiB, which is still JSON and says so."""
    log.setup(configured(file), role="x")
    log.get("a").info("long", frame="ö" * 1_000_000, **{f"k{number}": "v" * 1000 for number in range(300)})
    assert file.stat().st_size <= log.LONGEST_LINE + 1
    assert lines()[0]["event"] == "long"
    assert lines()[0]["cut"] is True


def test_a_line_that_cannot_be_written_is_counted(tmp_path: Path) -> None:
    """A full disk costs the lines and nothing else; the next line that gets through says how many are missing."""
    full, good = Path("/dev/full"), tmp_path / "log"
    before = log.left_out()
    log.setup(configured(full), role="x")
    log.get("a").info("lost")
    log.get("a").info("lost")
    assert log.left_out() == before + 2
    log.setup(configured(good), role="x")
    log.get("a").info("there")
    assert json.loads(good.read_text())["lines_dropped"] == 2


def test_a_file_that_was_moved_is_made_anew(file: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """logrotate needs no signal: within a second lines go to a new file of the same name."""
    monkeypatch.setattr(log, "REOPEN_EVERY", 0.0)
    log.setup(configured(file), role="x")
    log.get("a").info("one")
    file.rename(file.with_suffix(".1"))
    log.get("a").info("two")
    log.get("a").info("three")
    assert [line["event"] for line in lines()] == ["two", "three"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_lines_of_many_writers_do_not_mix(file: Path) -> None:
    """Threads and processes append to one file, and every line is whole."""
    program = (
        "import sys; from pathlib import Path; from conf.settings import *; from wire import log\n"
        "log.setup(Settings(logging=Logging(file=Path(sys.argv[1]))), role=sys.argv[2])\n"
        "for n in range(300): log.get('a').info('x' * 900, n=n)\n"
    )
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(file), f"p{number}"], env=environ) for number in range(3)
    ]
    log.setup(configured(file), role="x")
    threads = [
        threading.Thread(target=lambda: [log.get("a").info("y" * 900, n=n) for n in range(300)]) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    written = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert len(written) == 6 * 300
    for role, times in (("p0", 1), ("p1", 1), ("p2", 1), ("x", 3)):
        assert sorted(line["n"] for line in written if line["role"] == role) == sorted([*range(300)] * times)


def test_one_line_is_one_write(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line goes out in a single system call, its line break included."""
    written: list[bytes] = []
    log.setup(configured(file), role="x")

    def write(_: int, data: bytes) -> int:
        written.append(data)
        return len(data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        log.get("a").info("one")
        log.get("a").info("two")
    assert [json.loads(data)["event"] for data in written] == ["one", "two"]
    assert all(data.endswith(b"\n") and data.count(b"\n") == 1 for data in written)


@pytest.mark.parametrize(("form", "is_json"), [("json", True), ("auto", True), ("console", False)])
def test_the_format_is_json_but_for_people(form: str, is_json: bool) -> None:
    """`auto` is JSON where standard error is no terminal, `console` is text for people anywhere."""
    program = (
        "import sys; from conf.settings import *; from wire import log\n"
        "log.setup(Settings(logging=Logging(format=sys.argv[1])), role='x', pbx='p')\n"
        "log.get('a').info('it.happened', n=1)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, form],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == ""
    assert "it.happened" in run.stderr
    assert run.stderr.startswith("{") == is_json


def test_on_a_terminal_auto_is_for_people() -> None:
    """With standard error on a terminal, `auto` writes coloured text."""
    program = (
        "from conf.settings import *; from wire import log\n"
        "log.setup(Settings(), role='x')\nlog.get('a').info('it.happened')\n"
    )
    here, there = os.openpty()
    subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=there, check=True
    )
    text = os.read(here, 65536).decode()
    os.close(here)
    os.close(there)
    assert "it.happened" in text
    assert "\x1b[" in text


# The standard library's loggers


def test_libraries_log_here(file: Path, lines: Lines) -> None:
    """Records of stdlib loggers and warnings become our lines, under our levels; nothing else handles them."""
    log.setup(configured(file, levels={"aio_pika": "DEBUG"}), role="x")
    log.take_over_stdlib_logging()
    logging.getLogger("aiohttp.client").warning("slow: %s", "pbx1")
    logging.getLogger("aiohttp.client").debug("left out")
    logging.getLogger("aio_pika").debug("kept")
    logging.getLogger("a").info("wrong %d format", "x")
    try:
        raise OSError("gone")
    except OSError:
        logging.getLogger("a").exception("failed")
    warnings.showwarning("beware", UserWarning, "x.py", 1)
    events = [(line["logger"], line["level"], line["event"]) for line in lines()]
    assert events[0] == ("aiohttp.client", "warning", "slow: pbx1")
    assert events[1] == ("aio_pika", "debug", "kept")
    assert "cannot be formatted" in events[2][2]
    assert "OSError: gone" in lines()[3]["exception"]
    assert events[4][0] == "py.warnings"
    assert len(logging.root.handlers) == 1


def test_thespians_forwarding_is_replaced(file: Path, lines: Lines) -> None:
    """After Thespian put its own root and manager in place, older and newer loggers alike come to us again."""
    older = logging.getLogger("older.library")
    forwarded: list[logging.LogRecord] = []

    class Forwarder(logging.Logger):
        """As thespian.system.logdirector.ThespianLogForwarder."""

        def addHandler(self, hdlr: logging.Handler) -> None:
            raise NotImplementedError

        def removeHandler(self, hdlr: logging.Handler) -> None:
            raise NotImplementedError

    forwarder = Forwarder("root")
    handler = logging.Handler()
    handler.emit = forwarded.append  # type: ignore[assignment, method-assign]
    logging.Logger.addHandler(forwarder, handler)
    logging.root = logging.Logger.root = forwarder  # type: ignore[assignment]
    logging.Logger.manager = logging.Manager(logging.Logger.root)
    newer = logging.getLogger("newer.library")
    log.setup(configured(file), role="x")
    log.take_over_stdlib_logging()
    older.warning("one")
    newer.warning("two")
    logging.getLogger("newest").warning("three")
    logging.warning("four")
    assert [line["event"] for line in lines()] == ["one", "two", "three", "four"]
    assert forwarded == []


# Rate limit


def test_one_of_a_kind_per_interval() -> None:
    """The first is let through, the next ones are counted, and the count comes with the next that is let through."""
    before = log.left_out()
    limit = log.Limit(60)
    assert limit.admit("bad-json", 1000.0) == 0
    assert limit.admit("other", 1000.0) == 0
    assert [limit.admit("bad-json", 1000.0 + second) for second in range(60)] == [None] * 60
    assert limit.admit("bad-json", 1060.0) == 60
    assert limit.admit("bad-json", 1120.0) == 0
    assert log.left_out() - before == 60


def test_the_kinds_are_bounded() -> None:
    """A thousand kinds are remembered, and the one longest unseen is forgotten first."""
    limit = log.Limit(60)
    for number in range(log.MOST_KINDS):
        assert limit.admit(str(number), 0.0) == 0
    assert limit.admit("one more", 1.0) == 0
    assert limit.admit("1", 2.0) is None
    assert limit.admit("0", 2.0) == 0
