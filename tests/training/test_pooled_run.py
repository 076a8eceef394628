"""A distillation with a pool: which of the teacher's boxes are labels, what counts how much, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fgd_core.data.loading import Batch
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detections, Detector
from fgd_core.methods.base import Moment
from fgd_core.runs import execute
from fgd_core.spec.event_text import describe
from fgd_core.spec.events import MetricsLogged, PoolChecked, PoolLabelled
from fgd_core.spec.kinds.distill import DistillSpec, pool_faults, pool_of
from fgd_core.training.accumulation import weighed_parts
from fgd_core.training.distiller import Distiller
from fgd_core.training.pool_labels import PoolLabels, min_scores
from fgd_core.training.several_teachers import WeightedTeacher, mean_of
from fgd_core.training.step import Learner, training_step
from tests.library import RecordingContext, distill_spec, train_spec, with_data, write_pool, write_squares


class TestMinScores:
    def test_leave_as_many_boxes_per_image_as_the_labels_have(self) -> None:
        scores = [
            (torch.tensor([0.9, 0.5, 0.4, 0.3]), torch.tensor([0, 0, 1, 0])),
            (torch.tensor([0.8, 0.2]), torch.tensor([0, 1])),
        ]
        found = min_scores(scores, {"cell": 1.0, "platelet": 0.5})
        assert found.min_scores == pytest.approx({"cell": 0.8, "platelet": 0.4})
        assert found.boxes_per_image == {"cell": 1.0, "platelet": 0.5}
        assert "cell above 0.80 (1 boxes per image, 1 in the labels)" in (describe(found) or "")

    def test_take_all_boxes_of_a_class_that_is_found_too_seldom(self) -> None:
        found = min_scores([(torch.tensor([0.3, 0.2]), torch.tensor([0, 0]))], {"cell": 5.0})
        assert found.min_scores == pytest.approx({"cell": 0.2})

    def test_take_no_box_of_a_class_without_labels(self) -> None:
        found = min_scores([(torch.tensor([0.99]), torch.tensor([0]))], {"cell": 0.0})
        assert found.min_scores == {"cell": 1.0} and found.boxes_per_image == {"cell": 0.0}

    def test_may_be_fixed(self) -> None:
        found = min_scores([(torch.tensor([0.9, 0.6]), torch.tensor([0, 0]))], {"cell": 1.0}, 0.5)
        assert found.min_scores == {"cell": 0.5} and found.boxes_per_image == {"cell": 2.0}


def batch(num_images: int, **fields: Any) -> Batch:
    generator = torch.Generator().manual_seed(num_images)
    boxes = [torch.tensor([[8.0, 8, 40, 40]])] * num_images
    given = Batch(
        images=torch.randn(num_images, 3, 64, 64, generator=generator),
        image_sizes=[(64, 64)] * num_images,
        boxes=boxes,
        labels=[torch.tensor([0])] * num_images,
        image_ids=[*range(num_images)],
        original_sizes=[(64, 64)] * num_images,
        seeds=[*range(num_images)],
    )
    return replace(given, **fields)


def unlabelled(num_images: int, weight: float) -> Batch:
    empty = {"boxes": [torch.zeros(0, 4)] * num_images, "labels": [torch.zeros(0, dtype=torch.int64)] * num_images}
    return batch(num_images, is_labelled=False, weight=weight, **empty)


class TestParts:
    def test_have_one_size_and_count_by_the_weight_of_their_images(self) -> None:
        parts = weighed_parts(batch(4, pool=unlabelled(8, 0.25)), 2)
        assert [len(each.batch.images) for each in parts] == [2] * 6
        assert [each.share for each in parts] == pytest.approx([1 / 3, 1 / 3, *[1 / 12] * 4])
        assert all(each.batch.pool is None for each in parts)


class SureTeacher(Detector):
    """Finds the same two boxes on every image."""

    levels, num_classes = (), 1

    def predict(self, features: Any, image_sizes: Any, targets: Any = None) -> None: ...

    def detect(self, out: None, image_sizes: Any) -> list[Detections]:
        boxes = torch.tensor([[8.0, 8, 40, 40], [0, 0, 64, 64]])
        return [Detections(boxes, torch.tensor([0.9, 0.3]), torch.tensor([0, 0])) for _ in image_sizes]


def learner() -> Learner:
    spec = distill_spec("none")
    torch.manual_seed(0)
    student, teacher = (build_detector(spec.student, 1) for _ in range(2))
    distiller = Distiller(spec.method, student, teacher)
    distiller.pool_labels = PoolLabels(SureTeacher(), [0.5])
    return Learner(student, distiller)


def step(own: Learner, given: Batch) -> dict[str, float]:
    optimizer = torch.optim.SGD(own.parameters(), lr=0.0, fused=True)
    values = training_step(own, optimizer, given, clip_norm=None, autocast_dtype=None, moment=Moment())
    return {name: float(value) for name, value in values.items()}


class TestStep:
    def test_learns_sure_boxes_as_labels(self) -> None:
        """The boxes of `batch` are those that `SureTeacher` is sure of, so labels and pool have the same loss."""
        own = learner()
        labelled = batch(2)
        same = replace(unlabelled(2, 1.0), images=labelled.images)
        alone = step(own, labelled)
        gradient = [each.grad.clone() for each in own.parameters() if each.grad is not None]
        both = step(own, replace(labelled, pool=same))
        assert both["pool/loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert both["pool/boxes"] == 1.0
        again = [each.grad for each in own.parameters() if each.grad is not None]
        assert all(torch.allclose(one, other, rtol=1e-3, atol=1e-6) for one, other in zip(gradient, again, strict=True))

    def test_weighs_the_images_of_the_pool(self) -> None:
        own = learner()
        both = step(own, batch(2, pool=unlabelled(4, 0.5)))
        labelled = step(own, batch(2))["loss"]
        assert both["loss"] == pytest.approx((labelled + both["pool/loss"]) / 2, rel=1e-5)

    def test_runs_the_teacher_once_on_an_image(self, monkeypatch: pytest.MonkeyPatch) -> None:
        own = learner()
        assert isinstance(own.distiller, Distiller)
        teacher, seen = own.distiller._networks.teacher, []
        features = teacher.features
        monkeypatch.setattr(teacher, "features", lambda images: seen.append(len(images)) or features(images))
        step(own, batch(2, pool=unlabelled(4, 0.5)))
        assert sorted(seen) == [2, 2, 2]


def test_of_several_teachers_the_first_one_labels() -> None:
    own = learner()
    first = own.distiller
    assert isinstance(first, Distiller)
    second = Distiller(distill_spec("none").method, own.detector, build_detector(distill_spec("none").student, 1))
    both = mean_of([WeightedTeacher(first, 0.0), WeightedTeacher(second, 1.0)])
    labelled = both.labelled(unlabelled(2, 1.0))
    assert [each.tolist() for each in labelled.boxes] == [[[8.0, 8.0, 40.0, 40.0]]] * 2
    total, parts = both(own.detector.features(labelled.images), labelled, Moment())
    assert total.isfinite() and parts["distill/total"] > 0


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Train a teacher; return its checkpoint, and data with a pool."""
    folder = tmp_path_factory.mktemp("pool")
    data = write_squares(folder / "data", 8) | {"pool": write_pool(folder / "images")}
    assert execute(with_data(train_spec(), data), RecordingContext(folder / "teacher")).outcome == "succeeded"
    return folder / "teacher/checkpoints/last.pt", data


