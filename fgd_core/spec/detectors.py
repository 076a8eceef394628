"""Detectors: the architectures that jobs can train, distil and evaluate."""

from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from fgd_core.spec.backbones import BackboneSpec, ResNet
from fgd_core.spec.base import Command

Convention: TypeAlias = Literal["torchvision", "mmdetection"]
Version: TypeAlias = Literal["v1", "v2"]
Cells: TypeAlias = Annotated[int, Field(ge=1, le=100)]
Capability: TypeAlias = Literal["class_scores", "distributions", "towers", "regions"]
"""What a detector offers to a distillation method besides its feature maps: class scores and boxes at every location,
distributions of box sides, towers that can be cut in two, heads that process given regions."""


class AnyDetector(Command):
    """The settings that all detectors have."""

    has_masks: ClassVar[bool] = False
    """Whether it learns and finds masks as well as boxes, as in `fgd_core.detectors.base.Detector`."""
    has_keypoints: ClassVar[bool] = False
    """Whether it learns and finds keypoints as well as boxes."""
    offers: ClassVar[frozenset[Capability]] = frozenset()
    """What distillation methods can use besides the feature maps."""

    backbone: BackboneSpec = ResNet()
    """The network below the feature pyramid."""
    fpn_width: int = Field(default=256, ge=8, le=1024)
    """Channels of every pyramid level and of the heads. Published: 256."""
    score_threshold: float = Field(default=0.05, ge=0, lt=1)
    """Detections with a lower score are left out."""
    max_detections: int = Field(default=100, ge=1)
    """Detections kept per image; COCO scores up to 100."""
    weights: str | None = None
    """Where the initial weights come from: weights of torchvision by name (`ResNet18_Weights.IMAGENET1K_V1` for the
    backbone, `RetinaNet_ResNet50_FPN_Weights.COCO_V1` for the whole detector), a checkpoint of fgd (a path or
    `job:<id>/best`), or a checkpoint with torchvision's or mmdetection's parameter names (a path). None: random."""
    weights_set: str | None = None
    """Which weights of a file that holds several sets: `teacher`, `state_dict.student`, `model_ema`. None: the set that
    the author of the file would evaluate, for example the averaged weights; if that is not clear, the error lists all
    sets."""

    @classmethod
    def name(cls) -> str:
        """Return the `type` that selects the detector in a spec."""
        return str(cls.model_fields["type"].default)


class BoxDetector(AnyDetector):
    """The settings of detectors that find boxes, and masks only within boxes."""

    nms_iou_threshold: float = Field(default=0.5, gt=0, le=1)
    """Of two boxes of the same class whose IoU is above this, non-maximum suppression keeps only the better one."""


class RetinaNet(BoxDetector):
    """RetinaNet (arXiv:1708.02002) on torchvision's parts: levels P3 to P7, strides 8 to 128."""

    offers = frozenset({"class_scores", "towers"})
    type: Literal["retinanet"] = "retinanet"
    version: Version = "v1"
    """`v2` is torchvision's second version: group norm in the heads, P6 from C5, GIoU loss."""
    convention: Convention = "torchvision"
    """Whose details the detector follows where the two libraries differ. `mmdetection`: P6 from C5 and P7 without ReLU,
    anchors of unrounded size, losses averaged over the batch. Weights of a library need its convention."""
    head_norm: Literal["none", "group"] = "none"
    """Normalisation in the heads. Published: `none`. `group` learns much faster without pretrained weights. With
    version `v2` the heads always have `group`."""
    anchor_base_size_px: float = Field(default=32.0, gt=0)
    """Side of the smallest anchor, on P3, in pixels of the resized image. It doubles from level to level."""

    @model_validator(mode="after")
    def _second_version_is_torchvisions(self) -> Self:
        if self.version == "v2" and self.convention == "mmdetection":
            raise ValueError("mmdetection has no version v2; set convention: torchvision, or version: v1")
        return self


