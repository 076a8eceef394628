"""A driver that is killed and comes back: the study is what it would have been."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
from function_trials import Killed, Memory, run, sweep

from fgd_core.spec.events import ArtifactSaved
from fgd_core.spec.jobs import DistillSpec, TrainSpec
from fgd_core.spec.trials import TrialEnded, TrialReported, TrialStarted

SEED = 20261122
SCHEDULERS = {
    "none": {"type": "none"},
    "median": {"type": "median"},
    "asha": {"type": "asha"},
    "hyperband": {"type": "hyperband"},
    "population_based": {"type": "population_based", "population": 6},
}


def value(spec: TrainSpec | DistillSpec, epoch: int) -> float:
    assert isinstance(spec, DistillSpec)
    distance = math.log10(max(spec.method.scale, 1e-9)) + 1.3
    # No two trials alike, or a tie would hide a wrong order.
    return 0.1 + 0.3 * math.exp(-(distance**2)) * (1 - math.exp(-epoch / 3)) + spec.seed * 1e-4


def story(memory: Memory) -> list[Any]:
    """What was decided, without the marks of interruptions."""
    told: list[Any] = []
    for event in memory.events:
        if isinstance(event, TrialStarted) and not event.is_resumed:
            told.append(event)
        elif isinstance(event, TrialReported):
            told.append(event.model_copy(update={"train_s": 0.0}))
        elif isinstance(event, TrialEnded):
            told.append(event)
    # Trials that run side by side may be told of in another order.
    return sorted(told, key=lambda event: event.trial)


# With several trials at once, who comes first decides in all of them but one: a generation waits for all.
@pytest.mark.parametrize(("scheduler", "concurrent"), [*((each, 1) for each in SCHEDULERS), ("population_based", 3)])
@pytest.mark.parametrize("searcher", ["random", "tpe", "quasi_random", "cma_es"])
def test_five_kills_change_nothing(scheduler: str, concurrent: int, searcher: str, tmp_path: Path) -> None:
    spec = sweep(scheduler=SCHEDULERS[scheduler], searcher={"type": searcher}, budget={"trials": 12}, seeds=2, seed=3)
    undisturbed = Memory(tmp_path / "undisturbed")
    _, calm = run(spec, value, undisturbed, concurrent=concurrent)
    rng = random.Random(f"{SEED} {scheduler} {searcher}")
    killed = Memory(tmp_path / "killed")
    places: dict[tuple[int, int], int] = {}
    epochs_run = 0
    for _ in range(5):
        left = calm.epochs_run - epochs_run
        kill_after = rng.randrange(max(1, left // 3))
        with pytest.raises(Killed):
            run(spec, value, killed, places=places, kill_after=kill_after, concurrent=concurrent)
        epochs_run += kill_after
    _, last = run(spec, value, killed, places=places, concurrent=concurrent)
    assert story(killed) == story(undisturbed)
    # Nothing was trained twice: the budget was spent once.
    assert epochs_run + last.epochs_run == calm.epochs_run


def test_the_winners_checkpoint_is_the_sweeps_also_where_its_end_was_not_told(tmp_path: Path) -> None:
    spec = sweep(scheduler={"type": "none"}, budget={"trials": 1}, seed=3)
    undisturbed, killed = Memory(tmp_path / "undisturbed"), Memory(tmp_path / "killed")
    run(spec, value, undisturbed)
    reports = [event for event in undisturbed.events if isinstance(event, TrialReported)]
    winner = max(reports, key=lambda report: report.scores.ap or 0.0)
    killed.attempt = 1
    left = killed.job_dir / f"trials/{winner.trial}/0/checkpoints/best.pt"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"best")
    # Told that it was to end here, and killed before it did.
    for event in undisturbed.events[: undisturbed.events.index(winner)]:
        killed.emit(event)
    killed.emit(winner.model_copy(update={"verdict": "stop"}))
    finished, _ = run(spec, value, killed)
    assert finished.outcome == "succeeded"
    [artifact] = [event for event in killed.events if isinstance(event, ArtifactSaved)]
    assert Path(artifact.uri.removeprefix("file://")).read_bytes() == b"best"
