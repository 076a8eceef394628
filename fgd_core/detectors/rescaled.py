"""A detector that sees every image at another size than whoever asks it: a teacher that looks closer."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import interpolate

from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detections, Detector


class RescaledDetector(Detector):
    """Finds what `detector` finds in the image resized by `scale`, told in pixels of the image as it came.

    `levels` are the detector's own, with the strides that they have on the resized image; a cell is `stride / scale`
    pixels of the image as it came.
    """

    def __init__(self, detector: Detector, scale: float) -> None:
        super().__init__()
        self.detector, self.scale = detector, scale
        self.levels, self.num_classes, self.has_masks = detector.levels, detector.num_classes, detector.has_masks

    def features(self, images: Tensor) -> list[Tensor]:
        return self.detector.features(_resized(images, self.scale))

    def losses(self, features: Sequence[Tensor], targets: Targets) -> dict[str, Tensor]:
        masks = targets.masks
        return self.detector.losses(
            features,
            targets._replace(
                boxes=[boxes * self.scale for boxes in targets.boxes],
                image_sizes=self._sizes(targets.image_sizes),
                masks=None if masks is None else [self._rescaled_masks(own) for own in masks],
            ),
        )

    def detect(self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        found = self.detector.detect(features, self._sizes(image_sizes))
        # Masks are stretched over their boxes, whatever the size of these.
        return [each._replace(boxes_xyxy_px=each.boxes_xyxy_px / self.scale) for each in found]

    def _rescaled_masks(self, masks: Tensor) -> Tensor:
        """(n, height, width) uint8 to the same at the size of the resized image."""
        return (_resized(masks[None].float(), self.scale)[0] > 0.5).to(masks.dtype)

    def _sizes(self, image_sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        # Rounded down: a box at the resized border must not lie outside once it is scaled back.
        return [(max(1, int(h * self.scale)), max(1, int(w * self.scale))) for h, w in image_sizes]


def at_input_scale(detector: Detector, scale: float) -> Detector:
    """The detector, looking at images resized by `scale`."""
    return detector if scale == 1 else RescaledDetector(detector, scale)


def _resized(images: Tensor, scale: float) -> Tensor:
    """(N, C, H, W) to (N, C, floor(H scale), floor(W scale)), bilinear; without aliasing where it shrinks."""
    # By the factor and not to a size: where H scale is no whole number, a pixel stays where it belongs.
    return interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False, antialias=scale < 1)
