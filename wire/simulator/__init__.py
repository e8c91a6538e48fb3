"""The PBX simulator: an ARI server that plays what a real Asterisk sent, and misbehaves on request.

`simulator` is what tests use, `cli` the command. The way of an event: `recording` (loaded, `tokens` found) → `program`
(its time has come) → `run` (its own ids, from `minting`) → `pbx` (who listens) → `link` (on the wire) → `sent_log`.
REST is answered from `timeline` by `rest`; what goes wrong is in `faults`, on request by `control`.
"""

from wire.simulator.faults import FaultError, PlannedFault
from wire.simulator.program import DEMO, MIXES, Played, Program
from wire.simulator.recording import Recording, RecordingError
from wire.simulator.sent_log import Sent
from wire.simulator.simulator import Simulator

__all__ = [
    "DEMO",
    "MIXES",
    "FaultError",
    "PlannedFault",
    "Played",
    "Program",
    "Recording",
    "RecordingError",
    "Sent",
    "Simulator",
]
