"""The region proposal network (arXiv:1506.01497), built from torchvision's parts, with torchvision's names."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.rpn import RPNHead, concat_box_prediction_layers
from torchvision.ops import batched_nms, clip_boxes_to_image, nms, remove_small_boxes

from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.anchors import Anchors
from fgd_core.detectors.parts.assignment import BestAnchorMatcher, EveryBoxMatcher
from fgd_core.detectors.parts.box_coding import BoxCoder
from fgd_core.detectors.parts.sampling import sample_balanced
from fgd_core.detectors.parts.towers import scale_init
from fgd_core.outputs import IGNORED
from fgd_core.ranks import divisor
from fgd_core.spec.detectors import TwoStage

STRIDES = (4, 8, 16, 32, 64)
_ANCHORS_PER_CELL = 3
NMS_IOU_THRESHOLD = 0.7
_SAMPLED_PER_IMAGE, _SHARE_OF_OBJECTS = 256, 0.5
SMALLEST_BOX_PX = 1e-3
_TOGETHER = 1000
"""The number of boxes up to which a CPU suppresses those of all levels at once. Beyond it, one level after another is
faster; an accelerator would wait for each level."""


class ProposalLimits(NamedTuple):
    """Limits the boxes of an image: of each level before non-maximum suppression, of all levels after it."""

    pre_nms_per_level: int
    post_nms: int


DETECTION_LIMITS = ProposalLimits(1000, 1000)


class AnchorSample(NamedTuple):
    """Holds the outputs for the anchors that a step trains on: s anchors, of which p have an object."""

    objectness: Tensor
    """(s,) logits"""
    is_object: Tensor
    """(s,) 1 or 0"""
    deltas: Tensor
    """(p, 4)"""
    true_deltas: Tensor
    """(p, 4) of the object"""
    num_sampled: Tensor
    """Scalar (), s but at least 1; of several ranks the mean"""


class Proposals(NamedTuple):
    """Holds the proposals of a batch."""

    boxes: list[Tensor]
    """(n, 4) xyxy in pixels for each image, highest score first, without gradient"""
    sample: AnchorSample | None
    """None if predicted without targets"""


class ProposalNetwork(nn.Module):
    """Proposes boxes that may contain an object of any class.

    Args:
        num_convs: before the two outputs.
        box_beta: where the smooth L1 loss of the boxes changes from a square to a line; 0 is L1.
        train_limits: limits of the proposals that the next stage trains on.
    """

    def __init__(self, settings: TwoStage, *, num_convs: int, box_beta: float, train_limits: ProposalLimits) -> None:
        super().__init__()
        self._follows_mmdetection = settings.convention == "mmdetection"
        sides = [settings.anchor_base_size_px * stride / STRIDES[0] for stride in STRIDES]
        self.anchors = Anchors([(side,) for side in sides], STRIDES, are_rounded=not self._follows_mmdetection)
        self.head = RPNHead(settings.fpn_width, _ANCHORS_PER_CELL, conv_depth=num_convs)
        scale_init(self.head.conv, settings.fpn_width)
        self._matcher = (
            EveryBoxMatcher(0.7, 0.3, claim_from=0.3) if self._follows_mmdetection else BestAnchorMatcher(0.7, 0.3)
        )
        self.coder = BoxCoder()
        self.box_beta, self.train_limits = box_beta, train_limits

    def predict(
        self, maps: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]], targets: Targets | None = None
    ) -> Proposals:
        """Propose boxes; with targets, also sample the anchors that the step trains on.

        The targets' generators draw the sample.

        Args:
            maps: for each level (N, C, H, W).
        """
        outputs = self.outputs(maps)
        limits = DETECTION_LIMITS if targets is None else self.train_limits
        with torch.autocast(maps[0].device.type, enabled=False):
            sample = None if targets is None else self._sample(outputs, maps, targets)
            return Proposals(self._proposals(outputs, image_sizes, limits), sample)

    def losses(self, sample: AnchorSample) -> dict[str, Tensor]:
        """Compute the terms of the network's loss: name to scalar."""
        with torch.autocast(sample.deltas.device.type, enabled=False):
            box = F.smooth_l1_loss(sample.deltas, sample.true_deltas, beta=self.box_beta, reduction="sum")
            objectness = F.binary_cross_entropy_with_logits(sample.objectness, sample.is_object, reduction="sum")
        return {"rpn_objectness": objectness / sample.num_sampled, "rpn_box": box / sample.num_sampled}

    def _sample(self, outputs: "RpnOutputs", maps: Sequence[Tensor], targets: Targets) -> AnchorSample:
        """Assign objects to the anchors of maps (N, C, H, W), and sample the anchors."""
        anchors = torch.cat([*outputs.anchors])
        matches = self.anchors.match(
            self._matcher, maps, anchors, targets, ignores_padding=self._follows_mmdetection
        )  # (N, A)
        labels = (matches >= 0).float().masked_fill(matches == IGNORED, -1)
        draws = targets.generators("anchors", labels.device)
        samples = sample_balanced([*labels], _SAMPLED_PER_IMAGE, _SHARE_OF_OBJECTS, draws)
        chosen = torch.cat([image * labels.shape[1] + each.chosen for image, each in enumerate(samples)])
        positive = torch.cat([image * labels.shape[1] + each.positive for image, each in enumerate(samples)])
        boxes = torch.cat(
            [own[match[each.positive]] for own, match, each in zip(targets.boxes, matches, samples, strict=True)]
        )
        return AnchorSample(
            objectness=outputs.objectness.flatten()[chosen],
            is_object=labels.flatten()[chosen],
            deltas=outputs.deltas.flatten(0, 1)[positive],
            true_deltas=self.coder.encode(boxes, anchors[torch.cat([each.positive for each in samples])]),
            num_sampled=divisor(labels.new_full((), len(chosen))),
        )

    def outputs(self, maps: Sequence[Tensor]) -> "RpnOutputs":
        """Run the head on maps (N, C, H, W)."""
        objectness, deltas = concat_box_prediction_layers(*self.head(list(maps)))
        num_images = maps[0].shape[0]
        return RpnOutputs(
            self.anchors.on(maps),
            objectness.float().reshape(num_images, -1),
            deltas.float().reshape(num_images, -1, 4),
        )

    @torch.no_grad()
    def _proposals(
        self, outputs: "RpnOutputs", image_sizes: Sequence[tuple[int, int]], limits: ProposalLimits
    ) -> list[Tensor]:
        """Select proposals: (n, 4) xyxy in pixels for each image, highest score first."""
        proposals = []
        for objectness, deltas, size in zip(outputs.objectness, outputs.deltas, image_sizes, strict=True):
            boxes, scores, levels = self._best_of_levels(outputs.anchors, objectness, deltas, limits.pre_nms_per_level)
            boxes = clip_boxes_to_image(boxes, size)
            proposals.append(boxes[_suppressed(boxes, scores, levels, max(size))[: limits.post_nms]])
        return proposals

    def _best_of_levels(
        self, anchors: Sequence[Tensor], objectness: Tensor, deltas: Tensor, count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode the highest-scored anchors of each level of an image: boxes (n, 4), scores (n,) and levels (n,)."""
        counts = [len(level) for level in anchors]
        boxes, scores, levels = [], [], []
        for level, (own_anchors, own_objectness, own_deltas) in enumerate(
            zip(anchors, objectness.split_with_sizes(counts), deltas.split_with_sizes(counts), strict=True)
        ):
            best, locations = own_objectness.topk(min(count, len(own_objectness)))
            boxes.append(self.coder.decode(own_deltas[locations], own_anchors[locations]))
            scores.append(best.sigmoid())
            levels.append(torch.full_like(locations, level))
        return torch.cat(boxes), torch.cat(scores), torch.cat(levels)


def _suppressed(boxes: Tensor, scores: Tensor, levels: Tensor, side: int) -> Tensor:
    """Suppress the boxes that a box of their level with a higher score covers, and those that are too small.

    To drop the small boxes first, the host would have to wait for their number. On an accelerator, they all get one
    place outside the image and scores below all others, and one more box at that place suppresses them: the last one
    that is kept.

    Args:
        boxes: (n, 4) xyxy in pixels, inside an image whose longer side is `side`.
        scores: (n,) in [0, 1].
        levels: (n,) int64, from 0.
    Returns:
        (m,) int64, indices of the boxes that are left, highest score first.
    """
    if boxes.is_cpu and len(boxes) > _TOGETHER:
        large = remove_small_boxes(boxes, SMALLEST_BOX_PX)
        kept: Tensor = large[batched_nms(boxes[large], scores[large], levels[large], NMS_IOU_THRESHOLD)]
        return kept
    is_small = ~(boxes[:, 2:] - boxes[:, :2] >= SMALLEST_BOX_PX).all(1)
    place = torch.full_like(boxes[:1], -2)
    place[:, 2:] = -1
    # Levels far apart do not overlap.
    apart = torch.where(is_small[:, None], place, boxes + (side + 1) * levels[:, None])
    scores = torch.cat([scores.masked_fill(is_small, -1), scores.new_full((1,), -0.5)])
    kept = nms(torch.cat([apart, place]), scores, NMS_IOU_THRESHOLD)
    return kept[:-1]


class RpnOutputs(NamedTuple):
    """Holds the head's outputs for every anchor of every image."""

    anchors: Sequence[Tensor]
    """(anchors, 4) xyxy in pixels for each level"""
    objectness: Tensor
    """(N, anchors of all levels) logits, float32"""
    deltas: Tensor
    """(N, anchors of all levels, 4) float32"""
