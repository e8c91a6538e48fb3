"""Messages spoilt in one place, which no schema may accept."""

import copy
from collections.abc import Iterator
from typing import Any


def mutations(value: Any) -> Iterator[tuple[str, Any]]:
    """Each way to spoil a value in one place: a field lost, a field too many, a value of a type that no field has."""
    if isinstance(value, dict):
        for key in value:
            spoilt = copy.deepcopy(value)
            del spoilt[key]
            yield f"without {key}", spoilt
            yield f"{key} is no such thing", value | {key: [[True]]}
            for what, inner in mutations(value[key]):
                yield f"{key}: {what}", value | {key: inner}
        yield "one field too many", value | {"surplus field": 1}
    if isinstance(value, list):
        for index, item in enumerate(value):
            for what, inner in mutations(item):
                yield f"[{index}]: {what}", [*value[:index], inner, *value[index + 1 :]]


OPEN = ("amends", "quality")
"""Objects that are open by nature: their keys are not fields of ours."""


def spoils(what: str) -> bool:
    """Whether a mutation touches a place that the schema governs."""
    if what.startswith("amends: "):
        return False
    return not any(f"{place}: without" in what or f"{place}: one field" in what for place in OPEN)
