"""A pool of images without labels, which joins a distillation: the teacher's boxes stand for labels."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Command

MinScore: TypeAlias = Annotated[float, Field(gt=0, le=1)] | Literal["auto"]


class PoolFolder(Command):
    """Where the images without labels are."""

    images: str
    """Folder with the images; its subfolders belong to it. An image of the training split, with the same bytes, is left
    out and counted."""
    on_bad: Literal["refuse", "drop"] = "refuse"
    """What happens with unreadable images, and with images of the validation split: `refuse` fails and names them,
    `drop` leaves them out, counts them and continues."""


class PoolSettings(Command):
    """How a distillation uses the pool of its data; has no effect if the data has no `pool`.

    Each step shows images of the pool beside its labelled images, in parts of the same size, so the memory of a step
    does not grow. The student imitates the teacher on both. On the pool, the boxes of which the teacher is sure stand
    for labels: they are found on the same changed image that the student sees, as in STAC (arXiv:2005.04757).
    """

    ratio: int = Field(default=1, ge=1, le=16)
    """Images of the pool in each step for each labelled image. An epoch is still one pass over the labelled images."""
    weight: float = Field(default=1.0, ge=0)
    """How much an image of the pool counts relative to a labelled image. The loss of a step is the weighted mean over
    both, so the learning rate need not change. 0: the pool is not used."""
    min_score: MinScore = "auto"
    """The score above which a box of the teacher stands for a label. `auto`: for each class the score that leaves as
    many boxes per image as the labelled images have (LabelMatch, arXiv:2206.06608); found on up to 512 images of the
    pool before the first step. A number suits one kind of detector: scores of a focal loss are lower than those of a
    softmax. Published for Faster R-CNN: 0.7 (arXiv:2102.09480) and 0.9 (arXiv:2005.04757)."""
