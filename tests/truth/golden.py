"""Golden files: what is published for each recording, written so that a reviewer can read a change in it.

    python -m tests.truth.golden [NAME…]             show where messages and golden files differ
    python -m tests.truth.golden --update [NAME…]    make the golden files anew

A message is a line, `stream  sequence  operation  timestamp  data`; each part of a finished-call (leg, segment,
transfer, …) has an indented line of its own. Left out: `message_id` and `server` (functions of the rest), and the
day. A long file keeps its beginning, and the digest of all of it.
"""

import argparse
import difflib
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.truth import recordings, run

FOLDER = Path(__file__).resolve().parent / "golden"
"""Where the golden files are, one per recording."""

LONGEST = 400
"""Most lines of a golden file; recording 24 alone would be ten thousand."""

LISTS = ("legs", "segments", "transfers", "holds", "recordings")
"""Parts of a finished-call that get lines of their own."""


def render(lines: Iterable[bytes]) -> str:
    """Published messages as a golden file has them.

    Args:
        lines: One JSON object each.

    Returns:
        Text; its last line ends in a newline.
    """
    shown = [text for line in lines for text in _message(json.loads(line))]
    whole = "\n".join(shown) + "\n"
    if len(shown) <= LONGEST:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()
    return "\n".join(shown[:LONGEST]) + f"\n… {len(shown) - LONGEST} lines more; sha256 of all {digest}\n"


def _message(message: dict[str, Any]) -> Iterator[str]:
    data = dict(message["data"])
    flags = "".join(f"  {flag.upper()}" for flag in ("recovered", "degraded") if message[flag])
    parts = [(name, data.pop(name)) for name in LISTS if isinstance(data.get(name), list)]
    if isinstance(data.get("quality"), dict):
        parts.append(("quality", [{"channel": name, **figures} for name, figures in data.pop("quality").items()]))
    yield (
        f"{message['stream']:<24} {message['sequence']:>3}  {message['operation']['type']:<18} "
        f"{_clock(message['timestamp'])}{flags}  {_fields(data)}"
    )
    for name, entries in parts:
        for entry in entries:
            yield f"    {name.removesuffix('s'):<10} {_fields(entry)}"


def _fields(data: dict[str, Any]) -> str:
    return "  ".join(f"{name}={_value(value)}" for name, value in data.items())


def _value(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"code", "text"}:
        return f"{value['code']} {value['text']}".strip()
    if isinstance(value, str):
        # Quotes only where the eye needs them: empty, with spaces, or with anything that is not plain.
        return (
            _clock(value)
            if value.isascii() and value.isprintable() and value.strip() == value != "" and (" " not in value)
            else json.dumps(value, ensure_ascii=False)
        )
    return "-" if value is None else json.dumps(value, ensure_ascii=False)


def _clock(text: str) -> str:
    """A time without its day; other text as it is."""
    return text[11:-1] if len(text) == 24 and text[10] == "T" and text.endswith("Z") else text


def path(name: str) -> Path:
    """A recording's golden file."""
    return FOLDER / f"{name}.txt"


def difference(name: str, lines: Iterable[bytes]) -> str:
    """How what is published for a recording differs from its golden file.

    Args:
        name: The recording's name.
        lines: Its messages.

    Returns:
        A unified diff; empty if there is no difference.
    """
    golden = path(name).read_text(encoding="utf-8") if path(name).exists() else ""
    told = render(lines)
    return "\n".join(difflib.unified_diff(golden.splitlines(), told.splitlines(), "golden", "now", lineterm=""))


def main() -> int:
    """Show the differences, or make the files anew.

    Returns:
        Exit code: 1 if there are differences.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.truth.golden", description="Golden files of the recordings.")
    parser.add_argument("names", nargs="*", help="recordings: beginnings of their names (default: all)")
    parser.add_argument("--update", action="store_true", help="make the golden files anew")
    asked = parser.parse_args()
    names = [name for name in recordings.names() if name.startswith(tuple(asked.names) or ("",))]
    differences = 0
    for name in names:
        if asked.update:
            FOLDER.mkdir(exist_ok=True)
            path(name).write_text(render(run.replayed(name)), encoding="utf-8")
        elif told := difference(name, run.replayed(name)):
            differences += 1
            print(f"== {name}\n{told}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
