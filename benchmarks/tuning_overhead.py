"""Compares the overhead of a sweep with bare Ray Tune: trials that only report, on one cluster, alternating.

    python -m benchmarks.tuning_overhead [--trials 64] [--reports 10] [--repetitions 10] [--out benchmarks/results]

The sweep of fgd uses the whole path: driver, study, and events from the outbox on disk over HTTP to a server on SQLite;
its time ends when the server has all events. Ray Tune only writes its results to its own folder. Both reuse their
actors.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray import tune
from rich.console import Console

from benchmarks.control_plane.engines import databases
from benchmarks.control_plane.systems import Ours
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import CheckpointSaved, Evaluated, RunFinished
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.resources import Resources
from fgd_core.spec.results import RunResult, Scores
from tests.tuning.function_trials import sweep
from workers.control_plane import ControlPlane
from workers.run_context import HttpContext
from workers.tuning.driver import Driver
from workers.tuning.tune_executor import TuneExecutor

_SPACE = {"method.scale": {"type": "log_uniform", "low": 0.01, "high": 10}}


def empty_trial(spec: Any, context: Any) -> RunFinished:
    """Report the events of a training to the sweep, without training."""
    scores = Scores(**(dict.fromkeys(Scores.model_fields) | {"per_class": {}, "ap": 0.5}))
    for epoch in range(1, spec.training.epochs + 1):
        context.emit(Evaluated(epoch=epoch, step=epoch, scores=scores))
        saved = CheckpointSaved(name="last", uri="file:///nowhere", sha256="", size_bytes=0, epoch=epoch, step=epoch)
        context.emit(saved)
        context.wait_for_verdict()
    result = RunResult(scores=scores, num_parameters=1, images_per_s=1.0, num_images=1, device="cpu")
    return RunFinished(outcome="succeeded", result=result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--reports", type=int, default=10)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    # Both without their console output.
    os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "0"}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    ours: list[float] = []
    theirs: list[float] = []
    for repetition in range(options.repetitions):
        turns = [(_ours, ours), (_tune, theirs)]
        for measure, seconds in turns if repetition % 2 == 0 else reversed(turns):
            with tempfile.TemporaryDirectory() as folder:
                seconds.append(measure(Path(folder), options.trials, options.reports))
    found = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "ray": ray.__version__,
        "trials": options.trials,
        "reports": options.reports,
        "ours_s": ours,
        "tune_s": theirs,
        "ratio": statistics.median(ours) / statistics.median(theirs),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "tuning_overhead.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / "tuning_overhead.md").write_text(_markdown(found))
    Console().print(_markdown(found))
    ray.shutdown()


def _ours(folder: Path, num_trials: int, num_reports: int) -> float:
    spec = sweep(
        _SPACE,
        epochs=num_reports,
        searcher={"type": "random"},
        scheduler={"type": "none"},
        budget={"trials": num_trials},
        baselines=False,
        concurrent_trials=2,
        shared_teacher="off",
    )
    with databases("sqlite", folder) as engines:
        system = Ours(engines, folder)
        with system.running(1):
            request = system.report(0, [])
            job_id = system.job_ids[0]
            token = request.headers["Authorization"].removeprefix("Bearer ")
            control_plane = ControlPlane(f"http://127.0.0.1:{system.port}", f"{job_id}-1", token)
            assignment = _assignment(spec, job_id, folder / "job")
            began_s = time.perf_counter()
            # The first event of the run has already been reported by the benchmark.
            context = _Context(assignment, control_plane)
            executor = TuneExecutor(empty_trial, Resources(cpus=1), name=folder.name, max_trials=2)
            finished = Driver(spec, context, context.study(0)).run(executor)
            assert finished.outcome == "succeeded", finished
            assert context.close(60.0), "the server has not received all events"
            took_s = time.perf_counter() - began_s
            ended = [entry for entry in control_plane.study(0).entries if entry.event.kind == "trial_ended"]
            assert len(ended) == num_trials, "the server does not know all trials"
            return took_s


class _Context(HttpContext):
    """The context of a sweep that resolves no teacher."""

    def resolve_checkpoint(self, source: str) -> Path:
        return Path(source)


def _assignment(spec: SweepSpec, job_id: str, folder: Path) -> Assignment:
    return Assignment(attempt_id=f"{job_id}-1", number=1, job_id=job_id, spec=spec, job_uri=folder.as_uri())


def _tune(folder: Path, num_trials: int, num_reports: int) -> float:
    def trainable(config: dict[str, float]) -> None:
        for epoch in range(1, num_reports + 1):
            tune.report({"epoch": epoch, "ap": 0.5})

    began_s = time.perf_counter()
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"scale": tune.loguniform(0.01, 10)},
        tune_config=tune.TuneConfig(num_samples=num_trials, max_concurrent_trials=2, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    results = tuner.fit()
    took_s = time.perf_counter() - began_s
    assert len(results) == num_trials and not results.errors
    return took_s


def _markdown(found: dict[str, Any]) -> str:
    def shown(seconds: list[float]) -> str:
        return ", ".join(f"{each:.1f}" for each in seconds)

    return (
        "# A sweep compared with bare Ray Tune\n\n"
        f"`python -m benchmarks.tuning_overhead`, {found['at'][:10]}, Ray {found['ray']}, {os.cpu_count()} cores: "
        f"{found['trials']} empty trials of {found['reports']} reports, two at a time, on one cluster, alternating.\n\n"
        f"fgd {shown(found['ours_s'])} s, Ray Tune {shown(found['tune_s'])} s: {found['ratio']:.2f} times (medians). "
        "The time of fgd ends when every event is in the server's database.\n"
    )


if __name__ == "__main__":
    main()
