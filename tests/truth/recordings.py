"""Where the recordings are, and how their files are read: plain or gzipped alike."""

import csv
import gzip
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import orjson

from wire.store.row import Kind, Row

BEGIN_MS = 1_795_000_000_000
"""When the row before the first of a recording would have come, Unix milliseconds; the others a millisecond apart."""
FOLDER = Path(__file__).resolve().parent.parent / "traces"
"""The recordings of this repository."""


def names(folder: Path = FOLDER) -> list[str]:
    """Names of all recordings that have a CEL to compare with.

    Args:
        folder: Where they are.

    Returns:
        `01_inbound_answered_caller_hangup`, …, in order.
    """
    found = {path.name.split(".cel.csv")[0] for path in folder.glob("*.cel.csv*")}
    return sorted(found)


def frames(name: str, folder: Path = FOLDER) -> Iterator[bytes]:
    """The recording's lines, `{"t": seconds, "event": {…}}` each.

    Args:
        name: The recording's name.
        folder: Where it is.
    """
    with open_text(_path(name, "jsonl", folder)) as lines:
        for line in lines:
            yield line.encode()


def rows(name: str, most: int | None = None) -> Iterator[Row]:
    """A recording as a journal has it: its first `most` rows, or all."""
    for n, line in enumerate(islice(frames(name), most), 1):
        yield Row(n, BEGIN_MS + n, Kind.FRAME, orjson.dumps(orjson.loads(line)["event"]))


def cel(name: str, folder: Path = FOLDER) -> list[dict[str, str]]:
    """Rows of the channel event log, in the order in which Asterisk wrote them."""
    return _rows(name, "cel.csv", folder)


def cdr(name: str, folder: Path = FOLDER) -> list[dict[str, str]]:
    """Rows of the call detail records, in the order in which Asterisk wrote them."""
    return _rows(name, "cdr.csv", folder)


def websocket(name: str, folder: Path = FOLDER) -> list[dict[str, Any]]:
    """The life of the recorder's websocket, `{"t": seconds, "what": …}` each; empty if nobody wrote it down."""
    path = folder / f"{name}.rest.json"
    if not path.exists():
        return []
    life: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["ws"]
    return life


def open_text(path: Path) -> TextIO:
    """Open a text file, gunzipping it if its name ends in .gz.

    CEL and CDR hold what callers sent, bad UTF-8 included (recording 23), hence `replace`.
    """
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="replace", newline="")
    return path.open(encoding="utf-8", errors="replace", newline="")


def _rows(name: str, kind: str, folder: Path) -> list[dict[str, str]]:
    with open_text(_path(name, kind, folder)) as lines:
        return list(csv.DictReader(lines))


def _path(name: str, kind: str, folder: Path) -> Path:
    plain = folder / f"{name}.{kind}"
    return plain if plain.exists() else folder / f"{name}.{kind}.gz"
