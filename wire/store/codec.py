"""interface draft: the design follows."""

from collections.abc import Iterable
from typing import Any


class Codec:
    """Turns states into bytes and back: pickle, restricted to named classes of ours and pyrsistent's containers."""

    def __init__(self, classes: Iterable[type]) -> None: ...

    def encode(self, value: object) -> bytes:
        """TypeError-free for allowed classes; CodecError names the first class that decode would refuse."""
        raise NotImplementedError

    def decode(self, blob: bytes) -> Any:
        """CodecError if the blob is damaged or holds anything that is not allowed."""
        raise NotImplementedError


def classes_in(module: str) -> tuple[type, ...]:
    """The classes defined in a module of ours."""
    raise NotImplementedError
