"""The metrics that runs and sweeps export; exporting them costs a run nothing."""

import subprocess
import sys
import time
from typing import Any

import psutil
import pytest

from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import RUN_EVENT, RunEvent
from fgd_core.spec.results import MaskScores, Scores
from fgd_core.spec.trials import SweepProgressed, TrialEnded, TrialEvent, TrialReported
from workers.metrics import COUNTERS, GAUGES
from workers.metrics.ray_metrics import SweepMetrics
from workers.metrics.samples import run_samples, sweep_samples

RUN = {"job_name": "a run", "job_id": "3f2a", "kind": "distill", "trial": ""}
SWEEP = {"sweep": "a sweep", "job_id": "3f2a"}
TRIALS = {"job_name": "a sweep", "job_id": "3f2a", "kind": "sweep"}
PROGRESS: dict[str, Any] = {
    "kind": "progress",
    "epoch": 2,
    "epochs": 4,
    "step": 15,
    "steps": 40,
    "images_per_s": 8.0,
    "eta_s": 3.0,
    "learning_rate": 0.1,
    "values": {"loss": 1.5, "fgd/foreground": 0.5},
    "data_wait": 0.25,
    "gpu_memory_of_workers": [
        {"allocated_bytes": 1000, "peak_bytes": 2000},
        {"allocated_bytes": 1100, "peak_bytes": 2100},
    ],
}
SCORES: dict[str, Any] = dict.fromkeys(name for name in Scores.model_fields if name not in ("per_class", "masks"))
MASKS: dict[str, Any] = {name: None for name, field in MaskScores.model_fields.items() if field.is_required()}
EVALUATED: dict[str, Any] = {
    "kind": "evaluated",
    "epoch": 2,
    "step": 15,
    "scores": SCORES | {"ap": 0.4, "masks": MASKS | {"ap": 0.3}},
}


def event(data: dict[str, Any]) -> RunEvent:
    return RUN_EVENT.validate_python(data)


