"""Whether values are right: pydantic-settings over the classes of settings.py, and its errors in our words.

Imported only where something has to be checked, because it costs 0.1 s of CPU (pydantic-settings brings asyncio,
argparse and a source for each cloud with it).
"""

import difflib
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from conf import keys
from conf.settings import Section, Settings
from conf.sources import Leaf, Problem, Tree, dotted, find, plain

S = TypeVar("S", bound=Section)

LONGEST_QUOTE = 60
"""Characters of a wrong value that an error shows."""


class _Sourced(BaseSettings):
    """Of pydantic-settings' sources the one that is given the values: our layers, already laid over each other.

    Its others cannot override one field of a list's item, and do not know in which line a value stands.
    """

    settings: Settings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What the constructor gets, and nothing else."""
        return (init_settings,)


def validate(tree: Tree) -> tuple[Settings | None, list[Problem]]:
    """The settings that a tree of layers says, or all that is wrong with its values."""
    try:
        return _Sourced(settings=plain(tree)).settings, []
    except ValidationError as error:
        # Each place begins with the name of the one field of `_Sourced`.
        return None, [_problem(tree, one["type"], one["loc"][1:], one["msg"]) for one in error.errors()]


def validated(section: type[S], values: Mapping[str, Any]) -> S:
    """A section made of values as they stand in YAML.

    Raises:
        pydantic.ValidationError: some are wrong.
    """
    made: S = _adapter(section).validate_python(values)  # type: ignore[arg-type]  # a class is hashable
    return made


@cache
def _adapter(section: type[Section]) -> TypeAdapter[Any]:
    return TypeAdapter(section)


def _problem(tree: Tree, kind: str, path: tuple[str | int, ...], said: str) -> Problem:
    if path[-1:] == ("[key]",):
        return _wrong_name(tree, path[:-1], said)
    found = find(tree, path)
    key = keys.at(path)
    where = found.where
    if kind == "unexpected_keyword_argument":
        return Problem(dotted(path), "is no known key", where, _suggest_key(path))
    expected = f"Expected: {key.type}." if key is not None else "Mend it."
    if key is not None and key.meaning:
        expected += f" {key.meaning}"
    if kind == "missing":
        return Problem(dotted(path), "is missing", where, f"Add it. {expected}")
    if kind == "string_pattern_mismatch":
        what = "does not look right"
    elif kind == "dataclass_type":
        what = "must have keys of its own, each on a line below"
    else:
        what = re.sub(r"^Input should be ", "must be ", said.removeprefix("Value error, "))
        what = what[:1].lower() + what[1:]
    if isinstance(found, Leaf) and found.shown and not _may_be_secret(key, found.value):
        quoted = repr(found.value)
        what += f", not {quoted if len(quoted) <= LONGEST_QUOTE else quoted[:LONGEST_QUOTE] + '…'}"
    if kind == "string_type" and isinstance(found, Leaf) and found.value is not None:
        expected = f"Put it in quotes. {expected}"
    return Problem(dotted(path), what, where, expected)


def _wrong_name(tree: Tree, path: tuple[str | int, ...], said: str) -> Problem:
    """A mapping has a key that it may not have."""
    close = difflib.get_close_matches(str(path[-1]), re.findall(r"'([^']+)'", said), 1, 0.6)
    expected = f"Did you mean {close[0]}?" if close else f"It s{said[1:].replace('Input s', 's')}."
    return Problem(dotted(path), "is no name that may stand here", find(tree, path).where, expected)


def _may_be_secret(key: keys.Key | None, value: Any) -> bool:
    """Whether a value had better not be shown: of a secret, of a section (what stands there is misplaced), of a URL."""
    return key is None or key.secret or key.shape != "scalar" or (isinstance(value, str) and "@" in value)


def _suggest_key(path: tuple[str | int, ...]) -> str:
    known = keys.below(path[:-1])
    close = difflib.get_close_matches(str(path[-1]), known, 1, 0.6)
    if close:
        return f"Did you mean {close[0]}?"
    elsewhere = [key.name for key in keys.every().values() if key.path[-1] == path[-1]]
    if elsewhere:
        return f"Remove it; {' and '.join(elsewhere[:3])} exist{'s' if len(elsewhere) == 1 else ''}."
    return f"Remove it; the keys here are {', '.join(known)}." if known else "Remove it."
