"""RetinaNet against torchvision's own, weight for weight."""

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import retinanet_resnet50_fpn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet as TorchvisionRetinaNet

from fgd_core.data.targets import Targets
from fgd_core.detectors.retinanet import RetinaNet
from fgd_core.detectors.weights import match_state
from fgd_core.spec import detectors as spec

SIZES = [(128, 96), (100, 128)]


@pytest.fixture(scope="module")
def pair() -> tuple[RetinaNet, TorchvisionRetinaNet]:
    torch.manual_seed(0)
    theirs = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=7, detections_per_img=100)
    ours = RetinaNet(spec.RetinaNet(), num_classes=7)
    loaded = match_state(ours, theirs.state_dict(), role="detector", source="torchvision")
    assert loaded.num_matched == loaded.num_total
    assert not loaded.unexpected
    return ours.eval(), theirs.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    # 128 is the coarsest stride: there torchvision's anchors do not drift, and the two must agree.
    return torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))


class TestAgainstTorchvision:
    def test_features_and_losses_are_equal(self, pair: tuple[RetinaNet, TorchvisionRetinaNet], images: Tensor) -> None:
        ours, theirs = pair
        boxes = [torch.tensor([[10.0, 20, 60, 90], [30, 30, 50, 50]]), torch.zeros(0, 4)]
        labels = [torch.tensor([3, 6]), torch.zeros(0, dtype=torch.int64)]
        with torch.no_grad():
            features = ours.features(images)
            mine = ours.losses(features, Targets(boxes, labels, SIZES))
            maps = list(theirs.backbone(images).values())
            anchors = theirs.anchor_generator(ImageList(images, SIZES), maps)
            targets = [{"boxes": b, "labels": i} for b, i in zip(boxes, labels, strict=True)]
            expected = theirs.compute_loss(targets, theirs.head(maps), anchors)
        for ours_map, their_map in zip(features, maps, strict=True):
            torch.testing.assert_close(ours_map, their_map, rtol=0, atol=0)
        torch.testing.assert_close(mine["classification"], expected["classification"])
        torch.testing.assert_close(mine["box"], expected["bbox_regression"])

    def test_detections_are_equal(self, pair: tuple[RetinaNet, TorchvisionRetinaNet], images: Tensor) -> None:
        ours, theirs = pair
        # Fresh heads score every anchor 0.01; lifted, so that there is something to keep and something to drop.
        bias = theirs.head.classification_head.cls_logits.bias
        torch.nn.init.normal_(bias, -2.0, 1.5, generator=torch.Generator().manual_seed(2))
        ours.load_state_dict(theirs.state_dict())
        with torch.no_grad():
            mine = ours.detect(ours.features(images), SIZES)
            maps = list(theirs.backbone(images).values())
            outputs = theirs.head(maps)
            anchors = theirs.anchor_generator(ImageList(images, SIZES), maps)
            counts = [9 * m.shape[2] * m.shape[3] for m in maps]
            split = {name: list(out.split(counts, dim=1)) for name, out in outputs.items()}
            expected = theirs.postprocess_detections(split, [list(a.split(counts)) for a in anchors], SIZES)
        for one, other, (height, width) in zip(mine, expected, SIZES, strict=True):
            assert len(one.scores) == 100
            torch.testing.assert_close(one.scores, other["scores"])
            torch.testing.assert_close(one.boxes_xyxy_px, other["boxes"])
            torch.testing.assert_close(one.labels, other["labels"])
            assert one.boxes_xyxy_px[:, 2].max() <= width
            assert one.boxes_xyxy_px[:, 3].max() <= height


class TestAnchors:
    def test_sit_at_the_true_strides_where_the_input_is_not_divisible_by_the_coarsest(self) -> None:
        detector = RetinaNet(spec.RetinaNet(backbone=spec.ResNet(stem_width=4), fpn_width=8), 1)
        features = detector.features(torch.zeros(1, 3, 160, 160))
        p7 = detector._anchors(features)[-1]
        centres = (p7[:, :2] + p7[:, 2:]) / 2
        assert sorted({float(x) for x in centres[:, 0]}) == [0.0, 128.0]


class TestFrozenStages:
    def test_get_no_gradient_and_keep_their_statistics(self) -> None:
        backbone = spec.ResNet(name="resnet18", stem_width=4, frozen_stages=2)
        detector = RetinaNet(spec.RetinaNet(backbone=backbone, fpn_width=8), 2).train()
        before = detector.backbone.body.bn1.running_mean.clone()
        features = detector.features(torch.randn(2, 3, 64, 64))
        nothing = Targets([torch.zeros(0, 4)] * 2, [torch.zeros(0).long()] * 2, [(64, 64)] * 2)
        torch.stack(list(detector.losses(features, nothing).values())).sum().backward()
        assert torch.equal(detector.backbone.body.bn1.running_mean, before)
        assert detector.backbone.body.conv1.weight.grad is None
        assert detector.backbone.body.layer2[0].conv1.weight.grad is not None
