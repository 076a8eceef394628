"""A run in a folder with checkpoints of an earlier run: it resumes, starts again, or refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fgd_core.detectors.weights.checkpoint import read_checkpoint, save_checkpoint
from fgd_core.runs import execute
from fgd_core.spec.events import EpochFinished, Resumed, Warned
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.results import ErrorReport
from tests.library import RecordingContext, distill_spec, train_spec, with_data, write_squares

WIDER = {"type": "retinanet", "fpn_width": 16}
DEEPER = {"backbone": {"blocks": [2, 1, 1, 1]}}


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two teachers of the same kind with different weights."""
    folders = [tmp_path_factory.mktemp(f"teacher{seed}") for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        execute(train_spec(seed=seed, training={"epochs": 1}), RecordingContext(folder))
    return [folder / "checkpoints/best.pt" for folder in folders]


def stop_after(spec: TrainSpec | DistillSpec, folder: Path, *, steps: int = 1) -> None:
    assert execute(spec, RecordingContext(folder, stop_after_steps=steps)).outcome == "stopped"


def resume(spec: TrainSpec | DistillSpec, folder: Path) -> RecordingContext:
    context = RecordingContext(folder)
    finished = execute(spec, context)
    assert finished.outcome == "succeeded", finished.error
    return context


def refusal(spec: TrainSpec | DistillSpec, folder: Path) -> ErrorReport:
    before = (folder / "checkpoints/last.pt").read_bytes()
    finished = execute(spec, RecordingContext(folder))
    assert finished.error is not None
    assert (finished.outcome, finished.error.code) == ("failed", "weights")
    assert "start from the beginning" in finished.error.message
    assert (folder / "checkpoints/last.pt").read_bytes() == before
    return finished.error


def differing(error: ErrorReport) -> dict[str, tuple[Any, Any]]:
    found = error.details["differences"]
    assert isinstance(found, list)
    return {each["field"]: (each["saved"], each["asked"]) for each in found if isinstance(each, dict)}


def state_of(path: Path) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in read_checkpoint(path)[0].state.items()}


def remove_identity(path: Path) -> None:
    """Make the checkpoint look as if a version before the identity had saved it."""
    checkpoint, training = read_checkpoint(path)
    assert training is not None
    del training["place"]["course"]
    save_checkpoint(path, checkpoint, training)


