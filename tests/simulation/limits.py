"""What is configured in a run: small limits, so that they are reached."""

import random

from conf.settings import Settings
from conf.validation import validated
from tests.simulation.places import PBX
from wire.store.offer import Limits

LIMITS = Limits(window=4, entries=40, answer_ms=500, confirm_ms=8000, retry_min_ms=50, retry_max_ms=500)
"""Of the outbox: small, so that few messages reach them."""


def settings(luck: random.Random, keep: int) -> Settings:
    """Small limits, so that they are reached.

    Args:
        luck: chooses among them.
        keep: how much journal is kept that nobody needs, bytes.
    """
    return validated(
        Settings,
        {
            "pbx": [
                {
                    "name": PBX,
                    "url": "ws://127.0.0.1:8088/ari",
                    "connect_timeout": 1.0,
                    "dead_after": 3.0,
                    "replaced_retry": 2.0,
                    "retry": {"minimum": 0.1, "maximum": 1.0},
                }
            ],
            "journal": {
                "synchronous": luck.choice(("normal", "full")),
                "segment_bytes": 65536,
                "max_bytes": keep,
                "reserve_bytes": luck.choice((65536, 1 << 20)),
            },
            "switchboard": {"partitions": 2, "batch_rows": luck.choice((5, 50)), "snapshot_rows": 100},
            "rabbitmq": {"retry": {"minimum": 0.1, "maximum": 1.0}},
            "publisher": {"confirm_timeout": 3.0},
            "recovery": {"audit_interval": luck.choice((5.0, 20.0)), "second_look": 2.0},
        },
    )


def ages(luck: random.Random) -> dict[str, int]:
    """An age policy now and then, milliseconds: short enough for a broker that is away."""
    if luck.random() < 0.75:
        return {}
    operations = (
        "received-call",
        "ringing-call",
        "answered-call",
        "dtmf-received",
        "pbx-disconnected",
        "finished-call",
    )
    return {operation: luck.choice((200, 1000, 3000)) for operation in luck.sample(operations, 3)}
