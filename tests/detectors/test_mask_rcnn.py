"""Compares Mask R-CNN with torchvision's, weight by weight."""

from typing import Literal

import pytest
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from fgd_core.detectors.mask_rcnn import MaskRcnn
from fgd_core.errors import DataError
from fgd_core.spec import detectors as spec
from fgd_core.spec.backbones import ResNet
from tests.detectors.steps import losses_of
from tests.detectors.torchvision_comparison import (
    NUM_CLASSES,
    WIDTH,
    Pair,
    assert_same_detections,
    assert_same_losses,
    images,
    narrow_parts,
    objects,
    shapes,
)

VERSIONS: list[Literal["v1", "v2"]] = ["v1", "v2"]


def narrow(**settings: str) -> MaskRcnn:
    torch.manual_seed(0)
    chosen = {"backbone": ResNet(name="resnet18"), "fpn_width": WIDTH, **settings}
    return MaskRcnn(spec.MaskRcnn.model_validate(chosen), NUM_CLASSES)


@pytest.fixture(scope="module", params=VERSIONS)
def pair(request: pytest.FixtureRequest) -> Pair:
    norm = nn.BatchNorm2d if request.param == "v2" else None
    ours = narrow(version=request.param)
    theirs = MaskRCNN(
        **narrow_parts(request.param),
        mask_head=MaskRCNNHeads(WIDTH, [WIDTH] * 4, 1, norm_layer=norm),
        mask_predictor=MaskRCNNPredictor(WIDTH, WIDTH, 1 + NUM_CLASSES),
    )
    return Pair(ours, theirs)


class TestAgainstTorchvision:
    def test_losses_are_equal(self, pair: Pair) -> None:
        assert_same_losses(pair)

    def test_detections_and_their_masks_are_equal(self, pair: Pair) -> None:
        assert_same_detections(pair)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_the_published_weights_fit(self, version: Literal["v1", "v2"]) -> None:
        build = {"v1": maskrcnn_resnet50_fpn, "v2": maskrcnn_resnet50_fpn_v2}[version]
        with torch.device("meta"):
            theirs = build(weights=None, weights_backbone=None, num_classes=91)
            ours = MaskRcnn(spec.MaskRcnn(version=version), 90)
        assert shapes(ours) == shapes(theirs)


class TestMasks:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_without_objects_give_zero_gradients_and_keep_the_statistics(self, version: str) -> None:
        detector = narrow(version=version).train()
        before = {name: value.clone() for name, value in detector.roi_heads.mask_head.state_dict().items()}
        features = detector.features(images())
        targets = objects()
        assert targets.masks is not None
        nothing = targets._replace(
            boxes=[own[:0] for own in targets.boxes],
            labels=[own[:0] for own in targets.labels],
            masks=[own[:0] for own in targets.masks],
        )
        losses = losses_of(detector, features, nothing)
        assert losses["mask"] == 0
        torch.stack(list(losses.values())).sum().backward()
        for parameter in detector.roi_heads.mask_head.parameters():
            assert parameter.grad is not None and not parameter.grad.any()
        for name, value in detector.roi_heads.mask_head.state_dict().items():
            assert torch.equal(value, before[name])

    def test_missing_in_the_data_are_an_error(self) -> None:
        detector = narrow()
        with pytest.raises(DataError, match="segmentation"):
            losses_of(detector, detector.features(images()), objects()._replace(masks=None))

    def test_have_no_background_in_mmdetections_convention(self) -> None:
        heads = narrow(convention="mmdetection").roi_heads
        assert heads.mask_predictor.mask_fcn_logits.out_channels == NUM_CLASSES
        assert heads.box_predictor.bbox_pred.out_features == 4 * NUM_CLASSES
        assert heads.box_predictor.cls_score.out_features == 1 + NUM_CLASSES
