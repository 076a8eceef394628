"""The answer of GET /v1/compare: two groups of runs on the same images, and which differences are significant."""

from typing import Literal, TypeAlias

from fgd_core.spec import notebook
from fgd_core.spec.base import Fact

EVIDENCE = "evaluation.npz"
"""The artifact that a run saves for comparisons: which detection in which image was right, at which overlap."""
EVIDENCE_VERSION = 1
MIN_BOXES = 20
"""A class with fewer true boxes than this is not tested, because its AP is too uncertain."""
CONFIDENCE = 0.95
"""Confidence level of all intervals."""
FALSE_DISCOVERY_RATE = 0.05
"""Expected share of false alarms among the classes that are called changed (Benjamini and Hochberg). For a single
test it is the significance level."""

ScoreKey: TypeAlias = Literal["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"]
Finding: TypeAlias = Literal["gained", "lost", "noise", "too_little_data"]
"""What the first group did compared with the second. `noise` means that chance explains the difference."""
Basis: TypeAlias = Literal["images", "seeds"]
"""How chance is measured. `images`: a paired bootstrap over the images, for groups of one run. `seeds`: Welch's t-test
over runs with different seeds, for groups of two or more runs."""


class Change(Fact):
    """The difference between two groups, and whether it is significant."""

    value: float
    """Mean of the first group minus mean of the second."""
    low: float | None
    """Lower end of the confidence interval. `low`, `high` and `p` are None if the difference cannot be tested."""
    high: float | None
    p: float | None
    """Two-sided p-value of this test alone."""
    p_adjusted: float | None
    """p-value adjusted for all classes that were tested; None if this is not one of many tests."""
    finding: Finding


class ScoreRow(Fact):
    """One of the COCO scores, for both groups."""

    score: ScoreKey
    first: float | None
    second: float | None
    change: Change | None
    """None if there is nothing to score."""


class ClassRow(Fact):
    """The AP of one class, for both groups."""

    name: str
    num_boxes: int
    """True boxes in the validation split."""
    first: float | None
    """AP in [0, 1], the mean over the group's runs."""
    second: float | None
    change: Change | None
    """Difference in the class's AP; None if the class has no boxes."""
    beyond_overall: Change | None
    """Difference in (AP of the class minus AP over all classes): whether the class changed differently from the
    rest."""


class ComparedRun(Fact):
    """A run in one of the groups."""

    job_id: str
    trial: int | None
    """Number of the trial in a sweep; None if the job itself is the run."""
    name: str
    kind: str
    seed: int
    ap: float | None


class Comparison(Fact):
    """GET /v1/compare"""

    first: list[ComparedRun]
    second: list[ComparedRun]
    basis: Basis
    num_images: int
    resamples: int
    """Number of bootstrap samples of the images; both groups are scored on the same samples. 0 if `basis` is
    `seeds`."""
    random_seed: int
    confidence: float
    false_discovery_rate: float
    min_boxes: int
    scores: list[ScoreRow]
    classes: list[ClassRow]
    """In the order of the data set's classes."""
    sentences: list[str]
    """The findings in words."""

    def _repr_html_(self) -> str:
        rows = ((row.score, *_cells(row)) for row in self.scores)
        classes = ((row.name, *_cells(row)) for row in self.classes)
        headings = ("first", "second", "difference", "finding")
        return (
            notebook.sentences(self.sentences)
            + notebook.table(("score", *headings), rows)
            + notebook.table(("class", *headings), classes)
        )


def _cells(row: ScoreRow | ClassRow) -> tuple[object, ...]:
    change = row.change
    difference, finding = (f"{change.value:+.3f}", change.finding) if change is not None else (None, None)
    return notebook.number(row.first), notebook.number(row.second), difference, finding
