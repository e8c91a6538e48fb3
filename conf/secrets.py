"""Secrets of the settings: their type, which settings they are, and what no log, report or error may show."""

import base64
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler

MASK = "********"

PUBLIC = frozenset({"", "arimon", "guest"})
"""The defaults that stand in this repository. They are words of every other log line, and no secrets."""


class Secret:
    """A text that no repr, str or format shows. (pydantic's SecretStr, without pydantic: see conf.rules.)"""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        """The mask."""
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        """The mask."""
        return MASK

    def __eq__(self, other: object) -> bool:
        """Whether the texts are equal."""
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        """As its text."""
        return hash(self._text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: "GetCoreSchemaHandler") -> Any:
        """A text, put into it; pydantic asks when it validates, so it is there."""
        from pydantic_core import core_schema

        return core_schema.no_info_wrap_validator_function(
            lambda value, check: value if isinstance(value, cls) else cls(check(value)), core_schema.str_schema()
        )


def values(settings: Any) -> tuple[str, ...]:
    """Every form in which a secret of these settings could turn up in a text.

    Besides the secret itself that is its form in a URL, and, beside a `username`, in a Basic Authorization header.
    The longest come first, so that masking one does not leave a part of another.

    Args:
        settings: the settings, or a section of them.
    """
    found: set[str] = set()
    for section, secret in _secrets(settings):
        if secret in PUBLIC:
            continue
        found.update((secret, quote(secret), quote(secret, safe="")))
        username = getattr(section, "username", None)
        if username is not None:
            found.add(base64.b64encode(f"{username}:{secret}".encode()).decode())
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def _secrets(section: Any) -> Iterator[tuple[Any, str]]:
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Secret):
                yield section, item.get_secret_value()
            elif dataclasses.is_dataclass(item):
                yield from _secrets(item)
