"""Detectors that can be trained, taught and evaluated."""

from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from fgd_core.spec.backbones import BackboneSpec, ResNet
from fgd_core.spec.base import Command

Convention: TypeAlias = Literal["torchvision", "mmdetection"]
Version: TypeAlias = Literal["v1", "v2"]


class AnyDetector(Command):
    """What every detector says, whatever its kind."""

    has_masks: ClassVar[bool] = False
    """Whether it learns and finds masks as well as boxes; as of `fgd_core.detectors.base.Detector`."""

    backbone: BackboneSpec = ResNet()
    """What the pyramid stands on."""
    fpn_width: int = Field(default=256, ge=8, le=1024)
    """Channels of every pyramid level and of the heads; 256 is published."""
    score_threshold: float = Field(default=0.05, ge=0, lt=1)
    """Detections below it are left out."""
    nms_iou_threshold: float = Field(default=0.5, gt=0, le=1)
    """Of two boxes of a class that overlap by more, only the better one stays."""
    max_detections: int = Field(default=100, ge=1)
    """In an image; COCO scores 100."""
    weights: str | None = None
    """Where the first weights come from: torchvision's by name (`ResNet18_Weights.IMAGENET1K_V1` for the backbone,
    `RetinaNet_ResNet50_FPN_Weights.COCO_V1` for all of it), a checkpoint of ours (a path or `job:<id>/best`), a
    checkpoint of others with torchvision's or mmdetection's names (a path), or nothing."""
    weights_set: str | None = None
    """Which weights of a file that holds several: `teacher`, `state_dict.student`, `model_ema`. None: those that the
    file's author would evaluate, the averaged ones for example; where that is not clear, the error lists them."""


class RetinaNet(AnyDetector):
    """RetinaNet (arXiv:1708.02002) on torchvision's parts: levels P3 to P7, strides 8 to 128."""

    type: Literal["retinanet"] = "retinanet"
    version: Version = "v1"
    """`v2` is torchvision's second: group norm in the heads, P6 from C5, GIoU loss."""
    convention: Convention = "torchvision"
    """Whose details it follows where the two differ: P6 from C5 and P7 without ReLU, anchors of unrounded size, losses
    averaged over the batch in `mmdetection`. Weights of one need its convention."""
    head_norm: Literal["none", "group"] = "none"
    """Normalisation inside the heads: `none` is published, `group` learns much faster where there are no pretrained
    weights; `v2` has `group` whatever is said here."""
    anchor_base_size_px: float = Field(default=32.0, gt=0)
    """Side of the smallest anchor, on P3, in pixels of the resized image; it doubles at each level."""

    @model_validator(mode="after")
    def _second_version_is_torchvisions(self) -> Self:
        if self.version == "v2" and self.convention == "mmdetection":
            raise ValueError("version v2 is torchvision's and mmdetection has none; set convention: torchvision")
        return self


class Fcos(AnyDetector):
    """FCOS (arXiv:1904.01355) on torchvision's parts: levels P3 to P7, strides 8 to 128; no anchors, group norm in the
    heads."""

    type: Literal["fcos"] = "fcos"
    version: Version = "v2"
    """`v1` is the first paper's, which mmdetection has: any place in an object learns it, distances are powers of e in
    pixels, the loss is -log IoU, centreness is told from the classes' side. `v2` is improved (arXiv:2006.09214): only
    places around the centre learn, distances are in strides, the loss is 1 - GIoU, centreness is told from the boxes'
    side; torchvision has it, and mmdetection as its recipe `center-normbbox-centeronreg-giou`."""
    centreness_from: Literal["classes", "boxes"] | None = None
    """Whose side tells the centreness; None: the version's. FGD's student is of the second version with `classes`."""
    convention: Convention = "torchvision"
    """Whose details it follows where the two differ: in `mmdetection` places are the middles of cells, each level has
    a learned scale, boxes count by their centreness, and a score is class x centreness and not its root. Weights of one
    need its convention."""
    nms_iou_threshold: float = Field(default=0.6, gt=0, le=1)
    """Of two boxes of a class that overlap by more, only the better one stays."""

    @model_validator(mode="after")
    def _first_version_is_mmdetections(self) -> Self:
        if self.version == "v1" and self.convention == "torchvision":
            raise ValueError("torchvision has no first version of FCOS; set convention: mmdetection")
        return self

    @property
    def centreness_side(self) -> Literal["classes", "boxes"]:
        return self.centreness_from or ("classes" if self.version == "v1" else "boxes")


