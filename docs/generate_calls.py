"""Writes the diagram into docs/calls.md from `actors.call.moves.MOVES`, so that what is shown is what is done.

python docs/generate_calls.py            write the page
python docs/generate_calls.py --check    exit 1 if the page is not up to date
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "calls.md"
BEGIN, END = "```mermaid\n", "```\n"

sys.path.insert(0, str(ROOT))

from actors.call.moves import diagram  # noqa: E402  # the path must be known first


def current(page: str) -> str:
    """The page with the diagram as it is now."""
    head, _, rest = page.partition(BEGIN)
    return head + BEGIN + diagram() + END + rest.partition(END)[2]


def main() -> int:
    """Write, or check.

    Returns:
        Exit code: 1 if `--check` finds another diagram in the page.
    """
    parser = argparse.ArgumentParser(description="Write the diagram into docs/calls.md.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the page is not up to date")
    page = PAGE.read_text(encoding="utf-8")
    made = current(page)
    if parser.parse_args().check:
        return int(made != page)
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
