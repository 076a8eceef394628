"""Runs three stages, each on the refined boxes of the stage before (arXiv:1712.00726)."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections
from fgd_core.detectors.parts.regions import RegionHeads, StageOutputs
from fgd_core.detectors.parts.two_stage import box_branch, mask_branch
from fgd_core.spec.detectors import TwoStage
from fgd_core.true_entries import numbers_of_true, true_entries


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

    @property
    def first(self) -> RegionHeads:
        """The heads of the first stage."""
        return self.heads[0]

    def predict(self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Targets) -> list[StageOutputs]:
        """Sample for each stage, and run its heads on the sample.

        Args:
            maps: for each level (N, C, H, W).
            proposals: (n, 4) xyxy in pixels for each image.
        """
        first, *later = self.heads
        stages, before = [first.stage(maps, proposals, targets)], first
        for heads in later:
            proposals = _passed_on(before, stages[-1], targets.image_sizes)
            stages.append(heads.stage(maps, proposals, targets))
            before = heads
        return stages

    def losses(self, stages: Sequence[StageOutputs], targets: Targets) -> dict[str, Tensor]:
        """Sum the terms of all stages with the loss weight of each stage: name to scalar."""
        total: dict[str, Tensor] = {}
        for stage, terms in zip(STAGES, self.losses_of_stages(stages, targets), strict=True):
            for name, value in terms.items():
                total[name] = total.get(name, 0) + stage.loss_weight * value
        return total

    def losses_of_stages(self, stages: Sequence[StageOutputs], targets: Targets) -> list[dict[str, Tensor]]:
        """Compute the unweighted terms of each stage: name to scalar."""
        return [heads.stage_losses(stage, targets) for heads, stage in zip(self.heads, stages, strict=True)]

    def detections(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Detect from maps (N, C, H, W) and proposals (n, 4); arguments as of `losses`."""
        boxes, logits = list(proposals), []
        *earlier, last = self.heads
        for heads in earlier:
            own_logits, deltas = heads.on(maps, boxes)[2:]
            logits.append(own_logits)
            boxes = _refine(heads, deltas, boxes, image_sizes)
        own_logits, deltas = last.on(maps, boxes)[2:]
        mean = torch.stack([*logits, own_logits]).mean(0)
        detections = last.select(mean, last.decode(deltas, boxes), image_sizes)
        if not self.has_masks:
            return detections
        stage_masks = [heads.mask_probabilities(maps, detections) for heads in self.heads]
        return [
            one._replace(masks=torch.stack(masks).mean(0)) for one, *masks in zip(detections, *stage_masks, strict=True)
        ]

    @property
    def heads(self) -> list[RegionHeads]:
        """The heads of the stages, first to last."""
        return [cast(RegionHeads, heads) for heads in self.stages]


def _passed_on(heads: RegionHeads, stage: StageOutputs, image_sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Return the refined proposals of a stage, (n, 4) for each image, without its true boxes.

    The next stage adds the true boxes again; keeping them here would count them twice.
    """
    refined = _refine(heads, stage.reading.deltas, stage.regions.boxes, image_sizes)
    is_proposal = [~is_true for is_true in stage.regions.is_ground_truth]
    numbers = numbers_of_true(is_proposal)
    return [own[true_entries(mask, number)] for own, mask, number in zip(refined, is_proposal, numbers, strict=True)]


@torch.no_grad()
def _refine(
    heads: RegionHeads, deltas: Tensor, boxes: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """Apply the deltas: (n, 4) xyxy in pixels for each image, clipped to it, as input of the next stage."""
    refined = heads.decode(deltas, boxes)
    return [clip_boxes_to_image(own[:, 0], size) for own, size in zip(refined, image_sizes, strict=True)]
