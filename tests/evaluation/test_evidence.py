"""The evidence file that a run writes at its end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fgd_core.errors import StorageError
from fgd_core.evaluation import evaluator, inference
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.runs import execute
from fgd_core.spec.evaluation import AlteredImages, EvaluationSpec
from fgd_core.spec.events import ArtifactSaved, Evaluated, TeacherChecked, Warned
from fgd_core.statistics.evidence import read
from service.compare.precision import overall, scores
from tests.library import RecordingContext, distill_spec, evaluate_spec, train_spec, with_data, write_squares

SMALL = {"backbone": {"stem_width": 8}, "fpn_width": 16}
SPEC = train_spec(
    detector=SMALL,
    training={"epochs": 40, "evaluate_every": 20, "optimizer": {"learning_rate": 5e-3}},
)


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, squares: dict[str, object]) -> tuple[Path, RecordingContext]:
    """Train a detector that detects some of the squares."""
    folder = tmp_path_factory.mktemp("trained")
    context = RecordingContext(folder)
    finished = execute(with_data(SPEC, squares), context)
    assert finished.result is not None and (finished.result.scores.ap or 0) > 0.1, finished
    return folder, context


def assert_evidence(folder: Path, context: RecordingContext, ap: float | None) -> None:
    saved = [event for event in context.of(ArtifactSaved) if event.name == "evaluation.npz"]
    assert [event.uri for event in saved] == [(folder / "evaluation.npz").resolve().as_uri()]
    evidence = read(folder / "evaluation.npz", whose="it")
    ones = np.ones((len(evidence.image_ids), 1))
    assert float(overall(scores(evidence, ones))[0, 0]) == pytest.approx(ap, abs=1e-9)


def counted_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of images of each pass over a split from now on."""
    passes: list[int] = []

    def detect_all(*arguments: Any, **options: Any) -> dict[int, ImageDetections]:
        found = inference.detect_all(*arguments, **options)
        passes.append(len(found))
        return found

    monkeypatch.setattr(evaluator, "detect_all", detect_all)
    return passes


class TestRunsWriteEvidence:
    def test_of_the_best_checkpoint_after_a_training(self, trained: tuple[Path, RecordingContext]) -> None:
        folder, context = trained
        best = max(
            event.ap or 0 for event in context.events if event.kind == "checkpoint_saved" and event.name == "best"
        )
        assert_evidence(folder, context, best)

    def test_after_evaluations_and_distillations(
        self,
        trained: tuple[Path, RecordingContext],
        squares: dict[str, object],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        passes = counted_passes(monkeypatch)
        checkpoint = trained[0] / "checkpoints/best.pt"
        for name, spec in (
            ("evaluated", evaluate_spec(checkpoint)),
            ("distilled", distill_spec(checkpoint, student={"fpn_width": 16})),
        ):
            context = RecordingContext(tmp_path / name)
            finished = execute(with_data(spec, squares), context)
            assert finished.result is not None, finished.error
            assert_evidence(tmp_path / name, context, finished.result.scores.ap)
            # Each evaluation is one pass, and so is the gate of a teacher; the result needs none.
            assert len(passes) == len(context.of(Evaluated)) + len(context.of(TeacherChecked))
            passes.clear()

    def test_the_result_needs_no_further_detection(
        self, squares: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The best of three epochs is the first or the second here; their detections are kept."""
        passes = counted_passes(monkeypatch)
        context = RecordingContext(tmp_path / "trained")
        training = {"epochs": 3, "evaluate_every": 1, "optimizer": {"learning_rate": 5e-3}}
        finished = execute(with_data(train_spec(detector=SMALL, training=training), squares), context)
        assert finished.result is not None, finished.error
        assert len(passes) == len(context.of(Evaluated)) == 3
        assert_evidence(tmp_path / "trained", context, finished.result.scores.ap)

        evaluated = RecordingContext(tmp_path / "evaluated")
        execute(with_data(evaluate_spec(tmp_path / "trained/checkpoints/best.pt"), squares), evaluated)
        assert len(passes) == 4
        written, again = (np.load(tmp_path / name / "evaluation.npz") for name in ("trained", "evaluated"))
        assert all(np.array_equal(written[name], again[name]) for name in written.files)

    def test_a_resumed_run_detects_again_with_its_best_weights(
        self, trained: tuple[Path, RecordingContext], squares: dict[str, object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run that ended before its result was stored has its best checkpoint, but no detections. What it measures at
        its end is no part of its training, and may be added."""
        folder, _ = trained
        passes = counted_passes(monkeypatch)
        resumed = RecordingContext(folder)
        evaluation = EvaluationSpec(altered=AlteredImages(copies=1))
        finished = execute(with_data(SPEC.model_copy(update={"evaluation": evaluation}), squares), resumed)
        assert finished.result is not None, finished.error
        assert finished.result.altered is not None and finished.result.altered.num_copies == 1
        assert (len(passes), resumed.of(Evaluated)) == (1 + 1, [])
        assert_evidence(folder, resumed, finished.result.scores.ap)

    def test_altered_copies_are_compared_with_the_images_and_groups_are_stored(
        self,
        trained: tuple[Path, RecordingContext],
        squares: dict[str, object],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        passes, found = counted_passes(monkeypatch), []
        for place, strength in enumerate((0.05, 0.5)):
            evaluation = {"altered": {"copies": 2, "strength": strength}, "attributes": {"width": {}}}
            spec = with_data(evaluate_spec(trained[0] / "checkpoints/best.pt", evaluation=evaluation), squares)
            finished = execute(spec, RecordingContext(tmp_path / str(place)))
            assert finished.result is not None, finished.error
            found.append(finished.result.altered)
        mild, strong = found
        assert len(passes) == 2 * (1 + 2)
        assert 0 < mild.score_change < strong.score_change < 1
        assert 0 <= mild.flips <= strong.flips < 1
        assert mild.num_copies == 2 and mild.ap > 0
        stored = read(tmp_path / "0" / "evaluation.npz", whose="it")
        assert stored.groups == {"width": {"64": frozenset(stored.image_ids)}}

    def test_a_split_without_the_expected_classes_is_refused_before_the_first_step(
        self, trained: tuple[Path, RecordingContext], squares: dict[str, object], tmp_path: Path
    ) -> None:
        expecting = {"evaluation": {"expected": {"classes": ["sqare"]}}}
        specs = evaluate_spec(trained[0] / "checkpoints/best.pt", **expecting), train_spec(detector=SMALL, **expecting)
        for place, spec in enumerate(specs):
            context = RecordingContext(tmp_path / str(place))
            finished = execute(with_data(spec, squares), context)
            assert finished.error is not None and finished.error.code == "spec"
            assert "the validation split has no class 'sqare'; did you mean 'square'?" in finished.error.message
            assert [event for event in context.events if event.kind in ("progress", "evaluated")] == []

    def test_a_failed_write_is_a_warning_and_the_run_succeeds(
        self,
        trained: tuple[Path, RecordingContext],
        squares: dict[str, object],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def full(*_: object, **__: object) -> ArtifactSaved:
            raise StorageError("the disk is full")

        monkeypatch.setattr(evaluator, "write_evidence", full)
        context = RecordingContext(tmp_path)
        finished = execute(with_data(evaluate_spec(trained[0] / "checkpoints/best.pt"), squares), context)
        assert finished.outcome == "succeeded"
        assert "the disk is full" in {event.code: event.message for event in context.of(Warned)}["evidence_not_written"]
