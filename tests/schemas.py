"""The schemas of our messages (conf/schemas/, JSON Schema 2020-12), loaded once and asked whether a message is valid.

The daemon does not ask: it makes messages, and tests prove that what it makes is valid.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

FOLDER = Path(__file__).resolve().parent.parent / "conf" / "schemas"
"""Where the schemas are: `envelope.json`, `legacy.json`, `types.json`, and one file per operation."""

NOT_OPERATIONS = frozenset({"envelope", "legacy", "types"})
"""Files in `FOLDER` that describe no operation's data."""


class Schemas:
    """All schemas, compiled.

    Args:
        folder: Where the JSON files are.

    Raises:
        jsonschema.SchemaError: A file is no valid JSON Schema.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.documents: Mapping[str, dict[str, Any]] = {
            path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))
        }
        """Schema by file name without `.json`."""
        for document in self.documents.values():
            Draft202012Validator.check_schema(document)
        registry = Registry[Any]().with_resources(
            (document["$id"], Resource.from_contents(document)) for document in self.documents.values()
        )
        # The envelope's `allOf` leads to the operation's schema, so that a consumer needs nothing else. Going straight
        # to the operation named is the same check at a twentieth of the time.
        plain = {key: value for key, value in self.documents["envelope"].items() if key != "allOf"}
        self._envelope = Draft202012Validator(plain, registry=registry, format_checker=FormatChecker())
        self._by_name = {
            name: Draft202012Validator(document, registry=registry, format_checker=FormatChecker())
            for name, document in self.documents.items()
        }

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of all operations, in alphabetical order."""
        return tuple(name for name in self.documents if name not in NOT_OPERATIONS)

    def errors(self, message: object) -> list[str]:
        """What is wrong with a message of the v3 form.

        Args:
            message: A decoded message.

        Returns:
            Each fault as `path: what is wrong`; empty if the message is valid.
        """
        found = self.errors_in_envelope(message)
        if not found and isinstance(message, dict):
            found = [f"data.{fault}" for fault in _told(self._by_name[message["operation"]["type"]], message["data"])]
        return found

    def errors_in_envelope(self, message: object) -> list[str]:
        """What is wrong with a message of the v3 form, whatever its `data` may be: `errors`, of the outside only."""
        return _told(self._envelope, message)

    def legacy_errors(self, message: object) -> list[str]:
        """What is wrong with a message of the legacy form: `errors`, for the other form."""
        found = _told(self._by_name["legacy"], message)
        if not found and isinstance(message, dict):
            beside = self.documents["legacy"]["properties"]["payload"]["required"]
            data = {key: value for key, value in message["payload"].items() if key not in beside}
            found = [f"payload.{fault}" for fault in _told(self._by_name[message["operation"]["type"]], data)]
        return found

    def errors_in(self, name: str, instance: object) -> list[str]:
        """What is wrong with an instance of one schema.

        Args:
            name: The schema's file name without `.json`.
            instance: A decoded JSON value.

        Returns:
            Each fault as `path: what is wrong`; empty if it is valid.
        """
        return _told(self._by_name[name], instance)


@cache
def schemas() -> Schemas:
    """The schemas of this installation, loaded at the first use."""
    return Schemas()


def _told(validator: Draft202012Validator, instance: object) -> list[str]:
    return [f"{fault.json_path.removeprefix('$.')}: {fault.message}" for fault in validator.iter_errors(instance)]