class Fcos(BoxDetector):
    """FCOS (arXiv:1904.01355) on torchvision's parts: levels P3 to P7, strides 8 to 128; no anchors, group norm in the
    heads."""

    offers = frozenset({"class_scores", "towers"})
    type: Literal["fcos"] = "fcos"
    version: Version = "v2"
    """`v1` is the version of the first paper, in mmdetection: every cell inside an object learns it, distances are
    powers of e in pixels, the loss is -log IoU, and centreness comes from the classification branch. `v2` is the
    improved version (arXiv:2006.09214), in torchvision and in mmdetection's recipe `center-normbbox-centeronreg-giou`:
    only cells around the centre learn, distances are in strides, the loss is 1 - GIoU, and centreness comes from the
    regression branch."""
    centreness_from: Literal["classes", "boxes"] | None = None
    """The branch that predicts centreness: `classes` is the classification branch, `boxes` the regression branch. None:
    as in `version`. FGD's published student has version `v2` with `classes`."""
    convention: Convention = "torchvision"
    """Whose details the detector follows where the two libraries differ. `mmdetection`: locations are the centres of
    cells, each level has a learned scale, the loss of a box is weighted by its centreness, and a score is class x
    centreness and not the square root of it. Weights of a library need its convention."""
    nms_iou_threshold: float = Field(default=0.6, gt=0, le=1)
    """Of two boxes of the same class whose IoU is above this, non-maximum suppression keeps only the better one."""

    @model_validator(mode="after")
    def _first_version_is_mmdetections(self) -> Self:
        if self.version == "v1" and self.convention == "torchvision":
            raise ValueError("torchvision has no version v1 of FCOS; set convention: mmdetection, or version: v2")
        return self

    @property
    def centreness_side(self) -> Literal["classes", "boxes"]:
        """Return the branch that predicts centreness."""
        return self.centreness_from or ("classes" if self.version == "v1" else "boxes")


class Gfl(BoxDetector):
    """Generalised Focal Loss (arXiv:2006.04388): levels P3 to P7, strides 8 to 128. Scores include the quality of the
    box, and distances are predicted as distributions. Follows mmdetection."""

    offers = frozenset({"class_scores", "distributions", "towers"})
    type: Literal["gfl"] = "gfl"
    nms_iou_threshold: float = Field(default=0.6, gt=0, le=1)
    """Of two boxes of the same class whose IoU is above this, non-maximum suppression keeps only the better one."""
    anchor_base_size_px: float = Field(default=64.0, gt=0)
    """Side of the square anchors on P3, in pixels of the resized image. It doubles from level to level. Anchors only
    decide which cells learn an object; use smaller anchors for small images."""
    reg_max: int = Field(default=16, ge=2, le=64)
    """The largest distance from a cell to a side of its object, in strides. A distribution has one more bin than
    this."""


class RepPoints(BoxDetector):
    """RepPoints (arXiv:1904.11490): levels P3 to P7, strides 8 to 128. An object is a set of nine points, which is
    found in two stages. Follows mmdetection."""

    offers = frozenset({"class_scores"})
    type: Literal["reppoints"] = "reppoints"
    norm: Literal["none", "group"] = "group"
    """Normalisation in neck and head. Published: `none`. FGD's students and teachers have `group`; distillation then
    uses the feature maps before the last norm of the neck."""


class TwoStage(BoxDetector):
    """The settings of detectors that first propose regions and then classify each region.

    They use levels P2 to P5, strides 4 to 32. P6 is P5 subsampled and is used for proposals only.
    """

    offers = frozenset({"regions"})
    convention: Convention = "torchvision"
    anchor_base_size_px: float = Field(default=32.0, gt=0)
    """Side of the smallest anchor, on P2, in pixels of the resized image. It doubles from level to level."""
    representation_size: int | None = Field(default=None, ge=8, le=4096)
    """Outputs of the fully connected layers that process a region. None: four times `fpn_width`, which is the published
    1024 at a width of 256."""
    rois_per_image: int = Field(default=512, ge=8, le=2048)
    """Regions per image that a step trains on. Published: 512. On a laptop, use 64 to 128."""


