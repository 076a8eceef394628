"""What becomes of proposals: a class, a better box and, where the detector has them, a mask; under torchvision's names.

Inside, class 0 is the background, as in torchvision; at the interface classes count from 0. Boxes and masks are
predicted for each class and the background (torchvision), for each class (mmdetection) or once for all (the boxes of
cascades): the shape of what a predictor returns says which.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou, clip_boxes_to_image, remove_small_boxes

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections
from fgd_core.detectors.parts.assignment import BACKGROUND
from fgd_core.detectors.parts.region_pooling import RegionPool, crop_masks
from fgd_core.detectors.parts.selection import nms_per_class
from fgd_core.detectors.parts.torchvision_private import BalancedPositiveNegativeSampler, BoxCoder, Matcher
from fgd_core.errors import DataError
from fgd_core.spec.detectors import TwoStage

BOX_SIZE = 7
_MASK_FEATURES_SIZE = 14
MASK_SIZE = 28
_SMALLEST_BOX_PX = 1e-2


class Branch(NamedTuple):
    """From the pooled features of a region to an answer."""

    head: nn.Module
    predictor: nn.Module


class Regions(NamedTuple):
    """Boxes chosen to train on; one entry an image."""

    boxes: list[Tensor]
    """(n, 4) xyxy in pixels"""
    labels: list[Tensor]
    """(n,) 0 is the background"""
    objects: list[Tensor]
    """(n,) which of the image's objects it answers for; negative for background"""
    is_ground_truth: list[Tensor]
    """(n,) whether it is no proposal but an object's own box"""


class BoxOutputs(NamedTuple):
    """About the regions of all images, one after the other."""

    logits: Tensor
    """(n, 1 + K) float32, background first"""
    deltas: Tensor
    """(n, columns, 4) float32"""


