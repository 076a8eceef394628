"""The contract of detectors; each row of the table is tested."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fgd_core.data.samples import Category
from fgd_core.data.targets import Targets
from fgd_core.detectors import DETECTORS, build_detector
from fgd_core.detectors.base import Detections, Detector
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, Record, read_checkpoint, save_checkpoint
from fgd_core.spec import detectors as spec
from fgd_core.spec.backbones import ResNet
from fgd_core.spec.data import InputSpec
from fgd_core.spec.detectors import AnyDetector, DetectorSpec
from tests.detectors.steps import detections_of, losses_of

TINY = ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1))

SMALL: dict[type[AnyDetector], DetectorSpec] = {
    spec.RetinaNet: spec.RetinaNet(backbone=TINY, fpn_width=8),
    spec.FasterRcnn: spec.FasterRcnn(backbone=TINY, fpn_width=8),
    spec.MaskRcnn: spec.MaskRcnn(backbone=TINY, fpn_width=8),
    spec.CascadeRcnn: spec.CascadeRcnn(backbone=TINY, fpn_width=8),
    spec.CascadeMaskRcnn: spec.CascadeMaskRcnn(backbone=TINY, fpn_width=8),
    spec.Fcos: spec.Fcos(backbone=TINY, fpn_width=8),
    spec.Gfl: spec.Gfl(backbone=TINY, fpn_width=8),
    spec.RepPoints: spec.RepPoints(backbone=TINY, fpn_width=8),
}
# Other settings that change the network or its losses.
VARIANTS: tuple[DetectorSpec, ...] = (
    spec.RetinaNet(backbone=TINY, fpn_width=8, version="v2"),
    spec.RetinaNet(backbone=TINY, fpn_width=8, convention="mmdetection"),
    spec.FasterRcnn(backbone=TINY, fpn_width=8, version="v2"),
    spec.FasterRcnn(backbone=TINY, fpn_width=8, convention="mmdetection"),
    spec.MaskRcnn(backbone=TINY, fpn_width=8, version="v2"),
    spec.MaskRcnn(backbone=TINY, fpn_width=8, convention="mmdetection"),
    spec.Fcos(backbone=TINY, fpn_width=8, convention="mmdetection"),
    spec.Fcos(backbone=TINY, fpn_width=8, convention="mmdetection", version="v1"),
    spec.RepPoints(backbone=TINY, fpn_width=8, norm="none"),
)
NUM_CLASSES = 3
BOXES = torch.tensor([[8.0, 8, 40, 40], [20, 4, 60, 30]])
LABELS = torch.tensor([0, 2])


def _described(settings: DetectorSpec) -> str:
    changed = settings.model_dump(include={"version", "convention", "norm"}, exclude_defaults=True)
    return " ".join([type(settings).__name__, *changed.values()])


@pytest.fixture(params=[*SMALL.values(), *VARIANTS], ids=_described)
def settings(request: pytest.FixtureRequest) -> DetectorSpec:
    torch.manual_seed(0)
    chosen: DetectorSpec = request.param
    return chosen


def test_every_detector_in_the_table_is_tested() -> None:
    assert set(SMALL) == set(DETECTORS)


def batch_targets(detector: Detector, *counts: int) -> Targets:
    """Return targets of images of 64 x 64 px.

    Args:
        counts: for each image, how many of the two objects it has; masks fill their boxes.
    """
    masks = torch.zeros(len(BOXES), 64, 64, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, BOXES.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    return Targets(
        [BOXES[:n] for n in counts],
        [LABELS[:n] for n in counts],
        [(64, 64)] * len(counts),
        [masks[:n] for n in counts] if detector.has_masks else None,
    )


def of_classes(losses: dict[str, Tensor]) -> Tensor:
    """Return the sum of the loss terms that background cells contribute to, a scalar."""
    return torch.stack([value for name, value in losses.items() if _is_of_classes(name)]).sum()


def of_objects(losses: dict[str, Tensor]) -> Tensor:
    """Return the sum of the loss terms of objects only, a scalar: boxes, centres, masks."""
    return torch.stack([value for name, value in losses.items() if not _is_of_classes(name)]).sum()


def _is_of_classes(name: str) -> bool:
    return "class" in name or "objectness" in name


def find(detector: Detector, images: Tensor, *sizes: tuple[int, int]) -> list[Detections]:
    with torch.no_grad():
        return detections_of(detector, detector.features(images), sizes)


def test_strides_and_channels_are_as_declared(settings: DetectorSpec) -> None:
    detector = build_detector(settings, NUM_CLASSES).eval()
    maps = detector.features(torch.zeros(2, 3, 128, 256))
    assert len(maps) == len(detector.levels)
    for level, features in zip(detector.levels, maps, strict=True):
        assert features.shape == (2, level.channels, 128 // level.stride, 256 // level.stride)


def test_the_spec_knows_whether_it_has_masks(settings: DetectorSpec) -> None:
    assert settings.has_masks == build_detector(settings, NUM_CLASSES).has_masks


class TestTraining:
    @pytest.mark.parametrize("counts", [(0, 0), (0, 2)], ids=["no objects", "some"])
    def test_a_step_is_finite_and_only_objects_have_boxes(
        self, settings: DetectorSpec, counts: tuple[int, int]
    ) -> None:
        detector = build_detector(settings, NUM_CLASSES).train()
        optimizer = torch.optim.SGD(detector.parameters(), lr=1e-3)
        losses = losses_of(detector, detector.features(torch.randn(2, 3, 64, 64)), batch_targets(detector, *counts))
        assert all(value.shape == () and value.isfinite() for value in losses.values())
        assert of_classes(losses) > 0
        assert (of_objects(losses) > 0) == (sum(counts) > 0)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        assert any(p.grad is not None and p.grad.any() for p in detector.parameters())
        assert all(p.isfinite().all() for p in detector.parameters())

    def test_every_parameter_gets_a_gradient(self, settings: DetectorSpec) -> None:
        detector = build_detector(settings, NUM_CLASSES).train()
        # The image is large enough for every level, and there are objects of all sizes, so each level gets one.
        sides = torch.tensor([12.0, 24, 48, 96, 180, 250])
        boxes = torch.stack([torch.zeros(6), torch.zeros(6), sides, sides], dim=1) + 3
        masks = [torch.ones(6, 256, 256, dtype=torch.uint8)] * 2 if detector.has_masks else None
        targets = Targets([boxes] * 2, [torch.zeros(6, dtype=torch.int64)] * 2, [(256, 256)] * 2, masks)
        losses = losses_of(detector, detector.features(torch.randn(2, 3, 256, 256)), targets)
        torch.stack(list(losses.values())).sum().backward()
        trained = [(name, p) for name, p in detector.named_parameters() if p.requires_grad]
        assert [name for name, p in trained if p.grad is None] == []

    def test_labels_count_from_zero(self, settings: DetectorSpec) -> None:
        detector = build_detector(settings, 1).train()
        boxes, _, sizes, masks = batch_targets(detector, 2, 2)
        targets = Targets(boxes, [torch.zeros(2, dtype=torch.int64)] * 2, sizes, masks)
        losses = losses_of(detector, detector.features(torch.randn(2, 3, 64, 64)), targets)
        assert torch.stack(list(losses.values())).isfinite().all()


class TestDetections:
    def test_boxes_are_inside_the_image_and_scores_are_sorted(self, settings: DetectorSpec) -> None:
        detector = build_detector(settings.model_copy(update={"score_threshold": 0.0}), NUM_CLASSES).eval()
        for found, (height, width) in zip(
            find(detector, torch.randn(2, 3, 64, 96), (50, 70), (64, 96)), [(50, 70), (64, 96)], strict=True
        ):
            assert 0 < len(found.scores) <= settings.max_detections
            assert found.boxes_xyxy_px.shape == (len(found.scores), 4)
            assert (found.scores.diff() <= 0).all()
            assert found.scores.min() >= 0 and found.scores.max() <= 1
            assert found.boxes_xyxy_px.min() >= 0
            assert found.boxes_xyxy_px[:, 2].max() <= width and found.boxes_xyxy_px[:, 3].max() <= height
            assert found.labels.dtype == torch.int64
            assert set(found.labels.tolist()) <= set(range(NUM_CLASSES))
            assert (found.masks is not None) == detector.has_masks
            if found.masks is not None:
                assert found.masks.shape == (len(found.scores), *found.masks.shape[1:])
                assert found.masks.shape[1] == found.masks.shape[2]
                assert found.masks.min() >= 0 and found.masks.max() <= 1

    def test_an_image_without_detections_gives_empty_tensors(self, settings: DetectorSpec) -> None:
        detector = build_detector(settings.model_copy(update={"score_threshold": 0.999}), NUM_CLASSES).eval()
        (found,) = find(detector, torch.randn(1, 3, 64, 64), (64, 64))
        assert found.boxes_xyxy_px.shape == (0, 4)
        assert found.scores.shape == found.labels.shape == (0,)
        assert found.masks is None or found.masks.shape[0] == 0

    def test_a_saved_and_loaded_detector_gives_the_same_detections(
        self, settings: DetectorSpec, tmp_path: Path
    ) -> None:
        settings = settings.model_copy(update={"score_threshold": 0.0})
        saved = build_detector(settings, NUM_CLASSES).eval()
        categories = tuple(Category(i, f"kind {i}") for i in range(NUM_CLASSES))
        save_checkpoint(
            tmp_path / "best.pt",
            DetectorCheckpoint(
                detector=settings, categories=categories, input=InputSpec(), record=Record(), state=saved.state_dict()
            ),
        )
        checkpoint, _ = read_checkpoint(tmp_path / "best.pt")
        assert checkpoint.detector == settings
        loaded, _ = checkpoint.build("detector", "best.pt")
        images = torch.randn(1, 3, 64, 64)
        (before,), (after,) = find(saved, images, (64, 64)), find(loaded.eval(), images, (64, 64))
        for one, other in zip(before, after, strict=True):
            assert (one is None and other is None) or torch.equal(one, other)
