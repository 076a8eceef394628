"""A keypoint teacher on depth maps and a keypoint student on images, as in Distill-DKP."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from fgd_core.data.loading import Batch, TrainLoader
from fgd_core.data.pictures import picture_folder
from fgd_core.data.shapes import ShapesDataset
from fgd_core.detectors import build_detector
from fgd_core.detectors.keypoint_rcnn import KeypointRcnn
from fgd_core.methods.base import Moment
from fgd_core.runs import execute
from fgd_core.spec import detectors as spec
from fgd_core.spec.augments import RandomCrop
from fgd_core.spec.backbones import ResNet
from fgd_core.spec.data import DEPTH, InputSpec, Shapes
from fgd_core.spec.events import Evaluated, MetricsLogged, TeacherChecked
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.methods import Embedding
from fgd_core.training.distiller import Distiller
from service.client.spec_file import read_spec
from tests.detectors.steps import losses_of
from tests.library import RecordingContext

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "keypoints"
SHAPES = Shapes(num_train=8, num_val=4, image_size_px=64, depth=True)
INPUT = InputSpec(shorter_px=64, longer_px=64, flip_probability=0.5, augment=(RandomCrop(images="all"),))

Job = TypeVar("Job", TrainSpec, DistillSpec)


class Seen(list[Tensor]):
    """Images that a teacher and all its copies have seen: a distiller runs a copy with folded norms."""

    def __deepcopy__(self, memo: dict[int, object]) -> "Seen":
        return self


class Recording(KeypointRcnn):
    """A teacher that keeps the images that it sees."""

    def __init__(self, settings: spec.KeypointRcnn, num_classes: int) -> None:
        super().__init__(settings, num_classes)
        self.seen = Seen()

    def features(self, images: Tensor) -> list[Tensor]:
        self.seen.append(images)
        return super().features(images)


def settings() -> spec.KeypointRcnn:
    backbone = ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1))
    return spec.KeypointRcnn(backbone=backbone, fpn_width=8, num_keypoints=5, anchor_base_size_px=16, rois_per_image=32)


def batches(shapes: Shapes, epochs: int) -> list[Batch]:
    """Return the batches of some epochs, with keypoints and depth maps, randomly cropped and flipped."""
    dataset = ShapesDataset(shapes, "train", with_keypoints=True)
    depth = picture_folder(shapes, DEPTH, "train", dataset.samples)
    loader = TrainLoader(dataset, INPUT, batch_size=4, seed=0, workers=0, pictures=[depth])
    return [batch.to("cpu") for epoch in range(epochs) for batch in loader.epoch(epoch)]


def test_image_and_depth_map_have_the_same_crop_and_flip() -> None:
    """If the images show depth as well, image and depth map are equal, so their geometry is the same."""
    shown = batches(SHAPES.model_copy(update={"shows": "depth"}), epochs=3)
    assert all(torch.equal(batch.images, batch.pictures[DEPTH]) for batch in shown)
    plain = batches(SHAPES, epochs=3)
    for ours, theirs in zip(plain, shown, strict=True):
        assert torch.equal(ours.pictures[DEPTH], theirs.images)
        assert not torch.equal(ours.images, theirs.images)
    # The same image in three epochs, with three crops.
    sizes = {batch.image_sizes[batch.image_ids.index(1)] for batch in plain if 1 in batch.image_ids}
    assert len(sizes) > 1


def test_a_student_on_images_learns_from_the_depth_maps() -> None:
    torch.manual_seed(0)
    teacher = Recording(settings(), 5).eval()
    student = build_detector(settings(), 5).train()
    distiller = Distiller(Embedding(), student, teacher, picture=DEPTH)
    optimizer = torch.optim.AdamW([*student.parameters(), *distiller.parameters()], lr=2e-3)
    given = batches(SHAPES, epochs=1)
    distances = []
    for step in range(8):
        batch = given[step % len(given)]
        features = student.features(batch.images)
        distilled, _ = distiller(features, batch, Moment())
        distances.append(distilled.item())
        total = torch.stack([*losses_of(student, features, batch.targets).values()]).sum() + distilled
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        assert torch.equal(teacher.seen[-1], batch.pictures[DEPTH])
    assert len(teacher.seen) == 8
    assert mean(distances[-2:]) < mean(distances[:2])
    assert all(parameter.grad is None for parameter in teacher.parameters())


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def small(job: Job, epochs: int) -> Job:
    """Return an example with a few images, regions and epochs: each region costs a head of 512 channels."""
    few = {"num_train": 8, "num_val": 4}
    training = {"epochs": epochs, "batch_size": 4, "warmup_steps": 1, "evaluate_every": epochs}
    name = "detector" if isinstance(job, TrainSpec) else "student"
    return job.model_copy(
        update={
            name: getattr(job, name).model_copy(update={"rois_per_image": 16, "max_detections": 10}),
            "data": job.data.model_copy(update=few),
            "training": job.training.model_copy(update=training),
        }
    )


@pytest.fixture(scope="module")
def teacher_run(tmp_path_factory: pytest.TempPathFactory) -> RecordingContext:
    """The example's teacher."""
    job = read_spec(str(EXAMPLES / "teacher.yaml"))
    assert isinstance(job, TrainSpec)
    context = RecordingContext(tmp_path_factory.mktemp("teacher"))
    # After few epochs it would detect nothing, and the gate would refuse it.
    assert execute(small(job, epochs=8), context).outcome == "succeeded"
    return context


@pytest.fixture(scope="module")
def student_run(teacher_run: RecordingContext, tmp_path_factory: pytest.TempPathFactory) -> RecordingContext:
    """The example's student."""
    job = read_spec(str(EXAMPLES / "distilled.yaml"))
    assert isinstance(job, DistillSpec)
    checkpoint = str(teacher_run.job_dir / "checkpoints" / "best.pt")
    teacher = Teacher.model_validate(job.teacher.model_dump() | {"checkpoint": checkpoint})
    context = RecordingContext(tmp_path_factory.mktemp("student"))
    finished = execute(small(job, epochs=1).model_copy(update={"teacher": teacher}), context)
    assert finished.outcome == "succeeded", finished.error
    return context


class TestExamples:
    def test_the_teacher_is_measured_on_the_depth_maps_that_it_was_trained_on(
        self, student_run: RecordingContext
    ) -> None:
        (checked,) = student_run.of(TeacherChecked)
        assert checked.same_data and checked.recorded_ap is not None
        assert checked.ap == pytest.approx(checked.recorded_ap, abs=1e-6)

    def test_the_student_distils_and_is_scored_by_keypoints(self, student_run: RecordingContext) -> None:
        assert all(event.scores.keypoints is not None for event in student_run.of(Evaluated))
        logged = {name for event in student_run.of(MetricsLogged) for name in event.values}
        assert {"task/keypoint", "distill/total"} <= logged
