"""Where images and boxes come from, and how they reach the network."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Command


class CocoSplit(Command):
    images: str
    """Folder that the `file_name` of every image is relative to."""
    annotations: str
    """COCO annotation file (JSON)."""


class Coco(Command):
    """Any data set in COCO format."""

    type: Literal["coco"] = "coco"
    train: CocoSplit
    val: CocoSplit
    on_bad: Literal["refuse", "drop"] = "refuse"
    """What to do with a missing or truncated image, an unknown category, a duplicate id, a box that is none: refuse the
    data set and name them all, or drop them, count them and go on. Boxes without area are always dropped, boxes past
    the border always clipped, values in an unusual form with one right reading always read; all are counted. What is
    wrong as a whole, such as corners in the place of sizes, is always refused."""


ImageSet: TypeAlias = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]


class Voc(Command):
    """A folder in the layout of Pascal VOC: Annotations/*.xml, JPEGImages, ImageSets/Main/*.txt."""

    type: Literal["voc"] = "voc"
    folder: str
    """The folder that holds those three, for example VOCdevkit/VOC2007; or, as Roboflow exports it, folders train and
    valid with XML files beside their images."""
    train: ImageSet = "train"
    """Which file of ImageSets/Main lists the images to train on;"""
    val: ImageSet = "val"
    """and which those to score on: VOC2007 is trained on `trainval` and scored on `test`. Where there is no `val`,
    `valid` is taken."""
    classes: tuple[str, ...] | None = None
    """Names in the order of their labels. None: all that the two image sets name, in the order of the alphabet, which
    is the usual one for the twenty of VOC."""
    one_based: bool = True
    """Whether corners are pixels counted from 1, both ends inside the box, as the VOC devkit writes them: xmin 1 and
    xmax 1 is one pixel, the box 0 to 1. False: edges counted from 0, as many tools (labelImg among them) write them.
    Corners with fractions, as CVAT writes them, need false."""
    difficult: Literal["ignore", "keep"] = "ignore"
    """What an object marked `difficult` is: `ignore` makes it a region that training does not see and evaluation
    forgives detections in, as VOC's rules have it; `keep` an object like the others."""
    on_bad: Literal["refuse", "drop"] = "refuse"
    """As for COCO."""


class Yolo(Command):
    """A data set for YOLO: a data.yaml, folders of images, and a text file of labels for each image."""

    type: Literal["yolo"] = "yolo"
    data_yaml: str
    """The file that names the classes and the folders of images. Labels lie where `images` in an image's path is
    `labels`, or else beside the image: boxes, polygons, or boxes with keypoints where the file has `kpt_shape`. Numbers
    that may be either need `kpt_shape` or `task: segment` there."""
    root: str | None = None
    """Folder that all of it lies in, and that relative paths in the file start from; None: the file's own. A file that
    points outside of it is refused."""
    train: ImageSet = "train"
    """Which entry of the file is trained on;"""
    val: ImageSet = "val"
    """and which one is scored on, for example `test`. Where there is no `val`, `valid` is taken."""
    on_bad: Literal["refuse", "drop"] = "refuse"
    """As for COCO."""


SHAPE_NAMES = ("circle", "square", "triangle", "star", "cross")
"""The classes of `Shapes`."""


class Shapes(Command):
    """A synthetic data set, drawn on the spot from a seed: the same seed gives the same pixels."""

    type: Literal["shapes"] = "shapes"
    num_train: int = Field(default=400, ge=1)
    """Images to learn from."""
    num_val: int = Field(default=100, ge=1)
    """Images to score on."""
    image_size_px: int = Field(default=128, ge=32, le=1024)
    """Both sides of an image."""
    seed: int = Field(default=0, ge=0)
    """Another one gives other images."""


FileData: TypeAlias = Annotated[Coco | Voc | Yolo | Shapes, Field(discriminator="type")]
"""Data that says itself where it lies."""

DatasetName: TypeAlias = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Fingerprint: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Fingerprints(Command):
    """SHA-256 over names and sizes of the images, classes and boxes of each split."""

    train: Fingerprint
    """Of what is trained on."""
    val: Fingerprint
    """Of what is scored on."""


class Resolved(Command):
    """What the name of a data set stood for when the job was taken."""

    dataset_id: str = Field(max_length=32)
    """Which data set it was."""
    data: FileData
    """Where it lay."""
    fingerprints: Fingerprints | None = None
    """As its newest check found them; None: nobody had checked it."""


class Registered(Command):
    """A data set by its name: those there are `fgd data list` lists."""

    type: Literal["registered"] = "registered"
    name: DatasetName
    """As it was added."""
    if_changed: Literal["refuse", "warn"] = "refuse"
    """What to do with data that is no longer what its check found: fail before the first step, or go on with a
    warning."""
    resolved: Resolved | None = None
    """Written by the control plane when it takes the job, whatever stands here."""


DataSpec: TypeAlias = Annotated[Coco | Voc | Yolo | Shapes | Registered, Field(discriminator="type")]


def files_of(data: DataSpec) -> FileData | None:
    """Where the data lies; None for a name that nobody has looked up yet."""
    if isinstance(data, Registered):
        return data.resolved.data if data.resolved is not None else None
    return data


class InputSpec(Command):
    """From the file to the network."""

    shorter_px: int = Field(default=800, ge=32)
    """The shorter side is resized to this,"""
    longer_px: int = Field(default=1333, ge=32)
    """unless the longer side would then exceed this. The ratio is kept."""
    train_shorter_px: tuple[Annotated[int, Field(ge=32)], ...] = Field(default=(), max_length=20)
    """In training, draw for each image one of these in place of `shorter_px`; mmdetection's `ms` recipes have 640 and
    800."""
    flip_probability: float = Field(default=0.5, ge=0, le=1)
    """Chance of a horizontal flip in training."""
    pad_to_px: int = Field(default=32, ge=1)
    """Batches are padded with zeros, right and bottom, to a multiple of this."""
