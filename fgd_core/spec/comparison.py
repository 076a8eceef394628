"""What GET /v1/compare answers: two groups of runs on the same images, and which differences are more than chance."""

from typing import Literal, TypeAlias

from fgd_core.spec import notebook
from fgd_core.spec.base import Fact

EVIDENCE = "evaluation.npz"
"""The artifact that a run leaves for comparisons: which detection of which image was right, at which overlap."""
EVIDENCE_VERSION = 1
MIN_BOXES = 20
"""True boxes below which a class's AP says too little to be tested."""
CONFIDENCE = 0.95
"""Of the intervals."""
FALSE_DISCOVERY_RATE = 0.05
"""Share of false alarms among the classes called changed (Benjamini and Hochberg); of a single test, its level."""

ScoreKey: TypeAlias = Literal["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"]
Finding: TypeAlias = Literal["gained", "lost", "noise", "too_little_data"]
"""Of the first group against the second."""
Basis: TypeAlias = Literal["images", "seeds"]
"""What chance is measured by. `images`: which images were drawn (paired bootstrap), for one run on a side.
`seeds`: how runs with other seeds came out (Welch's t-test), for two or more on each side."""


class Change(Fact):
    """How far two groups are apart, and whether that is more than chance."""

    value: float
    """The first group's mean less the second's."""
    low: float | None
    """Of the interval; None, as `high` and `p`, where the difference cannot be tested."""
    high: float | None
    p: float | None
    """Two-sided, of this test alone."""
    p_adjusted: float | None
    """Among all classes tested; None for a test that is not one of many."""
    finding: Finding


class ScoreRow(Fact):
    score: ScoreKey
    first: float | None
    second: float | None
    change: Change | None
    """None where there is nothing to score."""


class ClassRow(Fact):
    name: str
    num_boxes: int
    """True boxes in the validation split."""
    first: float | None
    """AP, a mean over the group's runs."""
    second: float | None
    change: Change | None
    """Of the class's AP; None where the class has no boxes."""
    beyond_overall: Change | None
    """Of the class's AP less the run's AP over all classes: whether the class moved otherwise than the whole did."""


class ComparedRun(Fact):
    job_id: str
    trial: int | None
    """Of a sweep; None where the job itself is the run."""
    name: str
    kind: str
    seed: int
    ap: float | None


class Comparison(Fact):
    first: list[ComparedRun]
    second: list[ComparedRun]
    basis: Basis
    num_images: int
    resamples: int
    """Of the images; both groups are scored on the same ones. 0 where `basis` is `seeds`."""
    random_seed: int
    confidence: float
    false_discovery_rate: float
    min_boxes: int
    scores: list[ScoreRow]
    classes: list[ClassRow]
    """In the order of the data set."""
    sentences: list[str]
    """The same in words."""

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
