"""SOLO (arXiv:1912.04488): finds masks without boxes, one for each cell of a grid over the image.

A cell answers two questions: which class has an object whose centre is here, and which pixels belong to that object.
The head's parameter names, assignment, losses and selection are those of mmdetection (`SOLOHead` and `configs/solo`):
grids of 40 to 12 cells; overlapping ranges of size; P2 and P6 resized to the maps beside them; seven convolutions with
group norm in each branch; the coordinates of a cell as two more channels of the mask branch; matrix NMS.

Not verified: the published AP, because COCO and checkpoints were out of reach. Two known differences from mmdetection:
the coarsest level also learns objects above 2048 px, and cells that only contain padding belong to no detection.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections
from fgd_core.detectors.parts.grid import flatten_cells
from fgd_core.detectors.parts.mask_grid import cell_matches, centres_of_mass, dice_losses, shrunk_masks
from fgd_core.detectors.parts.mask_selection import CELL_PX, MaskCandidates, peak_scores, select_masks
from fgd_core.detectors.parts.norms import group_norm
from fgd_core.detectors.parts.pyramid import Pyramid, PyramidDetector
from fgd_core.detectors.parts.towers import apply_tower, conv_tower, init_head, init_low_scores
from fgd_core.ranks import divisor, world_size
from fgd_core.spec import detectors as spec

_MASK_WEIGHT = 3.0
CANDIDATES_PER_LEVEL = 1000
# Pixels per cell of the masks of each level; P2 and P6 are resized to the maps beside them.
CELLS_PX = (CELL_PX, CELL_PX, 8, 16, 16)


@dataclass(frozen=True, eq=False, kw_only=True)
class SoloOutputs:
    """Holds the outputs of the head; the mask of a cell is computed from `mask_features` when it is needed."""

    logits: Sequence[Tensor]
    """For each level (N, G^2, K) class logits of a grid of G x G cells over the padded image, row by row."""
    mask_features: Sequence[Tensor]
    """For each level (N, C, H, W), at 4, 4, 8, 16 and 16 pixels per cell."""

    @property
    def mask_sizes(self) -> list[tuple[int, int]]:
        """The (height, width) of the masks of each level."""
        return [(level.shape[2], level.shape[3]) for level in self.mask_features]

    @property
    def padded_size(self) -> tuple[int, int]:
        """The (height, width) in pixels that the grids cover."""
        height, width = self.mask_sizes[0]
        return height * CELL_PX, width * CELL_PX


class Solo(PyramidDetector[SoloOutputs]):
    """Detects masks without boxes."""

    has_masks = True

    def __init__(self, settings: spec.Solo, num_classes: int) -> None:
        super().__init__()
        self.settings, self.num_classes = settings, num_classes
        self.backbone = Pyramid(settings.backbone, width=settings.fpn_width, strides=(4, 8, 16, 32), top="pool")
        self.levels = self.backbone.levels
        self.head = SoloHead(settings, num_classes)

    def predict(
        self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]], targets: Targets | None = None
    ) -> SoloOutputs:
        """Run the head; the outputs do not depend on the targets.

        Args:
            features: for each level (N, C, H, W).
        """
        out: SoloOutputs = self.head(features)
        return out

    def losses(self, out: SoloOutputs, targets: Targets) -> dict[str, Tensor]:
        """Compute the terms of the loss, each a scalar.

        Raises:
            DataError: the targets have no masks.
        """
        masks = targets.masks_to_learn()
        matches = self._matches(out, targets, masks)
        num_positives = divisor(torch.stack([(level >= 0).sum() for level in matches]).sum(), least=0)
        dice = [
            self._dice(out, level, image, own[image], masks[image])
            for level, own in enumerate(matches)
            for image in range(len(masks))
        ]
        with torch.autocast(num_positives.device.type, enabled=False):
            logits = torch.cat([*out.logits], dim=1).float()
            wanted = self._wanted(torch.cat(matches, dim=1), targets.labels)
            focal = sigmoid_focal_loss(logits, wanted, alpha=0.25, gamma=2, reduction="sum")
            return {
                "classification": focal / (num_positives + 1 / world_size()),
                "mask": _MASK_WEIGHT * torch.cat(dice).sum() / num_positives.clamp(min=1 / world_size()),
            }

    @torch.no_grad()
    def detect(self, out: SoloOutputs, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detect the objects of each image.

        Args:
            image_sizes: for each image (height, width) in pixels, before padding.
        """
        return [
            select_masks(
                self._candidates(out, image),
                size,
                score_threshold=self.settings.score_threshold / 2,
                max_detections=self.settings.max_detections,
            )
            for image, size in enumerate(image_sizes)
        ]

    def _matches(self, out: SoloOutputs, targets: Targets, masks: Sequence[Tensor]) -> list[Tensor]:
        """Assign the objects to the cells: for each level (N, G^2) the index of the object or BACKGROUND."""
        centres = [centres_of_mass(own) for own in masks]
        matches = []
        for level, grid in enumerate(self.settings.num_grids):
            of_level = []
            for boxes, own_centres in zip(targets.boxes, centres, strict=True):
                is_learned = self._is_of_level(boxes, level)[:, None]
                chosen = own_centres.masked_fill(~is_learned, torch.nan)
                of_level.append(cell_matches(boxes, chosen, grid, out.padded_size))
            matches.append(torch.stack(of_level))
        return matches

    def _is_of_level(self, boxes: Tensor, level: int) -> Tensor:
        """Find the boxes (n, 4) whose size a level learns: (n,) bool."""
        size = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
        largest: float = self.settings.object_base_size_px * 2.0**level
        is_last = level == len(self.settings.num_grids) - 1
        return ((size >= largest / 4) | (level == 0)) & ((size <= largest) | is_last)

    def _dice(self, out: SoloOutputs, level: int, image: int, matches: Tensor, masks: Tensor) -> Tensor:
        """Compute the mask losses (n,) of the cells of one level and image that have an object.

        Args:
            matches: (G^2,)
            masks: (objects, height, width) of the image.
        """
        (cells,) = (matches >= 0).nonzero(as_tuple=True)
        logits = self.head.mask_logits(level, out.mask_features[level][image], cells)
        target = shrunk_masks(masks, CELLS_PX[level], out.mask_sizes[level])[matches[cells]]
        with torch.autocast(logits.device.type, enabled=False):
            return dice_losses(logits.float(), target)

    def _wanted(self, matches: Tensor, labels: Sequence[Tensor]) -> Tensor:
        """Return what the classes should be: (N, cells, K), 1 for the class of the object of (N, cells), else 0."""
        wanted = torch.zeros(*matches.shape, self.num_classes, device=matches.device)
        for of_image, own, own_labels in zip(wanted, matches, labels, strict=True):
            (cells,) = (own >= 0).nonzero(as_tuple=True)
            of_image[cells, own_labels[own[cells]]] = 1
        return wanted

    def _candidates(self, out: SoloOutputs, image: int) -> MaskCandidates:
        """Compute the masks of the cells of an image whose score is high enough, at CELL_PX."""
        levels = []
        for level, grid in enumerate(self.settings.num_grids):
            scores = peak_scores(out.logits[level][image].float().sigmoid().T.reshape(-1, grid, grid)).flatten()
            (high,) = (scores > self.settings.score_threshold).nonzero(as_tuple=True)
            best, order = scores[high].topk(min(CANDIDATES_PER_LEVEL, len(high)))
            labels, cells = high[order] // grid**2, high[order] % grid**2
            logits = self.head.mask_logits(level, out.mask_features[level][image], cells).float()
            masks = functional.interpolate(
                logits.sigmoid()[:, None], size=out.mask_sizes[0], mode="bilinear", align_corners=False
            )[:, 0]
            least = best.new_full((len(best),), 2 * CELLS_PX[level])
            levels.append(MaskCandidates(masks, best, labels, least))
        return MaskCandidates(*(torch.cat(values) for values in zip(*levels, strict=True)))


