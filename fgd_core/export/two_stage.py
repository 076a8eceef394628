"""Detects in two stages for all images at once: as `TwoStageDetector.detect`."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from fgd_core.detectors.parts.cascade import Cascade
from fgd_core.detectors.parts.keypoint_heads import KeypointHeads
from fgd_core.detectors.parts.proposals import DETECTION_LIMITS, NMS_IOU_THRESHOLD, ProposalNetwork
from fgd_core.detectors.parts.proposals import SMALLEST_BOX_PX as SMALLEST_PROPOSAL_PX
from fgd_core.detectors.parts.region_pooling import RegionPool
from fgd_core.detectors.parts.regions import SMALLEST_BOX_PX, RegionHeads
from fgd_core.detectors.parts.two_stage import TwoStageDetector
from fgd_core.export.batched import BatchDetections, Candidates, clipped, grouped, highest, is_large, rows_at
from fgd_core.export.suppression import SUPPRESSED
from fgd_core.spec.detectors import BoxDetector


class _Proposed(NamedTuple):
    """Holds P boxes for each image."""

    boxes: Tensor
    """(N, P, 4) xyxy in pixels"""
    is_real: Tensor
    """(N, P) bool; False where there are fewer proposals"""


def detect_in_two_stages(detector: TwoStageDetector, images: Tensor, image_sizes: Tensor) -> BatchDetections:
    """Detect in images (N, 3, H, W) of (N, 2) height and width in pixels, before padding."""
    maps = detector.features(images)
    proposed = _propose(detector.rpn, maps, image_sizes)
    stages = detector.roi_heads.heads if isinstance(detector.roi_heads, Cascade) else [detector.roi_heads.first]
    logits, boxes = _refined(stages, maps, proposed.boxes, image_sizes)
    settings = cast(BoxDetector, detector.settings)
    detections = _select(logits, boxes, proposed.is_real, image_sizes, settings)
    return _with_parts(stages, maps, detections)


def _propose(network: ProposalNetwork, maps: Sequence[Tensor], image_sizes: Tensor) -> _Proposed:
    """Propose boxes from maps (N, C, H, W)."""
    outputs = network.outputs(maps)
    counts = [level.shape[0] for level in outputs.anchors]
    levels = [
        _best_of_level(network, *each)
        for each in zip(
            outputs.anchors,
            outputs.objectness.split_with_sizes(counts, dim=1),
            outputs.deltas.split_with_sizes(counts, dim=1),
            strict=True,
        )
    ]
    boxes, scores = (torch.stack(parts, dim=1) for parts in zip(*levels, strict=True))  # (N, L, n, 4), (N, L, n)
    boxes = clipped(boxes, image_sizes)
    is_usable = is_large(boxes, SMALLEST_PROPOSAL_PX) & (scores > 0)
    # Within a level the boxes are sorted. Ranks keep the order where scores of float32 are equal.
    ranks = torch.arange(scores.shape[2], 0, -1, device=scores.device, dtype=scores.dtype)
    ranked = torch.where(is_usable, ranks, 0.0)
    kept = SUPPRESSED(boxes.flatten(0, 1), ranked.flatten(0, 1)[:, None], NMS_IOU_THRESHOLD)[:, 0]
    kept_scores = torch.where(grouped(kept, scores.shape[:2]), scores, 0.0).flatten(1)
    best, index = kept_scores.topk(DETECTION_LIMITS.post_nms)
    return _Proposed(rows_at(boxes.flatten(1, 2), index), best > 0)


def _best_of_level(
    network: ProposalNetwork, anchors: Tensor, objectness: Tensor, deltas: Tensor
) -> tuple[Tensor, Tensor]:
    """Decode the best anchors (a, 4) of a level with logits (N, a) and deltas (N, a, 4): boxes (N, n, 4), scores
    (N, n)."""
    limit = DETECTION_LIMITS.pre_nms_per_level
    # So many empty rows first: a level may have fewer anchors.
    logits, index = pad(objectness, (0, limit), value=-torch.inf).topk(limit)
    index = index.clamp(max=objectness.shape[1] - 1)
    return network.coder.decode(rows_at(deltas, index), anchors[index]), logits.sigmoid()


def _refined(
    stages: Sequence[RegionHeads], maps: Sequence[Tensor], boxes: Tensor, image_sizes: Tensor
) -> tuple[Tensor, Tensor]:
    """Run the stages on boxes (N, P, 4): the mean logits (N, P, 1 + K), and the boxes (N, P, K, 4) of the last."""
    logits: list[Tensor] = []
    *earlier, last = stages
    for heads in earlier:
        own, decoded = _read(heads, maps, boxes)
        logits.append(own)
        boxes = clipped(decoded[:, :, 0], image_sizes)
    own, decoded = _read(last, maps, boxes)
    of_classes = grouped(last.class_columns(decoded.flatten(0, 1)), boxes.shape[:2])
    return torch.stack([*logits, own]).mean(0), of_classes


def _read(heads: RegionHeads, maps: Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Run the heads of a stage on boxes (N, P, 4): logits (N, P, 1 + K) and boxes (N, P, columns, 4)."""
    reading = heads.read(_pooled(heads.box_roi_pool, maps, boxes))
    decoded = heads.decoded(reading.deltas, boxes.flatten(0, 1))
    return grouped(reading.logits, boxes.shape[:2]), grouped(decoded, boxes.shape[:2])