class VersionedTwoStage(TwoStage):
    """The settings of Faster R-CNN, Mask R-CNN and Keypoint R-CNN."""

    version: Version = "v1"
    """`v2` is torchvision's second version: batch norm in the pyramid and the heads, two convolutions before the
    proposals, four before classes and boxes."""
    convention: Convention = "torchvision"
    """Whose details the detector follows where the two libraries differ. `mmdetection`: regions aligned to half a
    pixel, L1 loss, anchors of unrounded size, and 1000 proposals in training. Weights of a library need its
    convention."""

    @model_validator(mode="after")
    def _second_version_is_torchvisions(self) -> Self:
        if self.version == "v2" and self.convention == "mmdetection":
            raise ValueError("mmdetection has no version v2; set convention: torchvision, or version: v1")
        return self


class FasterRcnn(VersionedTwoStage):
    """Faster R-CNN (arXiv:1506.01497) on a feature pyramid: levels P2 to P6, strides 4 to 64."""

    type: Literal["faster_rcnn"] = "faster_rcnn"


class MaskRcnn(VersionedTwoStage):
    """Mask R-CNN (arXiv:1703.06870): Faster R-CNN that also finds the mask of each object."""

    has_masks = True
    type: Literal["mask_rcnn"] = "mask_rcnn"


class KeypointRcnn(VersionedTwoStage):
    """Keypoint R-CNN (arXiv:1703.06870): Faster R-CNN that also finds the keypoints of each object. Follows
    torchvision."""

    has_keypoints = True
    type: Literal["keypoint_rcnn"] = "keypoint_rcnn"
    version: Literal["v1"] = "v1"
    """The only possible version."""
    convention: Literal["torchvision"] = "torchvision"
    """The only possible convention."""
    num_keypoints: int = Field(default=17, ge=1, le=1000)
    """Keypoints of an object, as many as the data names. COCO's persons have 17, the synthetic shapes 5."""
    keypoint_width: int | None = Field(default=None, ge=8, le=2048)
    """Channels of the eight convolutions before the keypoints. None: twice `fpn_width`, which is the published 512 at a
    width of 256."""


class CascadeRcnn(TwoStage):
    """Cascade R-CNN (arXiv:1712.00726): three stages. Each stage refines the boxes of the stage before it and needs a
    higher IoU. Follows mmdetection."""

    type: Literal["cascade_rcnn"] = "cascade_rcnn"
    convention: Literal["mmdetection"] = "mmdetection"
    """The only possible convention."""


class CascadeMaskRcnn(TwoStage):
    """Cascade R-CNN with a mask head in each stage; the masks of the three stages are averaged. Follows mmdetection."""

    has_masks = True
    type: Literal["cascade_mask_rcnn"] = "cascade_mask_rcnn"
    convention: Literal["mmdetection"] = "mmdetection"
    """The only possible convention."""


class Solo(AnyDetector):
    """SOLO (arXiv:1912.04488): finds masks without boxes, one for each cell of a grid over the image; the box of an
    object is the box around its mask. Levels P2 to P5, strides 4 to 32. Follows mmdetection. A cell of a mask
    is 4 px of the resized image, and masks of 8 cells or fewer are left out: resize small objects to a larger size."""

    has_masks = True
    type: Literal["solo"] = "solo"
    score_threshold: float = Field(default=0.1, ge=0, lt=1)
    """Cells with a lower class score find nothing. Detections whose score, after duplicates are lowered, is below half
    of this are left out."""
    num_grids: tuple[Cells, Cells, Cells, Cells, Cells] = (40, 36, 24, 16, 12)
    """Cells of the grid of each of the five levels in each direction, finest level first. Two objects of a level whose
    centres are in the same cell cannot both be found. On small images, use fewer."""
    object_base_size_px: float = Field(default=96.0, gt=0)
    """The largest size that the finest level learns, in pixels of the resized image; the size of an object is the root
    of its box's area. It doubles from level to level. A level also learns sizes down to a quarter of its largest. The
    finest level also learns all smaller objects, the coarsest all larger ones. Published: 96."""
    tower_depth: int = Field(default=7, ge=1, le=16)
    """Convolutions before the classes and before the masks. Published: 7."""


DetectorSpec: TypeAlias = Annotated[
    RetinaNet | Fcos | Gfl | RepPoints | FasterRcnn | MaskRcnn | KeypointRcnn | CascadeRcnn | CascadeMaskRcnn | Solo,
    Field(discriminator="type"),
]
