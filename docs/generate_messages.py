"""Writes docs/messages.md from conf/schemas/, so that what is said about messages is what is checked.

python docs/generate_messages.py            write the page
python docs/generate_messages.py --check    exit 1 if the page is not up to date
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = ROOT / "conf" / "schemas"
PAGE = ROOT / "docs" / "messages.md"

STREAMS = {
    "call": ("Operations of a call", "Stream `call:ID`, routing key `call.<server>.<operation>`."),
    "pbx": ("Operations of a PBX", "Stream `pbx:NAME`, routing key `pbx.<server>.<operation>`."),
    "any": ("Operations of any stream", "In the stream that they speak of."),
}
"""Headline and remark of each `x-stream`, in the page's order."""

Schema = Mapping[str, Any]


class Page:
    """The page, made from the schemas' documents by name."""

    def __init__(self, documents: Mapping[str, Schema]) -> None:
        self.documents = documents

    def text(self) -> str:
        """The whole page, Markdown."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        envelope = self.documents["envelope"]
        yield "# Messages"
        yield ""
        yield "<!-- Made by docs/generate_messages.py from conf/schemas/. Change those, then run it. -->"
        yield ""
        yield (
            "Every field is always there: null (or an empty text, list or object) where there is nothing to say. "
            "Numbers are numbers. The schemas are JSON Schema 2020-12, in `conf/schemas/`; "
            "`envelope.json` leads to all others."
        )
        yield ""
        yield "## Envelope"
        yield ""
        yield from self._schema(envelope)
        order = envelope["properties"]["operation"]["properties"]["type"]["enum"]
        for stream, (headline, remark) in STREAMS.items():
            yield f"## {headline}"
            yield ""
            yield remark
            yield ""
            for name in order:
                if self.documents[name]["x-stream"] == stream:
                    yield f"### {name}"
                    yield ""
                    yield from self._schema(self.documents[name])
        yield "## Legacy form"
        yield ""
        yield from self._schema(self.documents["legacy"])

    def _schema(self, schema: Schema) -> Iterator[str]:
        yield schema["description"]
        yield ""
        yield "| field | type | meaning |"
        yield "|---|---|---|"
        yield from self._rows(schema, "")
        yield ""
        for example in schema["examples"]:
            yield "```json"
            yield json.dumps(example, indent=2, ensure_ascii=False)
            yield "```"
            yield ""

    def _rows(self, schema: Schema, prefix: str) -> Iterator[str]:
        for name, field in schema.get("properties", {}).items():
            yield from self._row(f"{prefix}{name}", field)

    def _row(self, path: str, field: Schema) -> Iterator[str]:
        target = self._target(field)
        meaning = field.get("description") or target.get("description", "")
        yield f"| `{path}` | {self._kind(field)} | {_cell(meaning)} |"
        if target.get("properties"):
            yield from self._rows(target, f"{path}.")
        items = target.get("items")
        if isinstance(items, dict) and items.get("properties"):
            yield from self._rows(items, f"{path}[].")
        others = target.get("additionalProperties")
        if isinstance(others, dict) and others.get("properties"):
            yield from self._rows(others, f"{path}.*.")

    def _target(self, field: Schema) -> Schema:
        """The schema that a field's `$ref` names, or the field itself."""
        reference = field.get("$ref")
        if reference is None:
            return field
        document, _, pointer = reference.partition("#/$defs/")
        target: Schema = self.documents[Path(document).stem or "types"]["$defs"][pointer]
        return target

    def _kind(self, field: Schema) -> str:
        """A field's type in a few words, for the table."""
        name = str(field.get("$ref", "")).rpartition("/")[2]
        if name.removesuffix("_or_null") in ("time", "seconds", "text", "id"):
            return name.replace("_", " ")
        target = self._target(field)
        if "const" in target:
            return f"`{target['const']}`"
        if "enum" in target:
            return "one of " + ", ".join(f"`{value}`" for value in target["enum"])
        kinds: str | list[str] = target["type"]
        return kinds if isinstance(kinds, str) else " or ".join(kinds)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def page() -> str:
    """docs/messages.md as it should be.

    Returns:
        Markdown.
    """
    return Page(
        {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(SCHEMAS.glob("*.json"))}
    ).text()


def main() -> int:
    """Write the page, or check it.

    Returns:
        Exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    if parser.parse_args().check:
        if PAGE.read_text(encoding="utf-8") == page():
            return 0
        sys.stderr.write(f"{PAGE}: not up to date; run python docs/generate_messages.py\n")
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
