"""`python -m tests.truth`: replay recordings (or read messages) and print how they agree with CEL and CDR."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.truth import account, checker, oracle, recordings, report, run


def main() -> int:
    """Check, and print the table and the faults.

    Returns:
        Exit code: 0 if everything agrees, 1 if not.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.truth", description="Compare messages with CEL and CDR.")
    parser.add_argument("names", nargs="*", help="recordings: beginnings of their names (default: all)")
    parser.add_argument("--folder", type=Path, default=recordings.FOLDER, help="where the recordings are")
    parser.add_argument("--messages", help="JSON lines made elsewhere, of one recording; - is standard input")
    parser.add_argument("--limit", type=int, default=20, help="most faults told of one recording")
    asked = parser.parse_args()
    wanted = tuple(asked.names) or ("",)
    names = [name for name in recordings.names(asked.folder) if name.startswith(wanted)]
    if not names or (asked.messages and len(names) != 1):
        parser.error("no such recording" if not names else "--messages goes with one recording")
    verdicts = {}
    for name in names:
        said = account.read(_messages(name, asked.folder, asked.messages))
        verdicts[name] = checker.check(said, oracle.read(name, asked.folder))
    print(report.table(verdicts))
    faults = report.faults(verdicts, asked.limit)
    if faults:
        print(f"\n{faults}")
    return 1 if faults else 0


def _messages(name: str, folder: Path, path: str | None) -> Iterable[bytes | str]:
    if path == "-":
        return sys.stdin
    if path is not None:
        return Path(path).read_bytes().splitlines()
    return run.replayed(name, folder)


if __name__ == "__main__":
    sys.exit(main())
