"""A training that is killed at any step ends to the bit as if it had been left in peace, whatever options are on."""

import itertools
import os
import random
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.spec.events import Resumed
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from tests.library import distill_spec, with_data, write_pool
from tests.ranks.processes import on_ranks
from tests.ranks.scenes import Ended, plain, run, run_killed, squares
from tests.tiers import slow

SCHEDULE = {"warmup_epochs": 1, "decay": "linear", "until_epoch": 2}
COMMON: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 4,
    "accumulate": 2,
    "optimizer": {"type": "sgd", "learning_rate": 0.01},
    "learning_rate_for": 8,
    "backbone_rate": 0.1,
    "no_decay_on": ["norms", "biases"],
    "skip_bad_steps": 2,
    "checkpoint_every_s": 0,
}
EMA = {**COMMON, "ema": {"decay": 0.9, "warmup_steps": 3}, "early_stop": {"patience": 9}, "budget": {"wall_h": 9}}
MEAN = {**COMMON, "average_last": 2}
# New options of trainings, methods and inputs belong into these rows.
CASES: dict[str, dict[str, Any]] = {
    "ema": {
        "training": EMA,
        "pool": {"ratio": 1, "weight": 0.5, "min_score": 0.06},
        "method": {"type": "mgd", "scale": "auto", "scale_schedule": SCHEDULE},
        "input": {
            "train_shorter_px": [48, 64],
            "augment": [{"type": "mosaic"}, {"type": "mixup"}, {"type": "photometric_jitter"}],
        },
    },
    "mean": {
        "training": MEAN,
        "method": {"type": "fgd", "scale": 0.05, "scale_schedule": SCHEDULE},
        "input": {
            "augment": [{"type": "large_scale_jitter", "scale": [0.5, 1.5]}, {"type": "mosaic", "until_epoch": 2}]
        },
    },
}
NUM_STEPS = 9
SEED = int(os.environ.get("FGD_KILL_SEED") or time.time_ns() % 1_000_000)


class Scene(NamedTuple):
    folder: Path
    data: dict[str, Any]

    def spec(self, case: str) -> DistillSpec:
        teacher = self.folder / "teacher/checkpoints/last.pt"
        return with_data(distill_spec(teacher, teacher={"gate": "keys"}, **CASES[case]), self.data)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("options")
    data = squares(folder / "data") | {"pool": write_pool(folder / "pool")}
    assert run(plain(data, "retinanet"), folder / "teacher").finished.outcome == "succeeded"
    return Scene(folder, data)


def state_of(folder: Path) -> dict[str, Any]:
    """Return everything in `last.pt` and `best.pt` that a run leaves, without times."""
    last, training = read_checkpoint(folder / "checkpoints/last.pt")
    best, _ = read_checkpoint(folder / "checkpoints/best.pt")
    assert training is not None
    place = {name: value for name, value in training.pop("place").items() if not name.endswith("_s")}
    return {"last": last.state, "best": best.state, "best of": best.record, "place": place, **training}


def assert_equal(ours: Any, theirs: Any, name: str = "") -> None:
    """Check that two nested values are equal to the bit."""
    if isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs), name
    elif isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), name
        for key, value in theirs.items():
            assert_equal(ours[key], value, f"{name}.{key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), name
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_equal(one, other, f"{name}.{number}")
    else:
        assert ours == theirs, name


def ranks_of(size: int, spec: TrainSpec | DistillSpec, folder: Path) -> Ended:
    """Run on some processes; return what rank 0 did."""
    first, *_ = on_ranks(size, run, spec, folder)
    assert isinstance(first, Ended) and first.finished.outcome == "succeeded", first.finished.error
    return first


KEPT = slow("tests/training/test_resuming_options.py::test_killed_at_random_steps")


def drawn_kills(number: int, draw: random.Random) -> list[int]:
    """Draw after how many more steps each attempt is killed: in the middle of an epoch, or at its end."""
    ends = sorted(draw.sample(range(1, NUM_STEPS), number))
    return [end - begin for begin, end in itertools.pairwise([0, *ends])]


@pytest.mark.parametrize(
    ("case", "size", "num_kills"),
    [
        pytest.param("ema", 1, 2, id="ema"),
        pytest.param("mean", 1, 1, id="mean", marks=KEPT),
        pytest.param("ema", 2, 1, id="ema on two ranks", marks=KEPT),
    ],
)
def test_killed_at_random_steps_and_resumed_it_trains_to_the_bit_as_if_left_in_peace(
    case: str, size: int, num_kills: int, scene: Scene, tmp_path: Path
) -> None:
    spec, kills = scene.spec(case), drawn_kills(num_kills, random.Random(SEED))
    print(f"FGD_KILL_SEED={SEED} draws the kills {kills} again")
    ranks_of(size, spec, tmp_path / "peace")
    for steps in kills:
        ended = on_ranks(size, run_killed, spec, tmp_path / "killed", (*range(size),), steps, may_die=True)
        assert ended == [None] * size, signal.SIGKILL
    # Labelling the pool asks whether to stop, too, so that early kills may leave nothing to resume from.
    was_saved = (tmp_path / "killed/checkpoints/last.pt").exists()
    resumed = ranks_of(size, spec, tmp_path / "killed")
    done = [event.step for event in resumed.events if isinstance(event, Resumed)]
    assert bool(done) == was_saved and all(0 < step < NUM_STEPS for step in done)
    assert_equal(state_of(tmp_path / "killed"), state_of(tmp_path / "peace"))