class Gfl(AnyDetector):
    """Generalised Focal Loss (arXiv:2006.04388): levels P3 to P7, strides 8 to 128; scores tell the quality of the box,
    distances are distributions. Follows mmdetection."""

    type: Literal["gfl"] = "gfl"
    nms_iou_threshold: float = Field(default=0.6, gt=0, le=1)
    """Of two boxes of a class that overlap by more, only the better one stays."""
    anchor_base_size_px: float = Field(default=64.0, gt=0)
    """Side of the square anchors on P3, in pixels of the resized image; it doubles at each level. It decides only which
    cells learn an object, and small images suit smaller ones."""
    reg_max: int = Field(default=16, ge=2, le=64)
    """The largest distance from a cell to a side of its object, in strides; a distribution has one bin more."""


class RepPoints(AnyDetector):
    """RepPoints (arXiv:1904.11490): levels P3 to P7, strides 8 to 128; objects are sets of nine points, found in two
    stages. Follows mmdetection."""

    type: Literal["reppoints"] = "reppoints"
    norm: Literal["none", "group"] = "group"
    """Normalisation in neck and head: `none` is published, `group` is what FGD's students and teachers have. With it,
    what is distilled are the maps before the last norm of the neck."""


class TwoStage(AnyDetector):
    """What those say that first propose regions and then look at each: levels P2 to P5, strides 4 to 32, and P6, which
    is P5 subsampled and serves proposals alone."""

    convention: Convention = "torchvision"
    anchor_base_size_px: float = Field(default=32.0, gt=0)
    """Side of the smallest anchor, on P2, in pixels of the resized image; it doubles at each level."""
    representation_size: int | None = Field(default=None, ge=8, le=4096)
    """Outputs of the fully connected layers that look at a region. None: four for each channel of the pyramid, which
    is the published 1024 at 256."""
    rois_per_image: int = Field(default=512, ge=8, le=2048)
    """Regions of an image that a step trains on; 512 is published, 64 to 128 suit a laptop."""


class VersionedTwoStage(TwoStage):
    """What Faster and Mask R-CNN say."""

    version: Version = "v1"
    """`v2` is torchvision's second: batch norm in the pyramid and the heads, two convolutions before proposals, four
    before classes and boxes."""
    convention: Convention = "torchvision"
    """Whose details it follows where the two differ: regions cut out to the half pixel, L1 loss, anchors of unrounded
    size and 1000 proposals to train on in `mmdetection`. Weights of one need its convention."""

    @model_validator(mode="after")
    def _second_version_is_torchvisions(self) -> Self:
        if self.version == "v2" and self.convention == "mmdetection":
            raise ValueError("version v2 is torchvision's and mmdetection has none; set convention: torchvision")
        return self


class FasterRcnn(VersionedTwoStage):
    """Faster R-CNN (arXiv:1506.01497) on a feature pyramid: levels P2 to P6, strides 4 to 64."""

    type: Literal["faster_rcnn"] = "faster_rcnn"


class MaskRcnn(VersionedTwoStage):
    """Mask R-CNN (arXiv:1703.06870): Faster R-CNN that also finds the mask of each object."""

    has_masks = True
    type: Literal["mask_rcnn"] = "mask_rcnn"


class CascadeRcnn(TwoStage):
    """Cascade R-CNN (arXiv:1712.00726): three stages, each of which starts from the boxes of the one before and asks
    for a tighter fit. Follows mmdetection."""

    type: Literal["cascade_rcnn"] = "cascade_rcnn"
    convention: Literal["mmdetection"] = "mmdetection"
    """There is no other."""


class CascadeMaskRcnn(TwoStage):
    """Cascade R-CNN with a mask head in each stage; the masks of the three are averaged. Follows mmdetection."""

    has_masks = True
    type: Literal["cascade_mask_rcnn"] = "cascade_mask_rcnn"
    convention: Literal["mmdetection"] = "mmdetection"
    """There is no other."""


DetectorSpec: TypeAlias = Annotated[
    RetinaNet | Fcos | Gfl | RepPoints | FasterRcnn | MaskRcnn | CascadeRcnn | CascadeMaskRcnn,
    Field(discriminator="type"),
]