class TestARunIsRefused:
    @pytest.mark.parametrize(
        ("change", "fields"),
        [
            ({"training": {"optimizer": {"learning_rate": 0.5}}}, {"training.optimizer.learning_rate": (1e-3, 0.5)}),
            ({"training": {"optimizer": {"type": "sgd"}}}, {"training.optimizer.type": ("adamw", "sgd")}),
            ({"training": {"optimizer": {"weight_decay": 0.2}}}, {"training.optimizer.weight_decay": (0.01, 0.2)}),
            ({"training": {"schedule": {"type": "step"}}}, {"training.schedule.type": ("cosine", "step")}),
            ({"training": {"warmup_steps": 3}}, {"training.warmup_steps": (500, 3)}),
            ({"training": {"clip_norm": 1.0}}, {"training.clip_norm": (35.0, 1.0)}),
            ({"training": {"evaluate_every": 2}}, {"training.evaluate_every": (1, 2)}),
            ({"training": {"epochs": 1}}, {"training.epochs": (2, 1)}),
            ({"seed": 7}, {"seed": (0, 7)}),
            ({"input": {"flip_probability": 0.0}}, {"input.flip_probability": (0.5, 0.0)}),
            ({"input": {"shorter_px": 96, "longer_px": 96}}, {"input.shorter_px": (64, 96)}),
            ({"detector": WIDER}, {"detector.fpn_width": (8, 16)}),
            ({"detector": DEEPER}, {"detector.backbone.blocks": ([1, 1, 1, 1], [2, 1, 1, 1])}),
            ({"detector": {"type": "fcos"}}, {"detector.type": ("retinanet", "fcos")}),
        ],
        ids=lambda each: ", ".join(each) if isinstance(each, dict) and "." in "".join(each) else None,
    )
    def test_with_each_difference_named_and_both_values(
        self, change: dict[str, Any], fields: dict[str, tuple[Any, Any]], tmp_path: Path
    ) -> None:
        stop_after(train_spec(), tmp_path)
        error = refusal(train_spec(**change), tmp_path)
        assert fields.items() <= differing(error).items()
        for field, (saved, asked) in fields.items():
            assert f"{field} was {saved!r} and is now {asked!r}" in error.message

    @pytest.mark.parametrize("steps", [1, 2], ids=["mid-epoch", "at an epoch's end"])
    def test_for_other_data(self, steps: int, tmp_path: Path) -> None:
        stop_after(train_spec(), tmp_path, steps=steps)
        error = refusal(train_spec(data={"seed": 1}), tmp_path)
        assert set(differing(error)) == {"data.train", "data.val"}

    def test_for_other_data_of_the_same_size_in_the_same_folder(self, tmp_path: Path) -> None:
        spec = with_data(train_spec(), write_squares(tmp_path / "data"))
        stop_after(spec, tmp_path / "run")
        annotations = tmp_path / "data/annotations.json"
        annotations.write_text(annotations.read_text().replace("[0, 0, 32, 32]", "[0, 0, 31, 32]", 1))
        assert set(differing(refusal(spec, tmp_path / "run"))) == {"data.train", "data.val"}

    def test_also_after_a_complete_run(self, tmp_path: Path) -> None:
        resume(train_spec(), tmp_path)
        assert "seed was 0 and is now 1" in refusal(train_spec(seed=1), tmp_path).message

    def test_for_another_teacher_method_or_inheritance(self, teachers: list[Path], tmp_path: Path) -> None:
        def spec(teacher: Path, **fields: Any) -> DistillSpec:
            return distill_spec(teacher, teacher={"gate": "keys"}, **fields)

        stop_after(spec(teachers[0]), tmp_path)
        assert set(differing(refusal(spec(teachers[1]), tmp_path))) == {"teacher.checkpoint"}
        assert differing(refusal(spec(teachers[0], method={"scale": 0.5}), tmp_path)) == {"method.scale": (0.05, 0.5)}
        assert set(differing(refusal(spec(teachers[0], inherit="neck"), tmp_path))) == {"inherit"}
        assert "kind" in differing(refusal(train_spec(), tmp_path))

    def test_for_a_teacher_whose_file_was_replaced(self, teachers: list[Path], tmp_path: Path) -> None:
        file = tmp_path / "teacher.pt"
        file.write_bytes(teachers[0].read_bytes())
        spec = distill_spec(file, teacher={"gate": "keys"})
        stop_after(spec, tmp_path / "run")
        file.write_bytes(teachers[1].read_bytes())
        assert set(differing(refusal(spec, tmp_path / "run"))) == {"teacher.checkpoint"}

    def test_for_other_initial_weights(self, teachers: list[Path], tmp_path: Path) -> None:
        stop_after(train_spec(detector={"weights": str(teachers[0])}), tmp_path)
        error = refusal(train_spec(detector={"weights": str(teachers[1])}), tmp_path)
        assert set(differing(error)) == {"detector.weights"}

    def test_for_initial_weights_with_one_replaced_shard(self, teachers: list[Path], tmp_path: Path) -> None:
        index = tmp_path / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": dict.fromkeys(state_of(teachers[0]), "shard.safetensors")}))
        save_file(state_of(teachers[0]), tmp_path / "shard.safetensors")
        stop_after(train_spec(detector={"weights": str(index)}), tmp_path / "run")
        save_file(state_of(teachers[1]), tmp_path / "shard.safetensors")
        error = refusal(train_spec(detector={"weights": str(index)}), tmp_path / "run")
        assert set(differing(error)) == {"detector.weights"}

    def test_before_the_teacher_is_evaluated(self, teachers: list[Path], tmp_path: Path) -> None:
        stop_after(distill_spec(teachers[0], teacher={"gate": "keys"}), tmp_path)
        context = RecordingContext(tmp_path)
        execute(distill_spec(teachers[0], seed=1), context)
        assert "teacher_checked" not in {event.kind for event in context.events}


