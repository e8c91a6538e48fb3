"""The schemas in conf/schemas/: closed, complete, described, and able to tell a good message from a bad one."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

from tests.schemas import FOLDER, schemas
from tests.truth.mutation import mutations, spoils

ROOT = FOLDER.parent.parent
DOCUMENTS = schemas().documents
EXAMPLES = [(name, index) for name, schema in DOCUMENTS.items() for index in range(len(schema.get("examples", ())))]


def closed_objects(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every subschema that lists properties, but those that only choose (`if`) or point (`then`)."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield path, schema
        for key, value in schema.items():
            if key not in ("examples", "allOf"):
                yield from closed_objects(value, f"{path}/{key}")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_file_is_a_json_schema_of_2020_12(name: str) -> None:
    """A file declares the dialect, is valid in it, and is named as its id says."""
    schema = DOCUMENTS[name]
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].endswith(f"/{name}.json")
    assert schema["title"] == name
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_object_is_closed_and_each_field_required_and_described(name: str) -> None:
    """No object takes an unknown field, lacks a field, or has one whose meaning is not told."""
    for path, schema in closed_objects(DOCUMENTS[name], name):
        # The legacy payload holds the operation's data beside its own fields: `Schemas.legacy_errors` closes it.
        assert schema["additionalProperties"] is (path == "legacy/properties/payload"), path
        assert schema["required"] == list(schema["properties"]), path
        for field, definition in schema["properties"].items():
            pointer = definition.get("$ref", "").rpartition("/")[2]
            said = definition.get("description") or DOCUMENTS["types"]["$defs"].get(pointer, {}).get("description")
            assert said or "const" in definition, f"{path}/{field} has no description"


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != "types"])
def test_each_schema_has_an_example(name: str) -> None:
    """A reader sees what a message looks like."""
    assert DOCUMENTS[name]["examples"]


@pytest.mark.parametrize(("name", "index"), EXAMPLES)
def test_each_example_is_valid(name: str, index: int) -> None:
    """What a schema shows, it accepts."""
    assert schemas().errors_in(name, DOCUMENTS[name]["examples"][index]) == []


@pytest.mark.parametrize(("name", "index"), EXAMPLES)
def test_a_mutated_example_is_not_valid(name: str, index: int) -> None:
    """An example spoilt in any one place is refused."""
    spoilt = [(what, value) for what, value in mutations(DOCUMENTS[name]["examples"][index]) if spoils(what)]
    assert spoilt
    errors = schemas().legacy_errors if name == "legacy" else partial(schemas().errors_in, name)
    accepted = [what for what, value in spoilt if not errors(value)]
    assert accepted == []


def test_the_envelope_names_every_operation_and_leads_to_its_schema() -> None:
    """A consumer that compiles envelope.json and nothing else checks `data` too."""
    envelope = DOCUMENTS["envelope"]
    named = envelope["properties"]["operation"]["properties"]["type"]["enum"]
    assert sorted(named) == sorted(schemas().operations)
    registry = Registry[Any]().with_resources((d["$id"], Resource.from_contents(d)) for d in DOCUMENTS.values())
    validator = Draft202012Validator(envelope, registry=registry, format_checker=FormatChecker())
    for operation in schemas().operations:
        data = DOCUMENTS[operation]["examples"][0]
        message = envelope["examples"][0] | {"operation": {"type": operation}, "data": data}
        assert list(validator.iter_errors(message)) == []
        assert list(validator.iter_errors(message | {"data": data | {"surplus field": 1}})) != []


def test_the_short_way_and_the_envelope_agree() -> None:
    """`Schemas.errors` finds what is wrong in the envelope and in the data, and `check` raises it."""
    message = DOCUMENTS["envelope"]["examples"][0]
    assert schemas().errors(message) == []
    assert schemas().errors(message | {"sequence": 0}) == ["sequence: 0 is less than the minimum of 1"]
    spoilt = message | {"data": message["data"] | {"direction": "sideways"}}
    [fault] = schemas().errors(spoilt)
    assert fault.startswith("data.direction: 'sideways' is not one of")
    assert schemas().errors("no message") != []


def test_the_legacy_form_is_checked_as_closely() -> None:
    """Beside where and when, a legacy payload holds exactly the operation's data."""
    message = DOCUMENTS["legacy"]["examples"][0]
    assert schemas().legacy_errors(message) == []
    assert schemas().legacy_errors(message | {"payload": message["payload"] | {"surplus field": 1}}) != []
    assert schemas().legacy_errors(message | {"operation": {"type": "held-call"}}) != []
    assert schemas().legacy_errors([]) != []


def test_an_operation_nobody_knows_is_refused() -> None:
    """The envelope knows all operations."""
    message = DOCUMENTS["envelope"]["examples"][0]
    assert schemas().errors(message | {"operation": {"type": "made-coffee"}}) != []


def test_the_page_about_messages_is_up_to_date() -> None:
    """docs/messages.md is what docs/generate_messages.py makes of the schemas."""
    command = [sys.executable, str(ROOT / "docs" / "generate_messages.py"), "--check"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.stderr == ""
    assert told.returncode == 0
