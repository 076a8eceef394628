"""The region proposal network (arXiv:1506.01497) on torchvision's parts, under torchvision's names."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.rpn import RPNHead, concat_box_prediction_layers
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image, remove_small_boxes

from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.anchors import Anchors
from fgd_core.detectors.parts.assignment import BACKGROUND, IGNORED, EveryBoxMatcher, gather_positives
from fgd_core.detectors.parts.grid import corner_points, is_batch_padding
from fgd_core.detectors.parts.torchvision_private import BalancedPositiveNegativeSampler, BoxCoder, Matcher
from fgd_core.detectors.parts.towers import scale_init
from fgd_core.spec.detectors import TwoStage

STRIDES = (4, 8, 16, 32, 64)
_ANCHORS_PER_CELL = 3
_NMS_IOU_THRESHOLD = 0.7
_SMALLEST_BOX_PX = 1e-3


class ProposalLimits(NamedTuple):
    """How many boxes of an image stay: of each level before non-maximum suppression, of all together after it."""

    per_level: int
    in_all: int


_AT_TEST = ProposalLimits(1000, 1000)


class ProposalNetwork(nn.Module):
    """Maps to boxes that may hold an object, whatever its class.

    Args:
        num_convs: before the two outputs.
        box_beta: where the smooth L1 of the boxes turns from a square into a line; 0 is L1.
        kept: of the boxes, for the next stage to train on.
    """

    def __init__(self, settings: TwoStage, *, num_convs: int, box_beta: float, kept: ProposalLimits) -> None:
        super().__init__()
        self._follows_mmdetection = settings.convention == "mmdetection"
        sides = [settings.anchor_base_size_px * stride / STRIDES[0] for stride in STRIDES]
        self.anchors = Anchors([(side,) for side in sides], STRIDES, are_rounded=not self._follows_mmdetection)
        self.head = RPNHead(settings.fpn_width, _ANCHORS_PER_CELL, conv_depth=num_convs)
        scale_init(self.head.conv, settings.fpn_width)
        self._matcher = (
            EveryBoxMatcher(0.7, 0.3, claim_from=0.3)
            if self._follows_mmdetection
            else Matcher(0.7, 0.3, allow_low_quality_matches=True)
        )
        self._sampler = BalancedPositiveNegativeSampler(256, 0.5)
        self._coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
        self.box_beta, self.kept = box_beta, kept

    def losses(self, maps: Sequence[Tensor], targets: Targets) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The terms of its own loss, and (n, 4) proposals xyxy in pixels for each image, without gradient.

        Anchors are sampled by PyTorch's global generator, whose state a checkpoint holds.
        """
        answers = self._answers(maps)
        anchors = torch.cat(answers.anchors)
        with torch.autocast(anchors.device.type, enabled=False):
            matches = self._matches(maps, anchors, targets)  # (N, A)
            labels = (matches >= 0).float().masked_fill(matches == IGNORED, -1)
            positive, negative = (torch.stack(picked) > 0 for picked in self._sampler(list(labels)))
            found = gather_positives(matches.masked_fill(~positive, BACKGROUND), targets)
            wanted = self._coder.encode_single(found.boxes, anchors[found.location])
            deltas = answers.deltas[found.image, found.location]
            box = F.smooth_l1_loss(deltas, wanted, beta=self.box_beta, reduction="sum")
            sampled = positive | negative
            objectness = F.binary_cross_entropy_with_logits(
                answers.objectness[sampled], labels[sampled], reduction="sum"
            )
            num_sampled = sampled.sum().clamp(min=1)
            terms = {"rpn_objectness": objectness / num_sampled, "rpn_box": box / num_sampled}
            return terms, self._proposals(answers, targets.image_sizes, self.kept)

    @torch.no_grad()
    def proposals(self, maps: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """(n, 4) xyxy in pixels for each image, likeliest first."""
        answers = self._answers(maps)
        with torch.autocast(maps[0].device.type, enabled=False):
            return self._proposals(answers, image_sizes, _AT_TEST)

    def _answers(self, maps: Sequence[Tensor]) -> "_Answers":
        objectness, deltas = concat_box_prediction_layers(*self.head(list(maps)))
        num_images = len(maps[0])
        return _Answers(
            self.anchors.on(maps),
            objectness.float().reshape(num_images, -1),
            deltas.float().reshape(num_images, -1, 4),
        )

    def _matches(self, maps: Sequence[Tensor], anchors: Tensor, targets: Targets) -> Tensor:
        """(N, A) the index of each anchor's object in its image; negative for background and for what is neither."""
        points = torch.cat([corner_points(level, stride) for level, stride in zip(maps, STRIDES, strict=True)])
        matches = []
        for boxes, image_size in zip(targets.boxes, targets.image_sizes, strict=True):
            # To torchvision the padding of a smaller image is background.
            beyond = (is_batch_padding(points, image_size) & self._follows_mmdetection).repeat_interleave(
                _ANCHORS_PER_CELL
            )
            of_image = torch.full((len(anchors),), BACKGROUND, device=anchors.device)
            if len(boxes):
                of_image = self._matcher(box_iou(boxes, anchors).masked_fill(beyond, 0))
            matches.append(of_image.masked_fill(beyond, IGNORED))
        return torch.stack(matches)

    @torch.no_grad()
    def _proposals(
        self, answers: "_Answers", image_sizes: Sequence[tuple[int, int]], kept: ProposalLimits
    ) -> list[Tensor]:
        found = []
        for objectness, deltas, size in zip(answers.objectness, answers.deltas, image_sizes, strict=True):
            boxes, scores, levels = self._best_of_levels(answers.anchors, objectness, deltas, kept.per_level)
            boxes = clip_boxes_to_image(boxes, size)
            stays = remove_small_boxes(boxes, _SMALLEST_BOX_PX)
            boxes, scores, levels = boxes[stays], scores[stays], levels[stays]
            found.append(boxes[batched_nms(boxes, scores, levels, _NMS_IOU_THRESHOLD)[: kept.in_all]])
        return found

    def _best_of_levels(
        self, anchors: Sequence[Tensor], objectness: Tensor, deltas: Tensor, count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and levels of those anchors of one image that each level is surest of."""
        counts = [len(level) for level in anchors]
        boxes, scores, levels = [], [], []
        for level, (own_anchors, own_objectness, own_deltas) in enumerate(
            zip(anchors, objectness.split_with_sizes(counts), deltas.split_with_sizes(counts), strict=True)
        ):
            best, locations = own_objectness.topk(min(count, len(own_objectness)))
            boxes.append(self._coder.decode_single(own_deltas[locations], own_anchors[locations]))
            scores.append(best.sigmoid())
            levels.append(torch.full_like(locations, level))
        return torch.cat(boxes), torch.cat(scores), torch.cat(levels)


class _Answers(NamedTuple):
    """Of the head, about every anchor of every image."""

    anchors: list[Tensor]
    """(anchors, 4) for each level"""
    objectness: Tensor
    """(N, anchors of all levels) logits, float32"""
    deltas: Tensor
    """(N, anchors of all levels, 4) float32"""