class TestARunResumes:
    @pytest.mark.parametrize(
        "change",
        [
            {"name": "renamed", "priority": 3, "retry": {"failures": 0}, "resources": {"cpus": 2}},
            {"training": {"checkpoint_every_s": 0, "loader_workers": 1, "precision": "float32"}},
        ],
        ids=["the job", "the machine"],
    )
    def test_if_only_settings_that_change_no_result_differ(self, change: dict[str, Any], tmp_path: Path) -> None:
        stop_after(train_spec(), tmp_path)
        assert [event.step for event in resume(train_spec(**change), tmp_path).of(Resumed)] == [1]

    def test_with_more_epochs(self, tmp_path: Path) -> None:
        resume(train_spec(), tmp_path)
        extended = resume(train_spec(training={"epochs": 3}), tmp_path)
        assert [event.epoch for event in extended.of(EpochFinished)] == [3]
        # From now on it is a training of three epochs.
        assert differing(refusal(train_spec(), tmp_path)) == {"training.epochs": (3, 2)}

    def test_if_data_and_teacher_have_moved(self, teachers: list[Path], tmp_path: Path) -> None:
        spec = distill_spec(teachers[0], teacher={"gate": "keys"}, training={"batch_size": 2})
        stop_after(with_data(spec, write_squares(tmp_path / "here")), tmp_path / "run")
        moved = distill_spec(tmp_path / "copy.pt", teacher={"gate": "keys"}, training={"batch_size": 2})
        (tmp_path / "copy.pt").write_bytes(teachers[0].read_bytes())
        context = resume(with_data(moved, write_squares(tmp_path / "there")), tmp_path / "run")
        assert [event.step for event in context.of(Resumed)] == [1]

    def test_with_another_method_only_if_its_context_allows_it(self, teachers: list[Path], tmp_path: Path) -> None:
        class Perturbing(RecordingContext):
            may_change = frozenset({"method"})

        stop_after(distill_spec(teachers[0], teacher={"gate": "keys"}), tmp_path)
        perturbed = distill_spec(teachers[0], teacher={"gate": "keys"}, method={"scale": 0.06})
        assert differing(refusal(perturbed, tmp_path)) == {"method.scale": (0.05, 0.06)}
        context = Perturbing(tmp_path)
        assert execute(perturbed, context).outcome == "succeeded"
        assert [event.step for event in context.of(Resumed)] == [1]
        # The new checkpoint has the changed identity.
        resume(perturbed, tmp_path)

    def test_from_the_beginning_with_half_the_batch_size(self, tmp_path: Path) -> None:
        stop_after(train_spec(), tmp_path)
        halved = train_spec(training={"batch_size": 2, "optimizer": {"learning_rate": 5e-4}})
        context = resume(halved, tmp_path)
        assert context.of(Resumed) == []
        assert [warning.code for warning in context.of(Warned)] == ["checkpoint_unsuited"]
        # After a kill it resumes from its own checkpoint.
        assert [event.epoch for event in resume(halved, tmp_path).of(Resumed)] == [2]


class TestACheckpointOfAnOlderVersion:
    def test_is_resumed_if_all_that_it_contains_agrees(self, tmp_path: Path) -> None:
        stop_after(train_spec(), tmp_path)
        remove_identity(tmp_path / "checkpoints/last.pt")
        assert [event.step for event in resume(train_spec(), tmp_path).of(Resumed)] == [1]

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"detector": WIDER}, "detector.fpn_width"),
            ({"data": {"seed": 1}}, "data.val"),
            ({"input": {"flip_probability": 0.0}}, "input.flip_probability"),
            ({"training": {"optimizer": {"type": "sgd"}}}, "training.optimizer.type"),
            ({"training": {"optimizer": {"weight_decay": 0.2}}}, "training.optimizer.weight_decay"),
        ],
        ids=lambda each: each if isinstance(each, str) else None,
    )
    def test_is_refused_if_it_is_from_another_training(
        self, change: dict[str, Any], field: str, tmp_path: Path
    ) -> None:
        stop_after(train_spec(), tmp_path)
        remove_identity(tmp_path / "checkpoints/last.pt")
        assert field in differing(refusal(train_spec(**change), tmp_path))

    def test_that_does_not_fit_is_refused_with_its_name(self, tmp_path: Path) -> None:
        stop_after(train_spec(), tmp_path)
        checkpoint, training = read_checkpoint(tmp_path / "checkpoints/last.pt")
        checkpoint.state["backbone.body.conv1.weight"] = torch.zeros(1)
        save_checkpoint(tmp_path / "checkpoints/last.pt", checkpoint, training)
        assert refusal(train_spec(), tmp_path).details["cause"]