def pooled(scene: tuple[Path, dict[str, Any]], **fields: Any) -> DistillSpec:
    teacher, data = scene
    return with_data(distill_spec(teacher, teacher={"gate": "keys"}, **fields), data)


class TestRun:
    def test_says_what_stands_for_labels_and_logs_the_loss_of_the_pool(
        self, scene: tuple[Path, dict[str, Any]], tmp_path: Path
    ) -> None:
        context = RecordingContext(tmp_path)
        finished = execute(pooled(scene), context)
        assert finished.outcome == "succeeded", finished.error
        assert [each.num_images for each in context.of(PoolChecked)] == [6]
        (labelled,) = context.of(PoolLabelled)
        assert labelled.num_images == 6 and labelled.labelled_boxes_per_image == {"square": 1.0}
        assert all({"pool/loss", "pool/boxes"} <= each.values.keys() for each in context.of(MetricsLogged))

    def test_without_weight_reads_no_pool(self, scene: tuple[Path, dict[str, Any]]) -> None:
        spec = pooled(scene, pool={"weight": 0})
        assert pool_of(spec) is None and pool_of(pooled(scene)) is not None

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"student": {"type": "mask_rcnn"}}, "learns masks"),
            ({"method": {"type": "ikd"}}, "reads other pictures"),
            ({"input": {"augment": [{"type": "copy_paste"}]}}, "by the masks"),
        ],
    )
    def test_is_refused_if_it_needs_more_than_images(
        self, scene: tuple[Path, dict[str, Any]], fields: dict[str, Any], reason: str
    ) -> None:
        (fault,) = pool_faults(pooled(scene, **fields))
        assert reason in fault
        assert not pool_faults(pooled(scene, **fields, pool={"weight": 0}))
