"""`python -m tests.chaos`: the whole of it, live."""

import argparse
import random
import signal
import sys
import time

from tests.chaos import table
from tests.chaos.blows import FULL
from tests.chaos.experiment import Plan, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--jobs", type=int, default=30)
    arguments = parser.parse_args()
    # Whoever ends us otherwise than by Ctrl-C wants nothing left behind either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    say(f"seed {arguments.seed}")
    plan = Plan(num_jobs=arguments.jobs, epochs=(10, 30), blows=FULL, seed=arguments.seed)
    outcome = run(plan, say)
    print("\n".join(["", *table.lines(outcome), ""]))
    for complaint in outcome.complaints:
        print(f"WRONG: {complaint}")
    num_wrong = len(outcome.complaints)
    print(f"{num_wrong} things are wrong" if num_wrong else "every job ended once and rightly, and nothing is left")
    return 1 if outcome.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
