"""Compares a two-stage detector with torchvision's, with the same weights on the same images.

Both are narrow, because published sizes would make the tests slow. Tests of names and shapes alone show that the
published weights fit.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections
from fgd_core.detectors.parts.two_stage import TwoStageDetector
from fgd_core.detectors.weights.matching import match_state
from tests.detectors.steps import detections_of, losses_of

NUM_CLASSES = 7
WIDTH = 16
SIZES = [(128, 96), (100, 128)]
"""The coarsest stride divides 128, so torchvision's anchors do not drift and both detectors must agree."""


def images() -> Tensor:
    return torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))


def objects(num_keypoints: int = 0) -> Targets:
    """Three objects in the first image, none in the second; each mask is the upper left triangle of its box.

    Args:
        num_keypoints: of an object, on the diagonal of its box; the last one is not labelled. 0: none.
    """
    boxes = torch.tensor([[10.0, 20, 60, 90], [30, 30, 50, 50], [0, 60, 96, 128]])
    masks = torch.zeros(3, *SIZES[0], dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        for y in range(y1, y2):
            mask[y, x1 : x2 - (y - y1) * (x2 - x1) // (y2 - y1)] = 1
    return Targets(
        [boxes, torch.zeros(0, 4)],
        [torch.tensor([3, 6, 0]), torch.zeros(0, dtype=torch.int64)],
        SIZES,
        [masks, torch.zeros(0, *SIZES[1], dtype=torch.uint8)],
        [_on_diagonals(boxes, num_keypoints), torch.zeros(0, num_keypoints, 3)] if num_keypoints else None,
    )


def _on_diagonals(boxes: Tensor, num_keypoints: int) -> Tensor:
    """Return (n, K, 3) keypoints of boxes (n, 4)."""
    shares = torch.arange(num_keypoints)[:, None] / num_keypoints
    places = boxes[:, None, :2] * (1 - shares) + boxes[:, None, 2:] * shares
    visibility = torch.full((len(boxes), num_keypoints, 1), 2.0)
    visibility[:, -1] = 0
    return torch.cat([places, visibility], dim=2)


def narrow_parts(version: str) -> dict[str, Any]:
    """Build the arguments of torchvision's two-stage classes like its published functions, but of `WIDTH`."""
    norm = nn.BatchNorm2d if version == "v2" else None
    layers = {f"layer{stage}": str(stage - 1) for stage in (1, 2, 3, 4)}
    extra = LastLevelMaxPool()
    backbone = BackboneWithFPN(resnet18(), layers, [64, 128, 256, 512], WIDTH, extra_blocks=extra, norm_layer=norm)
    return {
        "backbone": backbone,
        "rpn_head": RPNHead(WIDTH, 3, conv_depth=2 if version == "v2" else 1),
        "box_head": FastRCNNConvFCHead((WIDTH, 7, 7), [WIDTH] * 4, [4 * WIDTH], norm_layer=norm)
        if version == "v2"
        else TwoMLPHead(49 * WIDTH, 4 * WIDTH),
        "box_predictor": FastRCNNPredictor(4 * WIDTH, 1 + NUM_CLASSES),
    }


class Pair:
    """Both detectors in eval mode, so that batch norm is a fixed function."""

    def __init__(self, ours: TwoStageDetector, theirs: nn.Module) -> None:
        self.theirs: Any = theirs.eval()
        self.ours = ours.eval()
        loaded = match_state(ours, self.theirs.state_dict(), role="detector", source="torchvision")
        assert loaded.num_matched == loaded.num_total

    @torch.no_grad()
    def losses(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute our losses, and torchvision's under our names."""
        targets = objects(self.ours.settings.num_keypoints if self.ours.has_keypoints else 0)
        assert targets.masks is not None
        torch.manual_seed(7)
        mine = losses_of(self.ours, self.ours.features(images()), targets)
        self.theirs.rpn.training = self.theirs.roi_heads.training = True
        try:
            torch.manual_seed(7)
            shared = [
                # torchvision's background is class 0.
                {"boxes": b, "labels": i + 1, "masks": m, "keypoints": k}
                for b, i, m, k in zip(
                    targets.boxes, targets.labels, targets.masks, targets.keypoints or [None] * 2, strict=True
                )
            ]
            batch = ImageList(images(), SIZES)
            maps = self.theirs.backbone(batch.tensors)
            proposals, of_rpn = self.theirs.rpn(batch, maps, shared)
            _, of_heads = self.theirs.roi_heads(maps, proposals, SIZES, shared)
        finally:
            self.theirs.eval()
        names = {
            "loss_objectness": "rpn_objectness",
            "loss_rpn_box_reg": "rpn_box",
            "loss_classifier": "classification",
            "loss_box_reg": "box",
            "loss_mask": "mask",
            "loss_keypoint": "keypoint",
        }
        return mine, {names[name]: value for name, value in (of_rpn | of_heads).items()}

    @torch.no_grad()
    def detections(self) -> tuple[list[Detections], list[Detections]]:
        """Detect with both; torchvision's classes then count from 0, and its masks lose the channel axis."""
        mine = detections_of(self.ours, self.ours.features(images()), SIZES)
        batch = ImageList(images(), SIZES)
        maps = self.theirs.backbone(batch.tensors)
        proposals, _ = self.theirs.rpn(batch, maps)
        found, _ = self.theirs.roi_heads(maps, proposals, SIZES)
        return mine, [
            Detections(
                f["boxes"],
                f["scores"],
                f["labels"] - 1,
                f["masks"][:, 0] if "masks" in f else None,
                _with_scores(f["keypoints"], f["keypoints_scores"]) if "keypoints" in f else None,
            )
            for f in found
        ]


def _with_scores(keypoints: Tensor, scores: Tensor) -> Tensor:
    """Put scores (n, K) in place of the visibility of keypoints (n, K, 3), which is always 1."""
    return torch.cat([keypoints[..., :2], scores[..., None]], dim=-1)


def assert_same_losses(pair: Pair) -> None:
    mine, expected = pair.losses()
    assert mine.keys() == expected.keys()
    for name, value in expected.items():
        assert value > 0, name
        torch.testing.assert_close(
            mine[name], value, rtol=1e-5, atol=1e-6, msg=lambda message, name=name: f"{name}: {message}"
        )


def assert_same_detections(pair: Pair) -> None:
    mine, expected = pair.detections()
    for one, other, (height, width) in zip(mine, expected, SIZES, strict=True):
        assert len(one.scores) == 100
        for part, theirs in zip(one, other, strict=True):
            assert (part is None) == (theirs is None)
            if part is not None:
                torch.testing.assert_close(part, theirs, rtol=1e-5, atol=1e-5)
        assert one.boxes_xyxy_px[:, 2].max() <= width
        assert one.boxes_xyxy_px[:, 3].max() <= height


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    """Return the shapes of all weights by name."""
    return {name: value.shape for name, value in module.state_dict().items()}
