"""Runs three stages, each on the refined boxes of the stage before (arXiv:1712.00726)."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections
from fgd_core.detectors.parts.regions import RegionHeads
from fgd_core.detectors.parts.two_stage import box_branch, mask_branch
from fgd_core.spec.detectors import TwoStage


class Stage(NamedTuple):
    """Holds the settings of a stage."""

    iou_threshold: float
    """The least IoU at which a box is matched to an object."""
    coder_weights: tuple[float, float, float, float]
    """Larger in later stages: their input boxes are better, so the corrections are smaller."""
    loss_weight: float


STAGES = (
    Stage(0.5, (10.0, 10.0, 5.0, 5.0), 1.0),
    Stage(0.6, (20.0, 20.0, 10.0, 10.0), 0.5),
    # The published deviations are 0.033 and 0.067.
    Stage(0.7, (1 / 0.033, 1 / 0.033, 1 / 0.067, 1 / 0.067), 0.25),
)


class Cascade(nn.Module):
    """Refines boxes in three stages; one box for all classes.

    The score of a detection is from the mean logits of all stages, its box from the last stage.
    """

    def __init__(self, settings: TwoStage, num_classes: int, *, has_masks: bool) -> None:
        super().__init__()
        self.has_masks = has_masks
        self.stages = nn.ModuleList(
            RegionHeads(
                settings,
                num_classes,
                box_branch(settings, 1 + num_classes, num_boxes=1),
                mask_branch(settings, num_classes) if has_masks else None,
                iou_threshold=stage.iou_threshold,
                coder_weights=stage.coder_weights,
                box_beta=1.0,
            )
            for stage in STAGES
        )

    def losses(self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Targets) -> dict[str, Tensor]:
        """Sum the terms of all stages, with the loss weight of each stage.

        Args:
            maps: for each level (N, C, H, W).
            proposals: (n, 4) xyxy in pixels for each image.
        """
        total: dict[str, Tensor] = {}
        for stage, terms in zip(STAGES, self.losses_of_stages(maps, proposals, targets), strict=True):
            for name, value in terms.items():
                total[name] = total.get(name, 0) + stage.loss_weight * value
        return total

    def losses_of_stages(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Targets
    ) -> list[dict[str, Tensor]]:
        """Compute the unweighted terms () of each stage; arguments as of `losses`."""
        terms = []
        for heads in self._heads:
            regions = heads.sample(proposals, targets)
            outputs = heads.box_outputs(maps, regions.boxes)
            terms.append(heads.box_losses(outputs, regions, targets) | heads.mask_losses(maps, regions, targets))
            refined = _refine(heads, outputs.deltas, regions.boxes, targets.image_sizes)
            # The next stage adds the true boxes again; keeping them here would count them twice.
            proposals = [own[~is_true] for own, is_true in zip(refined, regions.is_ground_truth, strict=True)]
        return terms

    def detections(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Detect from maps (N, C, H, W) and proposals (n, 4); arguments as of `losses`."""
        boxes, logits = list(proposals), []
        *earlier, last = self._heads
        for heads in earlier:
            outputs = heads.box_outputs(maps, boxes)
            logits.append(outputs.logits)
            boxes = _refine(heads, outputs.deltas, boxes, image_sizes)
        outputs = last.box_outputs(maps, boxes)
        mean = torch.stack([*logits, outputs.logits]).mean(0)
        detections = last.select(mean, last.decode(outputs.deltas, boxes), image_sizes)
        if not self.has_masks:
            return detections
        stage_masks = [heads.mask_probabilities(maps, detections) for heads in self._heads]
        return [
            one._replace(masks=torch.stack(masks).mean(0)) for one, *masks in zip(detections, *stage_masks, strict=True)
        ]

    @property
    def _heads(self) -> list[RegionHeads]:
        return [cast(RegionHeads, heads) for heads in self.stages]


@torch.no_grad()
def _refine(
    heads: RegionHeads, deltas: Tensor, boxes: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """Apply the deltas: (n, 4) xyxy in pixels for each image, clipped to it, as input of the next stage."""
    refined = heads.decode(deltas, boxes)
    return [clip_boxes_to_image(own[:, 0], size) for own, size in zip(refined, image_sizes, strict=True)]
