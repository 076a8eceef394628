"""Runs a detector on resized images: a teacher with a higher input scale than its student."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import interpolate

from fgd_core.data.targets import Targets
from fgd_core.data.transforms import move_keypoints
from fgd_core.detectors.base import Detections, Detector, Out
from fgd_core.outputs import DenseHead, FeatureLevel, RegionHead


class RescaledDetector(Detector[Out]):
    """Detects on the image resized by `scale`, and returns boxes in pixels of the given image.

    `levels` and `stages` are those of `detector`, with their strides on the resized image; a cell is `stride / scale`
    pixels of the given image.
    """

    def __init__(self, detector: Detector[Out], scale: float) -> None:
        super().__init__()
        self.detector, self.scale = detector, scale
        self.levels, self.num_classes = detector.levels, detector.num_classes
        self.has_masks, self.has_keypoints = detector.has_masks, detector.has_keypoints

    @property
    def stages(self) -> tuple[FeatureLevel, ...]:
        """The maps of the backbone of `detector`."""
        return self.detector.stages

    def features(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of the resized images: (N, 3, H, W) to (N, C, scale H / stride, …) for each level."""
        return self.detector.features(_resized(images, self.scale))

    def all_maps(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of the resized images, those of the backbone last: each (N, C, scale H / stride, …)."""
        return self.detector.all_maps(_resized(images, self.scale))

    def predict(
        self, features: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]], targets: Targets | None = None
    ) -> Out:
        """Run the heads of `detector`; the outputs are in its own pixels, those of the resized image.

        Args:
            features: for each level (N, C, H, W).
        """
        own = None if targets is None else self._rescaled(targets)
        return self.detector.predict(features, self._sizes(image_sizes), own)

    def losses(self, out: Out, targets: Targets) -> dict[str, Tensor]:
        """Compute the losses of `detector` on resized targets: name to scalar."""
        return self.detector.losses(out, self._rescaled(targets))

    def detect(self, out: Out, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detect in the resized images, and scale the boxes (n, 4) and keypoints (n, K, 3) back."""
        detections = self.detector.detect(out, self._sizes(image_sizes))
        # Masks are relative to their boxes and need no scaling.
        return [
            each._replace(
                boxes_xyxy_px=each.boxes_xyxy_px / self.scale,
                keypoints=None
                if each.keypoints is None
                else each.keypoints / each.keypoints.new_tensor([self.scale, self.scale, 1]),
            )
            for each in detections
        ]

    @property
    def dense_head(self) -> DenseHead | None:
        """The dense head of `detector`, in its own pixels."""
        return self.detector.dense_head

    @property
    def region_head(self) -> RegionHead | None:
        """The region head of `detector`: it takes and returns boxes in the detector's own pixels."""
        return self.detector.region_head

    def _rescaled(self, targets: Targets) -> Targets:
        masks, keypoints = targets.masks, targets.keypoints
        return targets._replace(
            boxes=[boxes * self.scale for boxes in targets.boxes],
            image_sizes=self._sizes(targets.image_sizes),
            masks=None if masks is None else [self._rescaled_masks(own) for own in masks],
            keypoints=None if keypoints is None else [move_keypoints(own, (self.scale,) * 2) for own in keypoints],
        )

    def _rescaled_masks(self, masks: Tensor) -> Tensor:
        """Resize masks: (n, height, width) uint8 to (n, scale height, scale width)."""
        # Masks are the batch and not the channels: an image without objects has an empty batch, which can be resized.
        return (_resized(masks[:, None].float(), self.scale)[:, 0] > 0.5).to(masks.dtype)

    def _sizes(self, image_sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        # Rounded down: a box at the resized border must not lie outside after it is scaled back.
        return [(max(1, int(h * self.scale)), max(1, int(w * self.scale))) for h, w in image_sizes]


def at_input_scale(detector: Detector, scale: float) -> Detector:
    """Wrap a detector so that it runs on images resized by `scale`; 1 returns the detector itself."""
    return detector if scale == 1 else RescaledDetector(detector, scale)


def _resized(images: Tensor, scale: float) -> Tensor:
    """Resize (N, C, H, W) to (N, C, floor(H scale), floor(W scale)), bilinear, with antialiasing if it shrinks."""
    # By a factor and not to a size: pixels keep their positions even if H scale is not a whole number.
    return interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False, antialias=scale < 1)
