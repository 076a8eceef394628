"""Faster R-CNN against torchvision's own, weight for weight."""

from typing import Literal

import pytest
import torch
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2

from fgd_core.detectors.faster_rcnn import FasterRcnn
from fgd_core.spec import detectors as spec
from fgd_core.spec.backbones import ResNet
from tests.detectors.beside_torchvision import (
    NUM_CLASSES,
    WIDTH,
    Pair,
    assert_same_detections,
    assert_same_losses,
    narrow_parts,
    shapes,
)

VERSIONS: list[Literal["v1", "v2"]] = ["v1", "v2"]


@pytest.fixture(scope="module", params=VERSIONS)
def pair(request: pytest.FixtureRequest) -> Pair:
    torch.manual_seed(0)
    settings = spec.FasterRcnn(version=request.param, backbone=ResNet(name="resnet18"), fpn_width=WIDTH)
    return Pair(FasterRcnn(settings, NUM_CLASSES), FasterRCNN(**narrow_parts(request.param)))


class TestAgainstTorchvision:
    def test_losses_are_equal(self, pair: Pair) -> None:
        assert_same_losses(pair)

    def test_detections_are_equal(self, pair: Pair) -> None:
        assert_same_detections(pair)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_every_published_weight_has_its_place(self, version: Literal["v1", "v2"]) -> None:
        build = {"v1": fasterrcnn_resnet50_fpn, "v2": fasterrcnn_resnet50_fpn_v2}[version]
        with torch.device("meta"):
            theirs = build(weights=None, weights_backbone=None, num_classes=91)
            ours = FasterRcnn(spec.FasterRcnn(version=version), 90)
        assert shapes(ours) == shapes(theirs)
