"""Compares a sweep whose driver is killed repeatedly with the same sweep without kills.

python tests/end_to_end/killed_sweep.py [--kills 5] [--seed 1]      (make chaos-sweep)
"""

import argparse
import asyncio
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whole import Whole, distill, succeeded, train, wait_for

from fgd_core.spec.dimensions import Dimension, LogUniform
from fgd_core.spec.events import StoredEvent
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.search import Asha, Budget, Objective, PopulationBased, Random, SchedulerSpec, Tpe
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.dispatcher.local import LocalRay

EPOCHS = 4
TIMEOUT_S = 1200.0
SPACE: dict[str, Dimension] = {
    "method.scale": LogUniform(low=0.01, high=1),
    "method.temperature": LogUniform(low=0.3, high=10),
}
SCHEDULERS: dict[str, SchedulerSpec] = {
    "asha": Asha(grace_epochs=1, reduction=2),
    "population_based": PopulationBased(population=4),
}


@dataclass(frozen=True)
class Counts:
    seed: int
    scheduler: str
    kills: int
    attempts: int
    trials: int
    epochs: int
    epochs_trained_twice: int
    lost_runs: int
    seconds: float
    calm_seconds: float


def sweep(teacher: str, scheduler: str, trials: int) -> SweepSpec:
    base = distill(teacher, epochs=EPOCHS)
    # The scheduler can only judge epochs that were evaluated, and only if the scores are not 0 for all trials. After so
    # little training, no detection would be above the usual threshold.
    update = {
        "training": base.training.model_copy(update={"evaluate_every": 1}),
        "student": base.student.model_copy(update={"score_threshold": 0.0}),
    }
    base = base.model_copy(update=update)
    return SweepSpec(
        name=f"swept by {scheduler}",
        base=base,
        space=SPACE,
        searcher=Tpe(startup_trials=3) if scheduler == "asha" else Random(),
        scheduler=SCHEDULERS[scheduler],
        # AP is 0 after so little training, recall is not.
        objectives=(Objective(metric="ar100"),),
        budget=Budget(trials=trials),
        seed=4,
    )


def decisions(events: list[StoredEvent]) -> list[dict[str, Any]]:
    """Return starts, reports with scores and rungs, and ends, without the traces of interruptions."""
    found = []
    for event in events:
        data = {**event.data, "train_s": None, "checkpoint": None}
        if data["kind"] not in ("trial_started", "trial_reported", "trial_ended") or data.get("is_resumed"):
            continue
        if data.get("result"):
            data["result"] = {**data["result"], "images_per_s": None, "speed": None, "train_s": None}
        found.append(data)
    return found


def compare(client: FgdClient, scheduler: str, teacher: str, *, kills: int, seed: int, trials: int = 6) -> Counts:
    """Run the sweep without kills, then with kills at random reports.

    Args:
        teacher: reference to its checkpoint.
    Raises:
        AssertionError: the two sweeps made different decisions.
    """
    rng = random.Random(f"{seed} {scheduler}")
    spec = sweep(teacher, scheduler, trials)
    began_s = time.monotonic()
    calm_id = client.submit(spec).job_id
    undisturbed = wait_for(client, calm_id, lambda job: job.ended_at is not None, TIMEOUT_S)
    assert undisturbed.state == "succeeded", undisturbed.error
    calm = decisions(list(client.events(calm_id)))
    calm_s = time.monotonic() - began_s
    num_reports = sum(data["kind"] == "trial_reported" for data in calm)
    # After each kill the sweep needs a report to be killed at, and on a busy machine these events arrive late.
    moments = sorted(rng.sample(range(1, max(kills + 1, num_reports - kills)), kills))
    began_s = time.monotonic()
    done = run_killed(client, spec, moments, rng)
    events = list(client.events(done.job_id))
    assert decisions(events) == calm, "the killed sweep made other decisions"
    trained = Counter(
        (event.data["trial"], event.data["event"]["epoch"])
        for event in events
        if event.kind == "trial_event" and event.data["event"]["kind"] == "epoch_finished"
    )
    return Counts(
        seed=seed,
        scheduler=scheduler,
        kills=kills,
        attempts=len(done.attempts),
        trials=len({data["trial"] for data in calm}),
        epochs=sum(data["kind"] == "trial_reported" for data in decisions(events)),
        epochs_trained_twice=sum(times - 1 for times in trained.values()),
        lost_runs=sum(attempt.cause == "lost" for attempt in done.attempts),
        seconds=time.monotonic() - began_s,
        calm_seconds=calm_s,
    )


def run_killed(client: FgdClient, spec: SweepSpec, moments: list[int], rng: random.Random) -> JobView:
    """Run a sweep and kill its driver after each of these numbers of reports; returns the job, which has succeeded."""
    job_id = client.submit(spec).job_id
    pid, reports, killed = 0, 0, 0
    for event in client.events(job_id):
        match event.kind:
            case "run_started":
                pid = event.data["pid"]
            case "trial_reported":
                reports += 1
                if pid and killed < len(moments) and reports >= moments[killed]:
                    time.sleep(rng.random() * 0.2)
                    os.kill(pid, signal.SIGKILL)
                    # Events that it reported before the kill may still arrive.
                    pid, killed = 0, killed + 1
    done = client.job(job_id)
    assert done.state == "succeeded", done.error
    assert killed == len(moments)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="fgd-test-"))
    whole = Whole(home)
    try:
        whole.up()
        with whole.client() as client:
            teacher = f"job:{succeeded(client, client.submit(train()).job_id).job_id}/best"
            for scheduler in SCHEDULERS:
                print(compare(client, scheduler, teacher, kills=options.kills, seed=options.seed), flush=True)
        whole.down()
    finally:
        whole.kill()
        asyncio.run(LocalRay(home).stop())
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
