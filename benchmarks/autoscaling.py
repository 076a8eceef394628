"""Measures how long a single job takes to bring up the node that it needs, and how long that node stays.

    python -m benchmarks.autoscaling [--repetitions 3] [--idle-s 10] [--out benchmarks/results]

A real control plane, and a real Ray without worker nodes, whose autoscaler starts raylets on this machine: so the time
of a machine to boot is not in the result, but every step of ours and of Ray's is.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.resources import Resources
from service.client.client import FgdClient
from service.dispatcher.growing import LINGER_S, PREFIX, SETTLE_S
from service.jobs.cluster import NodeType
from tests.end_to_end.whole import Whole, train
from tests.growing_ray import GrowingRay, growing_ray

SMALL, LARGE = NodeType(cpus=4, max_nodes=2), NodeType(cpus=8, gpus=1, max_nodes=1)
TIMEOUT_S = 300.0


class Grown(NamedTuple):
    """Seconds from the submission of the job."""

    asked_s: float
    """Until Ray was asked for the node."""
    node_s: float
    """Until the node was alive."""
    running_s: float
    ended_s: float
    empty_s: float
    """Until the node was removed again."""


def environment(ray: GrowingRay) -> dict[str, str]:
    """Return the variables of a control plane that uses this Ray."""
    return {
        "FGD_RAY_DASHBOARD_URL": ray.url,
        "FGD_RAY_NODE_TYPES": json.dumps([kind.model_dump() for kind in (SMALL, LARGE)]),
        "RAY_AUTH_TOKEN": ray.token,
    }


def job() -> TrainSpec:
    """Return a training that needs the smaller kind of node."""
    return train(epochs=1).model_copy(update={"resources": Resources(cpus=3)})


def until(so: Callable[[], bool], began_s: float, *, every_s: float = 0.2) -> float:
    """Wait until something holds; returns the seconds since `began_s`."""
    while not so():
        assert time.monotonic() < began_s + TIMEOUT_S, "it took too long"
        time.sleep(every_s)
    return time.monotonic() - began_s


def grow_and_shrink(ray: GrowingRay, client: FgdClient) -> Grown:
    """Run the job on a cluster without nodes, and wait until the cluster has none again."""
    began_s = time.monotonic()
    job_id = client.submit(job()).job_id
    grown = Grown(
        asked_s=until(lambda: any(id_.startswith(PREFIX) for id_ in ray.runs()), began_s),
        node_s=until(lambda: len(ray.nodes()) == 1, began_s),
        running_s=until(lambda: client.job(job_id).state == "running", began_s),
        ended_s=until(lambda: client.job(job_id).ended_at is not None, began_s),
        empty_s=until(lambda: not ray.nodes(), began_s),
    )
    assert client.job(job_id).state == "succeeded", client.job(job_id).error
    return grown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--idle-s", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    with growing_ray([SMALL, LARGE], idle_s=options.idle_s) as ray, tempfile.TemporaryDirectory() as home:
        whole = Whole(Path(home), **environment(ray))
        whole.up()
        with whole.client() as client:
            runs = [grow_and_shrink(ray, client) for _ in range(options.repetitions)]
        whole.down()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "autoscaling.md").write_text(table(runs, options.idle_s))
    print(table(runs, options.idle_s))


def table(runs: list[Grown], idle_s: float) -> str:
    """Return the medians of all repetitions in Markdown."""
    medians = Grown(*map(statistics.median, zip(*runs, strict=True)))
    rows = [
        ("Ray is asked for the node", medians.asked_s),
        ("the node is alive", medians.node_s),
        ("the job runs", medians.running_s),
        ("the job has ended", medians.ended_s),
        ("the node is gone", medians.empty_s),
    ]
    setting = (
        f"`python -m benchmarks.autoscaling`, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores: a training of one "
        "epoch that needs 3 CPUs, on a Ray whose head has none and whose autoscaler may add nodes of 4 CPUs, or of 8 "
        f"CPUs and a GPU. The nodes are raylets on the same machine. Medians of {len(runs)} runs. Nodes that are idle "
        f"for {idle_s:g} s are removed. Jobs wait {SETTLE_S:g} s before Ray is asked, and it is asked no more "
        f"{LINGER_S:g} s after the start."
    )
    head = ["# From no nodes to the right one, and back, by a single job", "", setting, ""]
    lines = [
        "| since the submission | seconds |",
        "|---|---|",
        *(f"| {what} | {seconds:.1f} |" for what, seconds in rows),
    ]
    return "\n".join([*head, *lines, ""])


if __name__ == "__main__":
    main()