class SoloHead(nn.Module):
    """Runs one tower for classes, on a grid, and one for masks on all levels; each level has its own mask predictor."""

    def __init__(self, settings: spec.Solo, num_classes: int) -> None:
        super().__init__()
        width, depth = settings.fpn_width, settings.tower_depth
        self._num_grids = settings.num_grids
        self.mask_convs = conv_tower(width, depth, group_norm, num_added=2)
        self.cls_convs = conv_tower(width, depth, group_norm)
        predictors = [nn.Conv2d(width, grid**2, 1) for grid in settings.num_grids]
        self.conv_mask_list = nn.ModuleList(predictors)
        self.conv_cls = nn.Conv2d(width, num_classes, 3, padding=1)
        init_head(self, width, classifier=self.conv_cls)
        for predictor in predictors:
            init_low_scores(predictor)

    def forward(self, features: Sequence[Tensor]) -> SoloOutputs:
        """Compute the class logits of the grids and the features of the masks.

        Args:
            features: for each level P2 to P6 (N, C, H, W).
        """
        maps = [_resized(features[0], features[1]), *features[1:-1], _resized(features[-1], features[-2])]
        logits = [
            flatten_cells(self.conv_cls(apply_tower(self.cls_convs, _interpolated(level, (grid, grid)))))
            for level, grid in zip(maps, self._num_grids, strict=True)
        ]
        return SoloOutputs(logits=logits, mask_features=[self._mask_features(level) for level in maps])

    def mask_logits(self, level: int, features: Tensor, cells: Tensor) -> Tensor:
        """Compute the masks of some cells of one level of one image. A mask depends on no other cell.

        Args:
            features: (C, H, W) of `mask_features`.
            cells: (n,) indices in the grid.
        Returns:
            (n, H, W)
        """
        predictor = self.conv_mask_list[level]
        assert isinstance(predictor, nn.Conv2d) and predictor.bias is not None
        weight, bias = predictor.weight[cells].flatten(1), predictor.bias[cells]
        return (weight @ features.flatten(1) + bias[:, None]).reshape(len(cells), *features.shape[1:])

    def _mask_features(self, features: Tensor) -> Tensor:
        """Convolve (N, C, H, W) with the coordinates, and double the size: (N, C, 2H, 2W)."""
        convolved = apply_tower(self.mask_convs, torch.cat([features, _coordinates(features)], dim=1))
        return _interpolated(convolved, (2 * features.shape[2], 2 * features.shape[3]))


def _coordinates(features: Tensor) -> Tensor:
    """Return x and y of each cell of (N, C, H, W), from -1 at the first to 1 at the last: (N, 2, H, W)."""
    height, width = features.shape[2:]
    ys, xs = (torch.linspace(-1, 1, side, device=features.device, dtype=features.dtype) for side in (height, width))
    return torch.stack([xs.expand(height, width), ys[:, None].expand(height, width)]).expand(
        features.shape[0], -1, -1, -1
    )


def _resized(features: Tensor, like: Tensor) -> Tensor:
    """Resize (N, C, H, W) to the size of another map."""
    return _interpolated(features, (like.shape[2], like.shape[3]))


def _interpolated(features: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(features, size=size, mode="bilinear", align_corners=False)
