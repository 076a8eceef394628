"""Compares Faster R-CNN with torchvision's, weight by weight."""

import math
from pathlib import Path
from typing import Literal

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2

from fgd_core.data.targets import Targets
from fgd_core.detectors import build_detector
from fgd_core.detectors.faster_rcnn import FasterRcnn
from fgd_core.detectors.parts.regions import RegionHeads
from fgd_core.detectors.parts.two_stage import TwoStageDetector
from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.runs import execute
from fgd_core.spec import detectors as spec
from fgd_core.spec.backbones import ResNet
from fgd_core.spec.detectors import DetectorSpec
from tests.detectors.steps import detections_of, losses_of
from tests.detectors.torchvision_comparison import (
    NUM_CLASSES,
    WIDTH,
    Pair,
    assert_same_detections,
    assert_same_losses,
    narrow_parts,
    shapes,
)
from tests.library import RecordingContext, train_spec
from tests.tiers import slow

VERSIONS: list[Literal["v1", "v2"]] = ["v1", "v2"]


def narrow(**settings: object) -> spec.FasterRcnn:
    backbone = ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1))
    return spec.FasterRcnn.model_validate({"backbone": backbone, "fpn_width": WIDTH, **settings})


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
    def test_the_published_weights_fit(self, version: Literal["v1", "v2"]) -> None:
        build = {"v1": fasterrcnn_resnet50_fpn, "v2": fasterrcnn_resnet50_fpn_v2}[version]
        with torch.device("meta"):
            theirs = build(weights=None, weights_backbone=None, num_classes=91)
            ours = FasterRcnn(spec.FasterRcnn(version=version), 90)
        assert shapes(ours) == shapes(theirs)


