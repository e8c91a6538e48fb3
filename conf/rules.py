"""What the value of a setting must keep to beyond its type, as plain data beside the type.

    Port = Annotated[int, Rule(ge=0, le=65535)]

Validation (conf.validation) and the words for people (conf.keys) are made of it. It is not written in pydantic's own
words because settings.py must not import pydantic: that costs more than all the rest of arimon-ctl's start, and whoever
changes no default needs none of it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler


class Rule:
    """Limits of one value.

    Args:
        ge: least value.
        gt: bound below that is no value itself.
        le: largest value.
        pattern: regular expression that a text must match.
        check: raises ValueError when a value is none, and returns it otherwise.
        words: what is wanted, for people, where a type and limits do not say it.
    """

    __slots__ = ("check", "ge", "gt", "le", "pattern", "words")

    def __init__(
        self,
        *,
        ge: float | None = None,
        gt: float | None = None,
        le: float | None = None,
        pattern: str | None = None,
        check: Callable[[str], str] | None = None,
        words: str = "",
    ) -> None:
        self.ge = ge
        self.gt = gt
        self.le = le
        self.pattern = pattern
        self.check = check
        self.words = words

    def __get_pydantic_core_schema__(self, source: Any, handler: "GetCoreSchemaHandler") -> Any:
        """The same in pydantic's words; it asks when it validates, so it is there."""
        from pydantic import AfterValidator, Field

        ruled = Annotated[source, Field(ge=self.ge, gt=self.gt, le=self.le, pattern=self.pattern)]
        return handler.generate_schema(ruled if self.check is None else Annotated[ruled, AfterValidator(self.check)])
