"""`python -m wire.simulator`: the simulator as a command."""

from wire.simulator.cli import main

main(prog_name="arimon-sim")
