"""Recordings from disk through the call model: what `arimon-ctl replay` prints."""

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BufferedReader
from typing import IO, cast

from actors.call.replay import Replay
from conf.settings import Settings
from wire.control.api import ControlError

GZIP = b"\x1f\x8b"

_CHUNK_BYTES = 64 * 1024
"""Read, and unzipped, at a time. What is beyond the C library's 128 KiB is taken from the system and given back each
time, and its pages are made anew: a twentieth of the CPU of a replay."""

MAX_LINE_BYTES = 256 * 1024 * 1024
"""A longer line is no event but a file of another kind; a snapshot of 10,000 channels has 10 MB."""


def replayed(file: str, server: str, settings: Settings, problem: Callable[[str], object]) -> Iterator[bytes]:
    """The messages that a recording causes.

    Args:
        file: a path, or `-` for standard input; gzipped or not, which its first bytes tell.
        server: the PBX's name.
        settings: as the daemon's.
        problem: gets a sentence for each kind of line that was of no use, at the end of the file.

    Yields:
        One message each, JSON without a line feed.

    Raises:
        ControlError: the file cannot be read.
    """
    run = Replay(server, settings)
    try:
        with ExitStack() as stack:
            source = _opened(file, stack)
            while line := source.readline(MAX_LINE_BYTES + 1):
                if len(line) > MAX_LINE_BYTES:
                    raise ControlError(f"{file}: line {run.lines + 1} is longer than {MAX_LINE_BYTES} bytes")
                for message in run.feed(line):
                    yield message.body
    except (OSError, EOFError, zlib.error) as error:  # the last two: a gzip file cut off, or damaged
        raise ControlError(f"{file}: {getattr(error, 'strerror', None) or error}") from None
    finally:
        for text in _problems(run):
            problem(f"{file}: {text}")


def _opened(file: str, stack: ExitStack) -> IO[bytes]:
    plain = sys.stdin.buffer if file == "-" else stack.enter_context(open(file, "rb", _CHUNK_BYTES))  # noqa: SIM115 - it does
    head = cast(BufferedReader, plain).peek(2)
    if head[:2] == GZIP:
        # A buffer of our own: GzipFile's readline is Python, line by line.
        return BufferedReader(stack.enter_context(gzip.open(plain, "rb")), _CHUNK_BYTES)
    return plain


def _problems(run: Replay) -> Iterator[str]:
    for what, count in sorted(run.counts.items()):
        kind, _, reason = what.partition(":")
        if kind != "rejected":
            yield f"{count} × unexpected: {reason}"
            continue
        first = next((one for one in run.rejected if one.reason == reason), None)
        where = "" if first is None else f"; the first is line {first.n} ({first.detail})"
        yield f"{count} lines of no use: {reason}{where}"