class RegionHeads(nn.Module):
    """One stage.

    Args:
        boxes: its predictor returns (n, 1 + K) logits and (n, 4 x columns) deltas.
        masks: its predictor returns (n, columns, 28, 28) logits; None where the detector has no masks.
        iou_threshold: the overlap with an object from which on a region answers for it.
        coder_weights: what the deltas of x, y, width and height are multiplied by.
        box_beta: where the smooth L1 of the boxes turns from a square into a line; 0 is L1.
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
        self._matcher = Matcher(iou_threshold, iou_threshold, allow_low_quality_matches=False)
        self._sampler = BalancedPositiveNegativeSampler(settings.rois_per_image, 0.25)
        self._coder = BoxCoder(coder_weights)

    def losses(self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Targets) -> dict[str, Tensor]:
        """The terms of the loss on a sample of the proposals and of the objects' own boxes."""
        regions = self.sample(proposals, targets)
        boxes = self.box_losses(self.answers(maps, regions.boxes), regions, targets)
        return boxes | self.mask_losses(maps, regions, targets)

    @torch.no_grad()
    def sample(self, proposals: Sequence[Tensor], targets: Targets) -> Regions:
        """`rois_per_image` of each image, or as many as there are; at most a quarter of them answer for an object.

        Drawn by PyTorch's global generator, whose state a checkpoint holds.
        """
        regions = Regions([], [], [], [])
        for own, boxes, labels in zip(proposals, targets.boxes, targets.labels, strict=True):
            candidates = torch.cat([own, boxes])
            objects = torch.full((len(candidates),), BACKGROUND, device=own.device)
            label = torch.zeros_like(objects)
            if len(boxes):
                objects = self._matcher(box_iou(boxes, candidates))
                label = (labels[objects.clamp(min=0)] + 1).masked_fill(objects < 0, 0)
            (positive,), (negative,) = self._sampler([label])
            chosen = (positive | negative).nonzero().squeeze(1)
            regions.boxes.append(candidates[chosen])
            regions.labels.append(label[chosen])
            regions.objects.append(objects[chosen])
            regions.is_ground_truth.append(chosen >= len(own))
        return regions

    def answers(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> BoxOutputs:
        """
        Args:
            boxes: (n, 4) xyxy in pixels for each image.
        """
        if not any(len(own) for own in boxes):
            nothing = maps[0].new_zeros(0, dtype=torch.float32) * _nothing_learned(self.box_head, self.box_predictor)
            return BoxOutputs(nothing.reshape(0, 1 + self._num_classes), nothing.reshape(0, 1, 4))
        logits, deltas = self.box_predictor(self.box_head(self.box_roi_pool(maps, boxes)))
        return BoxOutputs(logits.float(), deltas.float().unflatten(1, (-1, 4)))

    def box_losses(self, answers: BoxOutputs, regions: Regions, targets: Targets) -> dict[str, Tensor]:
        """Of classes and of boxes, both averaged over all regions."""
        labels, boxes = torch.cat(regions.labels), torch.cat(regions.boxes)
        positive = (labels > 0).nonzero().squeeze(1)
        theirs = torch.cat(
            [own[objects[objects >= 0]] for own, objects in zip(targets.boxes, regions.objects, strict=True)]
        )
        with torch.autocast(boxes.device.type, enabled=False):
            wanted = self._coder.encode_single(theirs, boxes[positive])
            deltas = self._of_classes(answers.deltas)[positive, labels[positive] - 1]
            classification = F.cross_entropy(answers.logits, labels, reduction="sum")
            box = F.smooth_l1_loss(deltas, wanted, beta=self.box_beta, reduction="sum")
            num_regions = max(1, len(labels))
            return {"classification": classification / num_regions, "box": box / num_regions}

    def mask_losses(self, maps: Sequence[Tensor], regions: Regions, targets: Targets) -> dict[str, Tensor]:
        """Of the masks, averaged over the pixels of all regions with an object; empty where the detector has none.

        Raises:
            DataError: the detector has masks and the data has none.
        """
        if not self.has_masks:
            return {}
        if targets.masks is None:
            raise DataError(
                "the detector learns masks and the data has none; give a data set whose objects have a segmentation, "
                "or choose the detector without masks"
            )
        there = [objects >= 0 for objects in regions.objects]
        boxes = [own[places] for own, places in zip(regions.boxes, there, strict=True)]
        labels = torch.cat(regions.labels)[torch.cat(there)] - 1
        if len(labels) == 0:
            return {"mask": _nothing_learned(self.mask_head, self.mask_predictor)}
        wanted = [
            crop_masks(masks, own, objects[places], MASK_SIZE, aligned=self._aligned)
            for masks, own, objects, places in zip(targets.masks, boxes, regions.objects, there, strict=True)
        ]
        logits = self._mask_logits(maps, boxes, labels)
        with torch.autocast(logits.device.type, enabled=False):
            return {"mask": F.binary_cross_entropy_with_logits(logits, torch.cat(wanted))}

    def detections(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        answers = self.answers(maps, proposals)
        found = self.best(answers.logits, self.decode(answers.deltas, proposals), image_sizes)
        if not self.has_masks:
            return found
        masks = self.mask_probabilities(maps, found)
        return [one._replace(masks=own) for one, own in zip(found, masks, strict=True)]

    def decode(self, deltas: Tensor, boxes: Sequence[Tensor]) -> list[Tensor]:
        """(n, columns, 4) better boxes xyxy in pixels for each image.

        Args:
            deltas: (n, columns, 4) for the boxes of all images.
            boxes: (n, 4) for each image.
        """
        better = self._coder.decode_single(deltas.flatten(1), torch.cat(list(boxes))).unflatten(1, (-1, 4))
        return list(better.split_with_sizes([len(own) for own in boxes]))

    def best(self, logits: Tensor, boxes: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """What is found in each image, without masks.

        Args:
            logits: (n, 1 + K) for the boxes of all images.
            boxes: (n, columns, 4) for each image, as `decode` returns them.
        """
        scores = logits.softmax(1)[:, 1:].split_with_sizes([len(own) for own in boxes])
        found = []
        for own_scores, own_boxes, size in zip(scores, boxes, image_sizes, strict=True):
            region, label = (own_scores > self._settings.score_threshold).nonzero(as_tuple=True)
            candidates = clip_boxes_to_image(self._of_classes(own_boxes)[region, label], size)
            keep = remove_small_boxes(candidates, _SMALLEST_BOX_PX)
            region, label = region[keep], label[keep]
            found.append(nms_per_class(candidates[keep], own_scores[region, label], label, size, self._settings))
        return found

    def mask_probabilities(self, maps: Sequence[Tensor], found: Sequence[Detections]) -> list[Tensor]:
        """(n, 28, 28) in [0, 1] for each image, stretched over each box."""
        labels = torch.cat([one.labels for one in found])
        if len(labels) == 0:
            return [maps[0].new_zeros((0, MASK_SIZE, MASK_SIZE), dtype=torch.float32) for _ in found]
        logits = self._mask_logits(maps, [one.boxes_xyxy_px for one in found], labels)
        return list(logits.sigmoid().split_with_sizes([len(one.labels) for one in found]))

    def _mask_logits(self, maps: Sequence[Tensor], boxes: Sequence[Tensor], labels: Tensor) -> Tensor:
        """(n, 28, 28) float32, each of its label, which counts from 0."""
        logits = self.mask_predictor(self.mask_head(self.mask_roi_pool(maps, boxes))).float()
        return self._of_classes(logits)[torch.arange(len(labels), device=labels.device), labels]

    def _of_classes(self, columns: Tensor) -> Tensor:
        """(n, columns, ...) to (n, K, ...): without the background's, or the one for all classes K times."""
        if columns.shape[1] == 1:
            return columns.expand(-1, self._num_classes, *columns.shape[2:])
        return columns[:, columns.shape[1] - self._num_classes :]


def _nothing_learned(*modules: nn.Module) -> Tensor:
    """Zero, with a gradient of zero to every parameter.

    Where there are no regions a batch norm would take statistics of nothing, and an optimiser that finds no gradient
    would leave its moments as they are.
    """
    return torch.stack([parameter.sum() for module in modules for parameter in module.parameters()]).sum() * 0
