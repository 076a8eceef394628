"""Recipes: published pairs of teacher and student with their results."""

from typing import Any

from fgd_core.spec.base import Command, Fact


class PublishedAp(Command):
    """AP on COCO val2017 in percent, as published."""

    teacher: float
    student: float
    """The student without distillation, with the same schedule."""
    distilled: float | None = None
    """The distilled student; None if the authors published settings without a result."""
    without_inheriting: float | None = None
    """The distilled student that did not inherit the teacher's neck and head."""


class Publication(Command):
    """What is published about a recipe."""

    student: str
    """In words, for example `RetinaNet R50`."""
    teacher: str
    levels: tuple[str, ...]
    """The pyramid levels that are distilled; empty if the method compares the outputs of the heads."""
    source: str
    """Where the results are published."""
    config: str
    """The authors' settings: a file in their repository."""
    boxes: PublishedAp | None = None
    """None if the authors published the AP of masks only."""
    masks: PublishedAp | None = None
    is_loss_compared: bool = True
    """Whether tests compare the loss with numbers of the authors' code, and not only with the formula."""
    differs: tuple[str, ...] = ()
    """What differs from the runs that gave the published results."""


class Recipe(Fact):
    """A published pair as a job that can be submitted."""

    name: str
    publication: Publication
    teacher_file: str
    """File name of the published checkpoint."""
    spec: dict[str, Any]
    """The job. Its paths are relative to the user's folder of COCO and the checkpoints."""
