"""RetinaNet (arXiv:1708.02002) on torchvision's parts.

Parameters, anchors, matching and losses are those of torchvision's `retinanet_resnet50_fpn`, so that its weights
load; but anchors sit at the true strides, where torchvision's drift on P6 and P7 of an input not divisible by 128.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import box_iou, sigmoid_focal_loss

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections, Detector
from fgd_core.detectors.parts.norms import group_norm
from fgd_core.detectors.parts.pyramid import Pyramid
from fgd_core.detectors.parts.selection import best_of_levels
from fgd_core.spec import detectors as spec

_STRIDES = (8, 16, 32, 64, 128)
_PUBLISHED_WIDTH = 256


class RetinaNet(Detector):
    def __init__(self, settings: spec.RetinaNet, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.num_classes = num_classes
        self.backbone = Pyramid(settings.backbone, width=settings.fpn_width, strides=(8, 16, 32), top="P5")
        self.levels = self.backbone.levels
        sizes = [settings.anchor_base_size_px * stride / _STRIDES[0] for stride in _STRIDES]
        self.anchor_generator = AnchorGenerator(
            # Whole pixels, as torchvision has them: its weights were trained on these anchors.
            tuple((int(size), int(size * 2 ** (1 / 3)), int(size * 2 ** (2 / 3))) for size in sizes),
            ((0.5, 1.0, 2.0),) * len(sizes),
        )
        norm = group_norm if settings.head_norm == "group" else None
        self.head = RetinaNetHead(settings.fpn_width, 9, num_classes, norm_layer=norm)
        _widen_towers(self.head, settings.fpn_width)
        self._matcher = Matcher(0.5, 0.4, allow_low_quality_matches=True)
        self._coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))

    def features(self, images: Tensor) -> list[Tensor]:
        return self.backbone.maps(images)

    def losses(self, features: Sequence[Tensor], targets: Targets) -> dict[str, Tensor]:
        boxes, labels = targets.boxes, targets.labels
        outputs = self.head(list(features))
        anchors = torch.cat(self._anchors(features))  # (A, 4)
        matches = torch.stack([self._match(anchors, image_boxes) for image_boxes in boxes])  # (N, A)
        positive = matches >= 0
        per_image = positive.sum(1).clamp(min=1)
        image_index, anchor_index = positive.nonzero(as_tuple=True)
        # Box and class of every positive anchor, image by image, in the order of `nonzero`.
        chosen = matches[positive]
        first = torch.tensor([0, *(len(b) for b in boxes[:-1])], device=chosen.device).cumsum(0)
        chosen = chosen + first[image_index]
        gt_boxes, gt_labels = torch.cat(list(boxes)), torch.cat(list(labels))

        with torch.autocast(anchors.device.type, enabled=False):
            logits, deltas = outputs["cls_logits"].float(), outputs["bbox_regression"].float()
            is_there = torch.zeros_like(logits)
            is_there[image_index, anchor_index, gt_labels[chosen]] = 1
            focal = sigmoid_focal_loss(logits, is_there, alpha=0.25, gamma=2.0).sum(2)  # (N, A)
            focal = focal.masked_fill(matches == Matcher.BETWEEN_THRESHOLDS, 0)
            classification = (focal.sum(1) / per_image).mean()

            wanted = self._coder.encode_single(gt_boxes[chosen], anchors[anchor_index])
            distance = (deltas[image_index, anchor_index] - wanted).abs().sum(1)
            regression = (distance / per_image[image_index]).sum() / len(boxes)
        return {"classification": classification, "box": regression}

    @torch.no_grad()
    def detect(self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        outputs = self.head(list(features))
        anchors = self._anchors(features)
        counts = [len(level) for level in anchors]
        scores = outputs["cls_logits"].float().sigmoid().split(counts, dim=1)
        deltas = outputs["bbox_regression"].float().split(counts, dim=1)

        def decode(image: int, level: int, places: Tensor) -> Tensor:
            boxes: Tensor = self._coder.decode_single(deltas[level][image][places], anchors[level][places])
            return boxes

        return [
            best_of_levels([level[image] for level in scores], partial(decode, image), size, self.settings)
            for image, size in enumerate(image_sizes)
        ]

    def _anchors(self, features: Sequence[Tensor]) -> list[Tensor]:
        """(cells x 9, 4) xyxy in pixels for each level, the same for every image of a batch."""
        device = features[0].device
        self.anchor_generator.set_cell_anchors(torch.float32, device)
        return list(
            self.anchor_generator.grid_anchors(
                [list(f.shape[2:]) for f in features],
                [[torch.tensor(s, device=device)] * 2 for s in _STRIDES],
            )
        )

    def _match(self, anchors: Tensor, boxes: Tensor) -> Tensor:
        """(A,) the index of each anchor's box; negative for background and for what counts as neither."""
        if len(boxes) == 0:
            return torch.full((len(anchors),), Matcher.BELOW_LOW_THRESHOLD, device=anchors.device)
        matched: Tensor = self._matcher(box_iou(boxes.float(), anchors))
        return matched


@torch.no_grad()
def _widen_towers(head: RetinaNetHead, width: int) -> None:
    """Keep the signal through the four convolutions of a tower as strong as in the published head.

    With a standard deviation of 0.01 each halves it at 256 channels; at 64 each would leave a quarter, and the head
    would learn nothing for many epochs.
    """
    for tower in (head.classification_head.conv, head.regression_head.conv):
        for module in tower.modules():
            if isinstance(module, nn.Conv2d):
                module.weight *= (_PUBLISHED_WIDTH / width) ** 0.5
