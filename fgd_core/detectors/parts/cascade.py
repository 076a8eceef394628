"""Stages that each look at the boxes of the one before (arXiv:1712.00726)."""

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
    iou_threshold: float
    """From which overlap with an object on a box answers for it."""
    coder_weights: tuple[float, float, float, float]
    """The better the boxes that a stage starts from, the smaller what is left to correct."""
    loss_weight: float


STAGES = (
    Stage(0.5, (10.0, 10.0, 5.0, 5.0), 1.0),
    Stage(0.6, (20.0, 20.0, 10.0, 10.0), 0.5),
    # The published deviations are written as 0.033 and 0.067.
    Stage(0.7, (1 / 0.033, 1 / 0.033, 1 / 0.067, 1 / 0.067), 0.25),
)


class Cascade(nn.Module):
    """Three stages; boxes are the same for every class.

    The score of a detection is that of all stages on its way, its box that of the last.
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
        """The terms of all stages, each weighed by its stage and added up."""
        total: dict[str, Tensor] = {}
        for stage, terms in zip(STAGES, self.losses_of_stages(maps, proposals, targets), strict=True):
            for name, value in terms.items():
                total[name] = total.get(name, 0) + stage.loss_weight * value
        return total

    def losses_of_stages(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Targets
    ) -> list[dict[str, Tensor]]:
        """The terms of each stage, not weighed."""
        terms = []
        for heads in self._heads:
            regions = heads.sample(proposals, targets)
            answers = heads.answers(maps, regions.boxes)
            terms.append(heads.box_losses(answers, regions, targets) | heads.mask_losses(maps, regions, targets))
            better = _refined(heads, answers.deltas, regions.boxes, targets.image_sizes)
            # The next stage is given the objects' own boxes anew; twice would make them count twice.
            proposals = [own[~added] for own, added in zip(better, regions.is_ground_truth, strict=True)]
        return terms

    def detections(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        boxes, logits = list(proposals), []
        *earlier, last = self._heads
        for heads in earlier:
            answers = heads.answers(maps, boxes)
            logits.append(answers.logits)
            boxes = _refined(heads, answers.deltas, boxes, image_sizes)
        answers = last.answers(maps, boxes)
        mean = torch.stack([*logits, answers.logits]).mean(0)
        found = last.best(mean, last.decode(answers.deltas, boxes), image_sizes)
        if not self.has_masks:
            return found
        of_stages = [heads.mask_probabilities(maps, found) for heads in self._heads]
        return [one._replace(masks=torch.stack(masks).mean(0)) for one, *masks in zip(found, *of_stages, strict=True)]

    @property
    def _heads(self) -> list[RegionHeads]:
        return [cast(RegionHeads, heads) for heads in self.stages]


@torch.no_grad()
def _refined(
    heads: RegionHeads, deltas: Tensor, boxes: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """(n, 4) xyxy in pixels for each image, inside it: what the next stage starts from."""
    better = heads.decode(deltas, boxes)
    return [clip_boxes_to_image(own[:, 0], size) for own, size in zip(better, image_sizes, strict=True)]
