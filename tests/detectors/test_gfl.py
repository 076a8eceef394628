"""GFL: the checks of mmdetection's tests, and one batch computed by hand."""

from math import log

import pytest
import torch
from torch import Tensor

from fgd_core.data.targets import Targets
from fgd_core.detectors.gfl import Gfl
from fgd_core.spec import detectors as spec
from fgd_core.spec.backbones import ResNet
from tests.detectors.steps import detections_of, losses_of

TINY = ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1))


def tiny(*, num_classes: int = 2, anchor_px: float = 64.0) -> Gfl:
    torch.manual_seed(0)
    return Gfl(spec.Gfl(backbone=TINY, fpn_width=8, anchor_base_size_px=anchor_px), num_classes)


def constant_outputs(*, anchor_px: float) -> Gfl:
    """Build a detector with all scores 0.5 and all distances 8 strides, the mean of equally likely 0 to 16."""
    detector = tiny(num_classes=1, anchor_px=anchor_px)
    for layer in (detector.head.gfl_cls, detector.head.gfl_reg):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return detector


def one_object(*box: float, image_size: tuple[int, int] = (128, 128)) -> Targets:
    return Targets([torch.tensor([box])], [torch.tensor([0])], [image_size])


def losses(detector: Gfl, targets: Targets, size: int = 128) -> dict[str, Tensor]:
    images = torch.randn(len(targets.boxes), 3, size, size, generator=torch.Generator().manual_seed(1))
    return losses_of(detector, detector.features(images), targets)


class TestLosses:
    def test_without_objects_include_only_the_classification(self) -> None:
        nothing = Targets([torch.zeros(0, 4)], [torch.zeros(0).long()], [(128, 128)])
        values = losses(tiny(), nothing)
        assert values["classification"] > 0
        assert values["box"] == values["distribution"] == 0

    def test_of_an_object_are_all_positive(self) -> None:
        assert all(value > 0 for value in losses(tiny(), one_object(20, 20, 84, 84)).values())

    def test_are_as_computed_by_hand(self) -> None:
        # The object is an anchor of P3, 128 px wide; with its eight neighbours, 8 px away, nine locations are positive.
        values = losses(constant_outputs(anchor_px=128), one_object(0, 0, 128, 128))
        beside, across = 120 / 136, 120**2 / (2 * 128**2 - 120**2)
        hull_beyond_union = (136**2 - (2 * 128**2 - 120**2)) / 136**2
        num_locations = 16**2 + 8**2 + 4**2 + 2**2 + 1
        errors = (num_locations - 9) * 0.5**2 + 0.5**2 + 4 * (beside - 0.5) ** 2 + 4 * (across - 0.5) ** 2
        assert values["classification"].item() == pytest.approx(errors * log(2) / 9, rel=1e-5)
        assert values["box"].item() == pytest.approx(
            2 * (4 * (1 - beside) + 4 * (1 - across + hull_beyond_union)) / 9, rel=1e-5
        )
        assert values["distribution"].item() == pytest.approx(0.25 * log(17), rel=1e-5)

    def test_of_boxes_are_weighed_by_the_score_and_divided_by_at_least_one(self) -> None:
        detector = constant_outputs(anchor_px=128)
        torch.nn.init.constant_(detector.head.gfl_cls.bias, log(0.1 / 0.9))
        values = losses(detector, one_object(0, 0, 128, 128))
        assert values["distribution"].item() == pytest.approx(9 * 0.1 * 0.25 * log(17), rel=1e-5)

    def test_ignore_the_batch_padding(self) -> None:
        detector = constant_outputs(anchor_px=128)
        whole = Targets([torch.zeros(0, 4)], [torch.zeros(0).long()], [(128, 128)])
        half = whole._replace(image_sizes=[(128, 64)])
        num_locations = 16**2 + 8**2 + 4**2 + 2**2 + 1
        num_of_half = 16 * 8 + 8 * 4 + 4 * 2 + 2 + 1
        share = losses(detector, half)["classification"] / losses(detector, whole)["classification"]
        assert share.item() == pytest.approx(num_of_half / num_locations, rel=1e-5)


class TestDetections:
    def test_extend_from_the_cell_corner_by_the_expected_distance(self) -> None:
        detector = constant_outputs(anchor_px=64).eval()
        detector.settings = detector.settings.model_copy(update={"nms_iou_threshold": 1.0, "max_detections": 1000})
        with torch.no_grad():
            (found,) = detections_of(detector, [torch.zeros(1, 8, s, s) for s in (16, 8, 4, 2, 1)], [(1024, 1024)])
        boxes = found.boxes_xyxy_px.tolist()
        # P3's locations lie every 8 px and reach 64 px, P4's every 16 px and reach 128 px.
        assert [56.0, 56.0, 184.0, 184.0] in boxes
        assert [64.0, 80.0, 192.0, 208.0] not in boxes  # would be the location (128, 144), where P3 has no cell
        assert [0.0, 0.0, 240.0, 240.0] in boxes
        assert (found.scores == 0.5).all()

    def test_are_scaled_by_the_factor_of_the_level(self) -> None:
        detector = tiny()
        features = [torch.randn(1, 8, s, s, generator=torch.Generator().manual_seed(s)) for s in (16, 8, 4, 2, 1)]
        before = detector.predict(features, [(128, 128)]).distributions
        torch.nn.init.constant_(detector.head.scales[1].scale, 3.0)
        after = detector.predict(features, [(128, 128)]).distributions
        torch.testing.assert_close(after[1], 3 * before[1])
        assert torch.equal(after[0], before[0]) and torch.equal(after[2], before[2])
