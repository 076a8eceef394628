"""A driver that is killed and restarted: the study is the same as without kills."""

import itertools
import math
import random
from pathlib import Path
from typing import Any

import pytest
from function_trials import Killed, Memory, run, sweep

from fgd_core.spec.events import ArtifactSaved
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.trials import TrialEnded, TrialReported, TrialStarted
from tests.tiers import slow

SEED = 20261122
SCHEDULERS = {
    "none": {"type": "none"},
    "median": {"type": "median"},
    "asha": {"type": "asha", "grace_epochs": 1},
    "hyperband": {"type": "hyperband", "grace_epochs": 1},
    "population_based": {"type": "population_based", "population": 6},
}

SEARCHERS: dict[str, dict[str, Any]] = {
    **{name: {"type": name} for name in ("random", "tpe", "quasi_random", "cma_es")},
    "hyperopt": {
        "type": "tune",
        "name": "ray.tune.search.hyperopt.HyperOptSearch",
        "settings": {"n_initial_points": 4},
    },
}


def value(spec: TrainSpec | DistillSpec, epoch: int) -> float:
    assert isinstance(spec, DistillSpec)
    distance = math.log10(max(spec.method.scale, 1e-9)) + 1.3
    # All values differ: a tie would hide a wrong order.
    return 0.1 + 0.3 * math.exp(-(distance**2)) * (1 - math.exp(-epoch / 3)) + spec.seed * 1e-4


def decisions(memory: Memory) -> list[Any]:
    """Return the events of the study, without the traces of interruptions."""
    found: list[Any] = []
    for event in memory.events:
        if isinstance(event, TrialStarted) and not event.is_resumed:
            found.append(event)
        elif isinstance(event, TrialReported):
            found.append(event.model_copy(update={"train_s": 0.0}))
        elif isinstance(event, TrialEnded):
            found.append(event)
    # Trials that run at the same time may report in another order.
    return sorted(found, key=lambda event: event.trial)


# Several trials at once: only population-based training waits for all of them, so that their order does not matter.
SCHEDULED = [*((each, 1) for each in SCHEDULERS), ("population_based", 3)]
EACH = slow("tests/tuning/test_killed_drivers.py::test_five_kills_change_nothing[asha")
"""`make test` has each searcher with ASHA, and each scheduler with random search."""


@pytest.mark.parametrize(
    ("scheduler", "concurrent", "searcher"),
    [
        pytest.param(*scheduled, searcher, marks=() if "asha" in scheduled or searcher == "random" else EACH)
        for scheduled, searcher in itertools.product(SCHEDULED, SEARCHERS)
    ],
)
def test_five_kills_change_nothing(scheduler: str, concurrent: int, searcher: str, tmp_path: Path) -> None:
    spec = sweep(scheduler=SCHEDULERS[scheduler], searcher=SEARCHERS[searcher], budget={"trials": 12}, seeds=2, seed=3)
    calm = Memory(tmp_path / "calm")
    _, calm_executor = run(spec, value, calm, concurrent=concurrent)
    rng = random.Random(f"{SEED} {scheduler} {searcher}")
    killed = Memory(tmp_path / "killed")
    epochs_done: dict[tuple[int, int], int] = {}
    epochs_run = 0
    for _ in range(5):
        left = calm_executor.epochs_run - epochs_run
        kill_after = rng.randrange(max(1, left // 3))
        with pytest.raises(Killed):
            run(spec, value, killed, epochs_done=epochs_done, kill_after=kill_after, concurrent=concurrent)
        epochs_run += kill_after
    _, last = run(spec, value, killed, epochs_done=epochs_done, concurrent=concurrent)
    assert decisions(killed) == decisions(calm)
    # No epoch was trained twice: the budget was spent once.
    assert epochs_run + last.epochs_run == calm_executor.epochs_run


def test_the_best_checkpoint_becomes_the_sweeps_artifact_if_the_trials_end_was_not_reported(tmp_path: Path) -> None:
    spec = sweep(scheduler={"type": "none"}, budget={"trials": 1}, baselines=False, seed=3)
    calm, killed = Memory(tmp_path / "calm"), Memory(tmp_path / "killed")
    run(spec, value, calm)
    reports = [event for event in calm.events if isinstance(event, TrialReported)]
    best = max(reports, key=lambda report: report.scores.ap or 0.0)
    killed.attempt = 1
    left = killed.job_dir / f"trials/{best.trial}/0/checkpoints/best.pt"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"best")
    # The driver recorded the verdict to stop, and was killed before the trial ended.
    for event in calm.events[: calm.events.index(best)]:
        killed.emit(event)
    killed.emit(best.model_copy(update={"verdict": "stop"}))
    finished, _ = run(spec, value, killed)
    assert finished.outcome == "succeeded"
    [artifact] = [event for event in killed.events if isinstance(event, ArtifactSaved)]
    assert Path(artifact.uri.removeprefix("file://")).read_bytes() == b"best"


def test_the_next_attempt_does_not_repeat_a_trial_whose_worker_died(tmp_path: Path) -> None:
    spec = sweep(scheduler={"type": "none"}, budget={"trials": 1}, baselines=False, epochs=3)
    memory = Memory(tmp_path)
    run(spec, value, memory, loses=frozenset({(0, 1)}))
    ends = [event.cause for event in memory.events if isinstance(event, TrialEnded)]
    assert ends == ["lost", "completed"]
    num_events = len(memory.events)
    _, executor = run(spec, value, memory)
    assert executor.epochs_run == 0
    assert not [event for event in memory.events[num_events:] if isinstance(event, TrialStarted | TrialEnded)]
