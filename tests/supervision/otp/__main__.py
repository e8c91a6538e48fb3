"""The long run: `python -m tests.supervision.otp --scenarios 10000 --seed 7`."""

import argparse
import random
import sys
import time

from tests.supervision.otp.differential import LEAST, RULES, compare
from tests.supervision.otp.erlang import Erlang


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare our supervisor machine with Erlang/OTP's supervisor.")
    parser.add_argument("--scenarios", type=int, default=10_000, help="how many scenarios (default 10000)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="seed of the draws (default random)")
    options = parser.parse_args()
    began = time.monotonic()
    with Erlang() as erlang:
        print(f"{erlang.banner[0]}, seed {options.seed}", flush=True)
        tally = compare(erlang, options.scenarios, options.seed)
    seconds = time.monotonic() - began
    print(f"{tally.scenarios} scenarios of {tally.steps} steps are the same on both sides, {seconds:.0f} s")
    for rule in sorted(RULES, key=lambda rule: tally.rules[rule]):
        print(f"{100 * tally.rules[rule] / tally.scenarios:6.2f} % {rule}")
    rare = tally.rare()
    if rare:
        print(f"occurred in less than {LEAST:.0%} of the scenarios: {', '.join(rare)}")
    return 1 if rare else 0


if __name__ == "__main__":
    sys.exit(main())
