"""`python -m tests.chaos`: the whole experiment, with live output."""

import argparse
import random
import signal
import sys
import time

from tests.chaos import results
from tests.chaos.experiment import Plan, run
from tests.chaos.faults import FULL


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--jobs", type=int, default=30)
    arguments = parser.parse_args()
    # Clean up after SIGTERM as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    report(f"seed {arguments.seed}")
    plan = Plan(num_jobs=arguments.jobs, epochs=(10, 30), faults=FULL, seed=arguments.seed)
    outcome = run(plan, report)
    print("\n".join(["", *results.lines(outcome), ""]))
    for violation in outcome.violations:
        print(f"WRONG: {violation}")
    num_wrong = len(outcome.violations)
    print(
        f"{num_wrong} problems" if num_wrong else "every job ended once, in the right state, and all resources are free"
    )
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
