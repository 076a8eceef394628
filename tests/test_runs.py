"""Whole runs of the library: their results, and what is refused before the first step."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fgd_core import load_model
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, read_checkpoint, save_checkpoint
from fgd_core.runs import execute
from fgd_core.spec import events
from fgd_core.spec.events import RunFinished
from fgd_core.spec.jobs import JOB_SPEC, JobSpec
from fgd_core.spec.results import ErrorReport
from tests.library import RecordingContext, distill_spec, evaluate_spec, train_spec, with_data, write_squares


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="module")
def skilled(tmp_path_factory: pytest.TempPathFactory, squares: dict[str, Any]) -> Path:
    """Path of the checkpoint of a teacher that detects squares."""
    folder = tmp_path_factory.mktemp("skilled")
    training = {"epochs": 40, "evaluate_every": 20, "optimizer": {"learning_rate": 5e-3}}
    spec = train_spec(detector={"backbone": {"stem_width": 8}, "fpn_width": 16}, training=training)
    finished = execute(with_data(spec, squares), RecordingContext(folder))
    assert finished.result is not None, finished.error
    assert (finished.result.scores.ap or 0) > 0.5
    return folder / "checkpoints/best.pt"


def failure(spec: JobSpec, folder: Path) -> tuple[ErrorReport, RecordingContext]:
    context = RecordingContext(folder)
    finished = execute(spec, context)
    assert finished.outcome == "failed" and finished.error is not None
    assert context.events[-1] == finished
    return finished.error, context


class TestJobs:
    def test_a_student_and_its_evaluation_agree(self, skilled: Path, squares: dict[str, Any], tmp_path: Path) -> None:
        context = RecordingContext(tmp_path / "student")
        spec = distill_spec(skilled, student={"fpn_width": 16}, inherit="neck_and_head")
        finished = execute(with_data(spec, squares), context)
        assert finished.outcome == "succeeded", finished.error
        loaded = {event.role: event for event in context.of(events.WeightsLoaded)}
        assert loaded["teacher"].num_matched == loaded["teacher"].num_total
        # The stem is half as wide, so the three lateral convolutions are not inherited.
        assert loaded["inherited"].num_total - loaded["inherited"].num_matched == 3
        (checked,) = context.of(events.TeacherChecked)
        assert checked.same_data
        assert checked.ap == pytest.approx(checked.recorded_ap, abs=1e-6)
        assert finished.result is not None and finished.result.num_parameters > 1000

        card = (tmp_path / "student/model_card.md").read_text()
        assert "teacher.checkpoint" in card and str(skilled) in card and "fgd" in card

        best = evaluate_spec(tmp_path / "student/checkpoints/best.pt", more_data={"again": squares})
        scored = execute(with_data(best, squares), RecordingContext(tmp_path / "scored"))
        assert scored.result is not None
        assert scored.result.more_scores == {"again": scored.result.scores}
        assert scored.result.scores.ap == pytest.approx(finished.result.scores.ap, abs=1e-6)
        assert set(scored.result.scores.per_class) == set(finished.result.scores.per_class)
        assert (tmp_path / "scored/samples.png").read_bytes().startswith(b"\x89PNG")

    def test_an_export_writes_checked_files_and_a_model_card_and_int8_still_detects(
        self, skilled: Path, squares: dict[str, Any], tmp_path: Path
    ) -> None:
        """One test, because an export takes ten seconds."""
        checkpoint, _ = read_checkpoint(skilled)
        job = {"name": "squares", "kind": "train", "detector": {"weights": "ResNet18_Weights.IMAGENET1K_V1"}}
        best = tmp_path / "best.pt"
        save_checkpoint(best, _with(checkpoint, record=checkpoint.record.model_copy(update={"job": job})))
        fields = {"kind": "export", "name": "small", "checkpoint": str(best), "data": squares, "int8": True}
        context = RecordingContext(tmp_path)
        assert execute(JOB_SPEC.validate_python({**fields, "size_px": [64, 64]}), context).outcome == "succeeded"
        exact, int8 = (each.file for each in context.of(events.Exported))
        assert exact.max_difference is not None and exact.max_difference < 1e-4 and exact.num_checked == 4
        assert int8.precision == "int8" and int8.scores is not None and int8.ap_change is not None
        assert (int8.scores.ap or 0) > 0.5 and abs(int8.ap_change) < 0.2
        card = (tmp_path / "model_card.md").read_text()
        assert exact.sha256 in card and "BSD 3-Clause" in card and "# squares" in card
        path = tmp_path / "detector.onnx"
        model = load_model(path)
        assert model.classes == ["square"]
        assert len(model(Path(squares["val"]["images"]) / "0.png").scores) > 0
        held = path.read_bytes().decode("latin1").replace(str(best), "")
        assert str(tmp_path) not in held, "the file holds no path of this machine besides its checkpoint's"

    def test_a_file_of_other_tools_is_evaluated_as_a_checkpoint_is(
        self, skilled: Path, squares: dict[str, Any], tmp_path: Path
    ) -> None:
        checkpoint, _ = read_checkpoint(skilled)
        torch.save(checkpoint.state, tmp_path / "weights.pth")
        names = [category.name for category in checkpoint.categories]
        fields = {"detector": checkpoint.detector.model_dump(mode="json"), "classes": names}
        fields["input"] = checkpoint.input.model_dump(mode="json")
        scores = [
            execute(with_data(spec, squares), RecordingContext(tmp_path / f"run{number}")).result
            for number, spec in enumerate((evaluate_spec(tmp_path / "weights.pth", **fields), evaluate_spec(skilled)))
        ]
        assert scores[0] is not None and scores[1] is not None and scores[0].scores == scores[1].scores

    def test_the_same_seed_gives_the_same_weights(self, tmp_path: Path) -> None:
        for name in ("one", "other"):
            execute(train_spec(), RecordingContext(tmp_path / name))
        one, _ = read_checkpoint(tmp_path / "one/checkpoints/last.pt")
        other, _ = read_checkpoint(tmp_path / "other/checkpoints/last.pt")
        assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)


class TestTeacherGate:
    def test_a_teacher_below_its_recorded_ap_is_refused(
        self, skilled: Path, squares: dict[str, Any], tmp_path: Path
    ) -> None:
        checkpoint, _ = read_checkpoint(skilled)
        scores = checkpoint.record.scores
        assert scores is not None and scores.ap is not None
        overstated = checkpoint.record.model_copy(update={"scores": scores.model_copy(update={"ap": scores.ap + 0.3})})
        save_checkpoint(tmp_path / "overstated.pt", _with(checkpoint, record=overstated))
        error, context = failure(with_data(distill_spec(tmp_path / "overstated.pt"), squares), tmp_path / "run")
        assert error.code == "teacher"
        assert "its checkpoint records" in error.message and "max_ap_drop" in error.message
        assert not context.of(events.Progress), "no step was made"

    def test_a_teacher_is_evaluated_at_its_input_scale(
        self, skilled: Path, squares: dict[str, Any], tmp_path: Path
    ) -> None:
        spec = distill_spec(skilled, teacher={"input_scale": 0.25})
        error, context = failure(with_data(spec, squares), tmp_path / "run")
        assert error.code == "teacher"
        assert not context.of(events.DistillationPlanned), "the gate comes before the plan"

    def test_a_teacher_without_detections_is_refused(
        self, skilled: Path, squares: dict[str, Any], tmp_path: Path
    ) -> None:
        checkpoint, _ = read_checkpoint(skilled)
        blank = {name: torch.zeros_like(value) for name, value in checkpoint.state.items()}
        bias = "head.classification_head.cls_logits.bias"
        blank[bias] = blank[bias] - 100
        save_checkpoint(tmp_path / "blank.pt", _with(checkpoint, state=blank))
        error, _ = failure(with_data(distill_spec(tmp_path / "blank.pt"), squares), tmp_path / "run")
        assert error.code == "teacher" and "detects nothing" in error.message

    def test_a_checkpoint_whose_keys_do_not_match_is_refused(
        self, skilled: Path, squares: dict[str, Any], tmp_path: Path
    ) -> None:
        checkpoint, _ = read_checkpoint(skilled)
        renamed = {f"module.{name}": value for name, value in checkpoint.state.items()}
        save_checkpoint(tmp_path / "renamed.pt", _with(checkpoint, state=renamed))
        error, _ = failure(distill_spec(tmp_path / "renamed.pt"), tmp_path / "run")
        assert error.code == "weights"
        assert "0 of the" in error.message
        assert error.details["unexpected"][0].startswith("module.")

    @pytest.mark.parametrize("content", [b"no checkpoint", {"state_dict": {}}], ids=["no file of PyTorch", "foreign"])
    def test_a_file_that_is_not_a_checkpoint_is_refused(self, content: Any, tmp_path: Path) -> None:
        path = tmp_path / "foreign.pt"
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        error, _ = failure(distill_spec(path), tmp_path / "run")
        assert error.code == "weights"
        assert error.details["path"] == str(path)

    def test_reading_a_checkpoint_runs_no_code_in_it(self, tmp_path: Path) -> None:
        marker = tmp_path / "marker"
        torch.save({"format": _Touch(marker)}, tmp_path / "evil.pt")
        error, _ = failure(evaluate_spec(tmp_path / "evil.pt"), tmp_path / "run")
        assert error.code == "weights"
        assert not marker.exists()

    def test_a_teacher_of_other_classes_is_refused(
        self, skilled: Path, squares: dict[str, Any], tmp_path: Path
    ) -> None:
        checkpoint, _ = read_checkpoint(skilled)
        others = tuple(type(c)(c.id, f"other {c.name}") for c in checkpoint.categories)
        save_checkpoint(tmp_path / "others.pt", _with(checkpoint, categories=others))
        error, _ = failure(distill_spec(tmp_path / "others.pt"), tmp_path / "run")
        assert error.code == "teacher"
        assert error.details["only_in_checkpoint"][0].startswith("other ")


class TestRefusals:
    def test_a_batch_larger_than_the_data_set_is_refused(self, tmp_path: Path) -> None:
        error, _ = failure(train_spec(training={"batch_size": 9}), tmp_path)
        assert error.code == "data"
        assert "9" in error.message and "8" in error.message

    def test_a_gpu_on_a_machine_without_one_is_refused(self, tmp_path: Path) -> None:
        if torch.cuda.is_available():
            pytest.skip("there is a GPU here")
        error, _ = failure(train_spec(resources={"gpus": 1}), tmp_path)
        assert error.code == "device"
        assert "resources.gpus" in error.message

    def test_a_missing_annotation_file_is_refused(self, tmp_path: Path) -> None:
        split = {"images": str(tmp_path), "annotations": str(tmp_path / "none.json")}
        data = {"type": "coco", "train": split, "val": split}
        spec = train_spec().model_dump() | {"data": data}
        error, _ = failure(type(train_spec()).model_validate(spec), tmp_path / "run")
        assert error.code == "data"
        assert str(tmp_path / "none.json") in f"{error.message} {error.details}"

    def test_pasting_objects_without_masks_is_refused_before_the_first_step(
        self, squares: dict[str, Any], tmp_path: Path
    ) -> None:
        spec = train_spec(input={"augment": [{"type": "copy_paste"}]})
        error, context = failure(with_data(spec, squares), tmp_path)
        assert error.code == "data" and "copy_paste, which needs a mask of every object" in error.message
        assert context.of(events.WeightsLoaded) == context.of(events.Progress) == []

    def test_a_loss_that_is_not_finite_names_epoch_and_step(self, tmp_path: Path) -> None:
        spec = train_spec(
            training={"optimizer": {"type": "sgd", "learning_rate": 1e30}, "clip_norm": None, "epochs": 5}
        )
        error, _ = failure(spec, tmp_path)
        assert error.code == "non_finite_loss"
        assert {"epoch", "step", "learning_rate"} <= set(error.details)


class _Touch:
    """Creates a file when it is unpickled, if unpickling runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def _with(checkpoint: DetectorCheckpoint, **changes: Any) -> DetectorCheckpoint:
    return DetectorCheckpoint(**{**vars(checkpoint), **changes})


def test_the_final_event_is_the_outcome(tmp_path: Path) -> None:
    context = RecordingContext(tmp_path)
    finished = execute(train_spec(), context)
    assert isinstance(context.events[-1], RunFinished)
    assert context.events[-1] == finished
