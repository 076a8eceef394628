"""What every detector in the table must do; a new row is tested by being there."""

import pytest
import torch

from fgd_core.data.targets import Targets
from fgd_core.detectors import DETECTORS, build_detector
from fgd_core.spec.backbones import ResNet
from fgd_core.spec.detectors import AnyDetector, DetectorSpec, RetinaNet

SMALL: dict[type[AnyDetector], DetectorSpec] = {
    RetinaNet: RetinaNet(backbone=ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1)), fpn_width=8),
}


@pytest.fixture(params=DETECTORS, ids=lambda kind: kind.__name__)
def settings(request: pytest.FixtureRequest) -> DetectorSpec:
    return SMALL[request.param]


def test_strides_and_channels_are_as_declared(settings: DetectorSpec) -> None:
    detector = build_detector(settings, 3).eval()
    maps = detector.features(torch.zeros(2, 3, 128, 256))
    assert len(maps) == len(detector.levels)
    for level, features in zip(detector.levels, maps, strict=True):
        assert features.shape == (2, level.channels, 128 // level.stride, 256 // level.stride)


@pytest.mark.parametrize("counts", [(0, 0), (0, 2)], ids=["no objects", "some"])
def test_trains_a_step_with_and_without_objects(settings: DetectorSpec, counts: tuple[int, int]) -> None:
    detector = build_detector(settings, 3).train()
    boxes = [torch.tensor([[8.0, 8, 40, 40], [20, 4, 60, 30]])[:n] for n in counts]
    labels = [torch.tensor([0, 2])[:n] for n in counts]
    targets = Targets(boxes, labels, [(64, 64)] * 2)
    losses = detector.losses(detector.features(torch.randn(2, 3, 64, 64)), targets)
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert total.isfinite()
    assert losses["classification"] > 0
    assert (losses["box"] > 0) == (sum(counts) > 0)
    gradients = [p.grad for p in detector.parameters() if p.grad is not None]
    assert gradients and all(g.isfinite().all() for g in gradients)


def test_boxes_lie_inside_the_image_and_scores_fall(settings: DetectorSpec) -> None:
    detector = build_detector(settings.model_copy(update={"score_threshold": 0.0}), 3).eval()
    with torch.no_grad():
        found = detector.detect(detector.features(torch.randn(1, 3, 64, 96)), [(50, 70)])[0]
    assert 0 < len(found.scores) <= settings.max_detections
    assert (found.scores.diff() <= 0).all()
    assert found.boxes_xyxy_px.min() >= 0
    assert found.boxes_xyxy_px[:, 2].max() <= 70 and found.boxes_xyxy_px[:, 3].max() <= 50
    assert set(found.labels.tolist()) <= {0, 1, 2}


def test_weights_survive_a_save_and_a_load(settings: DetectorSpec) -> None:
    first, second = build_detector(settings, 3).eval(), build_detector(settings, 3).eval()
    second.load_state_dict(first.state_dict())
    image = torch.randn(1, 3, 64, 64)
    for one, other in zip(first.features(image), second.features(image), strict=True):
        assert torch.equal(one, other)
