"""Predicts a class, a refined box and, in a detector with masks, a mask for each proposal, with torchvision's names.

Inside this module class 0 is the background, as in torchvision; at the interface classes count from 0. Boxes and masks
are predicted for each class and the background (torchvision), for each class (mmdetection), or once for all classes
(the boxes of cascades). The shape of a predictor's output shows which of the three applies.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou, clip_boxes_to_image, remove_small_boxes

from fgd_core.batch_norm import BatchNorm2d
from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections
from fgd_core.detectors.parts.assignment import ThresholdMatcher
from fgd_core.detectors.parts.box_coding import BoxCoder
from fgd_core.detectors.parts.keypoint_maps import KeypointOutputs
from fgd_core.detectors.parts.region_pooling import RegionPool, crop_masks
from fgd_core.detectors.parts.sampling import sample_balanced
from fgd_core.detectors.parts.selection import nms_per_class
from fgd_core.outputs import BACKGROUND, RegionReading, Regions
from fgd_core.ranks import divisor, largest, zero_of
from fgd_core.spec.detectors import TwoStage

BOX_SIZE = 7
_MASK_FEATURES_SIZE = 14
MASK_SIZE = 28
SMALLEST_BOX_PX = 1e-2
_SHARE_OF_OBJECTS = 0.25


class Branch(NamedTuple):
    """Predicts from the pooled features of a region."""

    head: nn.Module
    predictor: nn.Module


class MaskOutputs(NamedTuple):
    """Holds the masks of the m regions with an object, image by image."""

    logits: Tensor
    """(m, 28, 28) float32, of the object's class"""
    true_masks: Tensor
    """(m, 28, 28) float32 in [0, 1]"""


class StageOutputs(NamedTuple):
    """Holds the outputs of one stage for the regions that it trains on."""

    regions: Regions
    reading: RegionReading
    masks: MaskOutputs | None
    """None in a detector without masks"""
    keypoints: KeypointOutputs | None = None
    """None in a detector without keypoints"""


