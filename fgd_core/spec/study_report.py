"""The report of a study: the answer in words, and the figures behind it."""

from typing import Literal, TypeAlias

from fgd_core.spec.base import Fact
from fgd_core.spec.study_findings.gain import Gain
from fgd_core.spec.study_findings.left_over import LeftOver
from fgd_core.spec.study_findings.why import Why

Findings: TypeAlias = Gain | LeftOver | Why
"""The figures of a study, by its type."""


class StudiedRun(Fact):
    """A run of a study that the answer uses."""

    job_id: str
    arm: str
    seed: int
    ap: float | None


class LeftOutRun(Fact):
    """A run of a study that the answer does not use."""

    job_id: str
    arm: str
    seed: int
    why: str


class StudyReport(Fact):
    """The answer of a study."""

    type: str
    """The type of the study."""
    sentences: list[str]
    """The answer first, then what qualifies it."""
    findings: Findings
    runs: list[StudiedRun]
    left_out: list[LeftOutRun]


class StudyReported(Fact):
    """A study has computed its answer from its runs."""

    kind: Literal["study_reported"] = "study_reported"
    report: StudyReport
