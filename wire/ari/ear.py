"""When one connection last gave us a byte, by two clocks."""


class Ear:
    """Notes when a PBX was heard.

    The link's steady clock stands still while the host is suspended, so that it cannot say what the host's clock said
    then; the one that counts from the boot does not.
    """

    __slots__ = ("_boot_ms", "heard")

    def __init__(self) -> None:
        self.heard = 0.0
        """When the last byte came, seconds of the steady clock."""
        self._boot_ms = 0

    def hear(self, now: float, boot_ms: int) -> None:
        """A byte came.

        Args:
            now: the steady clock, seconds.
            boot_ms: milliseconds since the host's boot.
        """
        self.heard = now
        self._boot_ms = boot_ms

    def heard_ms(self, boot_ms: int, wall_ms: int) -> int:
        """When the last byte came, as the host's clock counts now, Unix milliseconds.

        Args:
            boot_ms: milliseconds since the host's boot.
            wall_ms: the host's clock, Unix milliseconds.
        """
        return wall_ms - (boot_ms - self._boot_ms)