class RegionHeads(nn.Module):
    """Runs the heads of one stage.

    Args:
        boxes: its predictor returns (n, 1 + K) logits and (n, 4 x columns) deltas.
        masks: its predictor returns (n, columns, 28, 28) logits; None in a detector without masks.
        iou_threshold: the least IoU at which a region is matched to an object.
        coder_weights: factors of the deltas of x, y, width and height.
        box_beta: where the smooth L1 loss of the boxes changes from a square to a line; 0 is L1.
    """

    def __init__(
        self,
        settings: TwoStage,
        num_classes: int,
        boxes: Branch,
        masks: Branch | None = None,
        *,
        iou_threshold: float = 0.5,
        coder_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0),
        box_beta: float,
    ) -> None:
        super().__init__()
        self._settings, self._num_classes = settings, num_classes
        self.box_beta = box_beta
        self._aligned = settings.convention == "mmdetection"
        self.box_roi_pool = RegionPool(BOX_SIZE, aligned=self._aligned)
        self.box_head, self.box_predictor = boxes
        self.has_masks = masks is not None
        if masks is not None:
            self.mask_roi_pool = RegionPool(_MASK_FEATURES_SIZE, aligned=self._aligned)
            self.mask_head, self.mask_predictor = masks
        self._matcher = ThresholdMatcher(iou_threshold, iou_threshold)
        self._coder = BoxCoder(coder_weights[0], coder_weights[2])
        # Each stage of a cascade has its own threshold.
        self._draws = f"regions {iou_threshold}"

    @property
    def vector_size(self) -> int:
        """Length of the last hidden vector of a region."""
        return cast(nn.Linear, self.box_predictor.cls_score).in_features

    @property
    def pools_aligned(self) -> bool:
        """Whether it pools regions with aligned pixel centres."""
        return self._aligned

    @property
    def first(self) -> "RegionHeads":
        """The heads of the first stage: these heads."""
        return self

    def predict(self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Targets) -> list[StageOutputs]:
        """Sample the proposals and the true boxes, and run the heads on the sample: the outputs of the only stage.

        Args:
            maps: for each level (N, C, H, W).
            proposals: (n, 4) xyxy in pixels for each image.
        """
        return [self.stage(maps, proposals, targets)]

    def stage(self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Targets) -> StageOutputs:
        """Sample and run the heads on maps (N, C, H, W) and proposals (n, 4); arguments as of `predict`.

        Raises:
            DataError: the detector has masks and the data has none.
        """
        regions = self.sample(proposals, targets)
        reading = self.on(maps, regions.boxes)
        return StageOutputs(regions, reading, self._masks(maps, regions, targets) if self.has_masks else None)

    def losses(self, stages: Sequence[StageOutputs], targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the loss of the only stage: name to scalar."""
        (stage,) = stages
        return self.stage_losses(stage, targets)

    def stage_losses(self, stage: StageOutputs, targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the loss: name to scalar."""
        boxes = self.box_losses(stage.reading, stage.regions, targets)
        return boxes if stage.masks is None else boxes | {"mask": mask_loss(stage.masks)}

    @torch.no_grad()
    def sample(self, proposals: Sequence[Tensor], targets: Targets) -> Regions:
        """Sample up to `rois_per_image` boxes of each image, of which at most a quarter are matched to an object.

        The targets' generators draw the sample.

        Args:
            proposals: (n, 4) xyxy in pixels for each image.
        """
        candidates, objects, labels = [], [], []
        for own, boxes, classes in zip(proposals, targets.boxes, targets.labels, strict=True):
            candidates.append(torch.cat([own, boxes]))
            objects.append(torch.full((len(candidates[-1]),), BACKGROUND, device=own.device))
            labels.append(torch.zeros_like(objects[-1]))
            if len(boxes):
                objects[-1] = self._matcher(box_iou(boxes, candidates[-1]))
                labels[-1] = (classes[objects[-1].clamp(min=0)] + 1).masked_fill(objects[-1] < 0, 0)
        draws = targets.generators(self._draws, proposals[0].device)
        samples = sample_balanced(labels, self._settings.rois_per_image, _SHARE_OF_OBJECTS, draws)

        def chosen(values: Sequence[Tensor]) -> list[Tensor]:
            return [own[each.chosen] for own, each in zip(values, samples, strict=True)]

        return Regions(
            chosen(candidates),
            chosen(labels),
            chosen(objects),
            is_ground_truth=[each.chosen >= len(own) for each, own in zip(samples, proposals, strict=True)],
            with_object=[torch.searchsorted(each.chosen, each.positive) for each in samples],
        )

    def on(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> RegionReading:
        """Predict classes and box deltas of given boxes.

        Args:
            maps: for each level (N, C, H, W).
            boxes: (n, 4) float32 xyxy in pixels for each image.
        """
        if self._has_nothing(sum(map(len, boxes)), self.box_head):
            return self._reading_of_nothing(maps)
        return self.read(self.box_roi_pool(maps, boxes))

    def read(self, pooled: Tensor) -> RegionReading:
        """Predict classes and box deltas from the pooled features (n, C, 7, 7) of boxes."""
        pooled = _in_type_of_autocast(pooled)
        vectors = self.box_head(pooled)
        logits, deltas = self.box_predictor(vectors)
        return RegionReading(pooled, vectors, logits.float(), deltas.float().unflatten(1, (-1, 4)))

    def _has_nothing(self, count: int, head: nn.Module) -> bool:
        """Return whether a head does not run: it has no regions or, if it has batch norms that train, no rank has any.

        The statistics of a norm are those of all ranks, so a rank without regions must take part.
        """
        synchronises = self.training and any(isinstance(each, BatchNorm2d) for each in head.modules())
        return (largest(count)[0] if synchronises else count) == 0

    def _reading_of_nothing(self, maps: Sequence[Tensor]) -> RegionReading:
        """Return the outputs for no boxes, which give every parameter a zero gradient, from maps (N, C, H, W).

        A batch norm would compute statistics of nothing, and an optimiser that gets no gradient would not update its
        moments.
        """
        empty = maps[0].new_zeros(0, dtype=torch.float32) * zero_of(self.box_head, self.box_predictor)
        return RegionReading(
            empty.reshape(0, maps[0].shape[1], BOX_SIZE, BOX_SIZE),
            empty.reshape(0, self.vector_size),
            empty.reshape(0, 1 + self._num_classes),
            empty.reshape(0, 1, 4),
        )

    def box_losses(self, reading: RegionReading, regions: Regions, targets: Targets) -> dict[str, Tensor]:
        """Compute the class and box losses, both averaged over all regions: name to scalar."""
        labels, boxes = torch.cat(regions.labels), torch.cat(regions.boxes)
        starts = accumulate((len(own) for own in regions.boxes), initial=0)
        positive = torch.cat([start + own for start, own in zip(starts, regions.with_object, strict=False)])
        true_boxes = torch.cat(
            [boxes[own] for boxes, own in zip(targets.boxes, regions.on_objects(regions.objects), strict=True)]
        )
        with torch.autocast(boxes.device.type, enabled=False):
            target = self._coder.encode(true_boxes, boxes[positive])
            deltas = self.class_columns(reading.deltas)[positive, labels[positive] - 1]
            classification = F.cross_entropy(reading.logits, labels, reduction="sum")
            box = F.smooth_l1_loss(deltas, target, beta=self.box_beta, reduction="sum")
            num_regions = divisor(boxes.new_full((), len(labels)))
            return {"classification": classification / num_regions, "box": box / num_regions}

    def _masks(self, maps: Sequence[Tensor], regions: Regions, targets: Targets) -> MaskOutputs:
        """Predict the masks of the regions with an object, from maps (N, C, H, W)."""
        all_masks = targets.masks_to_learn()
        boxes, labels = regions.on_objects(regions.boxes), torch.cat(regions.on_objects(regions.labels)) - 1
        if self._has_nothing(len(labels), self.mask_head):
            empty = maps[0].new_zeros((0, MASK_SIZE, MASK_SIZE), dtype=torch.float32)
            return MaskOutputs(empty * zero_of(self.mask_head, self.mask_predictor), empty)
        true_masks = [
            crop_masks(masks, own, objects, MASK_SIZE, aligned=self._aligned)
            for masks, own, objects in zip(all_masks, boxes, regions.on_objects(regions.objects), strict=True)
        ]
        return MaskOutputs(self._mask_logits(maps, boxes, labels), torch.cat(true_masks))

    def detections(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Detect from proposals.

        Args:
            maps: for each level (N, C, H, W).
            proposals: (n, 4) xyxy in pixels for each image.
        """
        logits, deltas = self.on(maps, proposals)[2:]  # pooled features of all proposals need much memory
        detections = self.select(logits, self.decode(deltas, proposals), image_sizes)
        if not self.has_masks:
            return detections
        masks = self.mask_probabilities(maps, detections)
        return [one._replace(masks=own) for one, own in zip(detections, masks, strict=True)]

    def decode(self, deltas: Tensor, boxes: Sequence[Tensor]) -> list[Tensor]:
        """Decode the deltas to boxes: (n, columns, 4) xyxy in pixels for each image.

        Args:
            deltas: (n, columns, 4) for the boxes of all images.
            boxes: (n, 4) for each image.
        """
        return list(self.decoded(deltas, torch.cat(list(boxes))).split_with_sizes([len(own) for own in boxes]))

    def decoded(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Decode the deltas (n, columns, 4) of boxes (n, 4): (n, columns, 4) xyxy in pixels."""
        return self._coder.decode(deltas, boxes[:, None])

    def select(
        self, logits: Tensor, boxes: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Select the detections of each image, without masks.

        Args:
            logits: (n, 1 + K) for the boxes of all images.
            boxes: (n, columns, 4) for each image, as `decode` returns them.
        """
        scores = logits.softmax(1)[:, 1:].split_with_sizes([len(own) for own in boxes])
        detections = []
        for own_scores, own_boxes, size in zip(scores, boxes, image_sizes, strict=True):
            region, label = (own_scores > self._settings.score_threshold).nonzero(as_tuple=True)
            candidates = clip_boxes_to_image(self.class_columns(own_boxes)[region, label], size)
            keep = remove_small_boxes(candidates, SMALLEST_BOX_PX)
            region, label = region[keep], label[keep]
            detections.append(nms_per_class(candidates[keep], own_scores[region, label], label, size, self._settings))
        return detections

    def mask_probabilities(self, maps: Sequence[Tensor], detections: Sequence[Detections]) -> list[Tensor]:
        """Predict the masks of detections: (n, 28, 28) in [0, 1] for each image, stretched over each box."""
        labels = torch.cat([one.labels for one in detections])
        if len(labels) == 0:
            return [maps[0].new_zeros((0, MASK_SIZE, MASK_SIZE), dtype=torch.float32) for _ in detections]
        logits = self._mask_logits(maps, [one.boxes_xyxy_px for one in detections], labels)
        return list(logits.sigmoid().split_with_sizes([len(one.labels) for one in detections]))

    def _mask_logits(self, maps: Sequence[Tensor], boxes: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Predict (n, 28, 28) float32 logits, each of the label of its box; labels count from 0."""
        return self.read_masks(self.mask_roi_pool(maps, boxes), labels)

    def read_masks(self, pooled: Tensor, labels: Tensor) -> Tensor:
        """Predict masks from pooled features (n, C, 14, 14): (n, 28, 28) float32 logits, each of the label (n,)."""
        logits = self.mask_predictor(self.mask_head(pooled)).float()
        return self.class_columns(logits)[torch.arange(labels.shape[0], device=labels.device), labels]

    def class_columns(self, columns: Tensor) -> Tensor:
        """Convert (n, columns, ...) to (n, K, ...): drop the background column, or repeat a column of all classes."""
        if columns.shape[1] == 1:
            return columns.expand(-1, self._num_classes, *columns.shape[2:])
        return columns[:, columns.shape[1] - self._num_classes :]


def mask_loss(masks: MaskOutputs) -> Tensor:
    """Average the cross entropy over all pixels: scalar (); zero with zero gradients if no region has an object."""
    logits = masks.logits
    with torch.autocast(logits.device.type, enabled=False):
        total = F.binary_cross_entropy_with_logits(logits, masks.true_masks, reduction="sum")
        return total / divisor(logits.new_full((), logits.numel()))


def _in_type_of_autocast(values: Tensor) -> Tensor:
    """Convert (…) as autocast would in the next layer.

    Autograd keeps what the layer converts. If outputs kept the float32 values beside it, a cascade at its published
    size would need more than a gigabyte for them.
    """
    device = values.device.type
    return values.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else values
