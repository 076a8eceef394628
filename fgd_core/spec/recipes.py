"""Published pairs of teacher and student, and what they reached."""

from typing import Any

from fgd_core.spec.base import Command, Fact


class PublishedAp(Command):
    """AP on val2017 in percent, as printed."""

    teacher: float
    student: float
    """Trained alone, by the same schedule."""
    distilled: float | None = None
    """None where the authors give the settings and no figure."""
    without_inheriting: float | None = None
    """Distilled, but begun without the teacher's neck and head."""


class Publication(Command):
    """What is known of a recipe beside its spec."""

    student: str
    """In words: `RetinaNet R50`."""
    teacher: str
    levels: tuple[str, ...]
    """Of the pyramid, that are distilled."""
    source: str
    """Where the figures are printed."""
    config: str
    """The authors' settings: a file of their repository."""
    boxes: PublishedAp
    masks: PublishedAp | None = None
    differs: tuple[str, ...] = ()
    """What is not as it was when the figures were measured."""


class Recipe(Fact):
    """A published pair as a job that can be handed in."""

    name: str
    publication: Publication
    teacher_file: str
    """Name of the published checkpoint's file."""
    spec: dict[str, Any]
    """The job; its paths are relative to where the user keeps COCO and the checkpoints."""
