"""What the settings' classes say about each key: its type, default, unit and meaning.

For error messages, for environment variables, which have no types of their own, and for docs/configuration.md.

All of it is made when somebody asks, which few starts do. What a key means stands below it in settings.py and is read
from there.
"""

import ast
import dataclasses
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from conf import settings
from conf.rules import Rule
from conf.secrets import Secret
from conf.settings import Section, Settings

Shape = Literal["section", "list", "mapping", "scalar"]


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration."""

    path: tuple[str, ...]
    """Names from the top; `*` stands for an item of a list."""
    shape: Shape
    """`section` has keys of its own, `list` and `mapping` have items, `scalar` is one value."""
    type: str
    """For people: `whole number 0…65535`, `text`, `a or b`, …"""
    default: str
    """As it would stand in YAML; `required` when there is none."""
    optional: bool
    """Whether it may be null."""
    secret: bool
    section: str
    """The class that it stands in."""
    timed: bool
    """Of a type that is a number of seconds."""

    @property
    def name(self) -> str:
        """`pbx.*.url`."""
        return ".".join(self.path)

    @property
    def meaning(self) -> str:
        """What stands below it in settings.py, on one line."""
        return " ".join(_meanings()[self.section, self.path[-1]].split()).replace("None", "null")

    @property
    def unit(self) -> str:
        """`seconds`, `bytes`, or nothing."""
        if self.timed or self.meaning.endswith("seconds."):
            return "seconds"
        return "bytes" if self.path[-1].endswith("_bytes") else ""


@cache
def _meanings() -> dict[tuple[str, str], str]:
    """Class and field → the text below it; empty where there is none."""
    texts: dict[tuple[str, str], str] = {}
    for section in ast.parse(Path(settings.__file__).read_bytes()).body:
        if isinstance(section, ast.ClassDef):
            for line, below in pairwise([*section.body, ast.Pass()]):
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    text = below.value if isinstance(below, ast.Expr) else None
                    said = text.value if isinstance(text, ast.Constant) else ""
                    texts[section.name, line.target.id] = said if isinstance(said, str) else ""
    return texts


def _keys(section: type[Section], path: tuple[str, ...]) -> Iterator[Key]:
    hints = typing.get_type_hints(section, include_extras=True)
    for field in dataclasses.fields(section):
        hint = hints[field.name]
        inner, _ = _unwrap(hint)
        here = (*path, field.name)
        item = _item(inner)
        yield _key(section, here, field, hint)
        if _is_section(inner):
            yield from _keys(inner, here)
        elif item is not None and _is_section(item):
            yield from _keys(item, (*here, "*"))


def _key(section: type[Section], path: tuple[str, ...], field: "dataclasses.Field[Any]", hint: Any) -> Key:
    inner, optional = _unwrap(hint)
    origin = typing.get_origin(inner)
    shape: Shape = (
        "section" if _is_section(inner) else "list" if origin is tuple else "mapping" if origin is dict else "scalar"
    )
    if field.default_factory is not dataclasses.MISSING:
        default = _yaml(field.default_factory())
    else:
        default = "required" if field.default is dataclasses.MISSING else _yaml(field.default)
    return Key(
        path=path,
        shape=shape,
        type=_type(inner, _rule(hint)) + (" or null" if optional else ""),
        default="" if shape == "section" else default,
        optional=optional,
        secret=inner is Secret,
        section=section.__name__,
        timed=inner is float,
    )


def _rule(hint: Any) -> Rule | None:
    return next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Rule)), None)


def _unwrap(annotation: Any) -> tuple[Any, bool]:
    """The type without `Annotated` and `| None`, and whether null was allowed."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(annotation) if part is not type(None)]
        if len(rest) == 1:
            return _unwrap(rest[0])[0], True
    return annotation, False


def _item(inner: Any) -> Any:
    """What a list or mapping holds."""
    if typing.get_origin(inner) in (tuple, dict):
        position = 0 if typing.get_origin(inner) is tuple else 1
        return _unwrap(typing.get_args(inner)[position])[0]
    return None


def _is_section(inner: Any) -> bool:
    return isinstance(inner, type) and issubclass(inner, Section)


NAMES = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path", Secret: "secret"}


def _type(inner: Any, rule: Rule | None) -> str:
    if rule is not None and rule.words:
        return rule.words
    if _is_section(inner):
        return "section"
    if typing.get_origin(inner) is Literal:
        return " or ".join(f"`{choice}`" for choice in typing.get_args(inner))
    if typing.get_origin(inner) is tuple:
        item = _item(inner)
        return "list of sections" if _is_section(item) else f"list of {_type(item, None)}"
    if typing.get_origin(inner) is dict:
        return f"mapping of text to {_type(_item(inner), None)}"
    return NAMES[inner] + (_limits(rule) if rule is not None else "")


def _limits(rule: Rule) -> str:
    if rule.ge is not None and rule.le is not None:
        return f" {rule.ge}…{rule.le}"
    words = ((rule.ge, "from"), (rule.gt, "above"), (rule.le, "up to"))
    return "".join(f" {word} {bound}" for bound, word in words if bound is not None)


def _yaml(value: Any) -> str:
    """A default as it would stand in YAML."""
    if isinstance(value, Secret):
        return value.get_secret_value()  # a default is public: it stands in the source
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[]"
    if isinstance(value, dict):
        return "{}"
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)


@cache
def every() -> dict[tuple[str, ...], Key]:
    """Every key of the configuration by its path, sections before what is in them, in the order of settings.py."""
    return {key.path: key for key in _keys(Settings, ())}


def at(path: tuple[str | int, ...]) -> Key | None:
    """The key at a path, list indexes included (`("pbx", 0, "url")`)."""
    return every().get(tuple("*" if isinstance(step, int) else step for step in path))


def below(path: tuple[str | int, ...]) -> list[str]:
    """Names of the keys that a section, or an item of a list, may have."""
    start = tuple("*" if isinstance(step, int) else step for step in path)
    return [key[-1] for key in every() if key[:-1] == start]
