"""Data sets: where images and boxes come from, and how images are resized for the network."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, JsonValue, model_validator

from fgd_core.spec.augments import AugmentSpec
from fgd_core.spec.base import Command
from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.pool import PoolFolder

IMAGE = "image"
"""The name of the image itself among its pictures."""
DEPTH = "depth"
"""The name of the depth maps that `Shapes` draws."""


def _is_another_picture(name: str) -> str:
    if name == IMAGE:
        raise ValueError(f"{IMAGE!r} is the image itself; give its other picture another name, for example depth")
    return name


PictureName: TypeAlias = Annotated[
    str, Field(max_length=40, pattern=r"^[a-z][a-z0-9_]*$"), AfterValidator(_is_another_picture)
]


class PictureFolders(Command):
    """Where another picture of each image is: a depth map, or an adversarial copy.

    A picture has the size of its image and the same path in its folder, or that path with the suffix `.png`.
    """

    train: str
    """Folder with the pictures of the training images."""
    val: str | None = None
    """Folder with the pictures of the validation images. Only a teacher that sees this picture needs it."""


class _AnyFiles(Command):
    pictures: dict[PictureName, PictureFolders] = Field(default={}, max_length=8)
    """Other pictures of the images, by name, for methods that compare them and for teachers that see them. They are
    resized, flipped and cropped like the images."""
    pool: PoolFolder | None = None
    """Images without labels, for distillations; other jobs do not read them. `pool` of a distillation says how it uses
    them."""


class CocoSplit(Command):
    """One split of a COCO data set."""

    images: str
    """Folder with the images; every `file_name` in the annotations is relative to it."""
    annotations: str
    """COCO annotation file (JSON)."""


class Coco(_AnyFiles):
    """A data set in COCO format."""

    type: Literal["coco"] = "coco"
    train: CocoSplit
    val: CocoSplit
    on_bad: Literal["refuse", "drop"] = "refuse"
    """What happens with missing or truncated images, unknown categories, duplicate ids and invalid boxes. `refuse`
    fails and lists them all; `drop` leaves them out, counts them and continues. In both cases, boxes without area are
    dropped, boxes that reach over the border are clipped, and values in an unusual but unambiguous form are read; all
    are counted. A data set that is wrong as a whole, for example with corners in place of sizes, is always refused."""


ImageSet: TypeAlias = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]


class Voc(_AnyFiles):
    """A folder in the layout of Pascal VOC: Annotations/*.xml, JPEGImages, ImageSets/Main/*.txt."""

    type: Literal["voc"] = "voc"
    folder: str
    """The folder that holds these three, for example VOCdevkit/VOC2007. A Roboflow export also works: a folder with
    subfolders `train` and `valid`, which hold XML files beside their images."""
    train: ImageSet = "train"
    """The file of ImageSets/Main that lists the training images, without `.txt`."""
    val: ImageSet = "val"
    """The file of ImageSets/Main that lists the validation images, without `.txt`. If there is no `val`, `valid` is
    used. Results on VOC2007 are usually from training on `trainval` and scoring on `test`."""
    classes: tuple[str, ...] | None = None
    """Class names in the order of their labels. None: all classes that occur in the two image sets, in alphabetical
    order, which is the usual order of the twenty VOC classes."""
    one_based: bool = True
    """True: corners are pixel numbers counted from 1, and both corners are inside the box, as the VOC devkit writes
    them; xmin 1 and xmax 1 is a box of one pixel, from 0 to 1. False: corners are edges counted from 0, as labelImg and
    many other tools write them. Corners with fractions, as CVAT writes them, need false."""
    difficult: Literal["ignore", "keep"] = "ignore"
    """How objects marked `difficult` are used. `ignore`: they are left out of training, and detections on them count
    neither as right nor as wrong, as the VOC rules say. `keep`: they are objects like all others."""
    on_bad: Literal["refuse", "drop"] = "refuse"
    """What happens with images and boxes that are wrong; see the same field of COCO data."""


class Yolo(_AnyFiles):
    """A data set in YOLO format: a data.yaml, folders of images, and a text file of labels for each image."""

    type: Literal["yolo"] = "yolo"
    data_yaml: str
    """The file that names the classes and the folders of images. The labels of an image are in the same path with
    `labels` in place of `images`, or next to it. A label is a box, a polygon, or a box with keypoints if the file
    has `kpt_shape`. Where a row could be a polygon or a box with keypoints, the file needs `kpt_shape` or
    `task: segment`."""
    root: str | None = None
    """Folder that contains all files of the data set; relative paths in data.yaml start from it. None: the folder of
    data.yaml. A data.yaml that points outside of this folder is refused."""
    train: ImageSet = "train"
    """The entry of data.yaml with the training images."""
    val: ImageSet = "val"
    """The entry of data.yaml with the validation images, for example `test`. If there is no `val`, `valid` is used."""
    on_bad: Literal["refuse", "drop"] = "refuse"
    """What happens with images and boxes that are wrong; see the same field of COCO data."""


Scene: TypeAlias = Literal["simple", "crowded"]
_SIMPLE = ("circle", "square", "triangle", "star", "cross")
SHAPE_NAMES: Mapping[Scene, tuple[str, ...]] = {
    "simple": _SIMPLE,
    "crowded": (*_SIMPLE, "pentagon", "hexagon", "diamond", "bar", "arrow"),
}
"""The classes of `Shapes`."""
NUM_SHAPE_KEYPOINTS = 5
"""Keypoints of each object of `Shapes`."""


class Shapes(_AnyFiles):
    """A synthetic data set that is drawn from a seed; the same seed gives the same pixels.

    Each object has a mask, and five keypoints: its centre, and points on its outline to the right, below, to the left
    and above.
    """

    type: Literal["shapes"] = "shapes"
    num_train: int = Field(default=400, ge=1)
    """Number of training images."""
    num_val: int = Field(default=100, ge=1)
    """Number of validation images."""
    image_size_px: int = Field(default=128, ge=32, le=1024)
    """Width and height of each image, in pixels."""
    seed: int = Field(default=0, ge=0)
    """Another seed gives other images."""
    scene: Scene = "simple"
    """`simple`: at most 3 objects of 5 classes. `crowded`: at most 10 objects of 10 classes, from a ninth of the
    image's side on, with more of each hidden and less contrast."""
    depth: bool = False
    """Whether each image also has a depth map, as its picture `depth`: the same objects without texture and noise,
    brighter the nearer they are."""
    shows: Literal["colour", "depth"] = "colour"
    """What the images themselves show. `depth`: the depth maps, to train a teacher on them."""


FileData: TypeAlias = Annotated[Coco | Voc | Yolo | Shapes, Field(discriminator="type")]
"""Data given by its place, not by the name of a registered data set."""

DatasetName: TypeAlias = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Fingerprint: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Fingerprints(Command):
    """SHA-256 digests of each split: over the names and sizes of its images, its classes and its boxes."""

    train: Fingerprint
    """Digest of the training split."""
    val: Fingerprint
    """Digest of the validation split."""
    pictures: dict[str, Fingerprint] = {}
    """Digests of the other pictures, by `<picture>.<split>`: over the images' names and the sizes of the files."""
    pool: Fingerprint | None = None
    """Digest of the pool; None if the data has none."""


class Resolved(Command):
    """What the name of a registered data set stood for when the server accepted the job."""

    dataset_id: str = Field(max_length=32)
    """Id of the data set."""
    data: FileData
    """Where the data set was."""
    fingerprints: Fingerprints | None = None
    """From the newest check; None if the data set had not been checked."""


class Registered(Command):
    """A data set that is registered on the server, by its name; `fgd data list` shows all names."""

    type: Literal["registered"] = "registered"
    name: DatasetName
    """The name with which the data set was added."""
    if_changed: Literal["refuse", "warn"] = "refuse"
    """What happens if the data has changed since its check: `refuse` fails before the first step, `warn` continues
    with a warning."""
    resolved: Resolved | None = None
    """The server writes this field when it accepts the job, and replaces whatever a user put here."""


DataSpec: TypeAlias = Annotated[Coco | Voc | Yolo | Shapes | Registered, Field(discriminator="type")]


def files_of(data: DataSpec) -> FileData | None:
    """Return the data by its place; None for a registered name that the server has not resolved yet."""
    if isinstance(data, Registered):
        return data.resolved.data if data.resolved is not None else None
    return data


def name_of(data: Mapping[str, JsonValue]) -> str:
    """Return how people name data in JSON, which may be of another version: the registered name, else the path, else
    the type."""
    train = data.get("train")
    annotations = train.get("annotations") if isinstance(train, dict) else None
    named = (data.get("name"), annotations, data.get("data_yaml"), data.get("folder"), data.get("type"))
    return next((each for each in named if isinstance(each, str)), "")


def pictures_of(data: DataSpec) -> Mapping[str, PictureFolders | None]:
    """Return the other pictures of the images: their folders, or None if the data set draws them.

    Empty if there are none, or a registered name is not resolved yet.
    """
    files = files_of(data)
    drawn = {DEPTH: None} if isinstance(files, Shapes) and files.depth else {}
    return {**drawn, **files.pictures} if files is not None else {}


class Sampling(Command):
    """Which training images an epoch shows, how often, and in which company."""

    fraction: float = Field(default=1.0, gt=0, le=1)
    """Trains on this share of the training images only. The same images are drawn for every seed of the run, and a
    smaller share is a part of a larger one, so that runs show what more data would bring. An epoch then has fewer
    steps."""
    aspect_groups: int = Field(default=0, ge=0, le=100)
    """Batches of images with similar aspect ratios need less padding. n: width over height is rounded to 2 n steps
    between 1/2 and 2, and the images of a batch have the same rounded ratio; the few images that are left over at the
    end of an epoch share batches with their neighbours. torchvision's training has 3. 0: no groups."""
    repeat_threshold: float | None = Field(default=None, gt=0, le=1)
    """Shows images with rare classes more often (LVIS, arXiv:1908.03195). A class on fewer than this fraction of the
    images is rare: an image is shown max(1, sqrt(threshold / fraction)) times in an epoch, by the rarest of its
    classes; the fraction of a time is drawn in each epoch. An epoch then has more steps. Published for LVIS: 0.001.
    None: each image once."""

    def num_shown(self, num_images: int) -> int:
        """Return how many of the images of a training split a training shows; at least one, unless there is none."""
        return min(num_images, max(1, round(self.fraction * num_images)))


class InputSpec(Command):
    """How images are prepared for the network, and in which order a training shows them."""

    shorter_px: int = Field(default=800, ge=32)
    """Size of the shorter side after resizing, in pixels; less if `longer_px` limits it."""
    longer_px: int = Field(default=1333, ge=32)
    """Limit of the longer side after resizing, in pixels. Resizing keeps the aspect ratio."""
    train_shorter_px: tuple[Annotated[int, Field(ge=32)], ...] = Field(default=(), max_length=20)
    """Multi-scale training: for each training image one of these sizes is drawn in place of `shorter_px`. mmdetection's
    `ms` recipes use 640 and 800."""
    train_shorter_from: Literal["list", "range"] = "list"
    """`range`: the size is any whole number from the smallest to the largest of `train_shorter_px`."""
    flip_probability: float = Field(default=0.5, ge=0, le=1)
    """Probability of a horizontal flip of a training image."""
    augment: tuple[AugmentSpec, ...] = Field(default=(), max_length=10)
    """Further random changes of training images, in this order."""
    pad_to_px: int = Field(default=32, ge=1)
    """Batches are padded with zeros on the right and at the bottom, to a multiple of this number of pixels."""
    sampling: Sampling = Sampling()

    @property
    def needs_masks(self) -> bool:
        """Whether a training reads the masks of the objects, even if its detector does not learn them."""
        return any(each.needs_masks for each in self.augment)

    @model_validator(mode="after")
    def _is_clear(self) -> Self:
        resizing = [each.type for each in self.augment if each.stage == "resizing"]
        if len(resizing) > 1:
            raise ValueError(f"augment resizes images {len(resizing)} times ({', '.join(resizing)}); keep one of them")
        if self.train_shorter_from == "range" and len(self.train_shorter_px) < 2:
            raise ValueError("train_shorter_from is range; give train_shorter_px the smallest and the largest size")
        return self

    def check_suits(self, detector: AnyDetector, field: str) -> None:
        """Check that the random changes suit the detector.

        Args:
            field: of the detector in the spec.
        Raises:
            ValueError: one of them does not; the message names it.
        """
        unsuited = [each.type for each in self.augment if not each.suits_keypoints]
        if detector.has_keypoints and unsuited:
            raise ValueError(
                f"input.augment has {', '.join(unsuited)}, which does not suit the keypoints of {field}; leave it out"
            )
