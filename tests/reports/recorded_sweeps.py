"""Stored sweeps for tests: studies built event by event."""

import math
import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from fgd_core.spec.dimensions import Choice, Condition, Dimension, LogUniform, Uniform
from fgd_core.spec.events import OVER, StoredEvent
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.results import ErrorReport, RunResult, Scores
from fgd_core.spec.search import Asha, RunAll
from fgd_core.spec.study_state import fold_trials
from fgd_core.spec.sweep_report import SweepReport
from fgd_core.spec.trials import StudyEvent, TrialEnded, TrialReported, TrialStarted
from service.compare.sweeps.report import assemble
from tests.reports.recorded_jobs import BEGIN, distill_spec, scores, view

EPOCHS = 9
STEP_S = 10.0
"""Time between two events."""


class Study:
    """Collects the events of a driver, ten seconds apart."""

    def __init__(self, *, epochs: int = EPOCHS) -> None:
        self.epochs = epochs
        self.reported: list[StudyEvent] = []

    def start(self, trial: int, values: Mapping[str, Any] | None = None, **changes: Any) -> None:
        fields = {"origin": "searcher", "seed": 0, "epochs": self.epochs} | changes
        self.reported.append(TrialStarted(trial=trial, values=dict(values or {}), **fields))

    def report(self, trial: int, epoch: int, *objectives: float | None, **changes: Any) -> None:
        fields = {"train_s": 2.0 * epoch, "scores": _scores(objectives[0])} | changes
        self.reported.append(TrialReported(trial=trial, epoch=epoch, objectives=list(objectives), **fields))

    def end(self, trial: int, cause: str, epoch: int, **changes: Any) -> None:
        self.reported.append(TrialEnded(trial=trial, cause=cause, epoch=epoch, **changes))

    def run(
        self, trial: int, aps: Sequence[float | None], values: Mapping[str, Any] | None = None, **changes: Any
    ) -> None:
        """Add all events of a trial; it is `stopped` if there are fewer values than epochs."""
        self.start(trial, values, **changes)
        for epoch, ap in enumerate(aps, start=1):
            self.report(trial, epoch, ap)
        self.end(trial, "completed" if len(aps) == self.epochs else "stopped", len(aps))

    def events(self, job_id: str = "s1") -> list[StoredEvent]:
        return [
            StoredEvent(
                job_id=job_id,
                sequence=sequence,
                at=BEGIN + timedelta(seconds=STEP_S * sequence),
                attempt=1,
                kind=event.kind,
                data=event.model_dump(mode="json"),
            )
            for sequence, event in enumerate(self.reported, start=1)
        ]


def _scores(ap: float | None) -> Scores:
    return scores(ap if ap is not None else 0.0)


SPACE: dict[str, Dimension] = {
    "method.scale": LogUniform(low=0.001, high=10),
    "method.temperature": LogUniform(low=0.1, high=10),
    "training.clip_norm": Uniform(low=1, high=35),
    "method.mask": Choice(values=("geometric", "official")),
}
NUM_SEARCHED = 12
FAILED = 5


def sweep_spec(**changes: Any) -> SweepSpec:
    base = distill_spec("student", "t1", inherit="neck_and_head", epochs=EPOCHS)
    fields = {"name": "weights for shapes", "base": base, "space": SPACE, "scheduler": Asha()} | changes
    return SweepSpec(kind="sweep", **fields)


def ap_at(values: Mapping[str, Any], epoch: int, *, seed: int = 0) -> float:
    """Return a simulated AP: best at scale 0.05, a little better at a high temperature, with noise by seed."""
    scale = values.get("method.scale", 1.0)
    gain = 0.05 if scale == 0 else 0.20 * math.exp(-((math.log10(scale) + 1.3) ** 2))
    warmth = 0.02 * math.tanh(math.log10(values.get("method.temperature", 0.5)))
    noise = random.Random(f"{sorted(values.items())} {seed} {epoch}").gauss(0, 0.004)
    return (0.2 + gain + warmth) * (1 - math.exp(-3 * epoch / EPOCHS)) + noise


def drawn_values(seed: int, count: int) -> list[dict[str, Any]]:
    dice = random.Random(seed)
    return [
        {
            "method.scale": 10 ** dice.uniform(-3, 1),
            "method.temperature": 10 ** dice.uniform(-1, 1),
            "training.clip_norm": dice.uniform(1, 35),
            "method.mask": dice.choice(("geometric", "official")),
        }
        for _ in range(count)
    ]


