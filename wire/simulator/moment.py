"""The time now, as a simulated PBX counts and writes it."""

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def stamp(ms: int | None = None) -> str:
    """A time as the recorded Asterisk writes it; now by default.

    Args:
        ms: Unix milliseconds.
    """
    at = datetime.fromtimestamp((now_ms() if ms is None else ms) / 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}+0000"
