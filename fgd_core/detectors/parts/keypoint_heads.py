"""Predicts the keypoints of each region besides its class and its box, with torchvision's names."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections
from fgd_core.detectors.parts.keypoint_maps import KeypointOutputs, cells_of_keypoints, keypoint_loss, locate
from fgd_core.detectors.parts.region_pooling import RegionPool
from fgd_core.detectors.parts.regions import Branch, RegionHeads, StageOutputs
from fgd_core.ranks import zero_of
from fgd_core.spec.detectors import KeypointRcnn

_FEATURES_SIZE = 14
HEAT_MAP_SIZE = 56


class KeypointHeads(RegionHeads):
    """Runs the heads of a detector with keypoints.

    Args:
        boxes: as of `RegionHeads`.
        keypoints: its predictor returns (n, K, 56, 56) logits, the same for all classes.
        box_beta: as of `RegionHeads`.
    """

    def __init__(
        self, settings: KeypointRcnn, num_classes: int, boxes: Branch, *, keypoints: Branch, box_beta: float
    ) -> None:
        super().__init__(settings, num_classes, boxes, box_beta=box_beta)
        self._num_keypoints = settings.num_keypoints
        self.keypoint_roi_pool = RegionPool(_FEATURES_SIZE, aligned=self.pools_aligned)
        self.keypoint_head, self.keypoint_predictor = keypoints

    def stage(self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Targets) -> StageOutputs:
        """Sample and run the heads on maps (N, C, H, W) and proposals (n, 4); arguments as of `predict`.

        Raises:
            DataError: the data has no keypoints.
        """
        all_keypoints = targets.keypoints_to_learn()
        stage = super().stage(maps, proposals, targets)
        regions = stage.regions
        boxes, objects = regions.on_objects(regions.boxes), regions.on_objects(regions.objects)
        cells = [
            cells_of_keypoints(keypoints[found], own, HEAT_MAP_SIZE)
            for keypoints, own, found in zip(all_keypoints, boxes, objects, strict=True)
        ]
        return stage._replace(keypoints=KeypointOutputs(self._logits(maps, boxes), torch.cat(cells)))

    def stage_losses(self, stage: StageOutputs, targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the loss: name to scalar."""
        assert stage.keypoints is not None, "`stage` predicts keypoints"
        return super().stage_losses(stage, targets) | {"keypoint": keypoint_loss(stage.keypoints)}

    def detections(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Detect from maps (N, C, H, W) and proposals (n, 4); arguments as of `predict`."""
        detections = super().detections(maps, proposals, image_sizes)
        boxes = [one.boxes_xyxy_px for one in detections]
        logits = self._logits(maps, boxes).split_with_sizes([len(own) for own in boxes])
        return [
            one._replace(keypoints=locate(own_logits, own))
            for one, own, own_logits in zip(detections, boxes, logits, strict=True)
        ]

    def _logits(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Predict the heat maps (n, K, 56, 56) float32 of boxes (n, 4) on maps (N, C, H, W)."""
        if not any(len(own) for own in boxes):
            empty = maps[0].new_zeros((0, self._num_keypoints, HEAT_MAP_SIZE, HEAT_MAP_SIZE), dtype=torch.float32)
            return empty + zero_of(self.keypoint_head, self.keypoint_predictor)
        return self.read_keypoints(self.keypoint_roi_pool(maps, boxes))

    def read_keypoints(self, pooled: Tensor) -> Tensor:
        """Predict heat maps (n, K, 56, 56) float32 from pooled features (n, C, 14, 14) of boxes."""
        logits: Tensor = self.keypoint_predictor(self.keypoint_head(pooled))
        return logits.float()
