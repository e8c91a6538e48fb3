"""What the settings' classes say about each key: its type, default, unit and meaning.

For error messages, for environment variables, which have no types of their own, and for docs/configuration.md.

What a key means stands below it in settings.py and is read from there when somebody asks: few starts do, and pydantic's
own `use_attribute_docstrings` reads the file for each class, which took a tenth of arimon-ctl's start.
"""

import ast
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from conf import settings
from conf.settings import Settings

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


def keys() -> Iterator[Key]:
    """Every key of the configuration, sections before what is in them, in the order of settings.py."""
    return _keys(Settings, ())


def _keys(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        inner, optional = _unwrap(field.annotation)
        here = (*path, name)
        item = _item(inner)
        yield _key(model, here, field, inner, optional)
        if _is_section(inner):
            yield from _keys(inner, here)
        elif item is not None and _is_section(item):
            yield from _keys(item, (*here, "*"))


def _key(model: type[BaseModel], path: tuple[str, ...], field: FieldInfo, inner: Any, optional: bool) -> Key:
    origin = typing.get_origin(inner)
    shape: Shape = (
        "section" if _is_section(inner) else "list" if origin is tuple else "mapping" if origin is dict else "scalar"
    )
    return Key(
        path=path,
        shape=shape,
        type=_type(inner, field) + (" or null" if optional else ""),
        default="required" if field.is_required() else "" if shape == "section" else _yaml(field.default),
        optional=optional,
        secret=inner is SecretStr,
        section=model.__name__,
        timed=inner is float,
    )


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
    return isinstance(inner, type) and issubclass(inner, BaseModel)


NAMES = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path", SecretStr: "secret"}


def _type(inner: Any, field: FieldInfo | None) -> str:
    if field is not None and isinstance(field.json_schema_extra, dict):
        return str(field.json_schema_extra["words"])
    if _is_section(inner):
        return "section"
    if typing.get_origin(inner) is Literal:
        return " or ".join(f"`{choice}`" for choice in typing.get_args(inner))
    if typing.get_origin(inner) is tuple:
        item = _item(inner)
        return "list of sections" if _is_section(item) else f"list of {_type(item, None)}"
    if typing.get_origin(inner) is dict:
        return f"mapping of text to {_type(_item(inner), None)}"
    return NAMES[inner] + _limits(field.metadata if field is not None else [])


def _limits(metadata: list[Any]) -> str:
    low = next((item.ge for item in metadata if isinstance(item, Ge)), None)
    above = next((item.gt for item in metadata if isinstance(item, Gt)), None)
    high = next((item.le for item in metadata if isinstance(item, Le)), None)
    under = next((item.lt for item in metadata if isinstance(item, Lt)), None)
    if low is not None and high is not None:
        return f" {low}…{high}"
    words = ((low, "from"), (above, "above"), (high, "up to"), (under, "below"))
    return "".join(f" {word} {bound}" for bound, word in words if bound is not None)


def _yaml(value: Any) -> str:
    """A default as it would stand in YAML."""
    if isinstance(value, SecretStr):
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


ALL: dict[tuple[str, ...], Key] = {key.path: key for key in keys()}


def at(path: tuple[str | int, ...]) -> Key | None:
    """The key at a path, list indexes included (`("pbx", 0, "url")`)."""
    return ALL.get(tuple("*" if isinstance(step, int) else step for step in path))


def below(path: tuple[str | int, ...]) -> list[str]:
    """Names of the keys that a section, or an item of a list, may have."""
    start = tuple("*" if isinstance(step, int) else step for step in path)
    return [key[-1] for key in ALL if key[:-1] == start]
