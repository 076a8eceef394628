"""Asks Ray's autoscaler for nodes: `python -m workers.demand '[[16, 1, 2]]'`.

The control plane starts it as a Ray job without CPUs while jobs wait for nodes, because Ray knows nothing of jobs that
wait in a queue of others. What Ray was asked for stays in force until it is asked for something else, so this process
takes it back at its end: when it is stopped, and in any case after `--seconds`, in case the control plane is gone.
"""

import argparse
import json
import signal
import sys
import time
from types import FrameType

import ray
from ray.autoscaler.sdk import request_resources

Bundle = dict[str, int]


def main() -> int:
    """Ask for the nodes of the command line, wait, and take it back; returns the exit code."""
    parser = argparse.ArgumentParser(description="Ask Ray's autoscaler for nodes, and take it back at the end.")
    parser.add_argument("nodes", help="all nodes that there should be, as a JSON list of [CPUs, GPUs, number]")
    parser.add_argument("--seconds", type=float, default=0.0)
    options = parser.parse_args()
    ray.init(address="auto", namespace="fgd", log_to_driver=False)
    # Only now, because Ray installs a handler of its own.
    signal.signal(signal.SIGTERM, _end)
    try:
        request_resources(bundles=bundles(json.loads(options.nodes)))
        time.sleep(options.seconds)
    finally:
        request_resources(bundles=[])
    return 0


def bundles(nodes: list[tuple[int, int, int]]) -> list[Bundle]:
    """Return one bundle for each node, which fills it: bundles that left room on a node would add too few.

    Args:
        nodes: (CPUs, GPUs, number of such nodes) of each size.
    """
    sizes = [({"CPU": cpus, "GPU": gpus}, number) for cpus, gpus, number in nodes]
    return [{kind: each for kind, each in size.items() if each} for size, number in sizes for _ in range(number)]


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
