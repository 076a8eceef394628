"""Pictures that a job derives from the images of a data set.

To add one: a class here, a member of `Derivation`, and a row in `fgd_core.runs.deriving`.
"""

from typing import Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Command
from fgd_core.spec.data import PictureName


class Adversarial(Command):
    """Changes each image a little, so that the teacher recognises its objects less well: DI-FGSM (arXiv:1803.06978)
    with momentum. The defaults are the published values of instance knowledge distillation (arXiv:2209.09841).

    Each step climbs the teacher's classification loss at the true boxes. Two points differ from the authors' code: the
    boxes follow the random resizing of a step, which keeps the aspect ratio; and the change, not the changed image, is
    resized to the size of the file, so that the picture stays as sharp as the image.
    """

    type: Literal["adversarial"] = "adversarial"
    """The kind of pictures."""
    picture: PictureName = "adversarial"
    """The name of the pictures in the data set."""
    eps: float = Field(default=8 / 255, gt=0, le=1)
    """The largest change of a value, as a fraction of the largest range of values of a channel of the image, after
    normalisation. Published: 8/255."""
    step_size: float = Field(default=2 / 255, gt=0, le=1)
    """The change of each value in a step, in the same unit. Published: 2/255."""
    steps: int = Field(default=5, ge=1, le=100)
    """Number of steps; each is a forward and a backward pass of the teacher. Published: 5."""
    momentum: float = Field(default=1.0, ge=0)
    """Factor on the sum of the earlier gradients, each divided by its L1 norm. Published: 1."""
    resize_probability: float = Field(default=0.5, ge=0, le=1)
    """Probability that a step sees the image smaller, at a random place, on the mean colour. Published: 0.5."""
    smallest_size: float = Field(default=0.9, gt=0, le=1)
    """The smallest size of that image, as a fraction of the whole. Published: 0.9."""


Derivation: TypeAlias = Adversarial