def _pooled(pool: RegionPool, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Pool boxes (N, n, 4): (N n, C, size, size)."""
    image = torch.arange(boxes.shape[0], device=boxes.device).to(boxes)[:, None, None].expand(-1, boxes.shape[1], 1)
    return pool.rows(maps, torch.cat([image, boxes], dim=2).flatten(0, 1))


def _select(
    logits: Tensor, boxes: Tensor, is_real: Tensor, image_sizes: Tensor, settings: BoxDetector
) -> BatchDetections:
    """Select detections from logits (N, P, 1 + K) and boxes (N, P, K, 4); each class has its own boxes."""
    scores, boxes = logits.softmax(-1)[..., 1:], clipped(boxes, image_sizes)
    is_candidate = is_real[..., None] & (scores > settings.score_threshold) & is_large(boxes, SMALLEST_BOX_PX)
    by_class = torch.where(is_candidate, scores, 0.0).transpose(1, 2)  # (N, K, P)
    boxes = boxes.transpose(1, 2)  # (N, K, P, 4)
    kept = SUPPRESSED(boxes.flatten(0, 1), by_class.flatten(0, 1)[:, None], settings.nms_iou_threshold)[:, 0]
    labels = torch.arange(by_class.shape[1], device=boxes.device)[:, None].expand_as(by_class)
    found = Candidates(boxes.flatten(1, 2), by_class.flatten(1), labels.flatten(1))
    return highest(found, grouped(kept, by_class.shape[:2]).flatten(1), settings.max_detections)


def _with_parts(stages: Sequence[RegionHeads], maps: Sequence[Tensor], detections: BatchDetections) -> BatchDetections:
    """Add masks or heat maps, where the detector has them, to detections on maps (N, C, H, W)."""
    rows = detections.scores.shape
    first = stages[0]
    if first.has_masks:
        labels = detections.labels.clamp(min=0).flatten()
        pooled = [_pooled(heads.mask_roi_pool, maps, detections.boxes) for heads in stages]
        masks = [heads.read_masks(own, labels).sigmoid() for heads, own in zip(stages, pooled, strict=True)]
        return detections._replace(masks=grouped(torch.stack(masks).mean(0), rows))
    if isinstance(first, KeypointHeads):
        logits = first.read_keypoints(_pooled(first.keypoint_roi_pool, maps, detections.boxes))
        return detections._replace(heat_maps=grouped(logits, rows))
    return detections