def asha_study(*, repetitions: int = 2) -> Study:
    """Return both baselines and twelve trials under ASHA with rungs at 1 and 3; one trial fails. Then the two best and
    the baselines repeat with other seeds."""
    study = Study()
    rungs = {1: 0, 3: 1, 9: 2}
    baselines = {0: {"method.scale": 0}, 1: {"method.scale": 1.0}}
    for trial, values in baselines.items():
        whole(study, trial, values, origin=("plain", "published")[trial])
    seen: dict[int, list[float]] = {1: [], 3: []}
    finals: dict[int, tuple[float, dict[str, Any]]] = {}
    for trial, values in enumerate(drawn_values(7, NUM_SEARCHED), start=2):
        study.start(trial, values)
        best = 0.0
        for epoch in range(1, EPOCHS + 1):
            best = max(best, ap_at(values, epoch))
            reported = seen.get(epoch, [])
            reported.append(best)
            stops = epoch in seen and best < sorted(reported, reverse=True)[(len(reported) - 1) // 3]
            study.report(
                trial, epoch, ap_at(values, epoch), rung=rungs.get(epoch), verdict="stop" if stops else "continue"
            )
            if trial == FAILED:
                error = ErrorReport(code="out_of_memory", message="the GPU ran out of memory in the backward pass")
                study.end(trial, "failed", epoch, error=error)
                break
            if stops:
                study.end(trial, "stopped", epoch)
                break
        else:
            finish(study, trial, best)
            finals[trial] = (best, values)
    number = 2 + NUM_SEARCHED
    finalists = sorted(finals, key=lambda trial: -finals[trial][0])[:2]
    for seed in range(1, repetitions + 1):
        for first in (*baselines, *finalists):
            values = baselines.get(first) or finals[first][1]
            whole(study, number, values, origin="finalist", repeats=first, seed=seed)
            number += 1
    return study


def whole(study: Study, trial: int, values: Mapping[str, Any], **changes: Any) -> None:
    """Add a trial that trains to the end."""
    study.start(trial, values, **changes)
    aps = [ap_at(values, epoch, seed=changes.get("seed", 0)) for epoch in range(1, study.epochs + 1)]
    for epoch, ap in enumerate(aps, start=1):
        study.report(trial, epoch, ap)
    finish(study, trial, max(aps))


def finish(study: Study, trial: int, ap: float) -> None:
    result = RunResult(
        scores=scores(ap), num_parameters=640_000, images_per_s=60.0, num_images=100, train_s=18.0, device="cpu"
    )
    checkpoint = f"file:///storage/s1/trial-{trial}/best.pt"
    study.end(trial, "completed", study.epochs, result=result, checkpoint=checkpoint, objectives=[ap])


def sweep_report(study: Study, *, state: str = "succeeded", **changes: Any) -> SweepReport:
    events = study.events()
    spec = sweep_spec(**changes)
    job = view("s1", spec, events, state=state)
    directions = [objective.direction for objective in spec.objectives]
    trials = fold_trials(events, directions, is_over=job.state in OVER)
    return assemble(job, trials, now=BEGIN + timedelta(hours=1))


METHOD_SPACE: dict[str, Dimension] = {
    "method.type": Choice(values=("fgd", "pkd", "mgd", "cwd")),
    "method.scale": LogUniform(low=0.05, high=5),
    "method.temperature": LogUniform(low=0.3, high=10, when=Condition(field="method.type", is_in=("fgd",))),
    "method.weight": LogUniform(low=1, high=30, when=Condition(field="method.type", is_in=("pkd",))),
}
METHOD_GAINS = {"fgd": 0.03, "pkd": 0.10, "mgd": 0.0}
"""The gain of AP by method; no trial of `cwd` starts."""
METHOD_SEEDS = 4


def methods_study() -> Study:
    """Return a sweep over methods: both baselines, two trials of each of three methods, and repeats of the baselines
    and of the best trial of `pkd` and of `fgd`."""
    study = Study(epochs=2)
    runs: list[tuple[str, dict[str, Any], float]] = [
        ("plain", {"method.scale": 0}, 0.0),
        ("published", {"method.scale": 1.0}, METHOD_GAINS["fgd"] - 0.02),
    ]
    own = {"fgd": {"method.temperature": 0.7}, "pkd": {"method.weight": 12.0}, "mgd": {}}
    for method, gain in METHOD_GAINS.items():
        for index, scale in enumerate((0.5, 2.0)):
            runs.append(
                ("searcher", {"method.type": method, "method.scale": scale, **own[method]}, gain - 0.01 * index)
            )
    for trial, (origin, values, gain) in enumerate(runs):
        _whole_run(study, trial, values, 0.2 + gain, origin=origin)
    number = len(runs)
    for seed in range(1, METHOD_SEEDS):
        for first in (0, 1, 2, 4):
            _, values, gain = runs[first]
            _whole_run(study, number, values, 0.2 + gain, origin="finalist", repeats=first, seed=seed)
            number += 1
    return study


def _whole_run(study: Study, trial: int, values: Mapping[str, Any], ap: float, **changes: Any) -> None:
    ap += random.Random(trial).gauss(0, 0.003)
    study.start(trial, values, **changes)
    study.report(trial, 1, ap / 2)
    study.report(trial, 2, ap)
    finish(study, trial, ap)


def methods_report(*, state: str = "succeeded") -> SweepReport:
    return sweep_report(methods_study(), state=state, space=METHOD_SPACE, scheduler=RunAll(), seeds=METHOD_SEEDS)
