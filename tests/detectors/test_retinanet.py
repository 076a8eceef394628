"""Compares RetinaNet with torchvision's, weight by weight, and with mmdetection's rules, by hand."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torchvision.models.detection import retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet as TorchvisionRetinaNet

from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.assignment import EveryBoxMatcher
from fgd_core.detectors.retinanet import RetinaNet
from fgd_core.detectors.weights import match_state
from fgd_core.spec import detectors as spec
from tests.detectors.steps import detections_of, losses_of

SIZES = [(128, 96), (100, 128)]
TINY = spec.ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1))
Pair = tuple[RetinaNet, TorchvisionRetinaNet]
_THEIRS = {"v1": retinanet_resnet50_fpn, "v2": retinanet_resnet50_fpn_v2}


@pytest.fixture(scope="module", params=["v1", "v2"])
def pair(request: pytest.FixtureRequest) -> Pair:
    torch.manual_seed(0)
    theirs = _THEIRS[request.param](weights=None, weights_backbone=None, num_classes=7, detections_per_img=100)
    ours = RetinaNet(spec.RetinaNet(version=request.param), num_classes=7)
    loaded = match_state(ours, theirs.state_dict(), role="detector", source="torchvision")
    assert loaded.num_matched == loaded.num_total
    assert not loaded.unexpected
    return ours.eval(), theirs.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    # 128 is the coarsest stride, so torchvision's anchors do not drift and both detectors must agree.
    return torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))


class TestAgainstTorchvision:
    def test_features_and_losses_are_equal(self, pair: Pair, images: Tensor) -> None:
        ours, theirs = pair
        boxes = [torch.tensor([[10.0, 20, 60, 90], [30, 30, 50, 50]]), torch.zeros(0, 4)]
        labels = [torch.tensor([3, 6]), torch.zeros(0, dtype=torch.int64)]
        with torch.no_grad():
            features = ours.features(images)
            mine = losses_of(ours, features, Targets(boxes, labels, SIZES))
            maps = list(theirs.backbone(images).values())
            anchors = theirs.anchor_generator(ImageList(images, SIZES), maps)
            targets = [{"boxes": b, "labels": i} for b, i in zip(boxes, labels, strict=True)]
            expected = theirs.compute_loss(targets, theirs.head(maps), anchors)
        for ours_map, their_map in zip(features, maps, strict=True):
            torch.testing.assert_close(ours_map, their_map, rtol=0, atol=0)
        torch.testing.assert_close(mine["classification"], expected["classification"])
        torch.testing.assert_close(mine["box"], expected["bbox_regression"])

    def test_detections_are_equal(self, pair: Pair, images: Tensor) -> None:
        ours, theirs = pair
        # New heads score every anchor 0.01; this creates scores above and below the threshold.
        bias = theirs.head.classification_head.cls_logits.bias
        torch.nn.init.normal_(bias, -2.0, 1.5, generator=torch.Generator().manual_seed(2))
        ours.load_state_dict(theirs.state_dict())
        with torch.no_grad():
            mine = detections_of(ours, ours.features(images), SIZES)
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
        p7 = detector.anchors.on(features)[-1]
        centres = (p7[:, :2] + p7[:, 2:]) / 2
        assert sorted({float(x) for x in centres[:, 0]}) == [0.0, 128.0]


class TestFrozenStages:
    def test_get_no_gradient_and_keep_their_statistics(self) -> None:
        backbone = spec.ResNet(name="resnet18", stem_width=4, frozen_stages=2)
        detector = RetinaNet(spec.RetinaNet(backbone=backbone, fpn_width=8), 2).train()
        before = detector.backbone.body.bn1.running_mean.clone()
        features = detector.features(torch.randn(2, 3, 64, 64))
        nothing = Targets([torch.zeros(0, 4)] * 2, [torch.zeros(0).long()] * 2, [(64, 64)] * 2)
        torch.stack(list(losses_of(detector, features, nothing).values())).sum().backward()
        assert torch.equal(detector.backbone.body.bn1.running_mean, before)
        assert detector.backbone.body.conv1.weight.grad is None
        assert detector.backbone.body.layer2[0].conv1.weight.grad is not None


@pytest.fixture
def mmdetection_retinanet() -> RetinaNet:
    torch.manual_seed(0)
    return RetinaNet(spec.RetinaNet(backbone=TINY, fpn_width=8, convention="mmdetection"), 2).eval()


class TestConventionOfMmdetection:
    def test_p6_comes_from_c5_and_p7_without_relu(self, mmdetection_retinanet: RetinaNet) -> None:
        images = torch.randn(1, 3, 128, 128)
        with torch.no_grad():
            *_, p6, p7 = mmdetection_retinanet.features(images)
            c5 = mmdetection_retinanet.backbone.body(images)["2"]
            extra = mmdetection_retinanet.backbone.fpn.extra_blocks
            torch.testing.assert_close(p6, extra.p6(c5))
            torch.testing.assert_close(p7, extra.p7(p6))
        assert p6.min() < 0  # otherwise a ReLU would change nothing

    def test_anchors_have_exact_sizes(self, mmdetection_retinanet: RetinaNet) -> None:
        p3, *_ = mmdetection_retinanet.anchors.on(mmdetection_retinanet.features(torch.zeros(1, 3, 64, 64)))
        side = 32.0
        root = math.sqrt(0.5)
        # Of the first cell: wide ones in three sizes, then the squares, then the tall ones.
        widths, heights = p3[:9, 2] - p3[:9, 0], p3[:9, 3] - p3[:9, 1]
        octaves = [side, side * 2 ** (1 / 3), side * 2 ** (2 / 3)]
        torch.testing.assert_close(widths[:3], torch.tensor(octaves) / root)
        torch.testing.assert_close(heights[:3], torch.tensor(octaves) * root)
        torch.testing.assert_close(widths[3:6], torch.tensor(octaves))
        torch.testing.assert_close(widths[6:], heights[:3])
        torch.testing.assert_close(p3[:9, :2], -p3[:9, 2:])

    @torch.no_grad()
    def test_losses_are_averaged_over_all_positives_of_the_batch(self, mmdetection_retinanet: RetinaNet) -> None:
        images = torch.randn(2, 3, 64, 64)
        features = mmdetection_retinanet.features(images)
        anchors = torch.cat(mmdetection_retinanet.anchors.on(features))
        # A box of the first image equals an anchor; the second has no object and counts as one positive.
        box = anchors[(anchors[:, 0] >= 0) & (anchors[:, 2] <= 64) & (anchors[:, 1] >= 0) & (anchors[:, 3] <= 64)][:1]
        labels = [torch.tensor([1]), torch.zeros(0, dtype=torch.int64)]
        losses = losses_of(mmdetection_retinanet, features, Targets([box, torch.zeros(0, 4)], labels, [(64, 64)] * 2))
        overlap = _iou(box[0], anchors)
        positive, ignored = overlap >= 0.5, (overlap >= 0.4) & (overlap < 0.5)
        share = int(positive.sum()) + 1
        outputs = mmdetection_retinanet.head(list(features))
        logits = outputs["cls_logits"]
        total = sum(
            _focal(float(logits[n, a, k]), is_object=n == 0 and k == 1 and bool(positive[a]))
            for n in range(2)
            for a in range(len(anchors))
            for k in range(2)
            if n == 1 or not ignored[a]
        )
        assert float(losses["classification"]) == pytest.approx(total / share, rel=1e-4)
        wanted = torch.stack([_encode(box[0], anchor) for anchor in anchors[positive]])
        l1 = (outputs["bbox_regression"][0][positive] - wanted).abs().sum()
        torch.testing.assert_close(losses["box"], l1 / share)

    @torch.no_grad()
    def test_anchors_in_the_batch_padding_are_ignored(self, mmdetection_retinanet: RetinaNet) -> None:
        features = mmdetection_retinanet.features(torch.randn(1, 3, 64, 128))
        nothing = [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)]
        # Alone the image would be padded to 64.
        narrow = losses_of(mmdetection_retinanet, features, Targets(*nothing, [(64, 40)]))
        logits = mmdetection_retinanet.head(list(features))["cls_logits"][0]
        anchors = torch.cat(mmdetection_retinanet.anchors.on(features))
        inside = (anchors[:, 0] + anchors[:, 2]) / 2 < 63.5
        assert 0 < inside.sum() < len(anchors)
        expected = sum(_focal(float(x), is_object=False) for x in logits[inside].flatten())
        assert float(narrow["classification"]) == pytest.approx(expected, rel=1e-4)

    def test_it_has_no_second_version(self) -> None:
        with pytest.raises(ValidationError, match="mmdetection has no version v2"):
            spec.RetinaNet(version="v2", convention="mmdetection")


class TestEveryBoxMatcher:
    def test_assigns_each_box_its_best_anchor_despite_a_larger_overlap(self) -> None:
        overlap = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.2, 0.1]])
        assert EveryBoxMatcher(0.5, 0.4)(overlap).tolist() == [1, -1, -1]

    def test_uses_the_thresholds_for_unclaimed_anchors(self) -> None:
        overlap = torch.tensor([[0.9, 0.55, 0.45, 0.1]])
        assert EveryBoxMatcher(0.5, 0.4)(overlap).tolist() == [0, 0, -2, -1]

    def test_a_box_that_overlaps_no_anchor_claims_none(self) -> None:
        overlap = torch.tensor([[0.0, 0.0], [0.3, 0.0]])
        assert EveryBoxMatcher(0.5, 0.4)(overlap).tolist() == [1, -1]


def _iou(box: Tensor, others: Tensor) -> Tensor:
    sides = (torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])).clamp(min=0)
    common = sides.prod(1)
    return common / ((box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - common)


def _focal(logit: float, *, is_object: bool) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -0.25 * (1 - p) ** 2 * math.log(p) if is_object else -0.75 * p**2 * math.log(1 - p)


def _encode(box: Tensor, anchor: Tensor) -> Tensor:
    side, own = anchor[2:] - anchor[:2], box[2:] - box[:2]
    shift = (box[:2] + box[2:] - anchor[:2] - anchor[2:]) / 2 / side
    return torch.cat([shift, (own / side).log()])
