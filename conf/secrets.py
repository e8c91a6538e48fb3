"""Which settings are secret, and their values: what no log, report or error may show."""

import base64
from collections.abc import Iterator
from urllib.parse import quote

from pydantic import BaseModel, SecretStr

MASK = "********"

PUBLIC = frozenset({"", "arimon", "guest"})
"""The defaults that stand in this repository. They are words of every other log line, and no secrets."""


def values(settings: BaseModel) -> tuple[str, ...]:
    """Every form in which a secret of these settings could turn up in a text.

    Besides the secret itself that is its form in a URL, and, beside a `username`, in a Basic Authorization header.
    The longest come first, so that masking one does not leave a part of another.
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


def _secrets(section: BaseModel) -> Iterator[tuple[BaseModel, str]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, SecretStr):
                yield section, item.get_secret_value()
            elif isinstance(item, BaseModel):
                yield from _secrets(item)