def values(data: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Values of a run's samples, by metric and by the labels that the metric has in addition to those of every run."""
    found = {}
    for name, value, labels in run_samples(event(data), RUN):
        own = " ".join(text for label, text in labels.items() if label not in RUN)
        found[name, own] = value
    return found


class TestRuns:
    def test_progress_sets_all_metrics_of_a_run(self) -> None:
        assert values(PROGRESS) == {
            ("fgd_run_loss", "loss"): 1.5,
            ("fgd_run_loss", "fgd/foreground"): 0.5,
            ("fgd_run_learning_rate", ""): 0.1,
            ("fgd_run_images_per_second", ""): 8.0,
            ("fgd_run_progress_ratio", ""): 15 / 40,
            ("fgd_run_epoch", ""): 1.5,
            ("fgd_run_eta_seconds", ""): 3.0,
            ("fgd_run_data_wait_ratio", ""): 0.25,
            ("fgd_run_gpu_memory_bytes", "0 allocated"): 1000,
            ("fgd_run_gpu_memory_bytes", "0 peak"): 2000,
            ("fgd_run_gpu_memory_bytes", "1 allocated"): 1100,
            ("fgd_run_gpu_memory_bytes", "1 peak"): 2100,
        }

    def test_without_a_gpu_no_gpu_metric_is_set(self) -> None:
        without = {name: value for name, value in PROGRESS.items() if not name.startswith("gpu_")}
        assert not [name for name, _ in values(without) if "gpu" in name]

    def test_ap_is_set_for_boxes_and_masks(self) -> None:
        assert values(EVALUATED) == {("fgd_run_ap", "boxes"): 0.4, ("fgd_run_ap", "masks"): 0.3}

    def test_a_missing_score_sets_no_metric(self) -> None:
        assert values(EVALUATED | {"scores": SCORES}) == {}


class TestSweeps:
    def samples(self, event: RunEvent) -> list[Any]:
        return list(sweep_samples(event, SWEEP, objective="ap", trial_labels=TRIALS))

    def test_an_event_of_a_trial_sets_the_metrics_of_that_trial(self) -> None:
        samples = self.samples(TrialEvent(trial=7, event=PROGRESS))
        assert {sample.labels["trial"] for sample in samples} == {"7"}
        assert len(samples) == len(values(PROGRESS))

    def test_an_unknown_event_of_a_trial_is_ignored(self) -> None:
        assert self.samples(TrialEvent(trial=7, event={"kind": "from the future"})) == []

    def test_a_paused_trial_has_not_ended(self) -> None:
        assert self.samples(TrialEnded(trial=1, cause="paused", epoch=1)) == []
        assert [sample.value for sample in self.samples(TrialEnded(trial=1, cause="stopped", epoch=1))] == [1]

    @pytest.mark.parametrize(
        "reported",
        [
            TrialEvent(trial=1, event=PROGRESS),
            TrialEvent(trial=1, event=EVALUATED),
            TrialEnded(trial=1, cause="failed", epoch=1),
            SweepProgressed(running=[1], done=1, planned=4, epochs_done=3, best_trial=0, best=0.4, eta_s=9.0),
        ],
        ids=lambda reported: reported.kind,
    )
    def test_each_sample_has_exactly_the_labels_of_its_metric(self, reported: RunEvent) -> None:
        samples = self.samples(reported)
        assert samples
        for sample in samples:
            assert set(sample.labels) == set({**GAUGES, **COUNTERS}[sample.name].labels)

    def test_after_a_trial_ended_only_its_objective_and_epoch_are_repeated(self, assignment: Assignment) -> None:
        metrics = SweepMetrics(assignment, "ap")
        scores = Scores.model_validate(SCORES | {"ap": 0.4})
        for trial in (1, 2):
            metrics.observe(TrialEvent(trial=trial, event=EVALUATED))
            metrics.observe(TrialReported(trial=trial, epoch=2, objectives=[0.4], scores=scores, train_s=1.0))
        metrics.observe(TrialEnded(trial=1, cause="stopped", epoch=2))
        repeated = [(name, dict(labels)["trial"]) for name, labels in metrics._metrics._staying]
        assert {name for name, trial in repeated if trial == "1"} == {"fgd_trial_objective", "fgd_trial_epoch"}
        assert "fgd_run_ap" in {name for name, trial in repeated if trial == "2"}


RELAY_SCRIPT = """
import os, sys, time
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import Progress
from workers.metrics.relay import MetricsRelay
assignment = Assignment.model_validate_json(sys.argv[1])
relay = MetricsRelay(assignment, lambda: 0)
event = Progress.model_validate_json(sys.argv[2])
took_s = []
for _ in range(300):
    began_s = time.perf_counter()
    relay.observe(event)
    took_s.append(time.perf_counter() - began_s)
print(max(took_s), flush=True)
sys.stdin.read()
"""


class TestRelay:
    def start(self, environment: dict[str, str], assignment: Assignment) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", RELAY_SCRIPT, assignment.model_dump_json(), event(PROGRESS).model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PATH": "/usr/bin:/bin", **environment},
        )

    def test_outside_ray_no_process_starts(self, assignment: Assignment) -> None:
        with self.start({}, assignment) as run:
            assert run.stdout is not None
            run.stdout.readline()
            assert psutil.Process(run.pid).children() == []
            run.communicate()
        assert run.returncode == 0

    def test_an_unreachable_ray_blocks_no_run_and_the_process_ends_with_the_run(self, assignment: Assignment) -> None:
        with self.start({"RAY_ADDRESS": "127.0.0.1:1"}, assignment) as run:
            assert run.stdout is not None
            longest_s = float(run.stdout.readline())
            # Waiting for a Ray that does not answer takes a minute; a busy machine may hold a call up for seconds.
            assert longest_s < 10
            deadline_s = time.monotonic() + 240
            while not (children := psutil.Process(run.pid).children()):
                assert time.monotonic() < deadline_s
                time.sleep(0.05)
            output, _ = run.communicate(timeout=240)
        assert run.returncode == 0
        assert output == ""
        gone, _ = psutil.wait_procs(children, timeout=240)
        assert len(gone) == len(children) == 1