class TestConventions:
    @pytest.mark.parametrize(
        ("settings", "beta_of_proposals", "beta_of_regions", "num_proposals"),
        [
            (spec.FasterRcnn(), 1 / 9, 1 / 9, 2000),
            (spec.FasterRcnn(version="v2"), 1 / 9, 1 / 9, 2000),
            (spec.MaskRcnn(), 1 / 9, 1 / 9, 2000),
            (spec.FasterRcnn(convention="mmdetection"), 0, 0, 1000),
            (spec.MaskRcnn(convention="mmdetection"), 0, 0, 1000),
            (spec.CascadeRcnn(), 1 / 9, 1, 2000),
            (spec.CascadeMaskRcnn(), 1 / 9, 1, 2000),
        ],
        ids=lambda value: f"{value.type} {value.convention}" if isinstance(value, spec.TwoStage) else None,
    )
    def test_losses_and_proposals_are_the_published_ones(
        self, settings: DetectorSpec, beta_of_proposals: float, beta_of_regions: float, num_proposals: int
    ) -> None:
        with torch.device("meta"):
            detector = build_detector(settings, NUM_CLASSES)
        assert isinstance(detector, TwoStageDetector)
        assert detector.rpn.box_beta == beta_of_proposals
        assert detector.rpn.train_limits == (2000, num_proposals)
        heads = [part for part in detector.modules() if isinstance(part, RegionHeads)]
        assert [part.box_beta for part in heads] == [beta_of_regions] * len(heads)
        assert len(heads) == (3 if "cascade" in settings.type else 1)

    def test_mmdetection_starts_with_small_box_weights(self) -> None:
        torch.manual_seed(0)
        predictor = FasterRcnn(narrow(convention="mmdetection"), 100).roi_heads.box_predictor
        assert predictor.bbox_pred.weight.std().item() == pytest.approx(0.001, rel=0.05)
        assert predictor.cls_score.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert not predictor.bbox_pred.bias.any()

    def test_mmdetection_has_no_background_box_and_unrounded_anchors(self) -> None:
        detector = FasterRcnn(narrow(convention="mmdetection"), NUM_CLASSES)
        assert detector.roi_heads.box_predictor.bbox_pred.out_features == 4 * NUM_CLASSES
        first = detector.rpn.anchors.on([torch.zeros(1, 1, 1, 1)] * 5)[0]
        # 32 px wide and high; the wide and the tall anchor have the same area.
        side = 16 * 2**0.5
        torch.testing.assert_close(first[0], torch.tensor([-side, -side / 2, side, side / 2]))
        torch.testing.assert_close(first[2], torch.tensor([-side / 2, -side, side / 2, side]))

    def test_the_second_version_needs_torchvisions_convention(self) -> None:
        with pytest.raises(ValidationError, match="set convention: torchvision"):
            spec.FasterRcnn(version="v2", convention="mmdetection")

    @pytest.mark.parametrize("convention", ["torchvision", "mmdetection"])
    def test_detections_equal_a_loop_over_the_regions(self, convention: Literal["torchvision", "mmdetection"]) -> None:
        torch.manual_seed(0)
        settings = narrow(convention=convention, fpn_width=8, nms_iou_threshold=1.0, max_detections=10**6)
        detector = FasterRcnn(settings, NUM_CLASSES).eval()
        # mmdetection's initial scores are nearly equal, so the last bit would decide their order.
        for layer in (detector.roi_heads.box_predictor.bbox_pred, detector.roi_heads.box_predictor.cls_score):
            nn.init.normal_(layer.weight)
        maps = [torch.randn(1, 8, 64 // stride, 64 // stride) for stride in (4, 8, 16, 32, 64)]
        with torch.no_grad():
            (found,) = detections_of(detector, maps, [(60, 50)])
            (proposals,) = detector.predict(maps, [(60, 50)]).proposals
            pooled = detector.roi_heads.box_roi_pool(maps, [proposals])
            logits, deltas = detector.roi_heads.box_predictor(detector.roi_heads.box_head(pooled))
        expected = []
        for (x1, y1, x2, y2), scores, answer in zip(
            proposals.tolist(), logits.softmax(1).tolist(), deltas.tolist(), strict=True
        ):
            for label in range(NUM_CLASSES):
                row = label + (1 if convention == "torchvision" else 0)
                dx, dy, dw, dh = answer[4 * row : 4 * row + 4]
                width, height = (x2 - x1) * math.exp(dw / 5), (y2 - y1) * math.exp(dh / 5)
                x, y = (x1 + x2) / 2 + dx / 10 * (x2 - x1), (y1 + y2) / 2 + dy / 10 * (y2 - y1)
                left, right = max(0.0, x - width / 2), min(50.0, x + width / 2)
                top, bottom = max(0.0, y - height / 2), min(60.0, y + height / 2)
                if scores[1 + label] > 0.05 and right - left > 0.01 and bottom - top > 0.01:
                    expected.append((scores[1 + label], label, left, top, right, bottom))
        rows = torch.cat([found.scores[:, None], found.labels[:, None], found.boxes_xyxy_px], dim=1)
        assert len(expected) > 100
        torch.testing.assert_close(rows, torch.tensor(sorted(expected, reverse=True)), rtol=1e-4, atol=1e-3)


class TestPrecision:
    def test_boxes_are_computed_in_float32_under_autocast(self) -> None:
        torch.manual_seed(0)
        detector = FasterRcnn(narrow(), NUM_CLASSES).eval()
        for layer in (detector.rpn.head.cls_logits, detector.rpn.head.bbox_pred):
            nn.init.zeros_(layer.weight)
        # Far to the right, where bfloat16 can represent only every fourth pixel.
        image = torch.randn(1, 3, 64, 832)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            (proposals,) = detector.predict(detector.features(image), [(64, 832)]).proposals
            targets = Targets([torch.tensor([[600.0, 10, 650, 60]])], [torch.tensor([1])], [(64, 832)])
            losses = losses_of(detector, detector.features(image), targets)
        assert proposals.dtype == torch.float32
        far = proposals[:, 0][(proposals[:, 0] > 512) & (proposals[:, 2] < 832)]
        assert {float(x) % 4 for x in far} != {0.0}
        assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())


class TestResume:
    @slow("tests/methods/test_runs_on_heads.py::test_a_run_that_stopped_and_went_on")
    def test_a_resumed_run_samples_the_same_regions(self, tmp_path: Path) -> None:
        training = {"epochs": 1, "batch_size": 4}
        job = train_spec(detector={"type": "faster_rcnn", "rois_per_image": 16}, training=training)
        assert execute(job, RecordingContext(tmp_path / "whole")).outcome == "succeeded"
        assert execute(job, RecordingContext(tmp_path / "stopped", stop_after_steps=1)).outcome == "stopped"
        torch.manual_seed(99)  # another process has another generator
        assert execute(job, RecordingContext(tmp_path / "stopped")).outcome == "succeeded"
        whole, _ = read_checkpoint(tmp_path / "whole/checkpoints/last.pt")
        resumed, _ = read_checkpoint(tmp_path / "stopped/checkpoints/last.pt")
        assert all(torch.equal(value, resumed.state[name]) for name, value in whole.state.items())
