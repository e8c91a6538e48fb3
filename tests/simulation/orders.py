"""Orders of an operator, about rows in quarantine."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from actors.call import redrive
from tests.simulation.bugs import MENDED
from tests.simulation.places import CONNECTION, SWITCHBOARD
from tests.simulation.roles import ConnectionMachine
from tests.simulation.switchboard import SwitchboardMachine
from wire.store.database import translated
from wire.store.errors import StoreUnusable
from wire.store.ledger import Quarantined

if TYPE_CHECKING:
    from tests.simulation.lab import Lab


def try_again(lab: "Lab", is_mended: bool, which: int) -> None:
    """As `arimon-ctl quarantine redrive`, of one of the entries that wait."""
    _order(lab, "redrive", MENDED if is_mended else "as-before", which)


def drop(lab: "Lab", which: int) -> None:
    """As `arimon-ctl quarantine drop`, of one of the entries that wait."""
    _order(lab, "drop", "drop", which)


def _order(lab: "Lab", command: redrive.Command, name: str, which: int) -> None:
    def ordered(entry: Quarantined) -> None:
        connection = lab.machines.get(CONNECTION)
        if isinstance(connection, ConnectionMachine):
            lab.happened[f"{command}.ordered"] += 1
            order = redrive.Order(f"{name}-{lab.clock.now}", entry.uuid, entry.row.n, command)
            connection.operate(redrive.command(order))

    _quarantined(lab, which, ordered)


def _quarantined(lab: "Lab", which: int, action: Callable[[Quarantined], None]) -> None:
    """Have the Switchboard, which may die of it, do something with an entry; nothing if its disk refuses."""
    switchboard = lab.machines.get(SWITCHBOARD)
    if not isinstance(switchboard, SwitchboardMachine):
        return

    def asked() -> None:
        if switchboard.ledger.is_open:
            with suppress(StoreUnusable), translated(switchboard.ledger.path):
                if waiting := switchboard.ledger.quarantine.listing():
                    action(waiting[which % len(waiting)])

    switchboard.do(asked)
